"""The base of both sensors: poke, reschedule or defer until a job has ended."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, conf
from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.deferral import DeferrableJobMixin
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.parameters import TaskParameters, check_literals, read
from airflow_provider_anyfast.polling.poller import Ended, FailedPolls, Finished, GaveUp, JobT, Poller, TimedOut, Wait
from airflow_provider_anyfast.sensors.memory import Memory
from airflow_provider_anyfast.tasks.waiting import JobWait
from airflow_provider_anyfast.triggers.base import MIN_DEFERRAL
from airflow_provider_anyfast.values import Seconds

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.triggers.base import JobTrigger
    from airflow_provider_anyfast.values import Duration


class SensorParameters(TaskParameters):
    """The parameters of both sensors. A subclass adds the id of the job."""

    poke_interval: Seconds = 15.0
    timeout: Seconds = 3600.0
    deferrable: bool = False


class JobSensor(DeferrableJobMixin, BaseSensorOperator, Generic[JobT]):
    """Succeeds when the job does, and fails at once when the job has failed. Not billed.

    A subclass ends its ``__init__`` with ``check_parameters``.

    Args:
        deferrable: waits in the triggerer, without holding a worker.
        poke_interval: seconds between polls, as a number, as text or as a ``timedelta``; at least 10 in mode
            ``reschedule``.
        timeout: seconds from the first poke, in the same forms.
        anyfast_conn_id: the connection.
    """

    parameters: ClassVar[type[SensorParameters]]
    trigger_class: ClassVar[type[JobTrigger[Any]]]
    pays = False

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        poke_interval: Duration = 15.0,
        timeout: Duration = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.anyfast_conn_id = anyfast_conn_id
        # Airflow's own sensor accepts fewer kinds of durations, and raises at the first one that it does not accept.
        vars(self).update(poke_interval=poke_interval, timeout=timeout)
        self._poller: Poller[JobT] | None = None

    def check_parameters(self) -> None:
        """Checks values without a template, and converts the durations to numbers for Airflow's own sensor.

        Raises:
            InvalidRequestError: listing every problem.
        """
        check_literals(self, self.parameters)
        given = SensorParameters.parse(
            poke_interval=self.poke_interval, timeout=self.timeout, deferrable=self.deferrable
        )
        self.timeout, self.deferrable = given.timeout, given.deferrable
        # The next poke is the same try of the task, which Airflow can fail just like one whose trigger fires too early.
        is_rescheduled = self.reschedule and not self.deferrable
        self.poke_interval = max(given.poke_interval, MIN_DEFERRAL) if is_rescheduled else given.poke_interval

    @abstractmethod
    def job_id(self, given: Any) -> str:
        """AnyFast's id of the job, from the rendered ``parameters``."""

    def trigger(self, started_at: float) -> JobTrigger[JobT]:
        """The wait for the job from ``started_at`` (Unix seconds) on.

        Raises:
            InvalidRequestError: a template rendered to an invalid value.
        """
        given = read(self, self.parameters)
        return self.trigger_class(
            job_id=self.job_id(given),
            anyfast_conn_id=given.anyfast_conn_id,
            started_at=started_at,
            deadline=started_at + given.timeout,
            poll_interval=given.poke_interval,
        )

    @abstractmethod
    def conclude(self, job: JobT) -> dict[str, Any]:
        """The result of a job that has ended; raises if it failed."""

    def connect(self) -> AnyFastClient:
        """A new client each time, since somebody may correct the connection while a sensor waits for hours."""
        return AnyFastHook(self.anyfast_conn_id).get_conn()

    def execute(self, context: Context) -> Any:
        """Pokes; if deferrable, polls once and then defers."""
        if not self.deferrable:
            return super().execute(context)
        with fail_fast(context, self.anyfast_conn_id):
            trigger = self.trigger(clock.now())
            step = self._poll(trigger, trigger.poller())
            if isinstance(step, Finished) and step.job.outcome is Outcome.SUCCEEDED:
                return self.conclude(step.job)
            # A failure is raised only after the deferral, where Airflow applies soft_fail and never_fail.
            return self.defer_until(trigger)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Resumes after the deferral: polls AnyFast once more."""
        with fail_fast(context, self.anyfast_conn_id), self.connect() as client:
            trigger = self.trigger(float((event or {}).get("started_at") or clock.now()))
            try:
                job = JobWait(self).resume(client, trigger, event)
            except trigger.timeout_error as error:
                raise AirflowSensorTimeout(str(error)) from None
            return self.conclude(job)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Polls once."""
        with fail_fast(context, self.anyfast_conn_id):
            memory = Memory(context) if self.reschedule else None
            trigger = self.trigger(memory.began_at if memory else clock.now())
            if self._poller is None:
                self._poller = trigger.poller()
                if memory:
                    self._poller.failed_polls = memory.failed_polls
            step = self._poll(trigger, self._poller)
            if memory:
                memory.save(self._poller.failed_polls if isinstance(step, Wait) else FailedPolls())
            if isinstance(step, GaveUp):
                raise JobWait(self).wait_error(trigger, step.error)
            if isinstance(step, TimedOut):
                raise AirflowSensorTimeout(str(JobWait(self).wait_error(trigger, None)))
            if isinstance(step, Finished):
                return PokeReturnValue(is_done=True, xcom_value=self.conclude(step.job))
        return False

    def _poll(self, trigger: JobTrigger[JobT], poller: Poller[JobT]) -> Wait | Ended[JobT]:
        """One poll, and what the poller makes of its result."""
        with self.connect() as client:
            try:
                return poller.on_response(client.send_once(trigger.call(trigger.job_id)), clock.now())
            except AnyFastError as error:
                return poller.on_error(error, clock.now())
