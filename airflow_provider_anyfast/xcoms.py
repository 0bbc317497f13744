"""XComs that a task pushes in addition to its result."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

log = logging.getLogger(__name__)

PROGRESS_KEY = "progress"
"""How far a batch is, in numbers of rows; for people, and for the Videos page."""
CHECKPOINT_KEY, INDEX_KEY = "course", "row_index"
"""What a batch hands from one deferral to the next, and not to the next attempt. A task that waits under an earlier
version has stored the first one under this name."""
REVIEW_KEY, REJECTED_KEY = "review", "rejected"
"""The videos under review with the manifests that hold them, and those that were not approved; for the Videos page."""
FAILURE_KEY = "failure"
"""The XCom from which a report reads why a task failed."""
ROWS_KEY = "rows"
"""The rows that a ``CheckRowsOperator`` has checked, for a report."""

PUBLISHED = ("generation_id", "path", "video_url", "seed", "last_frame_path", "poster_path")
"""Fields of the result that are also pushed as separate XComs."""


def own_xcom(context: Context, key: str) -> Any:
    """What this task instance pushed under ``key`` before its deferral, or None."""
    ti = context["ti"]
    return ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)


def mapped_xcoms(context: Context, key: str) -> set[str]:
    """What the mapped instances of this task have pushed under ``key``; empty if the task is not mapped."""
    ti = context["ti"]
    if ti.map_index is None or ti.map_index < 0:
        return set()
    return {str(value) for value in ti.xcom_pull(task_ids=[ti.task_id], key=key) or () if value}


def publish(context: Context, result: dict[str, Any]) -> dict[str, Any]:
    """Pushes each of the fields that other tasks use as an XCom, since ``video.output["path"]`` reads an XCom.

    A missing value is not pushed: Airflow's API refuses an XCom without a value.
    """
    for name in PUBLISHED:
        if result[name] is not None:
            context["ti"].xcom_push(name, result[name])
    return result


@contextmanager
def failures_published(context: Context) -> Iterator[None]:
    """Pushes the reason for an error that passes through: ``{"status", "error_type", "error", "prompt"}``.

    This is not a failure callback. Airflow also runs those for tasks that were killed, in another process, and the
    scheduler of 3.4.0b2 crashes if such a task has both a failure callback and a retry left.
    """
    try:
        yield
    except (Exception, AirflowTaskTimeout) as error:
        _publish_failure(context, error)
        raise


def _publish_failure(context: Context, error: BaseException) -> None:
    from airflow_provider_anyfast.batch.manifest import status_of  # noqa: PLC0415 - not while a DAG is parsed

    try:
        failure = {
            "status": status_of(error),
            "error_type": type(error).__name__,
            "error": str(error),
            "prompt": getattr(context["task"], "prompt", None),
        }
        context["ti"].xcom_push(FAILURE_KEY, failure)
    except Exception as problem:  # noqa: BLE001 - it must not replace the error that the task failed with
        log.warning("Could not store the reason for this task's failure for the report: %s", problem)
