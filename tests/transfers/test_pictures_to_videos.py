"""The example DAG: a folder of product pictures in object storage becomes one video each, into object storage."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image

from airflow_provider_anyfast.assets.creation import AssetCreation
from airflow_provider_anyfast.assets.source import file_source
from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.stores import MemoryStore
from scripts.local_airflow import LocalAirflow
from tests.media.media_samples import video
from tests.support.sandbox import running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.s3 import S3
    from tests.support.sandbox import SandboxHandle

pytestmark = [pytest.mark.files, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
DAG_ID = "anyfast_pictures_to_videos"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxHandle]:
    with running_sandbox(asset_seconds=1, completion_seconds=3) as handle:
        yield handle


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxHandle, s3_server: S3) -> LocalAirflow:
    """A database and connections; no component runs."""
    connections: dict[str, dict[str, Any]] = {
        "anyfast_default": {"conn_type": "anyfast", "host": sandbox.url, "password": sandbox.api_key},
        "s3": json.loads(s3_server.connection.as_json()),
    }
    local = LocalAirflow(tmp_path_factory.mktemp("airflow"), ROOT / "example_dags", connections=connections)
    local.migrate()
    return local


def run(airflow: LocalAirflow, **params: str) -> list[dict[str, Any]]:
    """Runs the DAG, and returns the states of its tasks."""
    command = [sys.executable, "-m", "scripts.dag_run", DAG_ID, json.dumps(params)]
    done = subprocess.run(command, env=airflow.environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def paths(events: list[dict[str, Any]]) -> list[str]:
    """The paths of a run's videos."""
    return [event["result"]["path"] for event in events if (event["task"], event["state"]) == ("video", "success")]


def frames_of(content: bytes) -> int:
    with av.open(io.BytesIO(content)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_each_picture_in_a_bucket_becomes_one_video_and_an_existing_one_is_not_billed_again(
    airflow: LocalAirflow, sandbox: SandboxHandle, s3: S3, tmp_path: Path
) -> None:
    for name in ("red", "green", "blue"):
        s3.put(f"shop/new/{name} lamp #1.png", picture(name))
    (tmp_path / "red lamp #1.png").write_bytes(picture("red"))
    done = create_asset(sandbox, tmp_path / "red lamp #1.png")
    content = video()
    s3.put(f"shop/videos/{done}.mp4", content)

    stored = paths(run(airflow, pictures=s3.path("shop/new/*.png"), output_folder=s3.path("shop/videos")))

    ids = [asset.id for asset in sandbox.account().assets]
    assert len(ids) == 3
    assert sorted(stored) == sorted(s3.path(f"shop/videos/{asset_id}.mp4") for asset_id in ids)
    new = [asset_id for asset_id in ids if asset_id != done]
    assert [frames_of(s3.get(f"shop/videos/{asset_id}.mp4")) for asset_id in new] == [96, 96]
    assert s3.get(f"shop/videos/{done}.mp4") == content
    assert (sandbox.billed.asset_groups, sandbox.billed.assets, sandbox.billed.generations) == (1, 3, 2)


def create_asset(sandbox: SandboxHandle, file: Path) -> str:
    """A video from an earlier run."""
    with AnyFastClient(Settings(sandbox.api_key, sandbox.url)) as client, file_source(file) as source:
        group_id = client.send(endpoints.create_asset_group("airflow-products"))
        ledger = Ledger(MemoryStore(), fingerprint="", max_tries=0)
        return AssetCreation(client, group_id, lambda: False).get_or_create(ledger, source)[0]


def picture(colour: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (400, 300), colour).save(content, "PNG")
    return content.getvalue()
