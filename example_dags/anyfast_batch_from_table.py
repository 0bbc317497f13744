"""### Each row of a table becomes a video, with a report and a page that plays them all.

1. `check` reads the table (CSV, JSON Lines or JSON; local or in object storage), renders the prompt of each row and
   checks all rows. Invalid rows are reported together, before anything is billed.
2. `video` makes one video per row, each in its own task instance. A retry continues with the video that is already
   paid for.
3. `report` writes `report.csv` and `report.html` next to the videos: status, tokens, cost if the connection has a
   price, and files.

If a row fails, the run fails after the report is written. **Clear the failed tasks of the run** to make these rows and
the report again. Rows that have succeeded are not paid for again.

The column `id` names the file. `ratio` and `duration` may be columns too. The prompt can use any column:
`{{ row.id }}`.

**A pool that includes deferred tasks limits how many videos are in progress**, and so how fast you spend money:

    airflow pools set anyfast 8 "Videos in progress" --include-deferred

Set the environment variable `ANYFAST_POOL=anyfast` for all components of Airflow. Without it, the tasks run in
`default_pool`, which does not count deferred tasks.

For more than a few hundred rows, use `GenerateVideoBatchOperator`, which makes all of them in one task instance. Each
saved video emits an event of the Airflow asset `anyfast_videos`, which starts the example `anyfast_on_new_video`.

Needs a connection `anyfast_default` of type AnyFast with the API key as its password.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, Asset, Param, TriggerRule, get_current_context, task

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.batch.manifest import FAILED, LOST, SUCCEEDED, ManifestEntry
from airflow_provider_anyfast.batch.report import contact_sheet, report_csv
from airflow_provider_anyfast.batch.rows import prepare, read_rows, verbatim
from airflow_provider_anyfast.files.storage import stored_file
from airflow_provider_anyfast.operators.video import GenerateVideoOperator

if TYPE_CHECKING:
    from collections.abc import Mapping

RETRIES: dict[str, Any] = {"retries": 3, "retry_delay": timedelta(minutes=1)}
try:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
except ImportError:  # Airflow 3.1 and 3.2 retry everything after the same delay
    pass
else:
    # Airflow 3.4 can run a task again without using up one of its retries.
    at_no_retry: dict[str, Any] = (
        {"action": RetryAction.RESCHEDULE, "reschedule_timeout": timedelta(hours=6)}
        if hasattr(RetryAction, "RESCHEDULE")
        else {}
    )
    RETRIES["retry_policy"] = ExceptionRetryPolicy(
        [
            RetryRule(exceptions.RateLimitError, retry_delay=timedelta(minutes=10), **at_no_retry),
            RetryRule(exceptions.GenerationTimeoutError, retry_delay=timedelta(0)),  # waits for the same video
        ]
    )

POOL = os.environ.get("ANYFAST_POOL", "default_pool")
NEW_VIDEOS = Asset("anyfast_videos")
FOLDER = "{{ params.output_folder }}/{{ run_id }}"
TEMPLATE = {
    "resolution": "480p",
    "ratio": "{{ row.ratio | default('16:9') }}",
    "duration": "{{ row.duration | default(4) }}",
    "output_path": FOLDER + "/{{ row.id }}.mp4",
}


@task
def check() -> list[dict[str, Any]]:
    """Returns each row with the parameters of its video, or raises one error that names every invalid row."""
    from airflow_provider_anyfast.batch.template import RowTemplate  # noqa: PLC0415 - Jinja, on workers only

    context = get_current_context()
    params = context["params"]
    with exceptions.fail_fast():
        template = RowTemplate({"prompt": params["prompt"], **TEMPLATE}, context["task"].get_template_env())
        rows = prepare(read_rows(params["rows"]), template, dict(context), billed_to="")
    return [
        {
            "input": row.data,
            "video": {
                **row.request.model_dump(mode="json", exclude_defaults=True),
                "output_path": row.output and row.output.output_path,
            },
        }
        for row in rows
    ]


def note_failure(context: Mapping[str, Any]) -> None:
    """Stores for the report why a row failed. A row with a lost submission may have been billed."""
    error = context["exception"]
    status = LOST if isinstance(error, exceptions.LostSubmissionError) else FAILED
    context["ti"].xcom_push("failure", {"status": status, "error_type": type(error).__name__, "error": str(error)})


@task(trigger_rule=TriggerRule.ALL_DONE)
def report(rows: list[dict[str, Any]] | None, folder: str) -> str:
    """Writes the report, and fails if any row failed."""
    ti, run_id = get_current_context()["ti"], get_current_context()["run_id"]
    if not rows:
        raise AirflowFailException("There is nothing to report: the rows were refused, and nothing was spent.")

    def left_by_videos(key: str) -> list[Any]:
        pulled: list[Any] = ti.xcom_pull(task_ids="video", key=key, map_indexes=range(len(rows)))
        return pulled

    lines = []
    left = zip(rows, *map(left_by_videos, ("return_value", "failure", "generation_id")), strict=True)
    for number, (row, result, failure, generation_id) in enumerate(left, start=1):
        known = {"prompt": row["video"]["prompt"], "generation_id": generation_id, **(result or {})}
        ended = {"status": SUCCEEDED} if result else failure or {"status": FAILED, "error": "See the log of its task."}
        lines.append(
            ManifestEntry(row=number, request="", batch=run_id, attempt=1, input=row["input"], result=known, **ended)
        )
    page = stored_file(f"{folder}/report.html", "output_folder")
    page.write_text(contact_sheet(lines, title=run_id, folder=page.path.rpartition("/")[0]))
    page.sibling("report.csv").write_text(report_csv(lines))
    if failed := [str(line.row) for line in lines if line.status != SUCCEEDED]:
        raise AirflowFailException(f"Rows {', '.join(failed)} failed; {page.path} has all. Clear the failed tasks.")
    return page.path


with DAG(
    "anyfast_batch_from_table",
    schedule=None,
    params={
        "rows": Param(
            str(Path(__file__).parent / "data" / "products.csv"), type="string", description="A table on the workers"
        ),
        "prompt": Param(
            "A short film: {{ row.product }} {{ row.scene }}.",
            type="string",
            format="multiline",
            description="Jinja; each column of the table is a field of row",
        ),
        "output_folder": Param("~/anyfast_videos", type="string", description="Where the workers put the files"),
    },
    default_args=RETRIES,
    doc_md=__doc__,
    tags=["anyfast", "example"],
):
    rows = check()
    videos = GenerateVideoOperator.partial(
        task_id="video",
        deferrable=True,
        poll_interval=5,
        pool=POOL,
        outlets=[NEW_VIDEOS],
        map_index_template="{{ task.prompt | truncate(80) }}",
        on_failure_callback=note_failure,
    ).expand_kwargs(rows.map(lambda row: verbatim(row["video"])))
    videos >> report(rows, FOLDER)
