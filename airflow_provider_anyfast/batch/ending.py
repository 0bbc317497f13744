"""When an attempt of a batch is over, and what it ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch.queue import BatchState
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import BatchFailedError, BatchRejectedError, WaitInterruptedError

if TYPE_CHECKING:
    from airflow_provider_anyfast.batch.checkpoint import BatchCheckpoint
    from airflow_provider_anyfast.batch.runner import BatchRunner


def is_over(runner: BatchRunner) -> bool:
    """Whether this attempt waits for no row any more."""
    return runner.ends_by_failure or (not runner.active and len(runner.manifest) == runner.total)


def saturated_since(runner: BatchRunner, last: BatchCheckpoint) -> float | None:
    """Unix seconds since when AnyFast accepts no submission, although nothing is rendering; None where it does."""
    is_saturated = runner.lifecycle.state is BatchState.SATURATED and not runner.active
    return (last.saturated_since or clock.now()) if is_saturated else None


def raise_early_end(runner: BatchRunner, reason: str, saturated_since: float | None) -> None:
    """Returns if the attempt goes on, or ends as it should.

    Args:
        runner: of the segment that has ended.
        reason: why the wait before it ended early, if it did.
        saturated_since: Unix seconds since when AnyFast accepts no submission.

    Raises:
        AnyFastError: it has ended before its rows, and what is paid for is saved as far as that is possible.
    """
    state, error = runner.lifecycle.state, runner.lifecycle.error
    if state is BatchState.ABORTED:
        raise (error or WaitInterruptedError("This task was stopped.")).with_context(how_far(runner))
    if runner.ends_by_failure:
        return
    if runner.active and reason and not runner.progressed:
        raise WaitInterruptedError(f"Waiting for the videos was interrupted: {reason} {how_far(runner)}")
    is_too_long = saturated_since is not None and clock.now() - saturated_since >= runner.options.given.timeout
    if error is not None and not runner.active and (state is BatchState.CLOSED or is_too_long):
        raise error.with_context(how_far(runner))


def conclude(runner: BatchRunner) -> dict[str, Any]:
    """What the task returns when its rows have ended.

    Raises:
        BatchFailedError: more rows failed than may.
        BatchRejectedError: likewise, and no retry can help any of them.
    """
    tally = runner.manifest.tally
    if runner.ends_by_failure or tally.failures > runner.options.given.failure_threshold * runner.total:
        kind = BatchFailedError if tally.retryable else BatchRejectedError
        examples = "\n".join(text for _, text in tally.examples)
        raise kind(f"{tally.failures} of {runner.total} rows failed.\n{examples}\n{how_far(runner)}")
    return runner.summary


def how_far(runner: BatchRunner) -> str:
    """How far the batch is, for its errors."""
    done = runner.progress()
    return (
        f"{done['succeeded']} of {done['rows']} rows are done and {done['active']} videos are still being made; "
        f"all of them are paid for, and neither a retry nor a clear pays for them again. See {runner.manifest.path}."
    )
