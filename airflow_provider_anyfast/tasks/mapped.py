"""What the operators before and after mapped ``GenerateVideoOperator`` tasks do on a worker."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch.manifest import FAILED, SKIPPED, SUCCEEDED, ManifestEntry
from airflow_provider_anyfast.batch.options import BatchParameters
from airflow_provider_anyfast.batch.report_file import ReportFile
from airflow_provider_anyfast.batch.rows import prepare, read_rows, verbatim
from airflow_provider_anyfast.batch.source import log_estimate
from airflow_provider_anyfast.batch.table import listed, warn_of_unknown_key_column
from airflow_provider_anyfast.batch.table_file import is_file
from airflow_provider_anyfast.batch.template import RowTemplate
from airflow_provider_anyfast.client.errors import BatchRejectedError, InvalidRequestError
from airflow_provider_anyfast.links.report import REPORT_KEY
from airflow_provider_anyfast.xcoms import FAILURE_KEY, ROWS_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context
    from jinja2 import Environment

    from airflow_provider_anyfast.batch.options import MappedReportParameters, RowsParameters
    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.batch.table import Row


def check_rows(rows: Any, given: RowsParameters, environment: Environment, context: Context) -> list[dict[str, Any]]:
    """Reads, renders and checks every row, and returns the parameters of its video."""
    prompt = _prompt_of(context, given.prompt_param)
    template = RowTemplate({**given.template, **prompt}, environment)
    as_batch = BatchParameters(key_column=given.key_column, asset_group=given.asset_group)
    given_rows = read_rows(rows)
    warn_of_unknown_key_column(given_rows, given.key_column)
    prepared = prepare(given_rows, template, dict(context), as_batch)
    log_estimate([row.request.estimated_tokens() for row in prepared])
    context["ti"].xcom_push(ROWS_KEY, [dict(row.data) for row in prepared])
    return [verbatim(_keywords(row)) for row in prepared]


def write_report(rows: Any, given: MappedReportParameters, context: Context) -> str:
    """Puts together what the mapped tasks have left, writes it, and fails if too many of them failed."""
    ti = context["ti"]
    entries = _entries(context, given, _given_rows(rows, context))
    run = str(ti.log_url).rpartition("/tasks/")[0]
    report = ReportFile(
        given.report_path,
        ti.dag_id,
        f"Run {ti.run_id} · task {given.videos}",
        log_of=lambda entry: f"{run}/tasks/{given.videos}/mapped/{entry.row - 1}",
    )
    ti.xcom_push(REPORT_KEY, report.path)
    report.write(entries)
    failed = [entry.label for entry in entries if entry.status not in (SUCCEEDED, SKIPPED)]
    if len(failed) > given.failure_threshold * len(entries):
        what = f"Failed rows ({len(failed)} of {len(entries)}): {listed(failed)}. See {report.path}."
        advice = "Clear the failed tasks of the run. No other row is paid for again."
        raise BatchRejectedError(what, advice=advice)
    return report.path


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


def _given_rows(rows: Any, context: Context) -> list[Row]:
    """The rows, or those that the task of this id has checked."""
    if not is_file(rows):
        return read_rows(rows)
    checked = context["ti"].xcom_pull(task_ids=rows, key=ROWS_KEY)
    if checked is None:
        raise InvalidRequestError(f"rows={rows!r}: this task has pushed no rows, so there is nothing to report.")
    return read_rows(checked)


def _entries(context: Context, given: MappedReportParameters, rows: Sequence[Row]) -> list[ManifestEntry]:
    def left(key: str) -> list[Any]:
        found = context["ti"].xcom_pull(task_ids=given.videos, key=key, map_indexes=range(len(rows)))
        return list(found or [None] * len(rows))

    everything = zip(rows, left("return_value"), left(FAILURE_KEY), left("generation_id"), strict=True)
    return [
        replace(_entry(number, row, *of_task), key_column=given.key_column, label=row.label(given.key_column))
        for number, (row, *of_task) in enumerate(everything, start=1)
    ]


def _entry(
    number: int, row: dict[str, Any], result: dict[str, Any] | None, failure: dict[str, Any] | None, generation_id: Any
) -> ManifestEntry:
    """The outcome of one task; one that was killed has left nothing."""
    # No manifest has this entry, so nothing reads which request, batch and attempt it is of.
    entry = ManifestEntry(row=number, request="", batch="", attempt=1, input=dict(row), status=FAILED)
    if result:
        return replace(entry, status=SUCCEEDED if result.get("generation_id") else SKIPPED, result=result)
    failure = failure or {"error": "See the log of its task."}
    return replace(
        entry,
        status=failure.get("status", FAILED),
        error_type=failure.get("error_type"),
        error=failure["error"],
        result={"generation_id": generation_id, "prompt": failure.get("prompt")},
    )
