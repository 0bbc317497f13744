"""### The smallest useful DAG: a sentence becomes a video file.

The trigger form asks for the prompt and offers what AnyFast can make.

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
        "prompt": Param(
            "A paper boat drifts down a rainy street at dusk.", type="string", format="multiline", minLength=1
        ),
        "model": Param("seedance", enum=["seedance", "seedance-fast", "seedance-2.0-mini", "seedance-2.5"]),
        "ratio": Param("16:9", enum=["16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "adaptive"]),
        "resolution": Param("480p", enum=["480p", "720p", "1080p"], description="Not every model makes 1080p"),
        "duration": Param(4, enum=list(range(4, 16)), description="Seconds"),
        "seed": Param(-1, type="integer", minimum=-1, maximum=2**32 - 1, description="-1 is a random one"),
        "output_folder": Param("~/anyfast_videos", type="string", description="Where the workers put the file"),
    },
    default_args={"retries": 2},
    doc_md=__doc__,
    tags=["anyfast", "example"],
):
    GenerateVideoOperator(
        task_id="video",
        prompt="{{ params.prompt }}",
        model="{{ params.model }}",
        ratio="{{ params.ratio }}",
        resolution="{{ params.resolution }}",
        duration="{{ params.duration }}",
        seed="{{ params.seed }}",
        deferrable=True,
        output_path="{{ params.output_folder }}/{generation_id}.mp4",
    )
