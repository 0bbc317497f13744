"""### A folder of product pictures becomes one video each.

1. `group` finds the asset group or creates it,
2. `pictures` uploads every picture of the folder, each content once,
3. `video`, mapped over the pictures, makes one video each and stores it under the id of its picture.

Both folders are paths on the workers or object storage with its own connection, such as `s3://my_aws@shop/pictures`;
the pictures may also be a pattern, such as `s3://my_aws@shop/pictures/*.png`.

A run pays only for pictures that have no whole video yet: run it every night, or again after a failure. At most
`[core] max_map_length` pictures (1,024) fit into one run.

To limit how many videos are made, and paid for, at the same time, create a pool that counts deferred tasks too
(`airflow pools set anyfast 10 "Videos at a time" --include-deferred`) and give `pool="anyfast"` to `video`.

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
        poll_interval=5,
        deferrable=True,
        output_path="{{ params.output_folder }}/{{ task.first_frame }}.mp4",
        overwrite=False,
        outlets=[Asset("anyfast-product-videos")],
    ).expand(first_frame=pictures.output)
