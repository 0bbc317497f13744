"""A batch as one mapped task: each video waits in a triggerer and is saved to a shared folder."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_anyfast.operators.video import GenerateVideoOperator

VIDEOS = 30

with DAG("thirty_videos", schedule=None, max_active_tasks=VIDEOS, params={"folder": ""}):
    GenerateVideoOperator.partial(
        task_id="video",
        resolution="480p",
        duration=4,
        deferrable=True,
        poll_interval=3,
        output_path="{{ params.folder }}/{{ ti.map_index }}.mp4",
        map_index_template="{{ task.prompt }}",
        retries=3,
        retry_delay=timedelta(seconds=1),
    ).expand(prompt=[f"Shot {number} of {VIDEOS}." for number in range(1, VIDEOS + 1)])
