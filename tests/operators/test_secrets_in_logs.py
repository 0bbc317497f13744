"""With every logger of the process at DEBUG, no task lets the key or a signed link into a log, in any form."""

from __future__ import annotations

import base64
import dataclasses
import logging
from functools import partial
from typing import TYPE_CHECKING

import pytest
from airflow.sdk import Connection

from airflow_provider_anyfast.operators.asset import CreateAssetGroupOperator, CreateAssetOperator
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator
from airflow_provider_anyfast.sensors.video import VideoStatusSensor
from tests.client.http2_server import http2_server_in_thread
from tests.sandbox.media_files import picture
from tests.support.secrets import forms_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.client.http2_server import Stream
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import Attempt, TaskRunner

KEY = "sk-canary+Zq7/4Zt8mQ1wX7=Lr5vN0bT2"
SIGNATURE = "X-Tos-Signature"
SERVERS = ("DEBUG hpack.hpack Decod", "INFO uvicorn.access ")
"""Begin the lines of servers in this process: the header blocks and the links that they are asked for."""
MASKING = "level='debug' event='Sending request' msg=MaskSecret("
"""Begins the line in which Airflow's task runner says what to mask. It masks that too, where it writes a file."""
AIRFLOW = "level='debug' "
"""Begins the lines of Airflow's task runner at DEBUG, which hold XComs, and so the link "Open video"."""
BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])


@pytest.fixture
def telling(runner: TaskRunner, sandbox: SandboxHandle) -> Iterator[TaskRunner]:
    """A runner whose key is the canary, in a process that logs all that there is."""
    sandbox.reset(clock=sandbox.clock, api_keys=({"value": KEY},))
    connection = Connection(conn_id="anyfast_default", conn_type="anyfast", host=sandbox.url, password=KEY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.support.task_log.LEVEL", logging.DEBUG)
        for logger in logging.root.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                patch.setattr(logger, "disabled", False)
                patch.setattr(logger, "propagate", True)
                patch.setattr(logger, "level", logging.DEBUG)
        _forget_levels()
        yield dataclasses.replace(runner, connections=[connection])
    _forget_levels()


def _forget_levels() -> None:
    """Lets loggers look up which levels are enabled, as ``setLevel`` does."""
    logging.root.manager._clear_cache()  # type: ignore[attr-defined]  # there is no public name for it


def silent(attempt: Attempt) -> bool:
    """Whether the log holds no form of the key and no signature, apart from what others than the provider log."""
    lines = [line for line in attempt.log_text.splitlines() if not line.startswith((*SERVERS, MASKING))]
    assert any(line.startswith("DEBUG ") for line in lines), "nothing is logged at DEBUG, so nothing is tried"
    found = [line for form in forms_of(KEY) for line in lines if form in line]
    found += [line for line in lines if SIGNATURE in line and not line.startswith(AIRFLOW)]
    assert found == []
    return True


@BOTH_WAYS
def test_a_video_with_a_file_and_the_sensor_of_it(
    telling: TaskRunner, fake_clock: FakeClock, tmp_path: Path, *, deferrable: bool
) -> None:
    video = partial(GenerateVideoOperator, task_id="video", prompt="A boat", resolution="480p", duration=4)
    saved = telling.run_to_end(partial(video, output_path=str(tmp_path / "x.mp4"), deferrable=deferrable))
    assert saved.state == "success"
    assert silent(saved)
    sensor = partial(VideoStatusSensor, task_id="sensor", generation_id=saved.result["generation_id"])
    assert silent(telling.fresh().run_to_end(partial(sensor, deferrable=deferrable)))
    assert fake_clock.now() > 0


@BOTH_WAYS
@pytest.mark.usefixtures("fake_clock")
def test_a_batch(telling: TaskRunner, tmp_path: Path, *, deferrable: bool) -> None:
    batch = partial(
        GenerateVideoBatchOperator,
        task_id="batch",
        rows=[{"name": "boat"}, {"name": "pier"}],
        template={
            "prompt": "{{ row.name }}",
            "resolution": "480p",
            "duration": 4,
            "output_path": f"{tmp_path}/{{{{ row.name }}}}.mp4",
        },
        manifest_path=str(tmp_path / "manifest.jsonl"),
        deferrable=deferrable,
    )
    attempt = telling.run_to_end(batch)
    assert attempt.result["succeeded"] == 2
    assert silent(attempt)


@pytest.mark.parametrize("upload", ["data_uri", "multipart"])
@pytest.mark.usefixtures("fake_clock")
def test_an_asset(telling: TaskRunner, tmp_path: Path, upload: str) -> None:
    file = tmp_path / "lamp.png"
    file.write_bytes(picture())
    group = telling.fresh().attempt(partial(CreateAssetGroupOperator, task_id="group", name="lamps"))
    assert silent(group)
    asset = partial(CreateAssetOperator, task_id="asset", group_id=group.result, file=str(file), deferrable=True)
    attempt = telling.fresh().run_to_end(partial(asset, upload=upload))
    assert attempt.result, attempt.log_text
    assert silent(attempt)
    assert base64.b64encode(picture()).decode()[:100] not in attempt.log_text


@pytest.mark.usefixtures("fake_clock")
def test_a_refused_key(telling: TaskRunner, sandbox: SandboxHandle) -> None:
    sandbox.fault("unauthorized")
    video = partial(GenerateVideoOperator, task_id="video", prompt="A boat", resolution="480p", duration=4)
    attempt = telling.run_to_end(video)
    assert attempt.state == "failed"
    assert silent(attempt)


@pytest.mark.usefixtures("fake_clock")
def test_a_triggerer_that_asks_over_http_2(telling: TaskRunner, sandbox: SandboxHandle) -> None:
    video = partial(
        GenerateVideoOperator, task_id="video", prompt="A boat", resolution="480p", duration=4, deferrable=True
    )
    telling.attempt(video, run_trigger=False)
    connection = telling.metadata.connections["anyfast_default"]
    asked: list[str] = []

    async def answer(stream: Stream) -> None:
        asked.append(stream.path)
        connection.host, connection.extra = sandbox.url, None  # the worker's requests are no HTTP/2
        stream.headers()
        stream.data(b'{"data": {"status": "SUCCESS"}}', last=True)

    with http2_server_in_thread(answer) as url:
        connection.host, connection.extra = url, '{"verify": false}'
        attempt = telling.resume(video)
    assert attempt.state == "success"
    assert attempt.xcoms["generation_id"] in asked[0]
    assert silent(attempt)
