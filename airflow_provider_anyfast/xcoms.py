"""XComs beside a task's result."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

FAILURE_KEY = "failure"
"""Of the XCom that tells a report why a task has failed."""

PUBLISHED = ("generation_id", "path", "video_url", "seed", "last_frame_path", "poster_path")
"""Fields of the result that are XComs of their own too."""


def own_xcom(context: Context, key: str) -> Any:
    """What this task instance pushed before its deferral; None if it did not."""
    ti = context["ti"]
    return ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)


def publish(context: Context, result: dict[str, Any]) -> dict[str, Any]:
    """Pushes the fields that other tasks take as XComs of their own, since ``video.output["path"]`` reads an XCom.

    A missing fact is not pushed: Airflow's API refuses an XCom without a value.
    """
    for name in PUBLISHED:
        if result[name] is not None:
            context["ti"].xcom_push(name, result[name])
    return result


def publish_failure(context: Context) -> None:
    """Stores for a report why the task has failed: ``{"status", "error_type", "error", "prompt"}``."""
    from airflow_provider_anyfast.batch.manifest import status_of  # noqa: PLC0415 - not while a DAG is parsed

    error: Any = context.get("exception")
    failure = {
        "status": status_of(error),
        "error_type": type(error).__name__,
        "error": str(error),
        "prompt": getattr(context["task"], "prompt", None),
    }
    try:
        context["ti"].xcom_push(FAILURE_KEY, failure)
    except Exception as problem:  # noqa: BLE001 - what the task failed with is what counts
        log.warning("Could not store the reason for this task's failure for the report: %s", problem)
