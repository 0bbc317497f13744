"""What every trigger of this provider does: poll one job until it ends, and then wake the worker."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_anyfast.polling.poller import Finished, GaveUp, JobT, Poller, wait_for_async
from airflow_provider_anyfast.polling.schedule import Schedule
from airflow_provider_anyfast.triggers.shared_client import shared_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_anyfast.client.endpoints import Call
    from airflow_provider_anyfast.client.errors import AnyFastError
    from airflow_provider_anyfast.polling.schedule import Timing

MIN_FIRST_DELAY = 10.0
"""Seconds before the first poll. Airflow 3.3.2 can fail a task whose trigger fires while the worker that deferred it
is still being reaped, which takes about 5 s (apache/airflow#67287, #72716)."""


class JobTrigger(BaseTrigger, Generic[JobT]):
    """Polls until the job ends, or its deadline has passed, or asking makes no sense any more.

    The event only says that there is something to do. The worker asks AnyFast itself, so no link enters an event.

    Args:
        job_id: AnyFast's id of it.
        anyfast_conn_id: the connection; its secrets are looked up where the trigger runs.
        started_at: Unix seconds of the job's creation.
        deadline: Unix seconds.
        poll_interval: seconds between polls; None follows the job.
        kind: what jobs that take about as long have in common; lets this process learn when to poll.
    """

    label: ClassVar[str]
    """What the job is called in messages."""
    schedule: ClassVar[Schedule]
    """When the job is polled, unless ``poll_interval`` says otherwise."""
    timeout_error: ClassVar[type[AnyFastError]]
    """Raised when the deadline has passed."""
    hint: ClassVar[str]
    """What becomes of the job, and what the next attempt does."""

    def __init__(
        self,
        *,
        job_id: str,
        anyfast_conn_id: str,
        started_at: float,
        deadline: float,
        poll_interval: float | None = None,
        kind: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's, without annotations
        self.job_id = job_id
        self.anyfast_conn_id = anyfast_conn_id
        self.started_at = started_at
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.kind = kind

    @abstractmethod
    def call(self) -> Call[JobT]:
        """How the job is asked for."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments: ids, times and the name of the connection, nothing secret."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "job_id": self.job_id,
            "anyfast_conn_id": self.anyfast_conn_id,
            "started_at": self.started_at,
            "deadline": self.deadline,
            "poll_interval": self.poll_interval,
            "kind": self.kind,
        }

    def poller(self, *, min_first_delay: float = 0.0) -> Poller[JobT]:
        """The course of this wait; the synchronous way and the sensors take it from here too."""
        return Poller(
            self.job_id,
            started_at=self.started_at,
            deadline=self.deadline,
            schedule=Schedule.fixed(self.poll_interval) if self.poll_interval else self.timing(),
            min_first_delay=min_first_delay,
        )

    def timing(self) -> Timing:
        """When the job is polled, unless ``poll_interval`` says otherwise."""
        return self.schedule

    def learn(self, job: JobT) -> None:
        """Remembers how long a job that has ended took."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields one event: the arguments of this wait, and why asking stopped, if it had to."""
        call = self.call()
        async with shared_client(self.anyfast_conn_id) as client:
            ended = await wait_for_async(self.poller(min_first_delay=MIN_FIRST_DELAY), lambda: client.send_once(call))
        reason = ""
        if isinstance(ended, Finished):
            self.learn(ended.job)
        if isinstance(ended, GaveUp):
            reason = str(ended.error)
            self.log.warning("Asking for %s has failed for good: %s", self.job_id, reason)
        yield TriggerEvent({**self.serialize()[1], "reason": reason})
