"""Many videos in one run, in each of the ways that are compared; one DAG per way.

The environment variable ``BENCHMARK_VIDEOS`` is the number of videos.
"""

from __future__ import annotations

import json
import os
from typing import Any

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG

from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator

VIDEOS = int(os.environ["BENCHMARK_VIDEOS"])
PROMPTS = [f"a paper boat on a pond, number {number}" for number in range(VIDEOS)]
POLL_INTERVAL = 15
"""Seconds, the same for all ways."""
REQUEST: dict[str, Any] = {"resolution": "480p", "duration": 4}
AUTHORIZATION = {"Authorization": "Bearer {{ conn.anyfast_http.password }}"}

with DAG("mapped_generate_video", schedule=None, max_active_tasks=1000):
    GenerateVideoOperator.partial(task_id="video", deferrable=True, poll_interval=POLL_INTERVAL, **REQUEST).expand(
        prompt=PROMPTS
    )

for where, deferrable in (("worker", False), ("triggerer", True)):
    with DAG(f"one_on_the_{where}", schedule=None):
        GenerateVideoOperator(task_id="video", prompt=PROMPTS[0], deferrable=deferrable, **REQUEST)

with DAG("batch", schedule=None):
    GenerateVideoBatchOperator(
        task_id="videos",
        rows=[{"prompt": prompt} for prompt in PROMPTS],
        template={"prompt": "{{ row.prompt }}", **REQUEST},
        manifest_path=f"{os.environ['AIRFLOW_HOME']}/manifest-{{{{ run_id }}}}.jsonl",
        deferrable=True,
        poll_interval=POLL_INTERVAL,
    )

with DAG("mapped_http_operator", schedule=None, max_active_tasks=1000):
    bodies = [{"model": "seedance", "content": [{"type": "text", "text": prompt}], **REQUEST} for prompt in PROMPTS]
    submitted = HttpOperator.partial(
        task_id="submit",
        http_conn_id="anyfast_http",
        endpoint="/v1/video/generations",
        headers={**AUTHORIZATION, "Content-Type": "application/json"},
        response_filter=lambda response: f"/v1/video/generations/{response.json()['id']}",
    ).expand(data=[json.dumps(body) for body in bodies])
    HttpSensor.partial(
        task_id="wait",
        http_conn_id="anyfast_http",
        headers=AUTHORIZATION,
        method="GET",
        response_check=lambda response: response.json()["data"]["status"] == "SUCCESS",
        mode="reschedule",  # a sensor with a response check cannot be deferred
        poke_interval=POLL_INTERVAL,
    ).expand(endpoint=submitted.output)
