"""### Cheap drafts of a table, a person's choice, and finals of what was approved.

1. `drafts` makes a video at 480p for each row of a table.
2. `review` asks once for all drafts. Open the tab **Videos** of the run: watch, select, write notes, approve. Airflow's
   own form under **Required Actions** works too. While it waits, it holds no worker.
3. `finals` makes the approved rows at 1080p, with the seed and the references of their drafts. A note becomes part of
   the prompt.

What is rejected costs its draft alone. If nothing is approved, `finals` is skipped. A retry keeps the answer; clear
`review` to ask again.

The same seed and parameters at another resolution give a similar video, not the same one frame by frame.

Needs a connection `anyfast_default` of type AnyFast with the API key as its password.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.review import ReviewVideosOperator

FOLDER = "{{ params.output_folder }}/{{ run_id }}"
PROMPT = "A short film: {{ row.product }} {{ row.scene }}."
VIDEO = {"ratio": "{{ row.ratio }}", "duration": 4}

with DAG(
    "anyfast_draft_review_final",
    schedule=None,
    params={
        "rows": Param(
            str(Path(__file__).parent / "data" / "products.csv"), type="string", description="A table on the workers"
        ),
        "output_folder": Param("~/anyfast_videos", type="string", description="Where the workers put the files"),
    },
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["anyfast", "example"],
):
    drafts = GenerateVideoBatchOperator(
        task_id="drafts",
        rows="{{ params.rows }}",
        template={
            **VIDEO,
            "prompt": PROMPT,
            "resolution": "480p",
            "output_path": FOLDER + "/drafts/{{ row.id }}.mp4",
        },
        manifest_path=FOLDER + "/drafts.jsonl",
        failure_threshold=1,  # the others are worth a look whatever has failed
        deferrable=True,
    )
    review = ReviewVideosOperator(task_id="review", videos=drafts.output)
    GenerateVideoBatchOperator(
        task_id="finals",
        rows=review.output,
        template={
            **VIDEO,
            "prompt": PROMPT + " {{ row.review.note | default('') }}",
            "resolution": "1080p",
            "seed": "{{ row.review.seed }}",
            "output_path": FOLDER + "/finals/{{ row.id }}.mp4",
        },
        manifest_path=FOLDER + "/finals.jsonl",
        deferrable=True,
    )
