"""Counters and timings through Airflow's ``Stats``, each counted once per video.

``anyfast.submitted``, ``anyfast.reattached``, ``anyfast.succeeded``, ``anyfast.failed`` (tag ``cause``),
``anyfast.tokens``, and the timing ``anyfast.seconds_to_completion``.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, GenerationFailedError
from airflow_provider_anyfast.ledger.removal import stored_state
from airflow_provider_anyfast.seedance.pricing import billed_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_anyfast.client.responses import Generation, Usage


def count_obtained(*, reattached: bool) -> None:
    """Counts a video that was submitted, or that an attempt found already paid for."""
    Stats.incr("anyfast.reattached" if reattached else "anyfast.submitted")


def count_failure(error: AnyFastError) -> None:
    """Counts a video that failed permanently; not one that a retry resumes."""
    if isinstance(error, GenerationFailedError) or not error.retryable:
        Stats.incr("anyfast.failed", tags={"cause": type(error).__name__})


def count_success(generation: Generation) -> None:
    """Counts a finished video."""
    _count(generation.usage, generation.submitted_at, generation.finished_at)


def count_stored_success(context: Mapping[str, Any]) -> None:
    """The same, as a success callback: from the result of a task whose success Airflow has stored."""
    if stored_state(context) != "success":
        return  # if the task runs again, its video is counted then
    ti = context["ti"]
    result = ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index)
    if isinstance(result, dict) and result.get("finished_at"):
        from airflow_provider_anyfast.client.responses import Usage  # noqa: PLC0415 - not while a DAG is parsed

        usage = Usage.model_validate(result.get("usage") or {})
        _count(usage, clock.from_iso(result.get("submitted_at")), clock.from_iso(result["finished_at"]))


@contextmanager
def failures_counted() -> Iterator[None]:
    """Counts an error that passes through, if it ends a video."""
    try:
        yield
    except AnyFastError as error:
        count_failure(error)
        raise


def _count(usage: Usage, submitted_at: float | None, finished_at: float | None) -> None:
    Stats.incr("anyfast.succeeded")
    if tokens := billed_tokens(usage):
        Stats.incr("anyfast.tokens", tokens)
    if submitted_at and finished_at and finished_at > submitted_at:
        Stats.timing("anyfast.seconds_to_completion", timedelta(seconds=finished_at - submitted_at))
