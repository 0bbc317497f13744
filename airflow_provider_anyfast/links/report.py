"""The "Open report" and "Open manifest" buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

from airflow_provider_anyfast.links.page import document_address

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

REPORT_KEY = "report_path"
"""The key of the XCom with the path of a task's report."""


class AnyFastReportLink(BaseOperatorLink):
    """Links to the contact sheet of a task, which Airflow's API server reads from the task's report path."""

    name = "Open report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address of the report; empty if the task writes none."""
        return document_address(ti_key, getattr(operator, "report_path", None))


class AnyFastManifestLink(BaseOperatorLink):
    """Links to the manifest of a batch, which the API server reads in the same way."""

    name = "Open manifest"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address of the manifest."""
        return document_address(ti_key, getattr(operator, "manifest_path", None))
