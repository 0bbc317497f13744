"""### A picture becomes a video, one step per task.

1. `group` finds or creates the asset group.
2. `picture` uploads the picture once: the same content in the same group is never paid for twice.
3. `submit` submits the video and pushes its `generation_id`.
4. `wait` waits for it without holding a worker.
5. `download` saves the file before its link expires, 24 hours after the video was finished.

Needs a connection `anyfast_default` of type AnyFast with the API key as its password.
"""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG, Param

from airflow_provider_anyfast.operators.asset import CreateAssetGroupOperator, CreateAssetOperator
from airflow_provider_anyfast.operators.video import DownloadVideoOperator, GenerateVideoOperator
from airflow_provider_anyfast.sensors.video import VideoStatusSensor

with DAG(
    "anyfast_quickstart",
    schedule=None,
    params={
        "prompt": "The desk lamp wakes up, stretches and looks around.",
        "picture": Param(
            str(Path(__file__).parent / "media" / "lamp.png"), type="string", description="An image on the workers"
        ),
        "output_folder": Param("~/anyfast_videos", type="string", description="Where the workers put the file"),
    },
    default_args={"retries": 2},
    doc_md=__doc__,
    tags=["anyfast", "example"],
):
    group = CreateAssetGroupOperator(task_id="group", name="airflow-quickstart")
    picture = CreateAssetOperator(task_id="picture", group_id=group.output, file="{{ params.picture }}")
    submit = GenerateVideoOperator(
        task_id="submit",
        prompt="{{ params.prompt }}",
        first_frame=picture.output,
        resolution="480p",
        duration=4,
        wait_for_completion=False,
    )
    wait = VideoStatusSensor(
        task_id="wait", generation_id=submit.output["generation_id"], poke_interval=5, deferrable=True
    )
    download = DownloadVideoOperator(
        task_id="download",
        generation_id=submit.output["generation_id"],
        output_path="{{ params.output_folder }}/{generation_id}.mp4",
    )
    wait >> download
