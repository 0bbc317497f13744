"""### Each product of a table becomes a video that begins with its picture, and a run pays only for what is new.

The table has a column with the file of a picture. Each picture becomes an AnyFast asset once, by its content, however
many rows, runs or DAGs use it. A product whose complete video is there already costs nothing, so you can run this every
night over a table that grows.

The report plays all videos of the run, and a CSV file beside it lists what they cost. The button **Open report** of the
task shows it.

Table and pictures are on the workers here. Paths in object storage work alike, such as
`s3://my_aws@shop/products.csv`; then the column `picture` names objects: `s3://my_aws@shop/pictures/lamp.png`.

Needs a connection `anyfast_default` of type AnyFast with the API key as its password, and the
extra `media` for the posters that the report shows.
"""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG, Asset, Param

from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator

FOLDER = Path(__file__).parent

with DAG(
    "anyfast_products",
    schedule=None,
    params={
        "rows": Param(str(FOLDER / "data" / "products.csv"), type="string", description="Table of the products"),
        "pictures": Param(str(FOLDER / "media"), type="string", description="Folder of the pictures"),
        "output_folder": Param("~/anyfast_videos/products", type="string", description="Where the videos go"),
        "limit": Param(100, type="integer", minimum=1, description="Videos of one run; the next goes on"),
    },
    default_args={"retries": 3},
    doc_md=__doc__,
    tags=["anyfast", "example"],
):
    GenerateVideoBatchOperator(
        task_id="videos",
        rows="{{ params.rows }}",
        template={
            "prompt": "{{ row.product }} {{ row.scene }}",
            "first_frame": "{{ params.pictures }}/{{ row.picture }}",
            "resolution": "480p",
            "duration": 4,
            "output_path": "{{ params.output_folder }}/{{ row.id }}.mp4",
        },
        asset_group="airflow-products",
        if_exists="skip",
        limit="{{ params.limit }}",
        manifest_path="{{ params.output_folder }}/{{ run_id }}.jsonl",
        report_path="{{ params.output_folder }}/{{ run_id }}.html",
        save_poster=True,
        deferrable=True,
        outlets=[Asset("anyfast_product_videos")],
    )
