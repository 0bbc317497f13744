"""### The smallest useful DAG: a sentence becomes a video file.

Needs a connection `anyfast_default` of type AnyFast with the API key as its password.
A retry continues with the video that is already paid for. Clearing the task after it has succeeded makes a new video
and pays for it.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_anyfast.operators.video import GenerateVideoOperator

with DAG(
    "anyfast_text_to_video",
    schedule=None,
    params={
        "prompt": "A paper boat drifts down a rainy street at dusk.",
        "output_folder": Param("~/anyfast_videos", type="string", description="Where the workers put the file"),
    },
    default_args={"retries": 2},
    doc_md=__doc__,
    tags=["anyfast", "example"],
):
    GenerateVideoOperator(
        task_id="video",
        prompt="{{ params.prompt }}",
        resolution="480p",
        ratio="16:9",
        duration=4,
        poll_interval=5,
        deferrable=True,
        output_path="{{ params.output_folder }}/{generation_id}.mp4",
    )
