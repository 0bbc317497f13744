"""### Each product picture in a folder becomes a video.

1. `group` finds or creates the asset group.
2. `pictures` uploads every picture in the folder, and the same content only once.
3. `video`, mapped over the pictures, makes one video for each and saves it under the id of its picture.

Both folders are paths on the workers, or in object storage with an Airflow connection, such as
`s3://my_aws@shop/pictures`. `pictures` may also be a pattern, such as `s3://my_aws@shop/pictures/*.png`.

A run pays only for pictures that have no complete video yet, so you can run it every night, or again after a failure.
One run takes at most `[core] max_map_length` pictures, 1,024 by default.

To limit how many videos are in progress, create a pool that includes deferred tasks
(`airflow pools set anyfast 10 "Videos in progress" --include-deferred`) and set `pool="anyfast"` on `video`.

Needs a connection `anyfast_default` of type AnyFast with the API key as its password.
"""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG, Asset, Param

from airflow_provider_anyfast.operators.asset import CreateAssetGroupOperator, CreateAssetsOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator

with DAG(
    "anyfast_pictures_to_videos",
    schedule=None,
    max_active_runs=1,  # two runs at the same time would both make a video that does not exist yet
    params={
        "prompt": "The camera circles slowly around the product.",
        "pictures": Param(str(Path(__file__).parent / "media"), type="string", description="Folder or pattern"),
        "output_folder": Param("~/anyfast_videos", type="string", description="Where the videos go"),
    },
    default_args={"retries": 2},
    doc_md=__doc__,
    tags=["anyfast", "example"],
):
    group = CreateAssetGroupOperator(task_id="group", name="airflow-products")
    pictures = CreateAssetsOperator(
        task_id="pictures", group_id=group.output, files="{{ params.pictures }}", asset_type="Image", deferrable=True
    )
    GenerateVideoOperator.partial(
        task_id="video",
        map_index_template="{{ task.first_frame }}",
        prompt="{{ params.prompt }}",
        resolution="480p",
        duration=4,
        deferrable=True,
        output_path="{{ params.output_folder }}/{{ task.first_frame }}.mp4",
        overwrite=False,
        outlets=[Asset("anyfast-product-videos")],
    ).expand(first_frame=pictures.output)
