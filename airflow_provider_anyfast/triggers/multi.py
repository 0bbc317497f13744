"""One trigger for many jobs: it polls each like a separate trigger, and resumes the task once."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.polling.poller import Finished, GaveUp, JobT, Poller
from airflow_provider_anyfast.polling.watch import Watch
from airflow_provider_anyfast.triggers.base import hold_until_reaped
from airflow_provider_anyfast.triggers.shared_client import shared_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from airflow_provider_anyfast.client.endpoints import Call
    from airflow_provider_anyfast.client.transport import AsyncAnyFastClient
    from airflow_provider_anyfast.triggers.base import JobTrigger

PROGRESS_SECONDS = 60.0
"""Seconds between two log lines about progress."""
MAX_CONCURRENT_POLLS = 100
"""Polls of one trigger at the same time."""
_CHUNK = 200
"""Jobs added without a pause, so that thousands of them do not hold up the other triggers of the process."""
_SLICE = 0.5
"""Seconds for which responses are awaited before the clock is checked."""


class JobsTrigger(BaseTrigger, Generic[JobT]):
    """Polls until enough of the jobs have ended, or the task has something else to do.

    The event only says which have ended. The worker queries AnyFast itself, so no link enters an event.

    Args:
        jobs: for each, its id, and its creation and its deadline in Unix seconds; or the same as JSON.
        anyfast_conn_id: the connection; its secrets are looked up where the trigger runs.
        poll_interval: seconds between polls of one job; None uses the jobs' own timing.
        kind: groups jobs that take about as long, so that this process can learn when to poll; empty if they differ.
        min_finished: how many have to end before the task is resumed; None waits for all.
        resume_at: Unix seconds at which the task is resumed if any job has ended or, after that, as soon as one ends;
            None never.
        deferred_at: Unix seconds of the deferral; None if it is long past.
        enough, wake_at: the names of ``min_finished`` and ``resume_at`` in version 0.1.0. Trigger rows with these names
            may wait in the database of an Airflow that was upgraded.
    """

    trigger_class: ClassVar[type[JobTrigger[Any]]]
    """The trigger that would wait for one of the jobs."""

    def __init__(
        self,
        *,
        jobs: Sequence[tuple[str, float, float]] | str,
        anyfast_conn_id: str,
        poll_interval: float | None = None,
        kind: str = "",
        min_finished: int | None = None,
        resume_at: float | None = None,
        deferred_at: float | None = None,
        enough: int | None = None,
        wake_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's, without annotations
        given = json.loads(jobs) if isinstance(jobs, str) else jobs
        self.jobs = [(job_id, started_at, deadline) for job_id, started_at, deadline in given]
        self.anyfast_conn_id = anyfast_conn_id
        self.poll_interval = poll_interval
        self.kind = kind
        self.min_finished = min_finished if min_finished is not None else enough
        self.resume_at = resume_at if resume_at is not None else wake_at
        self.deferred_at = deferred_at
        self._logged_at = 0.0

    @property
    def deadline(self) -> float:
        """Unix seconds after which the wait for every job is over."""
        return max((deadline for _, _, deadline in self.jobs), default=clock.now())

    @cached_property
    def _created_at(self) -> dict[str, float]:
        return {job_id: started_at for job_id, started_at, _ in self.jobs}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments: ids, times and the name of the connection, nothing secret.

        The jobs are one string: Airflow processes a list item by item, in the triggerer's event loop.
        """
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "jobs": json.dumps(self.jobs, separators=(",", ":")),
            "anyfast_conn_id": self.anyfast_conn_id,
            "poll_interval": self.poll_interval,
            "kind": self.kind,
            "min_finished": self.min_finished,
            "resume_at": self.resume_at,
            "deferred_at": self.deferred_at,
        }

    @classmethod
    def call(cls, job_id: str) -> Call[JobT]:
        """The request that polls one of the jobs."""
        return cls.trigger_class.call(job_id)

    def pollers(self) -> Iterator[tuple[str, Poller[JobT]]]:
        """The poller of each job, created one by one."""
        timing = self.trigger_class.timing_for(self.anyfast_conn_id, self.kind, self.poll_interval)
        for job_id, started_at, deadline in self.jobs:
            yield job_id, Poller(job_id, started_at=started_at, deadline=deadline, schedule=timing)

    def is_over(self, watch: Watch[JobT], now: float) -> bool:
        """Whether the task has something to do."""
        if self.jobs and (len(watch.ended) >= (self.min_finished or len(self.jobs)) or watch.is_blocked):
            return True
        if self.resume_at is None:
            return not self.jobs
        return now >= self.resume_at and (bool(watch.ended) or not self.jobs)

    def log_progress(self, watch: Watch[JobT]) -> None:
        """Logs progress at most every ``PROGRESS_SECONDS``."""
        if not self.jobs or clock.now() - self._logged_at < PROGRESS_SECONDS:
            return
        self._logged_at = clock.now()
        self.log.info("%d of %d have ended.", len(watch.ended), len(self.jobs))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields one event, from which ``JobsEvent`` is read."""
        async with shared_client(self.anyfast_conn_id) as client:
            watch = await self.watch(client)
        await hold_until_reaped(self.deferred_at)
        yield TriggerEvent({"ended": list(watch.ended), "reason": watch.gave_up_on})

    async def watch(self, client: AsyncAnyFastClient) -> Watch[JobT]:
        """Polls the jobs until the task has something to do."""
        watch: Watch[JobT] = Watch()
        for number, (job_id, poller) in enumerate(self.pollers()):
            watch.add(job_id, poller, clock.now())
            if number % _CHUNK == _CHUNK - 1:
                await asyncio.sleep(0)
        in_flight: set[asyncio.Task[None]] = set()
        responded = asyncio.Event()
        try:
            while not self.is_over(watch, clock.now()):
                self.log_progress(watch)
                while len(in_flight) < MAX_CONCURRENT_POLLS and (due := watch.take_due(clock.now())) is not None:
                    poll = asyncio.create_task(self._poll(client, watch, due))
                    in_flight.add(poll)
                    poll.add_done_callback(in_flight.discard)
                    poll.add_done_callback(lambda _: responded.set())
                await self._pause(watch, responded if in_flight else None)
        finally:
            polls = list(in_flight)
            for poll in polls:
                poll.cancel()
            await asyncio.gather(*polls, return_exceptions=True)
        return watch

    async def _pause(self, watch: Watch[JobT], responded: asyncio.Event | None) -> None:
        """Waits until a job is due, a response has arrived, or the task is to be resumed."""
        seconds = watch.pause(clock.now())
        if responded is not None:
            responded.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(responded.wait(), min(seconds, _SLICE))
            return
        if self.resume_at is not None and clock.now() < self.resume_at:
            seconds = min(seconds, self.resume_at - clock.now())
        await clock.sleep_async(seconds)

    async def _poll(self, client: AsyncAnyFastClient, watch: Watch[JobT], job_id: str) -> None:
        try:
            job = await client.send_once(self.call(job_id))
            ended = watch.on_response(job_id, job, clock.now())
        except Exception as error:  # noqa: BLE001 - the watch judges it
            ended = watch.on_error(job_id, error, clock.now())
        if isinstance(ended, Finished):
            self.trigger_class.learn(self.anyfast_conn_id, self.kind, ended.job, self._created_at[job_id])
        elif isinstance(ended, GaveUp):
            self.log.warning("Polling %s failed permanently: %s", job_id, ended.error.what)
        elif ended is not None:
            self.log.warning("%s %s was not ready by its deadline.", self.trigger_class.label, job_id)
