"""Decides, after each answer about a job, whether to wait, to finish or to give up. No I/O and no clock of its own.

Worker, trigger and sensors all ask the same ``Poller``, so they cannot drift apart.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.consistency import GENERATION_APPEARS
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

TOLERATED_FAILURES = 5
"""Failed polls in a row that are waited out. Answers with 429 do not count: they come from a server that works."""
TOLERATED_SECONDS = 120.0
"""Seconds for which a job may be unknown, in at least as many answers, before it counts as absent. A gateway that is
being restarted, or that has lost its cache, says so of jobs that exist."""
LONGEST_PAUSE = 120.0
"""Seconds between two polls at most, also while polls fail."""
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
    """The deadline has passed and the job, asked once more, had not ended."""

    seconds: float


@dataclass(frozen=True)
class GaveUp:
    """Asking makes no sense any more; the job itself may be fine."""

    error: AnyFastError


Ended = Finished[JobT] | TimedOut | GaveUp


@dataclass(frozen=True)
class Trouble:
    """The failed polls since the last good answer, small enough to be kept where a sensor's memory survives.

    Attributes:
        polls: how many polls have failed.
        failures: how many of them count.
        since: Unix seconds of the first of those that count.
    """

    polls: int = 0
    failures: int = 0
    since: float | None = None


class Poller(Generic[JobT]):
    """The course of waiting for one job.

    Args:
        subject: the job's id; the jitter follows from it, so that jobs of one second are spread.
        started_at: Unix seconds of the job's creation, from which the schedule and the grace count.
        deadline: Unix seconds after which a job that has not ended is given up.
        schedule: when to ask.
        trouble: the failed polls so far, where an earlier process has polled.
    """

    def __init__(
        self, subject: str, *, started_at: float, deadline: float, schedule: Timing, trouble: Trouble | None = None
    ) -> None:
        self._subject = subject
        self._started_at = started_at
        self._deadline = deadline
        self._schedule = schedule
        self._draws = 0
        self.trouble = trouble or Trouble()

    def first_wait(self, now: float) -> float:
        """Seconds until the first poll.

        Where the job is old enough to be polled at once, the first polls are spread over one interval: after a restart,
        a triggerer goes on with thousands of waits in the same second.
        """
        age = self._age(now)
        seconds = self._next(now) if age < self._schedule.initial_delay else self._schedule.wait(age) * self._draw()
        return min(seconds, self._left(now))

    def on_answer(self, job: JobT, now: float) -> Wait | Ended[JobT]:
        """What to do after an answer. The status comes first: finished work is never thrown away for being late."""
        self.trouble = Trouble()
        return Finished(job) if job.outcome is not Outcome.PENDING else self._wait(self._next(now), now)

    def on_error(self, error: AnyFastError, now: float) -> Wait | TimedOut | GaveUp:
        """What to do after a poll that failed."""
        unknown = isinstance(error, NotFoundError)
        if not error.retryable and not unknown:
            return GaveUp(error)
        fresh = unknown and now - self._started_at <= GENERATION_APPEARS
        trouble = self._add_failure(now, counts=not fresh and not isinstance(error, RateLimitError))
        lasting = not unknown or (trouble.since is not None and now - trouble.since >= TOLERATED_SECONDS)
        if trouble.failures > TOLERATED_FAILURES and lasting:
            return GaveUp(error)
        pause = self._schedule.interval * (1.0 if unknown else 2.0 ** min(trouble.polls, 10))
        pause = max(pause * (1.0 + JITTER * (2.0 * self._draw() - 1.0)), error.retry_after or 0.0)
        return self._wait(min(pause, max(LONGEST_PAUSE, self._schedule.interval)), now)

    def _add_failure(self, now: float, *, counts: bool) -> Trouble:
        before = self.trouble
        since = (before.since if before.since is not None else now) if counts else before.since
        self.trouble = Trouble(before.polls + 1, before.failures + counts, since)
        return self.trouble

    def _wait(self, seconds: float, now: float) -> Wait | TimedOut:
        if now >= self._deadline:
            return TimedOut(now - self._started_at)
        return Wait(min(seconds, self._left(now)))

    def _left(self, now: float) -> float:
        return max(0.0, self._deadline - now)

    def _age(self, now: float) -> float:
        return max(0.0, now - self._started_at)  # the worker that submitted it may have a clock that is ahead

    def _next(self, now: float) -> float:
        """Seconds until the next poll; the delay before the first one is only ever lengthened."""
        age = self._age(now)
        spread = self._draw() if age < self._schedule.initial_delay else 2.0 * self._draw() - 1.0
        return self._schedule.wait(age) * (1.0 + JITTER * spread)

    def _draw(self) -> float:
        """From 0 to 1, evenly spread over subjects.

        Thousands of jobs can wait in one process, and Python's own generators of random numbers take 2.5 KB each.
        """
        self._draws += 1
        return zlib.crc32(f"{self._draws} {self._subject}".encode()) / 2**32


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
