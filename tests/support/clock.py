"""A clock that a test controls."""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import signal

START = 1_780_000_000.0
"""Unix seconds, in May 2026, at which a fake clock starts."""


class FakeClock:
    """Time that passes only by sleeping and by `advance`.

    It lives in shared memory: an attempt that runs in a forked process moves the same clock. Coroutines that sleep at
    the same time wake in the order of their deadlines, and sleeping together takes as long as the longest sleep.
    """

    def __init__(self, start: float = START) -> None:
        self._now = ctypes.c_double.from_buffer(mmap.mmap(-1, ctypes.sizeof(ctypes.c_double)))
        self._now.value = start
        self._deadlines: list[float] = []
        self.sleeps: list[float] = []
        """Every sleep of this process in seconds, in the order in which they started."""
        self._stop_at = float("inf")
        self.stopped_at: float | None = None
        """When `stop_task_at` stopped the task."""

    def now(self) -> float:
        """Unix seconds."""
        return self._now.value

    def advance(self, seconds: float) -> None:
        """Move the clock by ``seconds`` at once."""
        self._now.value += seconds

    def sleep(self, seconds: float) -> None:
        """Replace ``time.sleep``."""
        self.sleeps.append(seconds)
        self._pass_until(self.now() + seconds)
        if self.now() >= self._stop_at:
            self._stop_at, self.stopped_at = float("inf"), self.now()
            signal.raise_signal(signal.SIGTERM)

    def stop_task_at(self, moment: float) -> None:
        """Stop the task, as Airflow does, at the end of the first sleep that lasts until ``moment``."""
        self._stop_at = moment

    async def sleep_async(self, seconds: float) -> None:
        """Replace ``asyncio.sleep``."""
        self.sleeps.append(seconds)
        deadline = self.now() + seconds
        self._deadlines.append(deadline)
        try:
            await asyncio.sleep(0)
            while min(self._deadlines) < deadline:  # noqa: ASYNC110  # who sleeps less goes first; no event tells that
                await asyncio.sleep(0)
            self._pass_until(deadline)
        finally:
            self._deadlines.remove(deadline)

    def _pass_until(self, deadline: float) -> None:
        self._now.value = max(self._now.value, deadline)
