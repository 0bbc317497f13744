"""Submissions with lost responses, with a key that can read its billing log and one that cannot.

Each video has its own seed, which distinguishes its charge from those of the other tasks.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator

SHAPE: dict[str, Any] = {"resolution": "480p", "ratio": "16:9", "duration": 4}
ACCIDENTS = ("dropped", "bad_gateway", "timed_out", "killed")
IN_A_BATCH = ACCIDENTS[:2]

for log in ("read", "off"):
    with DAG(
        f"lost_submissions_log_{log}",
        schedule=None,
        default_args={
            "anyfast_conn_id": f"anyfast_log_{log}",
            "deferrable": True,
            "poll_interval": 2,
            "retries": 2,
            "retry_delay": timedelta(seconds=1),
        },
    ):
        for seed, accident in enumerate(ACCIDENTS, start=1):
            way: dict[str, Any] = {"anyfast_conn_id": f"anyfast_log_{log}_impatient"} if accident == "timed_out" else {}
            GenerateVideoOperator(task_id=accident, prompt=f"{log} {accident}", seed=seed, **SHAPE, **way)
        GenerateVideoBatchOperator(
            task_id="batch",
            rows=[{"accident": accident, "seed": 10 + seed} for seed, accident in enumerate(IN_A_BATCH)],
            template={"prompt": f"{log} batch {{{{ row.accident }}}}", "seed": "{{ row.seed }}", **SHAPE},
            manifest_path=f"{{{{ dag_run.conf.folder }}}}/{log}.jsonl",
        )
