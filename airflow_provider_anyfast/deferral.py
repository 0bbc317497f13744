"""How a task leaves its worker to wait, and comes back when the trigger fires, fails or is too late."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.hooks.anyfast import AnyFastHookMixin

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_anyfast.triggers.base import JobTrigger
    from airflow_provider_anyfast.triggers.multi import JobsTrigger

TRIGGER_GRACE = 600.0
"""Seconds past the deadline after which Airflow ends a deferral whose trigger has not fired."""
_TRIGGER_FAILED = "__fail__"
"""The method name with which Airflow resumes a task whose trigger crashed or did not fire in time."""


class StoppableOperator(BaseOperator, AnyFastHookMixin):
    """Base of the tasks whose waits on the worker end within a second when Airflow ends the task.

    Attributes:
        stopped: whether Airflow is ending the task.
    """

    stopped = False

    def on_kill(self) -> None:
        """Ends a wait in this process. It only sets a flag, since a signal can arrive while any lock is held."""
        self.stopped = True


class DeferrableJobMixin(StoppableOperator):
    """Base of the tasks that wait for jobs. A trigger describes the wait; ``tasks.waiting`` waits.

    Attributes:
        deferrable: whether the triggerer waits, so that no worker is held.
        pays: whether the task itself created, and pays for, the job that it waits for.
    """

    deferrable: bool
    pays: ClassVar[bool] = True

    def defer_until(self, trigger: JobTrigger[Any] | JobsTrigger[Any]) -> NoReturn:
        """Hands the wait to the triggerer and frees the worker."""
        trigger.deferred_at = clock.now()
        seconds = max(0.0, trigger.deadline - clock.now()) + TRIGGER_GRACE
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=seconds))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Runs ``execute_complete`` also if the trigger crashed or did not fire in time, so that it queries the job."""
        if next_method == _TRIGGER_FAILED:
            failure = next_kwargs or {}
            self.log.warning("The trigger failed: %s", "".join(failure.get("traceback") or ()) or failure.get("error"))
            next_method = "execute_complete"
            next_kwargs = {"event": {"reason": f"The trigger failed ({failure.get('error', 'unknown')})."}}
        return super().resume_execution(next_method, next_kwargs, context)
