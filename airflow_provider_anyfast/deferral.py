"""How a task waits for jobs: in its own process or in the triggerer, with the same outcome."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, Cost, NotFoundError, WaitInterruptedError
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.hooks.anyfast import AnyFastHookMixin
from airflow_provider_anyfast.polling.event import JobsEvent
from airflow_provider_anyfast.polling.inline import poll_all, wait_inline
from airflow_provider_anyfast.polling.poller import Finished, GaveUp
from airflow_provider_anyfast.polling.schedule import SANDBOX
from airflow_provider_anyfast.polling.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.client.endpoints import Call
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.polling.poller import JobT
    from airflow_provider_anyfast.triggers.base import JobTrigger
    from airflow_provider_anyfast.triggers.multi import JobsTrigger

TRIGGER_GRACE = 600.0
"""Seconds past the deadline after which Airflow ends a deferral whose trigger has not fired."""
LOG_INTERVAL = 60.0
"""Seconds between two log lines of a task that waits in its own process."""
_TRIGGER_FAILED = "__fail__"
"""The method name with which Airflow resumes a task whose trigger crashed or did not fire in time."""
_MAX_NAMED = 5
"""Ids that one message names."""


class DeferrableJobMixin(BaseOperator, AnyFastHookMixin):
    """Base of the tasks that wait for jobs. A trigger describes the wait, even if it takes place on the worker.

    Attributes:
        deferrable: whether the triggerer waits, so that no worker is held.
        stopped: whether Airflow is ending the task; a wait in this process then ends within a second.
    """

    deferrable: bool
    stopped = False
    pays: ClassVar[bool] = True
    """Whether the task itself created, and pays for, the job that it waits for."""

    def on_kill(self) -> None:
        """Ends a wait in this process. It only sets a flag, since a signal can arrive while any lock is held."""
        self.stopped = True

    def wait(self, client: AnyFastClient, trigger: JobTrigger[JobT]) -> JobT:
        """The job when it has succeeded or failed; or defers the task, which resumes in ``execute_complete``.

        Raises:
            AnyFastError: the deadline has passed, or polling failed permanently.
        """
        _use_sandbox_schedule(client, trigger)
        if self.deferrable:
            self.defer_until(trigger)
        watch: Watch[JobT] = Watch()
        watch.add(trigger.job_id, trigger.poller(), clock.now())
        self._wait_here(client, watch, trigger.call, lambda: bool(watch.ended))
        ended = watch.ended[trigger.job_id]
        if isinstance(ended, Finished):
            return ended.job
        raise self.wait_error(trigger, ended.error if isinstance(ended, GaveUp) else None)

    def resume(self, client: AnyFastClient, trigger: JobTrigger[JobT], event: Mapping[str, Any] | None) -> JobT:
        """The job after a deferral, as AnyFast reports it now, so that a job which ended late is not lost.

        If AnyFast reports it as unfinished although the trigger saw its end, this continues to wait until the deadline
        of ``trigger``: caches and replicas report an older state for a while.

        Args:
            client: queries AnyFast.
            trigger: the wait that is over.
            event: what the trigger fired; its deadline replaces that of ``trigger``.

        Raises:
            AnyFastError: the deadline has passed, or polling failed permanently.
        """
        event = event or {}
        reason = event.get("reason", "")
        trigger.deadline = event.get("deadline") or clock.now()
        error: AnyFastError | None = None
        try:
            job = client.send(trigger.call(trigger.job_id))
        except AnyFastError as failure:
            error = failure
        else:
            if job.outcome is not Outcome.PENDING:
                return job
        if reason or clock.now() >= trigger.deadline or not _may_be_transient(error):
            raise self.wait_error(trigger, error or (WaitInterruptedError(f"{reason}") if reason else None))
        self.log.info("%s %s has not finished yet after all; continuing to wait.", trigger.label, trigger.job_id)
        return self.wait(client, trigger)

    def wait_for_all(self, client: AnyFastClient, trigger: JobsTrigger[JobT]) -> list[JobT]:
        """The jobs when all have ended, in the order of the trigger; or defers the task, as ``wait`` does.

        Raises:
            AnyFastError: naming the jobs that have not ended, and why the wait is over.
        """
        watch = self._wait_for(client, trigger)
        jobs = {job_id: ended.job for job_id, ended in watch.ended.items() if isinstance(ended, Finished)}
        errors = [ended.error for ended in watch.ended.values() if isinstance(ended, GaveUp)]
        return self._all_of(trigger, jobs, errors[0] if errors else None)

    def resume_all(self, client: AnyFastClient, trigger: JobsTrigger[JobT], event: JobsEvent) -> list[JobT]:
        """The jobs after a deferral, as AnyFast reports them now; continues to wait as ``resume`` does.

        Raises:
            AnyFastError: naming the jobs that have not ended, and why the wait is over.
        """
        ids = list(dict.fromkeys(job_id for job_id, _, _ in trigger.jobs))
        results = poll_all(ids, lambda job_id: client.send(trigger.call(job_id)), self._end_if_stopped)
        jobs = {
            job_id: job
            for job_id, job in results.items()
            if not isinstance(job, Exception) and job.outcome is not Outcome.PENDING
        }
        errors = [result for result in results.values() if isinstance(result, Exception)]
        for error in errors:
            if not isinstance(error, AnyFastError):
                raise error
        late = event.deadline is None or clock.now() >= event.deadline
        hopeless = next(
            (error for error in errors if isinstance(error, AnyFastError) and not _may_be_transient(error)), None
        )
        if len(jobs) < len(ids) and not (event.reason or late or hopeless):
            self.log.info(
                "%d of %d have not finished yet after all; continuing to wait.", len(ids) - len(jobs), len(ids)
            )
            return self.wait_for_all(client, trigger)
        return self._all_of(trigger, jobs, hopeless or (WaitInterruptedError(event.reason) if event.reason else None))

    def wait_for_some(self, client: AnyFastClient, trigger: JobsTrigger[JobT]) -> JobsEvent:
        """Which jobs have ended when the trigger would fire; or defers the task, as ``wait`` does."""
        watch = self._wait_for(client, trigger)
        return JobsEvent(frozenset(watch.ended), watch.gave_up_on, trigger.started_at, trigger.deadline)

    def defer_until(self, trigger: JobTrigger[JobT] | JobsTrigger[JobT]) -> NoReturn:
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

    def _wait_for(self, client: AnyFastClient, trigger: JobsTrigger[JobT]) -> Watch[JobT]:
        _use_sandbox_schedule(client, trigger)
        if self.deferrable:
            self.defer_until(trigger)
        watch: Watch[JobT] = Watch()
        for job_id, poller in trigger.pollers():
            watch.add(job_id, poller, clock.now())
        self._wait_here(client, watch, trigger.call, lambda: trigger.is_over(watch, clock.now()))
        return watch

    def _wait_here(
        self,
        client: AnyFastClient,
        watch: Watch[JobT],
        call: Callable[[str], Call[JobT]],
        is_over: Callable[[], bool],
    ) -> None:
        began = logged = clock.now()

        def check() -> bool:
            nonlocal logged
            self._end_if_stopped()
            now = clock.now()
            if now - logged >= LOG_INTERVAL:
                logged = now
                self.log.info("Waiting for %s since %.0f s.", watch.describe(), now - began)
            return is_over()

        wait_inline(watch, lambda job_id: client.send_once(call(job_id)), check)

    def _end_if_stopped(self) -> None:
        if self.stopped:
            raise self._with_cost(WaitInterruptedError("The task was stopped while it waited."))

    def _all_of(self, trigger: JobsTrigger[JobT], jobs: Mapping[str, JobT], error: AnyFastError | None) -> list[JobT]:
        ids = dict.fromkeys(job_id for job_id, _, _ in trigger.jobs)
        missing = [job_id for job_id in ids if job_id not in jobs]
        if not missing:
            return [jobs[job_id] for job_id in ids]
        kind = trigger.trigger_class
        subject = _named(kind.label, missing, len(ids))
        if error is not None:
            raise self._with_cost(_with_subject(error, subject))
        raise self._with_cost(
            kind.timeout_error(_timeout_message(subject, kind.creation, trigger.deadline - trigger.started_at))
        )

    def wait_error(self, trigger: JobTrigger[Any], error: AnyFastError | None) -> AnyFastError:
        """The error for a wait that ended before its job."""
        subject = f"{trigger.label} {trigger.job_id}"
        if error is not None:
            return self._with_cost(_with_subject(error, subject))
        seconds = trigger.deadline - trigger.started_at
        return self._with_cost(trigger.timeout_error(_timeout_message(subject, trigger.creation, seconds)))

    def _with_cost(self, error: AnyFastError) -> AnyFastError:
        """The error with the cost of the job, since most classes state only that of the failed request.

        A sensor pays for nothing. A job that a task submitted is still billed, and one that AnyFast does not know may
        exist.
        """
        if not self.pays:
            return error.with_context("", cost=Cost.NOTHING)
        if isinstance(error, NotFoundError):
            return error.with_context("", cost=Cost.MAYBE)
        if error.cost is Cost.NOTHING:
            error = error.with_context(
                "", cost=WaitInterruptedError.cost, cost_sentence=WaitInterruptedError.cost_sentence
            )
            if error.retryable:
                error.next_attempt, error.advice = WaitInterruptedError.next_attempt, WaitInterruptedError.advice
        return error


def _use_sandbox_schedule(client: AnyFastClient, trigger: JobTrigger[Any] | JobsTrigger[Any]) -> None:
    """Polls jobs of a sandbox sooner. The last response, which reported the submission or the job, shows its origin."""
    if client.is_sandbox:
        trigger.kind = SANDBOX


def _may_be_transient(error: AnyFastError | None) -> bool:
    """Whether a failed poll is worth repeating."""
    return error is None or error.retryable or isinstance(error, NotFoundError)


def _with_subject(error: AnyFastError, subject: str) -> AnyFastError:
    return error.with_context(f"This ended the wait for {subject[:1].lower()}{subject[1:]}.")


def _timeout_message(subject: str, creation: str, seconds: float) -> str:
    return f"{subject} had not ended by the deadline, {seconds:,.0f} s after the {creation} (timeout)."


def _named(label: str, ids: Sequence[str], total: int) -> str:
    shown = ", ".join(ids[:_MAX_NAMED]) + (", …" if len(ids) > _MAX_NAMED else "")
    return f"{label} {shown}" if total == 1 else f"{len(ids)} of {total} {label.lower()}s ({shown})"
