"""DownloadVideoOperator under the real task runner against the sandbox."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import av
import pytest

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.operators.video import DownloadVideoOperator, GenerateVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner


def submit(runner: TaskRunner) -> str:
    make = partial(
        GenerateVideoOperator,
        task_id="submit",
        prompt="A boat",
        resolution="480p",
        duration=4,
        wait_for_completion=False,
    )
    return str(runner.fresh().attempt(make).result["generation_id"])


@pytest.fixture
def generation_id(runner: TaskRunner) -> str:
    return submit(runner)


def download(generation_id: str, path: Path, **parameters: Any) -> Callable[[], DownloadVideoOperator]:
    return partial(
        DownloadVideoOperator, task_id="save", generation_id=generation_id, output_path=str(path), **parameters
    )


def test_a_finished_video_is_downloaded_and_not_billed(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, generation_id: str, tmp_path: Path
) -> None:
    fake_clock.advance(60)
    attempt = runner.attempt(download(generation_id, tmp_path / "a" / "{generation_id}.mp4"))
    assert attempt.state == "success", attempt.log_text
    with av.open(attempt.result["path"]) as container:
        assert container.streams.video[0].frames == 96
    assert re.fullmatch(r"/anyfast/dags/.+/runs/.+/\?task_id=.+&map_index=-1", attempt.links["_link_AnyFastVideoLink"])
    assert sandbox.billed.generations == 1


def test_a_download_of_a_video_that_is_still_rendering_is_retried(
    runner: TaskRunner, fake_clock: FakeClock, generation_id: str, tmp_path: Path
) -> None:
    make = download(generation_id, tmp_path / "x.mp4", retries=1)
    first = runner.attempt(make)
    assert first.state == "up_for_retry"
    assert "VideoStatusSensor" in str(first.error)
    fake_clock.advance(60)
    assert runner.retry(make).state == "success"


def test_a_failed_generation_has_nothing_to_download(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, tmp_path: Path
) -> None:
    sandbox.fault("fail_generation", reason="internal error", code="InternalServiceError")
    failing = submit(runner)
    fake_clock.advance(60)
    attempt = runner.attempt(download(failing, tmp_path / "x.mp4"))
    assert isinstance(attempt.error, exceptions.GenerationFailedError)
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_is_older_than_a_day_fails_with_link_expired(
    runner: TaskRunner, fake_clock: FakeClock, generation_id: str, tmp_path: Path
) -> None:
    fake_clock.advance(25 * 3600)
    attempt = runner.attempt(download(generation_id, tmp_path / "x.mp4", retries=1))
    assert attempt.state == "failed"
    assert isinstance(attempt.error, exceptions.LinkExpiredError)


def test_an_unknown_scheme_is_refused_before_any_request(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, generation_id: str
) -> None:
    attempt = runner.attempt(
        partial(DownloadVideoOperator, task_id="x", generation_id=generation_id, output_path="ftp://a/b")
    )
    assert isinstance(attempt.error, exceptions.InvalidRequestError)
    assert "ftp://" in str(attempt.error)
    assert sandbox.requests("query") == []
