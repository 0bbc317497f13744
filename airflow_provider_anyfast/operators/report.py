"""Reporting on the videos of mapped tasks, when all have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, TriggerRule

from airflow_provider_anyfast.batch.options import MappedReportParameters
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.links.report import AnyFastReportLink
from airflow_provider_anyfast.parameters import check_literals, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.values import Templated


class WriteReportOperator(BaseOperator):
    """Writes the report of mapped ``GenerateVideoOperator`` tasks when all have ended, and fails if too many failed.

    It runs whether they succeeded or failed, so as the last task it decides the state of the run. Not billed.

    Args:
        videos: the id of the mapped task that makes the videos.
        rows: the id of the ``CheckRowsOperator`` that has checked the rows; or a list of objects, one for each mapped
            task instance.
        report_path: HTML file, local or in object storage, that plays the videos; a CSV file of the same name is
            written next to it.
        key_column: the column whose value names a row; None takes the first one.
        failure_threshold: share of the rows, 0 to 1, that may fail without failing this task.

    Returns:
        The path of the report.

    Raises:
        InvalidRequestError: there are no rows, since they were refused. Nothing was billed.
        BatchRejectedError: more rows failed. The report is written.
        StorageError: the report could not be stored.
    """

    template_fields: Sequence[str] = ("videos", "rows", "report_path", "key_column", "failure_threshold")
    operator_extra_links = (AnyFastReportLink(),)
    ui_color = "#e8f0ff"

    def __init__(
        self,
        *,
        videos: str,
        rows: Templated[Sequence[dict[str, Any]]] | str,
        report_path: str,
        key_column: str | None = None,
        failure_threshold: float | str = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"trigger_rule": TriggerRule.ALL_DONE, **kwargs})
        self.videos = videos
        self.rows = rows
        self.report_path = report_path
        self.key_column = key_column
        self.failure_threshold = failure_threshold
        check_literals(self, MappedReportParameters)

    def execute(self, context: Context) -> str:
        """Puts together what the tasks have left, and writes it."""
        from airflow_provider_anyfast.tasks.mapped import write_report  # noqa: PLC0415 - not while a DAG is parsed

        with fail_fast(context):
            return write_report(self.rows, read(self, MappedReportParameters), context)
