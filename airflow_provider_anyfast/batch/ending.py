"""When an attempt of a batch is over, and what it ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch.queue import BatchState
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import BatchFailedError, BatchRejectedError, WaitInterruptedError

if TYPE_CHECKING:
    from airflow_provider_anyfast.batch.checkpoint import BatchCheckpoint
    from airflow_provider_anyfast.batch.runner import BatchRunner


def is_over(run: BatchRunner, reason: str) -> bool:
    """Whether nothing more can come of this attempt.

    Args:
        run: the segment that has ended.
        reason: why the wait before it ended early, if it did.

    Raises:
        AnyFastError: it has ended before its rows, and what is paid for is saved as far as that is possible.
    """
    state, error = run.intake.state, run.intake.error
    if state is BatchState.ABORTED:
        raise (error or WaitInterruptedError("This task was stopped.")).with_context(how_far(run))
    if run.options.on_row_failure == "fail" and run.manifest.tally.failures:
        return True
    if reason and run.active and not run.progressed:
        raise WaitInterruptedError(f"Waiting for the videos was interrupted: {reason} {how_far(run)}")
    if run.active:
        return False
    if state is BatchState.CLOSED and error is not None:
        raise error.with_context(how_far(run))
    return len(run.manifest) == run.total


def saturated_since(run: BatchRunner, last: BatchCheckpoint) -> float | None:
    """Unix seconds since when AnyFast accepts no submission, although nothing is rendering; None where it does.

    Raises:
        RateLimitError: that has lasted for too long.
    """
    error = run.intake.error
    if run.intake.state is not BatchState.SATURATED or error is None or run.active:
        return None
    since = last.saturated_since or clock.now()
    if clock.now() - since >= run.options.timeout:
        raise error.with_context(how_far(run))
    return since


def conclude(run: BatchRunner, failure_threshold: float) -> dict[str, Any]:
    """What the task returns when its rows have ended.

    Raises:
        BatchFailedError: more rows failed than may.
        BatchRejectedError: likewise, and no retry can help any of them.
    """
    tally = run.manifest.tally
    is_failure = run.options.on_row_failure == "fail" and tally.failures
    if is_failure or tally.failures > failure_threshold * run.total:
        kind = BatchFailedError if tally.retryable else BatchRejectedError
        examples = "\n".join(text for _, text in tally.examples)
        raise kind(f"{tally.failures} of {run.total} rows failed.\n{examples}\n{how_far(run)}")
    return run.summary


def how_far(run: BatchRunner) -> str:
    """How far the batch is, for its errors."""
    done = run.progress()
    return (
        f"{done['succeeded']} of {done['rows']} rows are done and {done['active']} videos are still being made; "
        f"all of them are paid for, and neither a retry nor a clear pays for them again. See {run.manifest.path}."
    )
