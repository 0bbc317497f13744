"""A batch of thousands of rows, whose videos are left at AnyFast."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator

with DAG("thousands", schedule=None, params={"rows": "", "folder": "", "max_active": 500}):
    GenerateVideoBatchOperator(
        task_id="videos",
        rows="{{ params.rows }}",
        template={"prompt": "{{ row.prompt }}", "resolution": "480p", "duration": 4},
        manifest_path="{{ params.folder }}/manifest.jsonl",
        deferrable=True,
        max_in_flight=16,
        max_active="{{ params.max_active }}",
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
