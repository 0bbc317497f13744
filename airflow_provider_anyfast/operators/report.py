"""A table for mapped tasks: its rows checked before anything is billed, and a report when the videos have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator
from airflow.sdk import TriggerRule

from airflow_provider_anyfast.batch.manifest import FAILED, SKIPPED, SUCCEEDED, ManifestEntry
from airflow_provider_anyfast.batch.options import MappedReportParameters, RowsParameters
from airflow_provider_anyfast.batch.report_file import ReportFile
from airflow_provider_anyfast.batch.rows import prepare, read_rows, verbatim
from airflow_provider_anyfast.batch.table import listed
from airflow_provider_anyfast.batch.table_file import is_file
from airflow_provider_anyfast.batch.template import RowTemplate
from airflow_provider_anyfast.client.errors import BatchRejectedError, InvalidRequestError
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.links.report import REPORT_KEY, AnyFastReportLink
from airflow_provider_anyfast.parameters import check_literals, read
from airflow_provider_anyfast.xcoms import FAILURE_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.batch.table import Row
    from airflow_provider_anyfast.values import Templated

ROWS_KEY = "rows"
"""XCom of the checked rows."""


class CheckRowsOperator(BaseOperator):
    """Renders a template for every row of a table and checks them all, for tasks mapped over the rows. Not billed.

    Args:
        rows: a list of objects, or a CSV, JSON or JSON Lines file, local or in object storage.
        template: parameters of ``GenerateVideoOperator``, rendered with Jinja for each row, as in
            ``GenerateVideoBatchOperator``.
        prompt_param: the DAG param that contains the prompt's template, if users enter it in the trigger form.
        key_column: the column whose value names a row in messages; None takes the first one.

    Returns:
        The parameters of each row's video, for ``GenerateVideoOperator.partial(…).expand_kwargs(…)``. The XCom ``rows``
        has the rows themselves, for ``WriteReportOperator``.

    Raises:
        InvalidRequestError: naming every row that AnyFast would refuse.
        StorageError: the storage does not respond.
    """

    template_fields: Sequence[str] = ("rows", "key_column")
    ui_color = "#e8f0ff"

    def __init__(
        self,
        *,
        rows: Templated[Sequence[dict[str, Any]]],
        template: dict[str, Any],
        prompt_param: str | None = None,
        key_column: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rows = rows
        # Until the task runs, all that is known of such a prompt is that there will be one.
        self.template = template if prompt_param is None else {**template, "prompt": "{{ params[prompt_param] }}"}
        self.prompt_param = prompt_param
        self.key_column = key_column
        check_literals(self, RowsParameters)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Reads, renders and checks."""
        with fail_fast(context):
            given = read(self, RowsParameters)
            prompt = _prompt_of(context, given.prompt_param)
            template = RowTemplate({**self.template, **prompt}, self.get_template_env())
            given_rows = read_rows(self.rows)
            rows = prepare(given_rows, template, dict(context), billed_to="", key_column=given.key_column)
            context["ti"].xcom_push(ROWS_KEY, [dict(row.data) for row in rows])
            return [verbatim(_keywords(row)) for row in rows]


def _prompt_of(context: Context, param: str | None) -> dict[str, Any]:
    if param is None:
        return {}
    params = context.get("params") or {}
    if param not in params:
        raise InvalidRequestError(f"prompt_param={param!r}: the DAG has no such param.")
    return {"prompt": params[param]}


def _keywords(row: BatchRow) -> dict[str, Any]:
    parameters = row.request.model_dump(mode="json", exclude_defaults=True)
    return {**parameters, "output_path": row.output and row.output.output_path}


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
        with fail_fast(context):
            given, ti = read(self, MappedReportParameters), context["ti"]
            entries = self._entries(context, self._given_rows(context))
            subtitle = f"Run {ti.run_id} · task {self.videos}"
            run = str(ti.log_url).rpartition("/tasks/")[0]
            report = ReportFile(
                given.report_path,
                ti.dag_id,
                subtitle,
                log_of=lambda entry: f"{run}/tasks/{self.videos}/mapped/{entry.row - 1}",
                key_column=given.key_column,
            )
            ti.xcom_push(REPORT_KEY, report.path)
            report.write(entries)
            failed = [f"row {entry.row}" for entry in entries if entry.status not in (SUCCEEDED, SKIPPED)]
            if len(failed) > given.failure_threshold * len(entries):
                what = f"{len(failed)} of {len(entries)} rows failed: {listed(failed)}. See {report.path}."
                advice = "Clear the failed tasks of the run. No other row is paid for again."
                raise BatchRejectedError(what, advice=advice)
            return report.path

    def _given_rows(self, context: Context) -> list[Row]:
        if not is_file(self.rows):
            return read_rows(self.rows)
        checked = context["ti"].xcom_pull(task_ids=str(self.rows), key=ROWS_KEY)
        if checked is None:
            raise InvalidRequestError(
                f"rows={self.rows!r}: this task has pushed no rows, so there is nothing to report."
            )
        return read_rows(checked)

    def _entries(self, context: Context, rows: Sequence[dict[str, Any]]) -> list[ManifestEntry]:
        def left(key: str) -> list[Any]:
            found = context["ti"].xcom_pull(task_ids=self.videos, key=key, map_indexes=range(len(rows)))
            return list(found or [None] * len(rows))

        everything = zip(rows, left("return_value"), left(FAILURE_KEY), left("generation_id"), strict=True)
        return [_entry(number, *of_row) for number, of_row in enumerate(everything, start=1)]


def _entry(
    number: int, row: dict[str, Any], result: dict[str, Any] | None, failure: dict[str, Any] | None, generation_id: Any
) -> ManifestEntry:
    """The outcome of one task; one that was killed has left nothing."""
    if result:
        status = SUCCEEDED if result.get("generation_id") else SKIPPED
        return ManifestEntry(number, "", "", 1, dict(row), status, result=result)
    failure = failure or {"error": "See the log of its task."}
    return ManifestEntry(
        number,
        "",
        "",
        1,
        dict(row),
        failure.get("status", FAILED),
        failure.get("error_type"),
        failure["error"],
        result={"generation_id": generation_id, "prompt": failure.get("prompt")},
    )
