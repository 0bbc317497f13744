"""What both sensors do: poke, reschedule or defer until a job has ended."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Generic

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, conf
from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.deferral import DeferrableJobMixin, wait_error
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.polling.poller import Ended, Finished, GaveUp, JobT, Poller, Wait

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.triggers.base import JobTrigger


class JobSensor(DeferrableJobMixin, BaseSensorOperator, Generic[JobT]):
    """Succeeds when the job does, and fails at once when the job has failed. Free.

    Args:
        deferrable: waits in the triggerer, without holding a worker.
        poke_interval: seconds between polls.
        timeout: seconds from the first poke.
        anyfast_conn_id: the connection.
    """

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        poke_interval: float = 15.0,
        timeout: float = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)
        self.deferrable = deferrable
        self.anyfast_conn_id = anyfast_conn_id
        self._poller: Poller[JobT] | None = None

    @abstractmethod
    def trigger(self, started_at: float) -> JobTrigger[JobT]:
        """The wait for the job from ``started_at`` (Unix seconds) on."""

    @abstractmethod
    def conclude(self, job: JobT) -> dict[str, Any]:
        """The result of a job that has ended; raises if it failed."""

    def connect(self) -> AnyFastClient:
        """A new client, to be used as a context manager."""
        return AnyFastHook(self.anyfast_conn_id).get_conn()

    def execute(self, context: Context) -> Any:
        """Pokes, or looks once and then leaves the wait to the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        trigger = self.trigger(clock.now())
        with fail_fast(context, self.anyfast_conn_id):
            step = self._ask(trigger)
            if isinstance(step, Finished) and step.job.outcome is Outcome.SUCCEEDED:
                return self.conclude(step.job)
            # A failure too is told after the deferral, where Airflow minds soft_fail and never_fail.
            return self.defer_until(trigger)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Goes on after the deferral: AnyFast is asked once more."""
        event = event or {}
        trigger = self.trigger(float(event.get("started_at") or clock.now()))
        with fail_fast(context, self.anyfast_conn_id), self.connect() as client:
            try:
                job = self.resume(client, trigger, event.get("reason", ""))
            except trigger.timeout_error as error:
                raise AirflowSensorTimeout(str(error)) from error
            return self.conclude(job)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Asks once."""
        trigger = self.trigger(clock.now())
        with fail_fast(context, self.anyfast_conn_id):
            step = self._ask(trigger)
            if isinstance(step, GaveUp):
                raise wait_error(trigger, step.error)
            if isinstance(step, Finished):
                return PokeReturnValue(is_done=True, xcom_value=self.conclude(step.job))
        return False

    def _ask(self, trigger: JobTrigger[JobT]) -> Wait | Ended[JobT]:
        """One poll, judged by the same poller as every other; it counts failures while the sensor lives."""
        if self._poller is None:
            self._poller = trigger.poller()
        with self.connect() as client:
            try:
                return self._poller.on_answer(client.send_once(trigger.call()), clock.now())
            except AnyFastError as error:
                return self._poller.on_error(error, clock.now())
