"""Facts measured in the file of a video, its poster, and warnings if it differs from the request."""

from __future__ import annotations

import io
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client.errors import InvalidRequestError, StorageError
from airflow_provider_anyfast.files import video_output
from airflow_provider_anyfast.files.local_file import LocalFile
from airflow_provider_anyfast.media import finished
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.video import DownloadVideoOperator, GenerateVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.clock import FakeClock
    from tests.support.s3 import S3
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

MEASURED = ("width", "height", "seconds", "frame_rate", "has_sound")
AS_REQUESTED = (864, 496, 4.0, 24.0, True)
REQUESTED = {"resolution": "480p", "ratio": "16:9", "duration": 4, "generate_audio": True}
WARNINGS = {
    "short_video": "The video lasts 2 s, but 4 s were requested.",
    "turned_video": "The video is 496 x 864 pixels, but 16:9 at 480p was requested.",
    "silent_video": "The video has no sound, although generate_audio=True requested it.",
}


def video(path: Path | str, **parameters: Any) -> Callable[[], GenerateVideoOperator]:
    given = {"task_id": "video", "prompt": "A boat", **REQUESTED, "output_path": f"{path}/boat.mp4", "retries": 1}
    return partial(GenerateVideoOperator, **{**given, **parameters})


def batch(folder: Path | str, **parameters: Any) -> Callable[[], GenerateVideoBatchOperator]:
    given = {
        "task_id": "batch",
        "rows": [{"sku": f"B-{number}"} for number in range(3)],
        "template": {
            "prompt": "A film about {{ row.sku }}",
            "output_path": f"{folder}/{{{{ row.sku }}}}.mp4",
            **REQUESTED,
        },
        "manifest_path": f"{folder}/manifest.jsonl",
        "report_path": f"{folder}/report.html",
        "save_poster": True,
        "retries": 1,
        "deferrable": True,
    }
    return partial(GenerateVideoBatchOperator, **{**given, **parameters})


def measured(result: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(result[name] for name in MEASURED)


def lines(text: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox, which runs in this process too, keeps its PyAV."""

    def missing(_file: object) -> Any:
        raise ModuleNotFoundError("No module named 'av'", name="av")

    monkeypatch.setattr(video_output, "opened_video", missing)
    monkeypatch.setattr(finished, "find_spec", lambda _name: None)


# One video.


def test_a_saved_video_has_its_facts_and_with_save_poster_a_poster(runner: TaskRunner, tmp_path: Path) -> None:
    attempt = runner.attempt(video(tmp_path, save_poster=True, deferrable=True))
    assert attempt.state == "success", attempt.log_text
    assert measured(attempt.result) == AS_REQUESTED
    assert attempt.result["warnings"] == []
    assert attempt.xcoms["poster_path"] == attempt.result["poster_path"] == f"{tmp_path}/boat.poster.jpg"
    with Image.open(attempt.result["poster_path"]) as poster:
        assert (poster.format, poster.size) == ("JPEG", (864, 496))


def test_facts_are_measured_without_a_poster_too(runner: TaskRunner, tmp_path: Path) -> None:
    result = runner.attempt(video(tmp_path)).result
    assert measured(result) == AS_REQUESTED
    assert result["poster_path"] is None
    assert [file.name for file in tmp_path.iterdir()] == ["boat.mp4"]


@pytest.mark.parametrize("fault", WARNINGS)
def test_a_video_that_differs_from_the_request_is_kept_with_a_warning(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fault: str
) -> None:
    sandbox.fault(fault)
    attempt = runner.attempt(video(tmp_path))
    assert attempt.state == "success"
    assert attempt.result["warnings"] == [WARNINGS[fault]]
    assert f"Generation {attempt.result['generation_id']}: {WARNINGS[fault]}" in attempt.log_text


def test_a_video_in_object_storage_has_facts_and_a_poster_when_saved_and_when_kept(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3
) -> None:
    result = s3_runner.attempt(video(s3.path("new"))).result
    assert measured(result) == AS_REQUESTED
    assert s3.keys() == ["new/boat.mp4"]
    kept = s3_runner.fresh().attempt(video(s3.path("new"), overwrite=False, save_poster=True)).result
    assert (measured(kept), kept["generation_id"]) == (AS_REQUESTED, None)
    assert kept["poster_path"] == s3.path("new/boat.poster.jpg")
    assert Image.open(io.BytesIO(s3.get("new/boat.poster.jpg"))).size == (864, 496)
    assert sandbox.billed.generations == 1


def test_an_existing_poster_is_not_made_again(
    runner: TaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.attempt(video(tmp_path, save_poster=True))
    monkeypatch.delattr(finished.OpenedVideo, "poster")
    kept = runner.fresh().attempt(video(tmp_path, save_poster=True, overwrite=False))
    assert kept.result["poster_path"] == f"{tmp_path}/boat.poster.jpg"
    assert "Could not" not in kept.log_text


def test_a_download_has_the_facts_and_the_poster_of_a_video_that_another_task_submitted(
    runner: TaskRunner, fake_clock: FakeClock, tmp_path: Path
) -> None:
    submitted = runner.attempt(video(tmp_path, wait_for_completion=False)).result
    assert measured(submitted) == (None,) * 5
    fake_clock.advance(60)
    make = partial(
        DownloadVideoOperator,
        task_id="save",
        generation_id=submitted["generation_id"],
        output_path=tmp_path / "x.mp4",
        save_poster=True,
    )
    result = runner.fresh().attempt(make).result
    assert (measured(result), result["warnings"]) == (AS_REQUESTED, [])
    assert result["poster_path"] == f"{tmp_path}/x.poster.jpg"


# What must not happen: a video that is paid for is lost, or paid for again.


def test_without_the_extra_a_video_is_saved_without_facts(
    runner: TaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_extra(monkeypatch)
    attempt = runner.attempt(video(tmp_path))
    assert attempt.state == "success"
    assert measured(attempt.result) == (None,) * 5
    assert "Could not" not in attempt.log_text


@pytest.mark.parametrize("make", [video, batch])
def test_a_poster_that_cannot_be_made_here_is_found_before_anything_is_billed(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    without_extra(monkeypatch)
    attempt = runner.attempt(make(tmp_path, save_poster=True))
    assert isinstance(attempt.error, exceptions.InvalidRequestError)
    assert "airflow-provider-anyfast[media]" in str(attempt.error)
    assert sandbox.billed.generations == 0


def test_a_worker_that_cannot_make_a_poster_saves_what_another_has_paid_for(
    runner: TaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = video(tmp_path, save_poster=True, deferrable=True)
    runner.attempt(make, run_trigger=False)
    without_extra(monkeypatch)
    attempt = runner.resume(make)
    assert attempt.state == "success", attempt.log_text
    assert attempt.result["poster_path"] is None
    assert "Could not inspect" in attempt.log_text


@pytest.mark.parametrize("broken", ["facts", "poster", "storage"])
def test_an_error_while_measuring_or_making_a_poster_fails_no_task_whose_video_is_saved(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object) -> Any:
        raise StorageError("The disk is full.") if broken == "storage" else MemoryError("no room")

    if broken == "storage":
        monkeypatch.setattr(LocalFile, "write_bytes", fail)
    else:
        monkeypatch.setattr(finished.OpenedVideo, broken, fail)
    attempt = runner.attempt(video(tmp_path, save_poster=True))
    assert attempt.state == "success", attempt.log_text
    assert measured(attempt.result) == ((None,) * 5 if broken == "facts" else AS_REQUESTED)
    assert attempt.result["poster_path"] is None
    assert "Could not" in attempt.log_text
    assert [file.name for file in tmp_path.iterdir()] == ["boat.mp4"]
    assert sandbox.billed.generations == 1


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (GenerateVideoOperator, {"prompt": "A boat"}),
        (GenerateVideoBatchOperator, {"rows": [{"a": 1}], "template": {"prompt": "A"}, "manifest_path": "m.jsonl"}),
    ],
)
def test_a_poster_without_an_output_path_is_refused_while_the_dag_is_parsed(kind: Any, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="save_poster=True needs"):
        kind(task_id="video", save_poster=True, **given)


# Many.


def test_a_batch_has_facts_posters_and_warnings_in_its_manifest_its_log_and_its_report(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3
) -> None:
    sandbox.fault("short_video", match="B-1")
    attempt = s3_runner.attempt(batch(s3.path("out")))
    assert attempt.state == "success", attempt.log_text
    found = lines(s3.get("out/manifest.jsonl"))
    assert [measured(line)[:3] for line in found] == [(864, 496, 4.0), (864, 496, 2.0), (864, 496, 4.0)]
    assert [line["warnings"] for line in found] == [[], [WARNINGS["short_video"]], []]
    assert [line["poster_path"] for line in found] == [s3.path(f"out/B-{n}.poster.jpg") for n in range(3)]
    assert f"(sku B-1): {WARNINGS['short_video']}" in attempt.log_text
    page = s3.get("out/report.html").decode()
    assert 'data-poster="B-1.poster.jpg"' in page
    assert "1 not as asked for" in page
    assert f'<p class="warning">{WARNINGS["short_video"]}</p>' in page
    assert "16:9, 480p, 864 x 496 pixels, 2 s, sound" in page
    assert WARNINGS["short_video"] in s3.get("out/report.csv").decode()


def test_rows_with_existing_videos_have_facts_and_posters(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    runner.attempt(batch(tmp_path, save_poster=False))
    night = runner.fresh()
    night.metadata.run_id = "next"
    assert night.attempt(batch(tmp_path, if_exists="skip")).result["skipped"] == 3
    found = lines((tmp_path / "manifest.jsonl").read_text())
    assert [measured(line) for line in found] == [AS_REQUESTED] * 3
    assert [line["poster_path"] for line in found] == [f"{tmp_path}/B-{n}.poster.jpg" for n in range(3)]
    assert sandbox.billed.generations == 3
