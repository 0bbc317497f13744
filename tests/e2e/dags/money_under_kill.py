"""One video per run: with this provider, in two ways of waiting, and with a hand-written task."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, BaseHook, get_current_context, task

from airflow_provider_anyfast.operators.video import GenerateVideoOperator

SETTINGS: dict[str, Any] = {
    "params": {"prompt": "", "folder": ""},
    "default_args": {"retries": 2, "retry_delay": timedelta(seconds=1)},
}


def wait_for_test(context: dict[str, Any], _: object) -> None:
    """Keep the first try from reporting its end until the test allows it."""
    folder = Path(context["params"]["folder"])
    (folder / "ending").touch()
    deadline = time.monotonic() + 60
    while not (folder / "may_end").exists() and time.monotonic() < deadline:
        time.sleep(0.02)


for name, waiting in (
    ("by_provider_deferred", {"deferrable": True}),
    ("by_provider_in_worker", {}),
    ("by_provider_impatient", {"execution_timeout": timedelta(seconds=8), "retries": 4}),
    ("by_provider_ending", {"deferrable": True, "post_execute": wait_for_test}),
):
    with DAG(name, schedule=None, **SETTINGS):
        GenerateVideoOperator(
            task_id="video",
            prompt="{{ params.prompt }}",
            resolution="480p",
            duration=4,
            poll_interval=2,
            output_path="{{ params.folder }}/video.mp4",
            **waiting,
        )

BODY = {
    "model": "seedance",
    "content": [{"type": "text", "text": "{{ params.prompt }}"}],
    "resolution": "480p",
    "duration": 4,
}

with DAG("by_http_operator", schedule=None, **SETTINGS):
    HttpOperator(
        task_id="video",
        http_conn_id="anyfast_http",
        endpoint="/v1/video/generations",
        headers={"Authorization": "Bearer {{ conn.anyfast_http.password }}", "Content-Type": "application/json"},
        data=json.dumps(BODY),
        response_filter=lambda response: response.json()["id"],
    ) >> HttpSensor(
        task_id="wait",
        http_conn_id="anyfast_http",
        endpoint="/v1/video/generations/{{ ti.xcom_pull('video') }}",
        headers={"Authorization": "Bearer {{ conn.anyfast_http.password }}"},
        response_check=lambda response: response.json()["data"]["status"] == "SUCCESS",
        poke_interval=2,
    )

with DAG("by_hand", schedule=None, **SETTINGS):

    @task
    def video() -> str:
        """Submit, poll, download: what the documentation of AnyFast shows."""
        connection = BaseHook.get_connection("anyfast_default")
        params = get_current_context()["params"]
        with httpx.Client(
            base_url=str(connection.host), headers={"Authorization": f"Bearer {connection.password}"}, timeout=60
        ) as client:
            body = {
                "model": "seedance",
                "content": [{"type": "text", "text": params["prompt"]}],
                "resolution": "480p",
                "duration": 4,
            }
            generation_id = client.post("/v1/video/generations", json=body).raise_for_status().json()["id"]
            while (found := _query(client, generation_id))["status"] != "SUCCESS":
                time.sleep(2)
        target = Path(params["folder"]) / "video.mp4"
        target.write_bytes(httpx.get(found["result_url"], timeout=60).raise_for_status().content)
        return str(target)

    def _query(client: httpx.Client, generation_id: str) -> dict[str, Any]:
        return dict(client.get(f"/v1/video/generations/{generation_id}").raise_for_status().json()["data"])

    video()
