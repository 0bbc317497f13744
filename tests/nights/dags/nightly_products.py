"""What a team runs every night: an Excel export, pictures in a bucket, only new rows, a budget, a report."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator

BUCKET = "s3://s3@videos"

with DAG("nightly_products", schedule=None, max_active_runs=1, params={"budget": 0}):
    GenerateVideoBatchOperator(
        task_id="videos",
        rows=f"{BUCKET}/products.csv",
        template={
            "prompt": "{{ row.Name }}, {{ row.Szene }}",
            "first_frame": BUCKET + "/pictures/{{ row.Bild }}",
            "ratio": "{{ row.Format }}",
            "resolution": "480p",
            "duration": 4,
            "output_path": BUCKET + "/finished/{{ row.SKU }}.mp4",
        },
        asset_group="products",
        if_exists="skip",
        max_tokens="{{ params.budget }}",
        failure_threshold=0.05,
        manifest_path=BUCKET + "/nights/{{ run_id }}.jsonl",
        report_path=BUCKET + "/nights/{{ run_id }}.html",
        max_in_flight=8,
        deferrable=True,
        retries=3,
        retry_delay=timedelta(seconds=1),
    )
