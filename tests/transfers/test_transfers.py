"""Large files, killed processes, bad connections and full disks: a video is complete, or there is none."""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient
from airflow_provider_anyfast.files.paths import stored_file
from scripts.processes import wait_until
from tests.support.sandbox import running_sandbox
from tests.transfers import work
from tests.transfers.video_host import Manners, digest
from tests.transfers.work import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.s3 import S3
    from tests.transfers.conftest import Workers
    from tests.transfers.video_host import VideoHost

pytestmark = [pytest.mark.files, pytest.mark.timeout(600)]

MEGABYTE = 10**6
MEMORY = {"local": 10 * MEGABYTE, "s3": 50 * MEGABYTE}
"""Bytes by which a process may grow; s3fs holds two parts of 8 MiB, each of them twice."""
PLACES = pytest.mark.parametrize("place", ["local", "s3"])


@pytest.fixture
def output_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def target_in(place: str, output_folder: Path, s3: S3) -> str:
    return s3.path("video.mp4") if place == "s3" else str(output_folder / "video.mp4")


def stored_digest(target: str) -> str:
    with stored_file(target).local_copy() as copy:
        return digest(copy)


@pytest.fixture
def airflow_s3(s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    monkeypatch.setenv("AIRFLOW_CONN_S3", s3.connection.as_json())
    return s3


# Large files.


@PLACES
@pytest.mark.parametrize("size", [5 * MEGABYTE, 200 * MEGABYTE])
def test_memory_does_not_grow_with_the_size_of_a_download(
    workers: Workers,
    host: Callable[[int], VideoHost],
    small_video: str,
    airflow_s3: S3,
    output_folder: Path,
    scratch: Path,
    figure: Callable[[str], None],
    place: str,
    size: int,
) -> None:
    hosted, target = host(size), target_in(place, output_folder, airflow_s3)
    report = workers.start(work.save, hosted.url, small_video, target, Limits()).report()
    figure(told(f"{size // MEGABYTE} MB saved, {place}", size, report))
    assert (report.error, report.result) == ("", target)
    assert stored_digest(target) == digest(hosted.video)
    assert hosted.sent == size
    assert report.memory < MEMORY[place]
    assert list(scratch.iterdir()) == []


@PLACES
@pytest.mark.parametrize("size", [5 * MEGABYTE, 200 * MEGABYTE])
def test_memory_does_not_grow_with_the_size_of_an_upload(
    workers: Workers,
    sized_video: Callable[[int], Path],
    airflow_s3: S3,
    figure: Callable[[str], None],
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    size: int,
) -> None:
    # AnyFast's gateway and the sandbox accept 128 MiB at a time; the library accepts videos of 200 MiB.
    monkeypatch.setattr("airflow_provider_anyfast.sandbox.api.routing._LARGEST_BODY", 300 * MEGABYTE)
    files = [sized_video(1_000_000), sized_video(size)]
    if place == "s3":
        names = [f"{path.stat().st_size}.mp4" for path in files]
        for name, path in zip(names, files, strict=True):
            airflow_s3.put(name, path.read_bytes())
        sources = [airflow_s3.path(name) for name in names]
    else:
        sources = [str(path) for path in files]
    with running_sandbox() as sandbox:
        group = create_group(sandbox.url, sandbox.api_key)
        report = workers.start(work.send_up, sandbox.url, sandbox.api_key, group, sources).report()
        assert report.error == ""
        assert [asset.id for asset in sandbox.account().assets][-1] == report.result
        assert sandbox.billed.assets == 2
    figure(told(f"{size // MEGABYTE} MB up, {place}", size, report))
    assert report.memory < MEMORY["local"]
    assert list(scratch.iterdir()) == []


def create_group(url: str, key: str) -> str:
    with AnyFastClient(Settings(key, url)) as client:
        return client.send(endpoints.create_asset_group("videos"))


def told(what: str, size: int, report: work.Report) -> str:
    rate = size / MEGABYTE / report.seconds
    return f"{what:<20}{report.memory / MEGABYTE:7.1f} MB over base {report.seconds:7.2f} s {rate:7.0f} MB/s"


# Killed processes.


@pytest.mark.parametrize(("place", "kills", "longest"), [("local", 20, 0.6), ("s3", 12, 1.0)])
def test_a_process_killed_at_any_moment_leaves_nothing_partial_and_the_next_run_saves_the_video(
    workers: Workers,
    host: Callable[[int], VideoHost],
    small_video: str,
    airflow_s3: S3,
    output_folder: Path,
    scratch: Path,
    figure: Callable[[str], None],
    place: str,
    kills: int,
    longest: float,
) -> None:
    hosted, target = host(20 * MEGABYTE), target_in(place, output_folder, airflow_s3)
    whole = digest(hosted.video)
    hosted.usual = Manners(rate=40 * MEGABYTE)  # half a second
    chance = random.Random(4)
    killed_on_the_way = 0
    for _ in range(kills):
        worker = workers.start(work.save, hosted.url, small_video, target, Limits())
        end = time.monotonic() + chance.uniform(0, longest)
        while time.monotonic() < end:
            worker.process.join(0.01)
            assert sizes_of(target) in ([], [hosted.size]), "something partial has been seen"
        worker.process.kill()
        worker.process.join()
        assert sizes_of(target) in ([], [hosted.size])
        killed_on_the_way += not sizes_of(target)
        assert len(leftovers(output_folder, scratch)) <= (1 if place == "local" else kills), "nothing is swept away"
        remove(target, airflow_s3)
    assert killed_on_the_way >= kills / 2
    hosted.usual = Manners(rate=MEGABYTE)  # so slow that it certainly is on the way when it is killed
    worker = workers.start(work.save, hosted.url, small_video, target, Limits())
    wait_until(lambda: leftovers(output_folder, scratch), "an incomplete file", seconds=60, pause=0.01)
    worker.process.kill()
    worker.process.join()
    assert leftovers(output_folder, scratch)
    for folder in scratch.glob("airflow-anyfast-*"):
        os.utime(folder, (0, 0))  # a minute later

    hosted.usual = Manners()
    report = workers.start(work.save, hosted.url, small_video, target, Limits()).report()
    assert (report.error, stored_digest(target)) == ("", whole)
    assert leftovers(output_folder, scratch) == []
    figure(f"{kills} kills, {place}: {killed_on_the_way} on the way, none with a partial file")


def sizes_of(target: str) -> list[int]:
    """Of the target, if it exists."""
    size = stored_file(target).size()
    return [] if size is None else [size]


def leftovers(output_folder: Path, scratch: Path) -> list[str]:
    return [
        path.name
        for folder in (output_folder, scratch)
        for path in folder.iterdir()
        if path.name.startswith((".video.mp4.", "airflow-anyfast-"))
    ]


def remove(target: str, s3: S3) -> None:
    if target.startswith("s3://"):
        s3.empty()
    else:
        Path(target).unlink(missing_ok=True)


# Bad connections.


@PLACES
def test_a_connection_that_breaks_repeatedly_transfers_no_byte_twice(
    workers: Workers,
    host: Callable[[int], VideoHost],
    small_video: str,
    airflow_s3: S3,
    output_folder: Path,
    place: str,
) -> None:
    hosted, target = host(8 * MEGABYTE), target_in(place, output_folder, airflow_s3)
    hosted.manners = [Manners(stops_after=3 * MEGABYTE), Manners(stops_after=2 * MEGABYTE)]
    report = workers.start(work.save, hosted.url, small_video, target, Limits()).report()
    assert (report.error, stored_digest(target)) == ("", digest(hosted.video))
    assert hosted.ranges == ["", "bytes=3000000-", "bytes=5000000-"]
    assert hosted.sent == hosted.size


def test_a_silent_connection_is_closed_and_the_rest_is_requested(
    workers: Workers, host: Callable[[int], VideoHost], small_video: str, output_folder: Path
) -> None:
    hosted, target = host(8 * MEGABYTE), output_folder / "video.mp4"
    hosted.manners = [Manners(stops_after=5 * MEGABYTE, silent=True)]
    report = workers.start(work.save, hosted.url, small_video, str(target), Limits(timeout=1)).report()
    assert (report.error, digest(target)) == ("", digest(hosted.video))
    assert hosted.ranges == ["", "bytes=5000000-"]
    assert hosted.sent == hosted.size
    assert 1 < report.seconds < 25


def test_a_slow_connection_is_not_aborted(
    workers: Workers, host: Callable[[int], VideoHost], small_video: str, output_folder: Path
) -> None:
    hosted, target = host(2 * MEGABYTE), output_folder / "video.mp4"
    hosted.usual = Manners(rate=0.7 * MEGABYTE)
    report = workers.start(work.save, hosted.url, small_video, str(target), Limits(timeout=2)).report()
    assert (report.error, digest(target)) == ("", digest(hosted.video))
    assert hosted.ranges == [""]
    assert report.seconds > 2


def test_a_connection_without_progress_is_given_up_and_leaves_no_file(
    workers: Workers,
    host: Callable[[int], VideoHost],
    small_video: str,
    airflow_s3: S3,
    output_folder: Path,
    scratch: Path,
) -> None:
    hosted, target = host(8 * MEGABYTE), airflow_s3.path("video.mp4")
    hosted.usual = Manners(stops_after=0)
    report = workers.start(work.save, hosted.url, small_video, target, Limits()).report()
    assert report.error.startswith("DownloadError: ")
    assert "without a new submission" in report.error
    assert "ab12" not in report.error
    assert len(hosted.ranges) == 4
    assert sizes_of(target) == []
    assert leftovers(output_folder, scratch) == []


# Full disks.


@PLACES
def test_a_full_disk_is_reported_and_keeps_the_existing_file(
    workers: Workers,
    host: Callable[[int], VideoHost],
    small_video: str,
    airflow_s3: S3,
    output_folder: Path,
    scratch: Path,
    place: str,
) -> None:
    hosted, target = host(8 * MEGABYTE), target_in(place, output_folder, airflow_s3)
    stored_file(target).write_text("an older video")
    report = workers.start(work.save, hosted.url, small_video, target, Limits(file_size=3 * MEGABYTE)).report()
    assert report.error.startswith("DownloadError: ")
    assert "File too large" in report.error
    assert "without a new submission" in report.error
    assert stored_file(target).read_text() == "an older video"
    assert leftovers(output_folder, scratch) == []
    assert len(hosted.ranges) == 1


def test_a_read_only_folder_is_reported_and_unchanged(
    workers: Workers, host: Callable[[int], VideoHost], small_video: str
) -> None:
    hosted = host(1_000_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        report = workers.start(
            work.save, hosted.url, small_video, str(folder / "video.mp4"), Limits(nobody=True)
        ).report()
        folder.chmod(0o755)
        assert [path.name for path in folder.iterdir()] == ["video.mp4.first"]
    assert report.error.startswith("DownloadError: ")
    assert "Permission denied" in report.error
