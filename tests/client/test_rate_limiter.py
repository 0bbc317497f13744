"""A client's rate limiter, against simulated servers that limit their rate."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from airflow_provider_anyfast.client.rate_limiter import LONGEST_PAUSE, RateLimiter


@dataclass
class TokenBucket:
    """A server that accepts ``rate`` requests a second, and ``burst`` at once after a pause."""

    rate: float
    burst: float
    says_when: bool = True
    _tokens: float = field(init=False)
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._tokens = self.burst

    def take(self, now: float) -> float | None:
        """None if the request is accepted, otherwise the seconds until the next one would be."""
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return None
        return (1.0 - self._tokens) / self.rate


@dataclass(frozen=True)
class Submitted:
    """The result of a simulation."""

    requests: int
    seconds: float


def submit(number: int, server: TokenBucket, *, workers: int = 16, latency: float = 0.2) -> Submitted:
    """Simulates workers that share one limiter, with an event queue instead of a clock."""
    limiter, left, requests, now = RateLimiter(), number, 0, 0.0
    events = [(0.0, worker) for worker in range(workers)]
    last_accepted = 0.0
    while left and events:
        now, worker = heapq.heappop(events)
        if wait := limiter.acquire(now):
            heapq.heappush(events, (now + wait, worker))
            continue
        requests += 1
        retry_after = server.take(now)
        if retry_after is None:
            limiter.succeeded()
            left -= 1
            last_accepted = now
        else:
            limiter.throttled(now, max(1.0, float(round(retry_after))) if server.says_when else None)
        heapq.heappush(events, (now + latency, worker))
    return Submitted(requests, last_accepted)


@pytest.mark.parametrize("burst", [1, 20, 60])
@pytest.mark.parametrize("says_when", [True, False], ids=["with Retry-After", "without"])
def test_a_thousand_submissions_take_little_more_requests_and_time_than_the_server_allows(
    burst: int, *, says_when: bool
) -> None:
    run = submit(1000, TokenBucket(20.0, burst, says_when))
    ideal = (1000 - burst) / 20.0
    assert run.requests <= 1050
    # A server whose bucket does not fill during pauses loses a second for each 429, and shows its rate less precisely.
    assert run.seconds <= (1.1 if burst > 1 else 2.0) * ideal


def test_a_server_without_limits_is_not_slowed_down() -> None:
    run = submit(1000, TokenBucket(1e9, 1e9))
    assert run.requests == 1000
    assert run.seconds == pytest.approx(1000 / 16 * 0.2, rel=0.05)


def test_one_refusal_stops_all_requests_for_its_retry_after() -> None:
    limiter = RateLimiter()
    assert limiter.acquire(100.0) == 0.0
    limiter.throttled(100.0, 7.0)
    assert [limiter.acquire(100.0), limiter.acquire(103.0)] == [7.0, 4.0]
    assert limiter.acquire(107.0) == 0.0
    assert limiter.acquire(107.0) > 0.0, "after a pause they leave one by one"


def test_refusals_of_one_burst_count_as_one() -> None:
    limiter = RateLimiter()
    limiter.acquire(100.0)
    for _ in range(16):
        limiter.throttled(100.0, 1.0)
    limiter.throttled(100.5, 2.0)
    assert limiter.acquire(101.0) == 1.5
    assert limiter.acquire(102.5) == 0.0


def test_refusals_without_retry_after_lengthen_the_pause_up_to_a_minute() -> None:
    limiter, now, pauses = RateLimiter(), 100.0, []
    for _ in range(10):
        assert limiter.acquire(now) == 0.0
        limiter.throttled(now, None)
        pauses.append(limiter.acquire(now))
        now += pauses[-1]
    assert pauses[0] < 3.0
    assert all(later > earlier for earlier, later in pairwise(pauses[:5]))
    assert max(pauses) == pytest.approx(LONGEST_PAUSE)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE)


@pytest.mark.parametrize("retry_after", [3600.0, 60.5])
def test_a_pause_is_never_longer_than_a_minute(retry_after: float) -> None:
    limiter = RateLimiter()
    limiter.acquire(0.0)
    limiter.throttled(0.0, retry_after)
    assert limiter.acquire(0.0) == LONGEST_PAUSE
    limiter.throttled(1.0, retry_after)
    assert limiter.acquire(1.0) <= LONGEST_PAUSE


def test_a_limit_that_is_gone_is_forgotten_within_minutes() -> None:
    limiter, now = RateLimiter(), 0.0
    limiter.acquire(now)
    limiter.throttled(now, 1.0)
    sent = 0
    while now < 180.0:
        wait = limiter.acquire(now)
        if not wait:
            sent += 1
            limiter.succeeded()
        now += wait or 0.001
    assert sent > 10_000


def test_the_time_until_the_next_request_can_be_read_without_reserving_it() -> None:
    limiter = RateLimiter()
    limiter.acquire(0.0)
    limiter.throttled(0.0, 5.0)
    assert [limiter.closed_for(2.0), limiter.closed_for(5.0), limiter.closed_for(6.0)] == [3.0, 0.0, 0.0]
    assert limiter.acquire(6.0) == 0.0


# Clocks that step back.

HOUR = 3600.0


def learned(now: float) -> RateLimiter:
    """A limiter after one 429 with a ``Retry-After`` of five seconds."""
    limiter = RateLimiter()
    limiter.acquire(now - 10.0)
    limiter.succeeded()
    limiter.throttled(now, 5.0)
    return limiter


@pytest.mark.parametrize("idle", [1.0, 100.0, HOUR])
def test_a_clock_that_is_set_back_stops_nothing_for_longer_than_a_pause(idle: float) -> None:
    now = 10 * HOUR
    limiter = learned(now)
    limiter.acquire(now + idle)
    back = now + idle - HOUR
    assert limiter.closed_for(back) == limiter.acquire(back) <= LONGEST_PAUSE + 5.0
    soon = back + limiter.acquire(back)
    assert limiter.acquire(soon) == 0.0
    limiter.throttled(soon, 1.0)
    assert limiter.acquire(soon) <= LONGEST_PAUSE + 5.0


def test_counts_from_before_the_clock_was_set_back_make_no_rate() -> None:
    limiter, back = learned(10 * HOUR), 9 * HOUR
    for _ in range(1000):
        limiter.succeeded()
    limiter.acquire(back)
    limiter.succeeded()
    limiter.throttled(back + LONGEST_PAUSE, 0.0)
    assert sum(not limiter.acquire(back + LONGEST_PAUSE + n / 100) for n in range(1000)) < 20


def test_two_refusals_at_one_instant_make_no_rate() -> None:
    limiter = RateLimiter()
    limiter.acquire(100.0)
    for _ in range(3):
        limiter.succeeded()
        limiter.throttled(100.0, 0.0)
    assert limiter.acquire(100.0 + LONGEST_PAUSE) == 0.0
