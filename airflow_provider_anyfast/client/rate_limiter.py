"""How fast calls may be sent, learned from AnyFast's 429s and shared by everything that uses one client.

AnyFast publishes no limits. Without a shared view, a thousand submissions that each obey ``Retry-After`` send five to
twenty requests for each one that is accepted. No I/O and no clock of its own.
"""

from __future__ import annotations

import math
import random
from threading import Lock

LONGEST_PAUSE = 60.0
"""Seconds for which one 429 stops all requests at most, whatever ``Retry-After`` says."""
_CAUTION = 0.98
"""Share of the measured rate that is used at first; the rest fills the server's token bucket before the rate grows."""
_RETREAT = 0.85
"""Share of the current rate that remains after a 429, at least."""
_GROWTH, _FIRST_GROWTH = 0.005, 0.05
"""How the rate grows: by the factor exp(this * seconds²) since the last pause. Slowly at first, fast later, and sooner
after the first 429, which is a poor measurement."""
_SLOWEST = 0.2
"""Requests a second while nothing is accepted."""
_CATCH_UP = 0.25
"""Seconds of delay, such as a thread that woke up late, that the next requests may catch up."""


class RateLimiter:
    """When the next request of one kind may be sent. Safe to use from several threads.

    Unlimited until the first 429, which stops all requests for the time in ``Retry-After``. Afterwards requests are
    sent one by one, at the rate at which they were accepted between two 429s. In that time the server's token bucket
    went from empty to empty, so the rate is the server's own, however large the bucket is.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._opens_at = 0.0
        self._paused_until = 0.0
        self._rate: float | None = None
        self._growth = _FIRST_GROWTH
        self._measured_since = math.inf
        self._accepted = 0
        self._fruitless_pauses = 0

    def acquire(self, now: float) -> float:
        """Reserves the next request. 0 means: send now; otherwise call again after so many seconds."""
        with self._lock:
            self._follow_clock(now)
            if now < self._opens_at:
                return self._opens_at - now
            if self._rate is not None:
                self._opens_at = max(self._opens_at, now - _CATCH_UP) + 1.0 / self._rate_at(now)
            return 0.0

    def closed_for(self, now: float) -> float:
        """Seconds until the next request may be sent, without reserving it."""
        with self._lock:
            self._follow_clock(now)
            return max(0.0, self._opens_at - now)

    def succeeded(self) -> None:
        """Records a request that was not refused with 429."""
        with self._lock:
            self._accepted += 1

    def throttled(self, now: float, retry_after: float | None) -> None:
        """Records a 429. ``retry_after`` is in seconds, or None if the response has no such header."""
        with self._lock:
            self._follow_clock(now)
            if now >= self._paused_until:
                self._measure(now, retry_after)
            elif retry_after is not None:  # of the same burst as the 429 that began the pause
                self._paused_until = max(self._paused_until, now + min(retry_after, LONGEST_PAUSE))
            self._opens_at = max(self._opens_at, self._paused_until)

    def _follow_clock(self, now: float) -> None:
        """Keeps a clock that was set back from pausing all requests until it catches up."""
        self._paused_until = min(self._paused_until, now + LONGEST_PAUSE)
        self._opens_at = min(self._opens_at, now + LONGEST_PAUSE + 1.0 / _SLOWEST)
        if now < self._measured_since:
            self._measured_since, self._accepted = now, 0

    def _measure(self, now: float, retry_after: float | None) -> None:
        self._fruitless_pauses = 0 if self._accepted else self._fruitless_pauses + 1
        pause = 2.0**self._fruitless_pauses * random.uniform(0.75, 1.25) if retry_after is None else retry_after  # noqa: S311 - spreads requests
        pause = min(pause, LONGEST_PAUSE)
        elapsed = now - self._measured_since
        if self._rate is None:
            # The burst has used up a full bucket, which the pause fills again.
            rate = self._accepted / max(elapsed + pause, 1.0)
        else:
            self._growth = _GROWTH
            rate = max(self._accepted / max(elapsed, 1.0), _RETREAT / _CAUTION * self._rate_at(now))
        self._rate = max(_CAUTION * rate, _SLOWEST) if self._accepted else _SLOWEST
        self._measured_since, self._accepted = now, 0
        self._paused_until = now + pause

    def _rate_at(self, now: float) -> float:
        idle = max(0.0, now - self._paused_until)
        return (self._rate or 0.0) * math.exp(min(self._growth * idle * idle, 20.0))
