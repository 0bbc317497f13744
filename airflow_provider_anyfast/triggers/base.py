"""The base of the triggers for one job: poll it until it ends, then resume the task."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.polling.poller import Finished, GaveUp, JobT, Poller, wait_for_async
from airflow_provider_anyfast.polling.schedule import Schedule
from airflow_provider_anyfast.triggers.shared_client import shared_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_anyfast.client.endpoints import Call
    from airflow_provider_anyfast.client.errors import AnyFastError
    from airflow_provider_anyfast.polling.schedule import Timing

MIN_DEFERRAL = 10.0
"""Minimum seconds from the deferral to the event. Airflow can fail a task whose trigger fires while the worker that
deferred it is still being reaped, which takes about 5 s (apache/airflow#67287, #72716). Airflow 3.1 fails the task in
any state that it has reached by then, 3.2 and 3.3 do not fail a scheduled one, 3.4 does not fail a queued one either;
all of them fail one that is running again."""


class JobTrigger(BaseTrigger, Generic[JobT]):
    """Polls until the job ends, its deadline passes, or polling fails permanently.

    The event only resumes the task. The worker queries AnyFast itself, so no link enters an event.

    Args:
        job_id: AnyFast's id of the job.
        anyfast_conn_id: the connection; its secrets are looked up where the trigger runs.
        started_at: Unix seconds of the job's creation.
        deadline: Unix seconds.
        poll_interval: seconds between polls; None uses ``timing``.
        kind: groups jobs that take about as long, so that this process can learn when to poll.
        deferred_at: Unix seconds of the deferral; None if it is long past.
    """

    label: ClassVar[str]
    """What the job is called in messages."""
    creation: ClassVar[str]
    """What its creation is called in messages."""
    timeout_error: ClassVar[type[AnyFastError]]
    """Raised when the deadline has passed."""

    def __init__(
        self,
        *,
        job_id: str,
        anyfast_conn_id: str,
        started_at: float,
        deadline: float,
        poll_interval: float | None = None,
        kind: str = "",
        deferred_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's, without annotations
        self.job_id = job_id
        self.anyfast_conn_id = anyfast_conn_id
        self.started_at = started_at
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.kind = kind
        self.deferred_at = deferred_at

    @classmethod
    @abstractmethod
    def call(cls, job_id: str) -> Call[JobT]:
        """The request that polls a job."""

    @classmethod
    @abstractmethod
    def timing(cls, anyfast_conn_id: str, kind: str) -> Timing:
        """When to poll jobs of this kind, unless there is a ``poll_interval``."""

    @classmethod
    def learn(cls, anyfast_conn_id: str, kind: str, job: JobT, started_at: float) -> None:
        """Remembers how long a job that has ended took."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments: ids, times and the name of the connection, nothing secret."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "job_id": self.job_id,
            "anyfast_conn_id": self.anyfast_conn_id,
            "started_at": self.started_at,
            "deadline": self.deadline,
            "poll_interval": self.poll_interval,
            "kind": self.kind,
            "deferred_at": self.deferred_at,
        }

    def poller(self) -> Poller[JobT]:
        """The poller of this wait; waits on the worker and sensors use it too."""
        timing = self.timing_for(self.anyfast_conn_id, self.kind, self.poll_interval)
        return Poller(self.job_id, started_at=self.started_at, deadline=self.deadline, schedule=timing)

    @classmethod
    def timing_for(cls, anyfast_conn_id: str, kind: str, poll_interval: float | None) -> Timing:
        """When to poll jobs: every ``poll_interval`` seconds, or else by their kind."""
        return Schedule.fixed(poll_interval) if poll_interval else cls.timing(anyfast_conn_id, kind)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields one event: the arguments of this wait, and why polling failed permanently, if it did."""
        call = self.call(self.job_id)
        async with shared_client(self.anyfast_conn_id) as client:
            ended = await wait_for_async(self.poller(), lambda: client.send_once(call))
        reason = ""
        if isinstance(ended, Finished):
            self.learn(self.anyfast_conn_id, self.kind, ended.job, self.started_at)
        if isinstance(ended, GaveUp):
            reason = ended.error.what
            self.log.warning("Polling %s failed permanently: %s", self.job_id, reason)
        await hold_until_reaped(self.deferred_at)
        yield TriggerEvent({**self.serialize()[1], "reason": reason})


async def hold_until_reaped(deferred_at: float | None) -> None:
    """Holds an event back until ``MIN_DEFERRAL`` seconds have passed since the deferral."""
    if deferred_at is not None:
        left = deferred_at + MIN_DEFERRAL - clock.now()
        await clock.sleep_async(min(max(0.0, left), MIN_DEFERRAL))  # the worker's clock may be ahead
