"""The "Open video" button."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class AnyFastVideoLink(BaseOperatorLink):
    """Links to AnyFast's task log while the video renders, and then to the video.

    The Videos page plays a saved video. If the task saves no file, or that page is off, the link is AnyFast's own and
    expires 24 hours after the end of rendering. Airflow 3 computes the link on the worker, after every segment of a
    task, and stores it for the UI.
    """

    name = "Open video"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The ``video_link`` of the operator; empty until a video is submitted."""
        del ti_key
        return getattr(operator, "video_link", "")


def task_log_page(base_url: str, generation_id: str) -> str:
    """The page of AnyFast's console that lists generations. The browser must be logged in there."""
    return f"{base_url}/console/task#{generation_id}"
