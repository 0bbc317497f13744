"""Object storage and local files through a team's own connection: uploads and saved videos."""

from __future__ import annotations

import io
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any

import av
import pytest
from aiobotocore.client import AioBaseClient
from airflow.sdk import Asset, AssetAlias
from PIL import Image

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client import endpoints, errors
from airflow_provider_anyfast.files.paths import files_in, stored_file
from airflow_provider_anyfast.operators.asset import CreateAssetGroupOperator, CreateAssetOperator
from airflow_provider_anyfast.operators.video import DownloadVideoOperator, GenerateVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.s3 import S3
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")


def video(**parameters: Any) -> Callable[[], GenerateVideoOperator]:
    given = {"task_id": "video", "prompt": "A boat", "resolution": "480p", "duration": 4, "retries": 2}
    return partial(GenerateVideoOperator, **{**given, **parameters})


def picture(side: int = 400) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (side, side), "orange").save(content, "PNG")
    return content.getvalue()


def frames_of(content: bytes) -> int:
    with av.open(io.BytesIO(content)) as container:
        return int(container.streams.video[0].frames)


# Saving.


@pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])
def test_a_video_and_its_last_frame_are_saved_in_object_storage(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3, *, deferrable: bool
) -> None:
    make = video(output_path=s3.path("new/{generation_id}.mp4"), return_last_frame=True, deferrable=deferrable)
    attempt = s3_runner.attempt(make)
    assert attempt.state == "success", attempt.log_text
    id_ = attempt.result["generation_id"]
    assert s3.keys() == [f"new/{id_}.last_frame.png", f"new/{id_}.mp4"]
    assert frames_of(s3.get(f"new/{id_}.mp4")) == 96
    assert Image.open(io.BytesIO(s3.get(f"new/{id_}.last_frame.png"))).format == "PNG"
    assert attempt.result["path"] == s3.path(f"new/{id_}.mp4")
    assert attempt.result["last_frame_path"] == s3.path(f"new/{id_}.last_frame.png")
    assert sandbox.billed.generations == 1


def test_a_last_frame_is_saved_in_the_folder_of_a_local_video(runner: TaskRunner, tmp_path: Path) -> None:
    result = runner.attempt(video(output_path=str(tmp_path / "boat.mp4"), return_last_frame=True)).result
    assert sorted(file.name for file in tmp_path.iterdir()) == ["boat.last_frame.png", "boat.mp4"]
    assert result["last_frame_path"] == str(tmp_path / "boat.last_frame.png")


@pytest.mark.parametrize(
    ("path", "phrases"),
    [
        ("s3://s3@nowhere/x.mp4", ("no bucket 'nowhere'",)),
        ("s3://s3@videos/", ("is a folder",)),
        ("/tmp/videos-of-this-test/", ("is a folder", "add a file name")),
        ("file://videos/x.mp4", ("the host 'videos'", "file:///videos/x.mp4")),
        ("gs://videos/x.mp4", ("gs", "-google")),
        ("teleport://videos/x.mp4", ("teleport",)),
    ],
)
def test_a_path_that_can_never_be_written_is_detected_before_anything_is_billed(
    s3_runner: TaskRunner, sandbox: SandboxHandle, path: str, phrases: tuple[str, ...]
) -> None:
    attempt = s3_runner.attempt(video(output_path=path))
    assert attempt.state == "failed"
    assert isinstance(attempt.error, exceptions.InvalidRequestError)
    assert all(phrase in str(attempt.error) for phrase in (*phrases, "Nothing was"))
    assert sandbox.requests() == []


def test_a_worker_without_a_temporary_folder_is_detected_before_anything_is_billed(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not mounted"))
    attempt = s3_runner.attempt(video(output_path=s3.path("x.mp4")))
    assert attempt.state == "up_for_retry", "the next attempt may be on another worker"
    assert isinstance(attempt.error, exceptions.StorageError)
    assert "no writable temporary folder" in str(attempt.error)
    assert sandbox.requests() == []


def test_temporarily_unavailable_storage_costs_only_a_retry(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = AioBaseClient._make_api_call

    async def away(client: Any, operation: str, given: Any) -> Any:
        if operation == "PutObject":
            raise OSError("503 Slow Down")
        return await call(client, operation, given)

    make = video(output_path=s3.path("x.mp4"))
    with monkeypatch.context() as patch:
        patch.setattr(AioBaseClient, "_make_api_call", away)
        first = s3_runner.attempt(make)
    assert first.state == "up_for_retry"
    assert isinstance(first.error, exceptions.StorageError)
    assert "503 Slow Down" in str(first.error)
    assert s3.keys() == []
    assert s3_runner.retry(make).state == "success"
    assert frames_of(s3.get("x.mp4")) == 96
    assert sandbox.billed.generations == 1


def test_a_broken_download_leaves_nothing_in_the_bucket(s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3) -> None:
    sandbox.fault("truncate_download", times=20)
    assert isinstance(s3_runner.attempt(video(output_path=s3.path("x.mp4"))).error, exceptions.DownloadError)
    assert s3.keys() == []


# Existing files.


def place(kind: str, s3: S3, folder: Path) -> str:
    return s3.path("boat.mp4") if kind == "s3" else str(folder / "boat.mp4")


def content_of(path: str) -> bytes:
    with stored_file(path).local_copy() as local:
        return bytes(local.read_bytes())


@pytest.mark.parametrize("kind", ["s3", "local"])
def test_a_complete_existing_video_is_kept_and_no_new_one_is_billed(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3, tmp_path: Path, kind: str
) -> None:
    path = place(kind, s3, tmp_path)
    s3_runner.attempt(video(output_path=path))
    again = s3_runner.fresh().attempt(video(output_path=path, prompt="Another boat", overwrite=False))
    assert again.state == "success", again.log_text
    assert (again.result["path"], again.result["generation_id"]) == (path, None)
    assert sandbox.billed.generations == 1


@pytest.mark.parametrize("kind", ["s3", "local"])
def test_a_broken_existing_video_is_replaced(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3, tmp_path: Path, kind: str
) -> None:
    path = place(kind, s3, tmp_path)
    s3_runner.attempt(video(output_path=path))
    half = content_of(path)[:-1000]
    stored_file(path).write_atomically(lambda local: local.write_bytes(half))
    assert s3_runner.fresh().attempt(video(output_path=path, overwrite=False)).result["generation_id"]
    assert frames_of(content_of(path)) == 96
    assert sandbox.billed.generations == 2


def test_a_retry_after_the_download_keeps_the_file_and_returns_the_full_result(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = video(output_path=str(tmp_path / "boat.mp4"), overwrite=False)
    points = runner.fresh().attempt(make).crash_points
    (tmp_path / "boat.mp4").unlink()
    sandbox.reset(clock=sandbox.clock)
    runner.attempt(make, crash_at=next(point for point in points if point.name == "xcom set video.return_value"))
    assert (tmp_path / "boat.mp4").exists()
    again = runner.run_to_end(make)
    assert again.state == "success", again.log_text
    assert again.result["generation_id"] == sandbox.account().generations[0].id
    assert len(sandbox.requests("download")) == 1
    assert sandbox.billed.generations == 1


def test_a_download_without_overwrite_downloads_nothing_twice(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3, fake_clock: Any
) -> None:
    id_ = s3_runner.attempt(video(wait_for_completion=False)).result["generation_id"]
    fake_clock.advance(60)
    make = partial(
        DownloadVideoOperator, task_id="save", generation_id=id_, output_path=s3.path("x.mp4"), overwrite=False
    )
    for _ in range(2):
        assert s3_runner.fresh().attempt(make).result["path"] == s3.path("x.mp4")
    assert len(sandbox.requests("download")) == 1


# Uploads.


@pytest.fixture
def group(runner: TaskRunner) -> str:
    return str(runner.fresh().attempt(partial(CreateAssetGroupOperator, task_id="g", name="g")).result)


@pytest.mark.parametrize("upload", ["auto", "data_uri", "multipart"])
def test_a_stored_picture_becomes_an_asset_that_is_billed_once(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3, group: str, upload: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms: list[bool] = []
    create = endpoints.create_asset

    def watched(*, upload: Any = None, **fields: Any) -> Any:
        forms.append(upload is not None)
        return create(upload=upload, **fields)

    monkeypatch.setattr(endpoints, "create_asset", watched)
    file = s3.put("in/lamp.png", picture())
    make = partial(CreateAssetOperator, task_id="asset", group_id=group, file=file, upload=upload)
    first = s3_runner.attempt(make)
    assert first.state == "success", first.log_text
    assert s3_runner.fresh().attempt(make).result == first.result
    (asset,) = sandbox.account().assets
    assert (asset.id, asset.status, asset.name.split("-")[0]) == (first.result, "Active", "lamp")
    assert sandbox.billed.assets == 1
    assert forms == [upload == "multipart"]


@pytest.mark.parametrize("key", ["nothing.png", "small.png", "large.mp4"])
def test_a_file_that_anyfast_would_refuse_is_never_uploaded(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3, key: str
) -> None:
    s3.put("small.png", picture(299))
    s3.put("large.mp4", bytes(200 * 1024**2 + 1))
    phrase = {"nothing.png": "does not exist", "small.png": "299 pixels", "large.mp4": "209,715,201 bytes"}[key]
    attempt = s3_runner.attempt(partial(CreateAssetOperator, task_id="a", group_id="group-1", file=s3.path(key)))
    assert attempt.state == "failed"
    assert phrase in str(attempt.error)
    assert s3.path(key) in str(attempt.error)
    assert sandbox.requests() == []


def test_a_folder_and_a_pattern_name_their_files_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    assert files_in(str(tmp_path)) == [str(tmp_path / name) for name in ("a.png", "b.png", "c.txt")]
    assert files_in(f"{tmp_path}/*.png") == [str(tmp_path / name) for name in ("a.png", "b.png")]
    assert files_in(f"{tmp_path}/c.txt") == [str(tmp_path / "c.txt")]


@pytest.mark.parametrize("place", ["", "/nothing-*.png", "/nowhere"])
def test_a_folder_without_files_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(errors.InvalidRequestError, match="there is no file"):
        files_in(f"{tmp_path}{place}")


# Lineage.


def test_outlets_get_the_uri_and_facts_of_the_file_but_no_link(s3_runner: TaskRunner, s3: S3) -> None:
    outlets = [Asset("videos"), AssetAlias("all-videos")]
    attempt = s3_runner.attempt(video(output_path=s3.path("{generation_id}.mp4"), outlets=outlets, deferrable=True))
    assert attempt.state == "success", attempt.log_text
    id_ = attempt.result["generation_id"]
    events = attempt.outlet_report.events if attempt.outlet_report else []
    of_asset = next(event for event in events if "source_alias_name" not in event)
    of_alias = next(event for event in events if "source_alias_name" in event)
    for event in (of_asset, of_alias):
        assert event["extra"]["uri"] == f"s3://videos/{id_}.mp4"
        assert event["extra"]["usage"] == attempt.result["usage"]
        assert "signature" not in str(event).lower()
    assert of_alias["dest_asset_key"]["uri"] == f"s3://videos/{id_}.mp4"


def test_lineage_names_the_references_and_the_file(s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3) -> None:
    file = s3.put("in/lamp.png", picture())
    group = s3_runner.fresh().attempt(partial(CreateAssetGroupOperator, task_id="g", name="g")).result
    asset = s3_runner.fresh().attempt(partial(CreateAssetOperator, task_id="a", group_id=group, file=file)).result
    links = ["https://example.com/cat.png?X-Amz-Signature=secret", "https://me:secret@example.com/dog.png#secret"]
    make = video(output_path=s3.path("x.mp4"), reference_images=[asset, *links, file], asset_group=group)
    attempt = s3_runner.attempt(make)
    assert isinstance(attempt.task, GenerateVideoOperator), attempt.log_text
    lineage = attempt.task.get_openlineage_facets_on_complete(None)
    host = sandbox.url.removeprefix("http://")
    assert [(part.namespace, part.name) for part in lineage.inputs] == [
        (f"anyfast://{host}", asset),
        ("https://example.com", "cat.png"),
        ("https://example.com", "dog.png"),
        ("s3://videos", "in/lamp.png"),
    ]
    assert "secret" not in str(lineage)
    assert [(part.namespace, part.name) for part in lineage.outputs] == [("s3://videos", "x.mp4")]


def test_the_lineage_of_a_download_leads_from_the_generation_to_the_file(
    runner: TaskRunner, tmp_path: Path, fake_clock: Any
) -> None:
    id_ = runner.fresh().attempt(video(wait_for_completion=False)).result["generation_id"]
    fake_clock.advance(60)
    path = tmp_path / "x.mp4"
    attempt = runner.attempt(
        partial(DownloadVideoOperator, task_id="save", generation_id=id_, output_path=str(path), outlets=[Asset("f")])
    )
    assert isinstance(attempt.task, DownloadVideoOperator), attempt.log_text
    lineage = attempt.task.get_openlineage_facets_on_complete(None)
    assert [part.name for part in lineage.inputs] == [id_]
    assert [(part.namespace, part.name) for part in lineage.outputs] == [("file", str(path))]
    assert attempt.outlet_report
    assert attempt.outlet_report.events[0]["extra"]["generation_id"] == id_
