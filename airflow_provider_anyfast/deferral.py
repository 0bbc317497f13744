"""How a task waits for a job: in its own process or in the triggerer, with the same end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, WaitInterruptedError
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.polling.poller import Finished, GaveUp, wait_for

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.polling.poller import JobT
    from airflow_provider_anyfast.triggers.base import JobTrigger
    from airflow_provider_anyfast.triggers.multi import JobsTrigger

BACKSTOP = 600.0
"""Seconds past the deadline after which Airflow itself ends the deferral of a trigger that has gone silent."""
_TRIGGER_FAILED = "__fail__"
"""The method name with which Airflow resumes a task whose trigger crashed or was too late."""


class DeferrableJobMixin(BaseOperator):
    """Base of the tasks that wait for a job. A trigger describes the wait, wherever it takes place."""

    deferrable: bool

    def wait(self, client: AnyFastClient, trigger: JobTrigger[JobT]) -> JobT:
        """The job when it has ended, well or badly; or leaves the worker, to come back in ``execute_complete``.

        Raises:
            AnyFastError: the deadline has passed, or asking makes no sense any more.
        """
        if self.deferrable:
            self.defer_until(trigger)
        call = trigger.call()
        ended = wait_for(trigger.poller(), lambda: client.send_once(call))
        if isinstance(ended, Finished):
            return ended.job
        raise wait_error(trigger, ended.error if isinstance(ended, GaveUp) else None)

    def defer_until(self, trigger: JobTrigger[JobT] | JobsTrigger[JobT]) -> NoReturn:
        """Hands the wait to the triggerer and frees the worker."""
        seconds = max(0.0, trigger.deadline - clock.now()) + BACKSTOP
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=seconds))

    def resume(self, client: AnyFastClient, trigger: JobTrigger[JobT], reason: str) -> JobT:
        """The job after a deferral, as AnyFast tells it now: what has ended meanwhile is never thrown away.

        Args:
            client: asks AnyFast.
            trigger: the wait that is over.
            reason: why the triggerer stopped asking; empty where the job ended or the deadline passed.
        """
        try:
            job = client.send(trigger.call())
        except AnyFastError as error:
            raise wait_error(trigger, error) from error
        if job.outcome is not Outcome.PENDING:
            return job
        raise wait_error(trigger, WaitInterruptedError(reason) if reason else None)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Lets ``execute_complete`` look at the job also when the trigger has crashed or come too late."""
        if next_method == _TRIGGER_FAILED:
            failure = next_kwargs or {}
            self.log.warning("The trigger failed: %s", "".join(failure.get("traceback") or ()) or failure.get("error"))
            next_method = "execute_complete"
            next_kwargs = {"event": {"reason": f"The trigger failed ({failure.get('error', 'unknown')})."}}
        return super().resume_execution(next_method, next_kwargs, context)


def wait_error(trigger: JobTrigger[Any], error: AnyFastError | None) -> AnyFastError:
    """Why a wait ended before its job, with what becomes of the job."""
    if error is not None:
        return error.with_context(f"{trigger.label} {trigger.job_id}: {trigger.hint}")
    waited = clock.now() - trigger.started_at
    return trigger.timeout_error(
        f"{trigger.label} {trigger.job_id} was not ready {waited:.0f} s after its creation. {trigger.hint}",
    )
