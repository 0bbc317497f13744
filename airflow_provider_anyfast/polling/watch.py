"""Waiting for one job or for thousands: which is polled next, and when. No I/O and no clock of its own."""

from __future__ import annotations

import heapq
from typing import Generic

from airflow_provider_anyfast.client.errors import AnyFastError, Scope, WaitInterruptedError
from airflow_provider_anyfast.polling.poller import Ended, GaveUp, JobT, Poller, Wait

MAX_POLLS_PER_SECOND = 100.0
"""The limit of one watch. Thousands of jobs are polled in turn, each more often as their number shrinks."""


class Watch(Generic[JobT]):
    """The wait for several jobs together.

    Attributes:
        ended: the jobs that have ended, by id.
        size: how many jobs there are.
        gave_up_on: the first job that could no longer be polled, and why; empty if there is none.
        is_blocked: whether no job can be polled any more, such as with a wrong key.
    """

    def __init__(self) -> None:
        self.ended: dict[str, Ended[JobT]] = {}
        self.size = 0
        self.gave_up_on = ""
        self.is_blocked = False
        self._pollers: dict[str, Poller[JobT]] = {}
        self._due: list[tuple[float, str]] = []
        self._next_poll = 0.0
        self._latest = 0.0

    def add(self, job_id: str, poller: Poller[JobT], now: float) -> None:
        """Adds a job."""
        self.size += 1
        self._pollers[job_id] = poller
        heapq.heappush(self._due, (now + poller.first_wait(now), job_id))

    def take_due(self, now: float) -> str | None:
        """The job to poll now, followed by ``on_response`` or ``on_error``; None if none is due yet."""
        if self.pause(now) > 0:
            return None
        self._next_poll = max(now - 1.0 / MAX_POLLS_PER_SECOND, self._next_poll) + 1.0 / MAX_POLLS_PER_SECOND
        return heapq.heappop(self._due)[1]

    def pause(self, now: float) -> float:
        """Seconds until the next job is due; infinite if every job has ended or is being polled."""
        self._follow_clock(now)
        if not self._due:
            return float("inf")
        return max(0.0, self._due[0][0] - now, self._next_poll - now)

    def on_response(self, job_id: str, job: JobT, now: float) -> Ended[JobT] | None:
        """Records a successful poll, and returns how the job ended, if it did."""
        return self._apply(job_id, self._pollers[job_id].on_response(job, now), now)

    def on_error(self, job_id: str, error: Exception, now: float) -> Ended[JobT] | None:
        """Records a failed poll, and returns how the wait for the job ended, if it did.

        An unexpected error ends the wait for this job alone: it is reported, and the other waits continue.
        """
        if isinstance(error, AnyFastError):
            return self._apply(job_id, self._pollers[job_id].on_error(error, now), now)
        unexpected = WaitInterruptedError(f"Polling failed with {type(error).__name__}: {error}.")
        unexpected.__cause__ = error
        return self._apply(job_id, GaveUp(unexpected), now)

    def _follow_clock(self, now: float) -> None:
        """Keeps a clock that was set back from pausing all polls until it catches up."""
        if (back := self._latest - now) > 0:
            self._due = [(at - back, job_id) for at, job_id in self._due]
            self._next_poll -= back
        self._latest = now

    def describe(self) -> str:
        """The jobs that are waited for, for a log line."""
        return next(iter(self._pollers), "nothing") if self.size == 1 else f"{len(self._pollers)} of {self.size} jobs"

    def _apply(self, job_id: str, step: Wait | Ended[JobT], now: float) -> Ended[JobT] | None:
        if isinstance(step, Wait):
            heapq.heappush(self._due, (now + step.seconds, job_id))
            return None
        del self._pollers[job_id]
        self.ended[job_id] = step
        if isinstance(step, GaveUp):
            self.gave_up_on = self.gave_up_on or f"{job_id}: {step.error.what}"
            self.is_blocked |= step.error.scope is Scope.BATCH and not step.error.retryable
        return step
