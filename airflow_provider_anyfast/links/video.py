"""The "Open video" button."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import XCom
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

XCOM_KEY = "video_link"
"""Under which an operator or sensor pushes where the video can be seen."""


class AnyFastVideoLink(BaseOperatorLink):
    """Leads to the video, and while it is being made to AnyFast's task log.

    The video's own link dies 24 hours after the video was finished.
    """

    name = "Open video"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address; empty until something was submitted."""
        del operator
        return XCom.get_value(ti_key=ti_key, key=XCOM_KEY) or ""


def task_log_page(base_url: str, generation_id: str) -> str:
    """The page of AnyFast's console that lists generations; a browser that is logged in sees it."""
    return f"{base_url}/console/task#{generation_id}"
