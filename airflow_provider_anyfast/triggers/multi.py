"""One trigger for many jobs: it polls each as a trigger of its own would, and wakes the worker once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.polling.poller import Finished, GaveUp, JobT, wait_for_async
from airflow_provider_anyfast.triggers.base import MIN_FIRST_DELAY
from airflow_provider_anyfast.triggers.shared_client import shared_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from airflow_provider_anyfast.client.transport import AsyncAnyFastClient
    from airflow_provider_anyfast.triggers.base import JobTrigger

PROGRESS_EVERY = 60.0
"""Seconds between two lines of progress in the log."""


class JobsTrigger(BaseTrigger, Generic[JobT]):
    """Polls until enough of the jobs have ended, or the worker is wanted for something else.

    The event only says how many have ended. The worker asks AnyFast itself, so no link enters an event.

    Args:
        jobs: for each its id, and in Unix seconds its creation and its deadline.
        anyfast_conn_id: the connection; its secrets are looked up where the trigger runs.
        poll_interval: seconds between polls of one job; None follows the job.
        kind: what they have in common, if they take about as long; lets this process learn when to poll.
        enough: how many have to end before the worker is woken; None waits for all.
        wake_at: Unix seconds at which the worker is woken if any job has ended, or, once that has happened, as soon as
            one does; None never.
    """

    trigger_class: ClassVar[type[JobTrigger[Any]]]
    """The trigger that would wait for one of the jobs."""

    def __init__(
        self,
        *,
        jobs: Sequence[tuple[str, float, float]],
        anyfast_conn_id: str,
        poll_interval: float | None = None,
        kind: str = "",
        enough: int | None = None,
        wake_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's, without annotations
        self.jobs = [(job_id, started_at, deadline) for job_id, started_at, deadline in jobs]
        self.anyfast_conn_id = anyfast_conn_id
        self.poll_interval = poll_interval
        self.kind = kind
        self.enough = enough
        self.wake_at = wake_at
        self._ended = 0
        self._reason = ""
        self._told_at = 0.0

    @property
    def deadline(self) -> float:
        """Unix seconds after which no job is waited for any more."""
        return max((deadline for _, _, deadline in self.jobs), default=clock.now())

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments: ids, times and the name of the connection, nothing secret."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "jobs": [list(job) for job in self.jobs],
            "anyfast_conn_id": self.anyfast_conn_id,
            "poll_interval": self.poll_interval,
            "kind": self.kind,
            "enough": self.enough,
            "wake_at": self.wake_at,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields one event: how many of the jobs have ended, and why asking for one has failed for good."""
        async with shared_client(self.anyfast_conn_id) as client:
            await self.watch(client)
        yield TriggerEvent({"ended": self._ended, "reason": self._reason})

    async def watch(self, client: AsyncAnyFastClient) -> None:
        """Returns when the worker is wanted; also how a task without a trigger waits."""
        wake = asyncio.Event()
        waits = [asyncio.create_task(self._wait(client, job, wake)) for job in self.jobs]
        alarm = asyncio.create_task(self._alarm(wake))
        try:
            await (wake.wait() if waits else alarm)
        finally:
            for task in (*waits, alarm):
                task.cancel()
            await asyncio.gather(*waits, alarm, return_exceptions=True)

    async def _wait(self, client: AsyncAnyFastClient, job: tuple[str, float, float], wake: asyncio.Event) -> None:
        job_id, started_at, deadline = job
        trigger = self.trigger_class(
            job_id=job_id,
            anyfast_conn_id=self.anyfast_conn_id,
            started_at=started_at,
            deadline=deadline,
            poll_interval=self.poll_interval,
            kind=self.kind,
        )
        call = trigger.call()
        try:
            ended = await wait_for_async(
                trigger.poller(min_first_delay=MIN_FIRST_DELAY), lambda: client.send_once(call)
            )
        except Exception as error:  # noqa: BLE001 - one wait that breaks must not keep the worker from being woken
            self._give_up(job_id, f"{type(error).__name__}: {error}")
        else:
            if isinstance(ended, GaveUp):
                self._give_up(job_id, str(ended.error))
            elif isinstance(ended, Finished):
                trigger.learn(ended.job)
            else:
                self.log.warning("%s %s was not ready in time.", self.trigger_class.label, job_id)
        self._count()
        if self._ended >= (self.enough or len(self.jobs)) or self._is_wanted():
            wake.set()

    def _give_up(self, job_id: str, reason: str) -> None:
        self._reason = self._reason or f"{job_id}: {reason}"
        self.log.warning("Asking for %s has failed for good: %s", job_id, reason)

    def _count(self) -> None:
        self._ended += 1
        now = clock.now()
        if now - self._told_at >= PROGRESS_EVERY:
            self._told_at = now
            self.log.info("%d of %d have ended.", self._ended, len(self.jobs))

    def _is_wanted(self) -> bool:
        return self.wake_at is not None and clock.now() >= self.wake_at

    async def _alarm(self, wake: asyncio.Event) -> None:
        if self.wake_at is not None:
            await clock.sleep_async(max(0.0, self.wake_at - clock.now()))
            if self._ended:
                wake.set()
