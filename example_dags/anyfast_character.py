"""### One character in several scenes.

The first scene starts with a picture. Each later scene starts with the last frame of the one before, so that the
character and its surroundings stay the same.

`return_last_frame` requests that frame. The result has it as `last_frame_url`, which the next scene uses, and with
`output_path` also as a file next to the video. AnyFast's link expires after 24 hours. To keep a frame longer, create an
asset from it: a `CreateAssetOperator` with `file` set to `last_frame_path`.

A retry continues with the scene that is already paid for. To make a scene again, clear its task **together with the
tasks downstream**, because later scenes start where it ends.

Needs a connection `anyfast_default` of type AnyFast with the API key as its password.
"""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG, Param, chain

from airflow_provider_anyfast.operators.asset import CreateAssetGroupOperator, CreateAssetOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator

SCENES = [
    "It wakes up, stretches and looks around.",
    "It hops down from the desk and explores the room.",
    "It finds the window and watches the snow.",
]

with DAG(
    "anyfast_character",
    schedule=None,
    params={
        "character": Param(
            "A small red desk lamp with a mind of its own.", type="string", description="Who is seen in every scene"
        ),
        "scenes": Param(SCENES, type="array", minItems=len(SCENES), maxItems=len(SCENES), description="One a line"),
        "picture": Param(
            str(Path(__file__).parent / "media" / "lamp.png"), type="string", description="An image on the workers"
        ),
        "output_folder": Param("~/anyfast_videos", type="string", description="Where the workers put the files"),
    },
    default_args={"retries": 2},
    doc_md=__doc__,
    tags=["anyfast", "example"],
):
    group = CreateAssetGroupOperator(task_id="group", name="airflow-character")
    picture = CreateAssetOperator(task_id="picture", group_id=group.output, file="{{ params.picture }}")
    scenes = [
        GenerateVideoOperator(
            task_id=f"scene_{number}",
            prompt=f"{{{{ params.character }}}} {{{{ params.scenes[{number - 1}] }}}}",
            first_frame=f"{{{{ ti.xcom_pull(task_ids='scene_{number - 1}')['last_frame_url'] }}}}"
            if number > 1
            else picture.output,
            resolution="480p",
            duration=4,
            return_last_frame=True,
            deferrable=True,
            output_path=f"{{{{ params.output_folder }}}}/{{{{ run_id }}}}/scene_{number}.mp4",
        )
        for number in range(1, len(SCENES) + 1)
    ]
    chain(picture, *scenes)
