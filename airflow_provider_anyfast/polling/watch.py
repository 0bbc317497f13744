"""Waiting for one job or for thousands of them: who is asked next, and when. No I/O and no clock of its own."""

from __future__ import annotations

import heapq
from typing import Generic

from airflow_provider_anyfast.client.errors import AnyFastError, Scope, WaitInterruptedError
from airflow_provider_anyfast.polling.poller import Ended, GaveUp, JobT, Poller, Wait

MAX_POLLS_PER_SECOND = 100.0
"""Of one watch. Thousands of rows are then asked for in turn, and each of them more often as their number shrinks."""


class Watch(Generic[JobT]):
    """Several jobs that are waited for together.

    Attributes:
        ended: how the jobs ended that have, by id.
        size: how many jobs there are.
        gave_up_on: why the wait for the first of those that were given up ended, with its id; empty if none was.
        is_hopeless: whether asking about any of the jobs makes no sense any more, such as with a wrong key.
    """

    def __init__(self) -> None:
        self.ended: dict[str, Ended[JobT]] = {}
        self.size = 0
        self.gave_up_on = ""
        self.is_hopeless = False
        self._pollers: dict[str, Poller[JobT]] = {}
        self._due: list[tuple[float, str]] = []
        self._next_poll = 0.0

    def add(self, job_id: str, poller: Poller[JobT], now: float) -> None:
        """Takes one more job."""
        self.size += 1
        self._pollers[job_id] = poller
        heapq.heappush(self._due, (now + poller.first_wait(now), job_id))

    def take_due(self, now: float) -> str | None:
        """The job to ask about now, which then waits for ``answered`` or ``failed``; None if it is not time yet."""
        if self.pause(now) > 0:
            return None
        self._next_poll = max(now - 1.0 / MAX_POLLS_PER_SECOND, self._next_poll) + 1.0 / MAX_POLLS_PER_SECOND
        return heapq.heappop(self._due)[1]

    def pause(self, now: float) -> float:
        """Seconds until a job is to be asked about; endless where every one has ended or is being asked about."""
        if not self._due:
            return float("inf")
        return max(0.0, self._due[0][0] - now, self._next_poll - now)

    def answered(self, job_id: str, job: JobT, now: float) -> Ended[JobT] | None:
        """Takes an answer, and returns how the job ended, if it did."""
        return self._go_on(job_id, self._pollers[job_id].on_answer(job, now), now)

    def failed(self, job_id: str, error: Exception, now: float) -> Ended[JobT] | None:
        """Takes a poll that failed, and returns how the wait for the job ended, if it did.

        An error that nobody foresaw ends the wait for this job, so that it neither hides nor takes the others along.
        """
        if isinstance(error, AnyFastError):
            return self._go_on(job_id, self._pollers[job_id].on_error(error, now), now)
        unforeseen = WaitInterruptedError(f"Polling failed with {type(error).__name__}: {error}.")
        unforeseen.__cause__ = error
        return self._go_on(job_id, GaveUp(unforeseen), now)

    def describe(self) -> str:
        """What is waited for, in short."""
        return next(iter(self._pollers), "nothing") if self.size == 1 else f"{len(self._pollers)} of {self.size} jobs"

    def _go_on(self, job_id: str, step: Wait | Ended[JobT], now: float) -> Ended[JobT] | None:
        if isinstance(step, Wait):
            heapq.heappush(self._due, (now + step.seconds, job_id))
            return None
        del self._pollers[job_id]
        self.ended[job_id] = step
        if isinstance(step, GaveUp):
            self.gave_up_on = self.gave_up_on or f"{job_id}: {step.error.what}"
            self.is_hopeless |= step.error.scope is Scope.BATCH and not step.error.retryable
        return step
