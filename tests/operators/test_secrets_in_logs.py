"""With every logger of the process at DEBUG, no task logs the key or a signed link, in any form."""

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
"""Start the lines of servers in this process: header blocks and requested links."""
MASKING = "level='debug' event='Sending request' msg=MaskSecret("
"""Starts the line in which Airflow's task runner says what to mask. When it writes a file, it masks that line too."""
AIRFLOW = "level='debug' "
"""Starts the lines of Airflow's task runner at DEBUG that contain XComs, and so the link "Open video"."""
BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])


@pytest.fixture
def verbose_runner(runner: TaskRunner, sandbox: SandboxHandle) -> Iterator[TaskRunner]:
    """A runner whose key is the canary, in a process that logs everything."""
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
    """Makes loggers look up again which levels are enabled, as ``setLevel`` does."""
    logging.root.manager._clear_cache()  # type: ignore[attr-defined]  # there is no public name for it


def leaks_nothing(attempt: Attempt) -> bool:
    """Whether the log contains no form of the key and no signature, apart from lines that are not the provider's."""
    lines = [line for line in attempt.log_text.splitlines() if not line.startswith((*SERVERS, MASKING))]
    assert any(line.startswith("DEBUG ") for line in lines), "nothing is logged at DEBUG, so nothing is tried"
    found = [line for form in forms_of(KEY) for line in lines if form in line]
    found += [line for line in lines if SIGNATURE in line and not line.startswith(AIRFLOW)]
    assert found == []
    return True


@BOTH_WAYS
def test_a_video_with_a_file_and_the_sensor_of_it(
    verbose_runner: TaskRunner, fake_clock: FakeClock, tmp_path: Path, *, deferrable: bool
) -> None:
    video = partial(GenerateVideoOperator, task_id="video", prompt="A boat", resolution="480p", duration=4)
    saved = verbose_runner.run_to_end(partial(video, output_path=str(tmp_path / "x.mp4"), deferrable=deferrable))
    assert saved.state == "success"
    assert leaks_nothing(saved)
    sensor = partial(VideoStatusSensor, task_id="sensor", generation_id=saved.result["generation_id"])
    assert leaks_nothing(verbose_runner.fresh().run_to_end(partial(sensor, deferrable=deferrable)))
    assert fake_clock.now() > 0


@BOTH_WAYS
@pytest.mark.usefixtures("fake_clock")
def test_a_batch(verbose_runner: TaskRunner, tmp_path: Path, *, deferrable: bool) -> None:
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
    attempt = verbose_runner.run_to_end(batch)
    assert attempt.result["succeeded"] == 2
    assert leaks_nothing(attempt)


@pytest.mark.parametrize("upload", ["data_uri", "multipart"])
@pytest.mark.usefixtures("fake_clock")
def test_an_asset(verbose_runner: TaskRunner, tmp_path: Path, upload: str) -> None:
    file = tmp_path / "lamp.png"
    file.write_bytes(picture())
    group = verbose_runner.fresh().attempt(partial(CreateAssetGroupOperator, task_id="group", name="lamps"))
    assert leaks_nothing(group)
    asset = partial(CreateAssetOperator, task_id="asset", group_id=group.result, file=str(file), deferrable=True)
    attempt = verbose_runner.fresh().run_to_end(partial(asset, upload=upload))
    assert attempt.result, attempt.log_text
    assert leaks_nothing(attempt)
    assert base64.b64encode(picture()).decode()[:100] not in attempt.log_text


@pytest.mark.usefixtures("fake_clock")
def test_a_refused_key(verbose_runner: TaskRunner, sandbox: SandboxHandle) -> None:
    sandbox.fault("unauthorized")
    video = partial(GenerateVideoOperator, task_id="video", prompt="A boat", resolution="480p", duration=4)
    attempt = verbose_runner.run_to_end(video)
    assert attempt.state == "failed"
    assert leaks_nothing(attempt)


@pytest.mark.usefixtures("fake_clock")
def test_a_triggerer_that_polls_over_http_2(verbose_runner: TaskRunner, sandbox: SandboxHandle) -> None:
    video = partial(
        GenerateVideoOperator, task_id="video", prompt="A boat", resolution="480p", duration=4, deferrable=True
    )
    verbose_runner.attempt(video, run_trigger=False)
    connection = verbose_runner.metadata.connections["anyfast_default"]
    requested: list[str] = []

    async def answer(stream: Stream) -> None:
        requested.append(stream.path)
        connection.host, connection.extra = sandbox.url, None  # the worker's requests do not use HTTP/2
        stream.headers()
        stream.data(b'{"data": {"status": "SUCCESS"}}', last=True)

    with http2_server_in_thread(answer) as url:
        connection.host, connection.extra = url, '{"verify": false}'
        attempt = verbose_runner.resume(video)
    assert attempt.state == "success"
    assert attempt.xcoms["generation_id"] in requested[0]
    assert leaks_nothing(attempt)
