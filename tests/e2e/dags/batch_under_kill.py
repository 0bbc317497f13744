"""A batch of a few rows, each with a file."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator

with DAG("batch", schedule=None, params={"rows": "", "folder": "", "if_exists": "overwrite"}):
    GenerateVideoBatchOperator(
        task_id="videos",
        rows="{{ params.rows }}",
        template={
            "prompt": "{{ row.prompt }}",
            "resolution": "480p",
            "duration": 4,
            "output_path": "{{ params.folder }}/{{ row.number }}.mp4",
        },
        manifest_path="{{ params.folder }}/manifest.jsonl",
        if_exists="{{ params.if_exists }}",
        deferrable=True,
        max_in_flight=4,
        poll_interval=2,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
