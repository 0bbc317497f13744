"""The XComs of a video's task beside its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

PUBLISHED = ("generation_id", "path", "video_url", "seed", "last_frame_path")
"""Fields of the result that are XComs of their own too."""


def publish(context: Context, result: dict[str, Any]) -> dict[str, Any]:
    """Pushes the fields that other tasks take as XComs of their own, since ``video.output["path"]`` reads an XCom.

    A missing fact is not pushed: Airflow's API refuses an XCom without a value.
    """
    for name in PUBLISHED:
        if result[name] is not None:
            context["ti"].xcom_push(name, result[name])
    return result
