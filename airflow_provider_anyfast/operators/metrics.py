"""Counters and timings through Airflow's ``Stats``, each counted once per video.

``anyfast.submitted``, ``anyfast.reattached``, ``anyfast.succeeded``, ``anyfast.failed`` (tag ``cause``),
``anyfast.tokens``, and the timing ``anyfast.seconds_to_completion``.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import Stats

from airflow_provider_anyfast.client.errors import AnyFastError, GenerationFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_anyfast.client.models import VideoTask


def count_obtained(*, reattached: bool) -> None:
    """A video was submitted, or an attempt has found one that is paid for already."""
    Stats.incr("anyfast.reattached" if reattached else "anyfast.submitted")


def count_failure(error: AnyFastError) -> None:
    """A video has failed for good; what a retry goes on with has not."""
    if isinstance(error, GenerationFailedError) or not error.retryable:
        Stats.incr("anyfast.failed", tags={"cause": type(error).__name__})


def count_success(task: VideoTask) -> None:
    """A video is there."""
    _count(task.usage.total_tokens, (task.finished_at or 0.0) - (task.submitted_at or 0.0))


def count_stored_success(context: Mapping[str, Any]) -> None:
    """The same, from the result of a task whose success Airflow has stored; a callback."""
    ti = context["ti"]
    result = ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index)
    if isinstance(result, dict) and result.get("finished_at"):
        seconds = _at(result["finished_at"]) - _at(result.get("submitted_at") or result["finished_at"])
        _count((result.get("usage") or {}).get("total_tokens"), seconds)


@contextmanager
def failures_counted() -> Iterator[None]:
    """Counts an error that passes through, if it is the end of a video."""
    try:
        yield
    except AnyFastError as error:
        count_failure(error)
        raise


def _at(moment: str) -> float:
    parsed = pendulum.parse(moment)
    return parsed.timestamp() if isinstance(parsed, pendulum.DateTime) else 0.0


def _count(tokens: int | None, seconds: float) -> None:
    Stats.incr("anyfast.succeeded")
    if tokens:
        Stats.incr("anyfast.tokens", tokens)
    if seconds > 0:
        Stats.timing("anyfast.seconds_to_completion", timedelta(seconds=seconds))
