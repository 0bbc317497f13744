"""How a task waits for jobs: in its own process or in the triggerer, with the same outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, Cost, NotFoundError, WaitInterruptedError
from airflow_provider_anyfast.client.job_failures import missing_link
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.polling.event import JobsEvent
from airflow_provider_anyfast.polling.inline import wait_inline
from airflow_provider_anyfast.polling.poller import Finished, GaveUp
from airflow_provider_anyfast.polling.schedule import SANDBOX
from airflow_provider_anyfast.polling.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_anyfast.client.endpoints import Call
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.deferral import DeferrableJobMixin
    from airflow_provider_anyfast.polling.poller import JobT
    from airflow_provider_anyfast.triggers.base import JobTrigger
    from airflow_provider_anyfast.triggers.multi import JobsTrigger

LOG_INTERVAL = 60.0
"""Seconds between two log lines of a task that waits in its own process."""


class JobWait:
    """The waits of one attempt.

    Args:
        task: the operator or sensor that waits.
    """

    def __init__(self, task: DeferrableJobMixin) -> None:
        self._task = task

    def wait(self, client: AnyFastClient, trigger: JobTrigger[JobT]) -> JobT:
        """The job when it has succeeded or failed; or defers the task, which resumes in ``execute_complete``.

        Raises:
            AnyFastError: the deadline has passed, or polling failed permanently.
        """
        _use_sandbox_schedule(client, trigger)
        if self._task.deferrable:
            self._task.defer_until(trigger)
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
            if job.lacks_link:
                error = missing_link(trigger.job_id)
        if reason or clock.now() >= trigger.deadline or not _may_be_transient(error):
            raise self.wait_error(trigger, error or (WaitInterruptedError(f"{reason}") if reason else None))
        self._task.log.info("%s %s has not finished yet after all; continuing to wait.", trigger.label, trigger.job_id)
        return self.wait(client, trigger)

    def wait_for_some(self, client: AnyFastClient, trigger: JobsTrigger[JobT]) -> JobsEvent:
        """Which jobs have ended when the trigger would fire; or defers the task, as ``wait`` does."""
        _use_sandbox_schedule(client, trigger)
        if self._task.deferrable:
            self._task.defer_until(trigger)
        watch: Watch[JobT] = Watch()
        for job_id, poller in trigger.pollers():
            watch.add(job_id, poller, clock.now())
        self._wait_here(client, watch, trigger.call, lambda: trigger.is_over(watch, clock.now()))
        return JobsEvent(frozenset(watch.ended), watch.gave_up_on)

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
            if watch.size and now - logged >= LOG_INTERVAL:  # a batch that waits for another run has no jobs
                logged = now
                self._task.log.info("Waiting for %s since %.0f s.", watch.describe(), now - began)
            return is_over()

        wait_inline(watch, lambda job_id: client.send_once(call(job_id)), check)

    def _end_if_stopped(self) -> None:
        if self._task.stopped:
            raise self._with_cost(WaitInterruptedError("The task was stopped while it waited."))

    def wait_error(self, trigger: JobTrigger[Any], error: AnyFastError | None) -> AnyFastError:
        """The error for a wait that ended before its job."""
        subject = f"{trigger.label} {trigger.job_id}"
        if error is not None:
            return self._with_cost(error.with_context(f"This ended the wait for {subject[:1].lower()}{subject[1:]}."))
        seconds = trigger.deadline - trigger.started_at
        what = f"{subject} had not ended by the deadline, {seconds:,.0f} s after the {trigger.creation} (timeout)."
        return self._with_cost(trigger.timeout_error(what))

    def _with_cost(self, error: AnyFastError) -> AnyFastError:
        """The error with the cost of the job, since most classes state only that of the failed request.

        A sensor pays for nothing. A job that a task submitted is still billed, and one that AnyFast does not know may
        exist.
        """
        if not self._task.pays:
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
