"""Decides after each poll of a job whether to wait, to finish or to give up. No I/O and no clock of its own.

Worker, trigger and sensors all use the same ``Poller``, so their behavior cannot diverge.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.consistency import GENERATION_APPEARS, LINK_APPEARS
from airflow_provider_anyfast.client.errors import AnyFastError, NotFoundError, RateLimitError
from airflow_provider_anyfast.client.job_failures import missing_link
from airflow_provider_anyfast.client.responses import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_anyfast.polling.schedule import Timing

log = logging.getLogger(__name__)


class Job(Protocol):
    """A job to wait for: a generation or an asset."""

    @property
    def outcome(self) -> Outcome:
        """How far the job is."""

    @property
    def lacks_link(self) -> bool:
        """Whether it is reported as succeeded, but without a link to its result."""


JobT = TypeVar("JobT", bound=Job)

TOLERATED_FAILURES = 5
"""Failed polls in a row that are tolerated. A 429 does not count: it comes from a server that works."""
TOLERATED_SECONDS = 120.0
"""Seconds for which a job may be reported as not found, in more than ``TOLERATED_FAILURES`` polls, before the wait
ends. A gateway that restarts, or that has lost its cache, reports this for jobs that exist."""
LONGEST_PAUSE = 120.0
"""Seconds between two polls at most, also while polls fail."""
JITTER = 0.1
"""Share of each wait that is random, so that a batch submitted in one second is not polled in one second."""


@dataclass(frozen=True)
class Wait:
    """Poll again after ``seconds``."""

    seconds: float


@dataclass(frozen=True)
class Finished(Generic[JobT]):
    """The job has ended: it succeeded or failed."""

    job: JobT


@dataclass(frozen=True)
class TimedOut:
    """The deadline has passed, and one more poll showed that the job had not ended."""

    seconds: float


@dataclass(frozen=True)
class GaveUp:
    """Polling failed permanently; the job itself may be fine."""

    error: AnyFastError


Ended = Finished[JobT] | TimedOut | GaveUp


@dataclass(frozen=True)
class FailedPolls:
    """What earlier polls leave open, small enough for a sensor to store between pokes.

    Attributes:
        polls: how many polls have failed since the last successful one.
        failures: how many of them count.
        since: Unix seconds of the first of those that count.
        lacks_link_since: Unix seconds of the first poll that found the job without its link; None if the last
            successful one did not.
    """

    polls: int = 0
    failures: int = 0
    since: float | None = None
    lacks_link_since: float | None = None


class Poller(Generic[JobT]):
    """The wait for one job.

    Args:
        subject: the job's id; it determines the jitter, so that jobs submitted in one second are spread.
        started_at: Unix seconds of the job's creation, where the schedule starts.
        deadline: Unix seconds after which the wait for a job that has not ended ends.
        schedule: when to poll.
        failed_polls: the failed polls so far, where an earlier process polled the job.
    """

    def __init__(
        self,
        subject: str,
        *,
        started_at: float,
        deadline: float,
        schedule: Timing,
        failed_polls: FailedPolls | None = None,
    ) -> None:
        self._subject = subject
        self._started_at = started_at
        self._deadline = deadline
        self._schedule = schedule
        self._draws = 0
        self.failed_polls = failed_polls or FailedPolls()

    def first_wait(self, now: float) -> float:
        """Seconds until the first poll.

        If the job is old enough to be polled at once, the first polls are spread over one interval: after a restart, a
        triggerer continues thousands of waits in the same second.
        """
        age = self._age(now)
        seconds = self._next(now) if age < self._schedule.initial_delay else self._schedule.wait(age) * self._draw()
        return min(seconds, self._left(now))

    def on_response(self, job: JobT, now: float) -> Wait | Ended[JobT]:
        """What to do after a successful poll. A job that ended is accepted even after the deadline."""
        if job.lacks_link:
            return self._wait_for_link(now)
        self.failed_polls = FailedPolls()
        return Finished(job) if job.outcome is not Outcome.PENDING else self._wait(self._next(now), now)

    def on_error(self, error: AnyFastError, now: float) -> Wait | TimedOut | GaveUp:
        """What to do after a failed poll."""
        unknown = isinstance(error, NotFoundError)
        if not error.retryable and not unknown:
            return GaveUp(error)
        fresh = unknown and now - self._started_at <= GENERATION_APPEARS
        failed_polls = self._add_failure(now, counts=not fresh and not isinstance(error, RateLimitError))
        lasting = not unknown or (failed_polls.since is not None and now - failed_polls.since >= TOLERATED_SECONDS)
        if failed_polls.failures > TOLERATED_FAILURES and lasting:
            return GaveUp(error)
        pause = self._schedule.interval * (1.0 if unknown else 2.0 ** min(failed_polls.polls, 10))
        pause = max(pause * (1.0 + JITTER * (2.0 * self._draw() - 1.0)), error.retry_after or 0.0)
        return self._wait(min(pause, max(LONGEST_PAUSE, self._schedule.interval)), now)

    def _wait_for_link(self, now: float) -> Wait | GaveUp:
        since = self.failed_polls.lacks_link_since
        if since is None:
            since = now
            log.info(
                "AnyFast reports that generation %s has succeeded, but does not return its link yet. Polling it for up "
                "to %.0f s more.",
                self._subject,
                LINK_APPEARS,
            )
        self.failed_polls = FailedPolls(lacks_link_since=since)
        if now >= min(self._deadline, since + LINK_APPEARS):
            return GaveUp(missing_link(self._subject))
        return Wait(min(self._next(now), self._left(now)))

    def _add_failure(self, now: float, *, counts: bool) -> FailedPolls:
        before = self.failed_polls
        since = (before.since if before.since is not None else now) if counts else before.since
        self.failed_polls = replace(before, polls=before.polls + 1, failures=before.failures + counts, since=since)
        return self.failed_polls

    def _wait(self, seconds: float, now: float) -> Wait | TimedOut:
        if now >= self._deadline:
            return TimedOut(now - self._started_at)
        return Wait(min(seconds, self._left(now)))

    def _left(self, now: float) -> float:
        return max(0.0, self._deadline - now)

    def _age(self, now: float) -> float:
        return max(0.0, now - self._started_at)  # the clock of the worker that submitted it may be ahead

    def _next(self, now: float) -> float:
        """Seconds until the next poll; jitter can lengthen the initial delay but not shorten it."""
        age = self._age(now)
        spread = self._draw() if age < self._schedule.initial_delay else 2.0 * self._draw() - 1.0
        return self._schedule.wait(age) * (1.0 + JITTER * spread)

    def _draw(self) -> float:
        """A number from 0 to 1, evenly distributed over subjects.

        Thousands of jobs can wait in one process, and each of Python's own random number generators takes 2.5 KB.
        """
        self._draws += 1
        return zlib.crc32(f"{self._draws} {self._subject}".encode()) / 2**32


async def wait_for_async(poller: Poller[JobT], poll: Callable[[], Awaitable[JobT]]) -> Ended[JobT]:
    """Drives ``poller`` in this event loop until the job ends."""
    await clock.sleep_async(poller.first_wait(clock.now()))
    while True:
        try:
            step = poller.on_response(await poll(), clock.now())
        except AnyFastError as error:
            step = poller.on_error(error, clock.now())
        if not isinstance(step, Wait):
            return step
        await clock.sleep_async(step.seconds)
