"""### Each row of a table becomes a video, with a report and a page that plays them all.

1. `check` reads the table (CSV, Excel, JSON Lines or JSON; local or in object storage), renders the prompt of each row
   and checks all rows. Invalid rows are reported together, before anything is billed.
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
from typing import Any

from airflow.sdk import DAG, Asset, Param

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.operators.report import WriteReportOperator
from airflow_provider_anyfast.operators.rows import CheckRowsOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator

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

FOLDER = "{{ params.output_folder }}/{{ run_id }}"

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
    check = CheckRowsOperator(
        task_id="check",
        rows="{{ params.rows }}",
        prompt_param="prompt",
        template={
            "resolution": "480p",
            "ratio": "{{ row.ratio | default('16:9') }}",
            "duration": "{{ row.duration | default(4) }}",
            "output_path": FOLDER + "/{{ row.id }}.mp4",
        },
    )
    videos = GenerateVideoOperator.partial(
        task_id="video",
        deferrable=True,
        pool=os.environ.get("ANYFAST_POOL", "default_pool"),
        outlets=[Asset("anyfast_videos")],
        map_index_template="{{ task.prompt | truncate(80) }}",
    ).expand_kwargs(check.output)
    videos >> WriteReportOperator(task_id="report", videos="video", rows="check", report_path=FOLDER + "/report.html")
