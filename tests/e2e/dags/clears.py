"""Every kind of billed task, in one DAG for each way of clearing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_provider_anyfast.operators.asset import CreateAssetGroupOperator, CreateAssetOperator
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator

WAYS = ("task_instances", "keeping_their_state", "one_by_one", "dag_run", "command_line")
SMALL: dict[str, Any] = {"resolution": "480p", "duration": 4}
COMMON: dict[str, Any] = {"anyfast_conn_id": "anyfast_clears", "poll_interval": 2}
DEFERRED: dict[str, Any] = {**COMMON, "deferrable": True}
PROMPT = "{{ dag.dag_id }} {{ task.task_id }}"

for way in WAYS:
    with DAG(
        f"cleared_by_{way}",
        schedule=None,
        params={"folder": ""},
        default_args={"retries": 1, "retry_delay": timedelta(seconds=1)},
    ):
        FILE = "{{ params.folder }}/{{ task.task_id }}.mp4"
        GenerateVideoOperator(task_id="deferred", prompt=PROMPT, output_path=FILE, **SMALL, **DEFERRED)
        GenerateVideoOperator(task_id="on_the_worker", prompt=PROMPT, output_path=FILE, **SMALL, **COMMON)
        GenerateVideoOperator(task_id="marked_as_failed", prompt=PROMPT, output_path=FILE, **SMALL, **DEFERRED)
        GenerateVideoOperator(
            task_id="out_of_time",
            prompt=PROMPT,
            output_path=FILE,
            timeout="{{ 5 if ti.try_number == 1 else 600 }}",
            retries=0,
            **SMALL,
            **DEFERRED,
        )
        GenerateVideoOperator.partial(task_id="mapped", **SMALL, **DEFERRED).expand(
            prompt=[f"cleared_by_{way} mapped 1", f"cleared_by_{way} mapped 2"]
        )
        GenerateVideoBatchOperator(
            task_id="batch",
            rows=[{"name": f"cleared_by_{way} row {number}"} for number in (1, 2)],
            template={"prompt": "{{ row.name }}", **SMALL},
            manifest_path="{{ params.folder }}/manifest.jsonl",
            **DEFERRED,
        )
        group = CreateAssetGroupOperator(task_id="group", name=f"cleared_by_{way}", anyfast_conn_id="anyfast_clears")
        CreateAssetOperator(
            task_id="asset", group_id=group.output, file=str(Path(__file__).parent / "media" / "lamp.png"), **DEFERRED
        )
