"""Decides, after each answer about a job, whether to wait, to finish or to give up. No I/O and no clock of its own.

The synchronous loop, the trigger and the sensors all ask the same ``Poller``, so they cannot drift apart.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, NotFoundError, RateLimitError
from airflow_provider_anyfast.client.responses import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_anyfast.polling.schedule import Timing


class Job(Protocol):
    """What can be waited for: a generation or an asset."""

    @property
    def outcome(self) -> Outcome:
        """How far it is."""


JobT = TypeVar("JobT", bound=Job)

NOT_FOUND_GRACE = 30.0
"""Seconds from its creation in which a job may be unknown: AnyFast answers before it has written it down."""
TOLERATED_FAILURES = 5
"""Failed polls in a row that are waited out; 429 does not count, since the server is there."""
LONGEST_PAUSE = 120.0
"""Seconds between two polls at most, also while polls fail."""
FIRST_DELAY_SPREAD = 0.3
"""Part by which the first poll after a deferral is spread."""
JITTER = 0.1
"""Part of each wait that is random, so that a batch submitted in one second is not polled in one second."""


@dataclass(frozen=True)
class Wait:
    """Ask again after ``seconds``."""

    seconds: float


@dataclass(frozen=True)
class Finished(Generic[JobT]):
    """The job has ended, well or badly."""

    job: JobT


@dataclass(frozen=True)
class TimedOut:
    """The deadline has passed and the job, asked once more, was not finished."""

    seconds: float


@dataclass(frozen=True)
class GaveUp:
    """Asking makes no sense any more; the job itself may be well."""

    error: AnyFastError


Ended = Finished[JobT] | TimedOut | GaveUp


class Poller(Generic[JobT]):
    """The course of waiting for one job.

    Args:
        subject: the job's id; it also seeds the jitter.
        started_at: Unix seconds of the job's creation, from which the schedule and the grace count.
        deadline: Unix seconds after which an unfinished job is given up.
        schedule: when to ask.
        settle: seconds that the first poll waits at least.
    """

    def __init__(
        self, subject: str, *, started_at: float, deadline: float, schedule: Timing, min_first_delay: float = 0.0
    ) -> None:
        self._started_at = started_at
        self._deadline = deadline
        self._schedule = schedule
        self._min_first_delay = min_first_delay
        self._random = random.Random(subject)  # noqa: S311 - spreads polls; nothing secret hangs on it
        self._seen = False
        self._failures = 0
        self._bad_polls = 0

    def first_wait(self, now: float) -> float:
        """Seconds until the first poll."""
        settled = self._min_first_delay * self._random.uniform(
            1.0, 1.0 + FIRST_DELAY_SPREAD
        )  # many resume after a restart at once
        return max(settled, min(self._next(now), self._left(now)))

    def on_answer(self, job: JobT, now: float) -> Wait | Ended[JobT]:
        """What to do after an answer. The status comes first: finished work is never thrown away for being late."""
        self._seen = True
        self._failures = self._bad_polls = 0
        return Finished(job) if job.outcome is not Outcome.PENDING else self._wait(self._next(now), now)

    def on_error(self, error: AnyFastError, now: float) -> Wait | TimedOut | GaveUp:
        """What to do after a poll that failed."""
        fresh = now - self._started_at <= NOT_FOUND_GRACE
        unknown = isinstance(error, NotFoundError)
        if not error.retryable and not (unknown and (fresh or self._seen)):
            return GaveUp(error)
        self._bad_polls += 1
        if not (isinstance(error, RateLimitError) or (unknown and fresh)):
            self._failures += 1
        if self._failures > TOLERATED_FAILURES:
            return GaveUp(error)
        pause = self._schedule.interval * (1.0 if unknown else 2.0 ** min(self._bad_polls, 10))
        pause = max(pause * self._random.uniform(1.0 - JITTER, 1.0 + JITTER), error.retry_after or 0.0)
        return self._wait(min(pause, max(LONGEST_PAUSE, self._schedule.interval)), now)

    def _wait(self, seconds: float, now: float) -> Wait | TimedOut:
        if now >= self._deadline:
            return TimedOut(now - self._started_at)
        return Wait(min(seconds, self._left(now)))

    def _left(self, now: float) -> float:
        return max(0.0, self._deadline - now)

    def _next(self, now: float) -> float:
        """Seconds until the next poll; the quiet time is only ever lengthened."""
        age = max(0.0, now - self._started_at)  # the worker that submitted it may have a clock that is ahead
        spread = (
            self._random.uniform(0.0, JITTER)
            if age < self._schedule.initial_delay
            else self._random.uniform(-JITTER, JITTER)
        )
        return self._schedule.wait(age) * (1.0 + spread)


def wait_for(poller: Poller[JobT], ask: Callable[[], JobT]) -> Ended[JobT]:
    """Drives ``poller`` in this thread until the job ends."""
    clock.sleep(poller.first_wait(clock.now()))
    while True:
        try:
            step = poller.on_answer(ask(), clock.now())
        except AnyFastError as error:
            step = poller.on_error(error, clock.now())
        if not isinstance(step, Wait):
            return step
        clock.sleep(step.seconds)


async def wait_for_async(poller: Poller[JobT], ask: Callable[[], Awaitable[JobT]]) -> Ended[JobT]:
    """Drives ``poller`` in this event loop until the job ends."""
    await clock.sleep_async(poller.first_wait(clock.now()))
    while True:
        try:
            step = poller.on_answer(await ask(), clock.now())
        except AnyFastError as error:
            step = poller.on_error(error, clock.now())
        if not isinstance(step, Wait):
            return step
        await clock.sleep_async(step.seconds)
