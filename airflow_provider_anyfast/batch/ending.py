"""When an attempt of a batch is over, and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch.queue import BatchState
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import (
    BatchFailedError,
    BatchRejectedError,
    Cost,
    LostAnswerError,
    WaitInterruptedError,
)
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from airflow_provider_anyfast.batch.checkpoint import BatchCheckpoint
    from airflow_provider_anyfast.batch.runner import BatchRunner
    from airflow_provider_anyfast.client.errors import AnyFastError

_LOST_COST = "{rows} of status LOST may be billed."
_LOST_ADVICE = (
    "Look for the rows of status LOST in the log of the AnyFast console before you clear the task, which submits them "
    "again. No row that succeeded is paid for again."
)
_LOST_NEXT_ATTEMPT = "The next attempt looks for the rows of status LOST, and continues with the other rows."


def is_over(runner: BatchRunner) -> bool:
    """Whether this attempt no longer waits for any row."""
    return runner.ends_by_failure or (not runner.active and len(runner.manifest) == runner.total)


def saturated_since(runner: BatchRunner, last: BatchCheckpoint) -> float | None:
    """Unix seconds since when AnyFast has accepted no submission although nothing renders; None if it does."""
    is_saturated = runner.lifecycle.state is BatchState.SATURATED and not runner.active
    return (last.saturated_since or clock.now()) if is_saturated else None


def raise_early_end(runner: BatchRunner, reason: str, saturated_since: float | None) -> None:
    """Raises if the attempt ends before its rows do; returns if it continues or ends normally.

    Args:
        runner: the runner of the segment that has ended.
        reason: why the previous wait ended early, if it did.
        saturated_since: Unix seconds since when AnyFast has accepted no submission.

    Raises:
        AnyFastError: the attempt ends early; videos that are paid for have been saved as far as possible.
    """
    state, error = runner.lifecycle.state, runner.lifecycle.error
    if state is BatchState.ABORTED:
        raise _early_end(error or WaitInterruptedError("This task was stopped."), runner)
    if runner.ends_by_failure:
        return
    if runner.active and reason and not runner.progressed:
        raise WaitInterruptedError(f"Waiting for the videos was interrupted: {reason} {describe_progress(runner)}")
    is_too_long = saturated_since is not None and clock.now() - saturated_since >= runner.options.given.timeout
    if error is not None and not runner.active and (state is BatchState.CLOSED or is_too_long):
        raise _early_end(error, runner)


def _early_end(error: AnyFastError, runner: BatchRunner) -> AnyFastError:
    """The error that ends the attempt. It is about one request, so its cost leaves out the rows of status LOST."""
    error = error.with_context(describe_progress(runner))
    if lost := runner.manifest.tally.lost:
        sentence = _LOST_COST.format(rows=counted(lost, "row"))
        if isinstance(error, LostAnswerError):
            error.set_cost(Cost.MAYBE, sentence)
            error.advice, error.next_attempt = _LOST_ADVICE, _LOST_NEXT_ATTEMPT
        else:
            cost = Cost.MAYBE if error.cost is Cost.NOTHING else error.cost
            error.set_cost(cost, f"{error.cost_sentence} {sentence}")
            error.advice = f"{error.advice} {_LOST_ADVICE}"
    return error


def conclude(runner: BatchRunner) -> dict[str, Any]:
    """Returns the result of the task when its rows have ended.

    Raises:
        BatchFailedError: more rows failed than ``failure_threshold`` allows.
        BatchRejectedError: likewise, and a retry helps none of them.
    """
    tally = runner.manifest.tally
    if runner.ends_by_failure or tally.failures > runner.options.given.failure_threshold * runner.total:
        kind = BatchFailedError if tally.retryable else BatchRejectedError
        examples = "\n".join(text for _, text in tally.examples)
        error = kind(f"Failed rows ({tally.failures} of {runner.total}):\n{examples}\n{describe_progress(runner)}")
        if tally.lost:
            error.set_cost(Cost.PAID, f"{error.cost_sentence} {_LOST_COST.format(rows=counted(tally.lost, 'row'))}")
            error.advice = _LOST_ADVICE
        raise error
    return runner.summary


def describe_progress(runner: BatchRunner) -> str:
    """Describes the progress of the batch, for error messages."""
    done = runner.progress()
    sentences = [f"Rows done: {done['succeeded']} of {done['rows']}. Videos still being made: {done['active']}."]
    if done["succeeded"] or done["active"]:
        sentences.append("All of them are paid for, and neither a retry nor a clear pays for them again.")
    return " ".join([*sentences, f"See {runner.manifest.path}."])
