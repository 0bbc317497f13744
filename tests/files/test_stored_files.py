"""File names that people use, and storages that behave differently from S3."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_anyfast.client import errors
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.files.paths import files_in, stored_file
from airflow_provider_anyfast.files.remote_file import RemoteFile
from airflow_provider_anyfast.files.video_output import VideoOutput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.s3 import S3

KEYS = {
    "a b.mp4": "a%20b.mp4",
    "größe/lämpchen.mp4": "gr%C3%B6%C3%9Fe/l%C3%A4mpchen.mp4",
    "a#b.mp4": "a%23b.mp4",
    "what?.mp4": "what%3F.mp4",
    "100%20.mp4": "100%2520.mp4",
    "dt=2026-01-01/a+b.mp4": "dt=2026-01-01/a+b.mp4",
    "[1].mp4": "%5B1%5D.mp4",
    "no folder//x.mp4": "no%20folder//x.mp4",
    f"{'x' * 250}.mp4": f"{'x' * 250}.mp4",
}
"""Keys of objects, and their form in a URI."""


@pytest.fixture
def airflow_s3(s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """Creates an empty bucket, and its connection in the environment."""
    monkeypatch.setenv("AIRFLOW_CONN_S3", s3.connection.as_json())
    return s3


@pytest.mark.parametrize("key", KEYS)
def test_any_name_can_be_written_read_and_distinguished(airflow_s3: S3, key: str) -> None:
    file = stored_file(airflow_s3.path(key))
    file.check_writable()
    assert file.size() is None
    file.write_text("new")
    assert airflow_s3.keys() == [key]
    assert (file.read_text(), file.size(), file.path) == ("new", 3, airflow_s3.path(key))
    assert file.uri == f"s3://videos/{KEYS[key]}"
    assert file.sibling("z").path == airflow_s3.path(key.rpartition("/")[0] + "/z" if "/" in key else "z")


def test_a_folder_of_objects_lists_only_its_files(airflow_s3: S3) -> None:
    s3, names = airflow_s3, ["a b.png", "c#1.png", "d?.jpg", "e[1].png"]
    for name in (*names, "", ".hidden.png", "deeper/x.png"):
        s3.put(f"pictures/{name}", b"x")
    files = [s3.path(f"pictures/{name}") for name in names]
    assert files_in(s3.path("pictures")) == files_in(s3.path("pictures/")) == files
    assert files_in(ObjectStoragePath(s3.path("pictures"))) == files
    assert files_in(s3.path("pictures/*.png")) == [file for file in files if file.endswith(".png")]
    assert files_in(s3.path("p*/e[[]1].png")) == files_in(s3.path("pictures/e[1].png")) == [files[3]]
    assert s3.path("pictures/deeper/x.png") in files_in(s3.path("**/*.png"))
    s3.put("pictures/f.png", b"x")
    assert len(files_in(s3.path("pictures"))) == 5, "a listing is not remembered"
    assert stored_file(s3.path("pictures")).size() is None


def test_a_folder_of_files_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pictures [1]"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in (folder, "~/pictures [1]", f"file://{folder}", f"file://localhost{folder}", f"{tmp_path}/*/*.png"):
        assert files_in(place) == [str(folder / "a.png")]


@pytest.mark.parametrize("place", ["", " ", "\n", "None"])
def test_a_path_that_rendered_to_nothing_is_not_the_working_directory(place: str) -> None:
    with pytest.raises(errors.InvalidRequestError, match="is empty"):
        files_in(place)
    with pytest.raises(errors.InvalidRequestError, match="is empty"):
        stored_file(place)


def test_the_home_folder_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(errors.InvalidRequestError, match="home directory"):
        stored_file("~nobody-of-that-name/x.mp4")


def test_a_storage_that_fails_while_a_video_is_read_is_a_storage_error(
    airflow_s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = stored_file(airflow_s3.path("x.mp4"))
    file.write_text("0000ftyp")

    class Broken(io.BytesIO):
        def read(self, _: int | None = -1) -> bytes:
            raise ConnectionResetError("reset by the storage")

    monkeypatch.setattr(RemoteFile, "open", lambda _: Broken())
    with pytest.raises(errors.StorageError, match="reset by the storage"):
        file.is_whole_video()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_disk_that_does_not_respond_is_not_a_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Otherwise a video that exists would be made, and billed, again."""
    file = stored_file(tmp_path / "x.mp4")
    assert file.size() is None
    assert stored_file(tmp_path).size() is None

    def fail(*_: object, **__: object) -> os.stat_result:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "stat", fail)
    monkeypatch.setattr(Path, "stat", fail)
    monkeypatch.setattr(Path, "is_file", lambda _: False)  # as Python 3.14 does
    for look in (file.size, file.is_whole_video, VideoOutput(tmp_path / "x.mp4", overwrite=False).existing_video):
        with pytest.raises(errors.StorageError):
            look()


def test_a_missing_file_cannot_be_read(airflow_s3: S3, tmp_path: Path) -> None:
    for path in (airflow_s3.path("no.png"), str(tmp_path / "no.png")):
        file = stored_file(path)
        assert file.read_text() is None
        with pytest.raises(errors.InvalidRequestError, match="does not exist"), file.open():
            pass


def test_writing_a_text_removes_the_leftovers_of_a_killed_worker(tmp_path: Path) -> None:
    (tmp_path / ".manifest.jsonl.0a1b2c3d.part").write_text("half")
    other = tmp_path / ".rows.csv.0a1b2c3d.part"
    other.write_text("another file's")
    stored_file(tmp_path / "manifest.jsonl").write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.jsonl", other.name}
    assert (tmp_path / "manifest.jsonl").read_text() == "whole"


# Temporary folders.


def test_only_temporary_folders_of_killed_tasks_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = ("airflow-anyfast-left", "airflow-anyfast-fresh", "foreign", "airflow-anyfast-busy")
    left, fresh, foreign, busy = (tmp_path / name for name in names)
    for folder in (left, fresh, foreign, busy):
        folder.mkdir()
        (folder / "x.mp4").write_bytes(b"half")
        if folder is not fresh:
            os.utime(folder, (0, 0))
    seen: list[list[str]] = []

    class Watched:
        def put_file(self, local: str, remote: str) -> None:
            seen.append(sorted(path.name for path in tmp_path.iterdir() if path != Path(local).parent))

    descriptor = os.open(busy, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        remote(Watched()).write_text("new")
    finally:
        os.close(descriptor)
    assert seen == [["airflow-anyfast-busy", "airflow-anyfast-fresh", "foreign"]]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_worker_without_a_temporary_folder_is_distinguished_from_a_missing_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not mounted"))
    with pytest.raises(errors.StorageError, match=r"no writable temporary folder .*TMPDIR"):
        remote(Bucket(None)).check_writable()
    with pytest.raises(errors.StorageError, match="no writable temporary folder"):
        remote(Bucket(None)).write_text("new")


def test_a_temporary_folder_on_a_file_system_without_locks_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_file: Any, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    class Storage(Bucket):
        def put_file(self, local: str, remote: str) -> None:
            assert Path(local).read_text() == "new"

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", refused)
    remote(Storage(None)).check_writable()
    remote(Storage(None)).write_text("new")
    assert list(tmp_path.iterdir()) == []


# Paths that cannot be written.


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root can write everywhere, so the test then runs as nobody."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that everybody can read, with an older video in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # everybody can read its parents
        folder = Path(name)
        (folder / "x.mp4").write_bytes(b"older")
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


@pytest.mark.usefixtures("nobody")
def test_a_read_only_folder_is_reported_before_anything_is_billed(readable: Path) -> None:
    for path in (readable / "x.mp4", readable / "new" / "{generation_id}.mp4"):
        with pytest.raises(errors.InvalidRequestError, match="Permission denied"):
            VideoOutput(path).check()
    with pytest.raises(errors.StorageError, match="Permission denied"):
        stored_file(readable / "x.mp4").write_text("new")
    assert [path.name for path in readable.iterdir()] == ["x.mp4"]
    assert (readable / "x.mp4").read_bytes() == b"older"


# Impossible names.

AN_ID = f"asyntask_{'0a' * 16}"


def kept_beside(folder: Path, path: str) -> None:
    """Does what ``VideoOutput`` does with a downloaded video and its last frame."""
    video = stored_file(path.replace("{generation_id}", AN_ID))
    for file in (video, video.sibling(f"{Path(video.name).stem}.last_frame.jpeg")):
        file.write_text("whole")
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("letter", ["x", "\u4e2d"], ids=["Latin", "Chinese"])
def test_a_name_that_passes_the_check_can_be_written_after_the_payment(tmp_path: Path, letter: str) -> None:
    passed = []
    for length in range(1, 256 // len(letter.encode())):
        folder = tmp_path / str(length)
        path = f"{folder}/{letter * length}-{{generation_id}}.mp4"
        try:
            VideoOutput(path).check()
        except errors.InvalidRequestError as error:
            assert "name too long" in str(error)
            continue
        kept_beside(folder, path)
        passed.append(length * len(letter.encode()))
    assert max(passed) >= 180


def test_a_name_is_checked_without_writing_anything(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    for name in ("x" * 250, "folder.mp4", "half an emoji \ud83d"):
        with pytest.raises(errors.InvalidRequestError, match="cannot be written"):
            VideoOutput(tmp_path / name).check_name()
    VideoOutput(tmp_path / "new" / "x.mp4").check_name()
    assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]


@pytest.mark.parametrize(
    ("key", "phrase"), [("x" * 1021 + ".mp4", "1,025 bytes"), ("half an emoji \ud83d.mp4", "not valid text")]
)
def test_a_key_that_no_storage_accepts_is_reported_before_anything_is_billed(
    airflow_s3: S3, key: str, phrase: str
) -> None:
    with pytest.raises(errors.InvalidRequestError, match=phrase):
        stored_file(airflow_s3.path(key)).check_writable()


def test_an_object_with_a_suffix_longer_than_a_file_name_is_written(airflow_s3: S3) -> None:
    key = f"No. {'5' * 250}"
    stored_file(airflow_s3.path(key)).write_text("new")
    assert airflow_s3.keys() == [key]


# Storages that differ from S3.


def remote(fs: Any) -> RemoteFile:
    """An object in a storage that behaves like ``fs``."""
    path: Any = SimpleNamespace(
        fs=fs, path="videos/x.mp4", name="x.mp4", suffix=".mp4", bucket="videos", __str__=lambda: ""
    )
    return RemoteFile(path)


class Bucket:
    """Responds to a query for a bucket, or raises the given error."""

    def __init__(self, info: Exception | None, listed: Exception | None = None) -> None:
        self._info, self._listed = info, listed

    def info(self, path: str) -> dict[str, Any]:
        _raise(self._info)
        return {"type": "directory", "size": 0}

    def ls(self, path: str) -> list[str]:
        _raise(self._listed)
        return []


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


def test_an_expired_link_of_a_last_frame_does_not_fail_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(_open_link: Any, link: str, path: Path, **_: Any) -> None:
        if link.endswith(".png"):
            raise errors.LinkExpiredError("The link of the last frame has expired.")
        path.write_bytes(b"video")

    monkeypatch.setattr("airflow_provider_anyfast.files.video_output.download", download)
    task = Generation(
        "asyntask_1",
        "SUCCESS",
        Outcome.SUCCEEDED,
        video_url="https://host/x.mp4",
        last_frame_url="https://host/x.png",
    )
    saved = VideoOutput(f"{tmp_path}/x.mp4").save(cast("Any", SimpleNamespace(open_link=None)), task)
    assert (saved.path, saved.last_frame_path) == (f"{tmp_path}/x.mp4", None)
    assert [file.name for file in tmp_path.iterdir()] == ["x.mp4"]


MISSING = FileNotFoundError("videos")
FORBIDDEN = OSError("Forbidden: b/videos/o\nno permission storage.objects.list")


@pytest.mark.parametrize(
    "bucket",
    [Bucket(None), Bucket(PermissionError()), Bucket(MISSING), Bucket(MISSING, PermissionError()), Bucket(FORBIDDEN)],
    ids=["seen", "not to be looked at", "empty at Google", "not to be listed", "not to be listed at Google"],
)
def test_credentials_that_may_only_write_are_sufficient(bucket: Bucket) -> None:
    remote(bucket).check_writable()


def test_a_bucket_is_missing_only_if_it_cannot_be_listed_either() -> None:
    with pytest.raises(errors.InvalidRequestError, match="no bucket 'videos'"):
        remote(Bucket(MISSING, MISSING)).check_writable()


@pytest.mark.parametrize("error", [OSError("503 Slow Down"), TimeoutError(), RuntimeError("token")])
def test_a_bucket_is_not_reported_missing_if_the_storage_does_not_respond(error: Exception) -> None:
    with pytest.raises(errors.StorageError):
        remote(Bucket(error)).check_writable()


def test_a_storage_that_needs_an_option_to_replace_an_object_gets_it() -> None:
    class Azure:
        def put_file(self, local: str, remote: str, *, overwrite: bool = False, max_concurrency: int = 8) -> None:
            assert (overwrite, max_concurrency) == (True, 2)

    remote(Azure()).write_text("new")


def test_a_bucket_deleted_after_the_payment_costs_a_retry_and_is_not_an_invalid_request() -> None:
    class Gone:
        def put_file(self, local: str, remote: str) -> None:
            raise FileNotFoundError("The specified bucket does not exist")

    with pytest.raises(errors.StorageError, match="does not pay for anything twice"):
        remote(Gone()).write_text("new")


def test_a_secret_in_an_error_of_the_storage_is_redacted() -> None:
    class Loud:
        def put_file(self, local: str, remote: str) -> None:
            raise OSError("PUT https://host/x.mp4?X-Amz-Signature=ab12 failed")

    with pytest.raises(errors.StorageError, match=r"host/x\.mp4") as caught:
        remote(Loud()).write_text("new")
    assert "ab12" not in str(caught.value)


# Paths that name a file, and paths that only seem to.


@pytest.mark.parametrize(
    "path",
    [Path("s3://videos/x.mp4"), "s3:videos/x.mp4", "s3:/videos/x.mp4", "gs:videos/x.mp4", "foo:/videos/x.mp4"],
)
def test_a_path_that_is_almost_a_url_is_refused(path: Any) -> None:
    with pytest.raises(errors.InvalidRequestError, match="looks like a URL") as caught:
        stored_file(path)
    assert "://" in str(caught.value)


@pytest.mark.parametrize("path", ["12:30.mp4", "C:/x.mp4", "scene:1.mp4", "./s3:videos/x.mp4", "/data/s3:/x.mp4"])
def test_a_local_path_may_contain_a_colon(path: str) -> None:
    assert stored_file(path).path == str(Path(path))


def test_whitespace_around_a_url_is_ignored(s3: S3) -> None:
    assert stored_file(" s3://videos/x.mp4\n").path == "s3://videos/x.mp4"


def test_two_spellings_of_one_local_file_have_one_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    spellings = ["a/x.mp4", "a/./x.mp4", "a//x.mp4", "b/../a/x.mp4", "link/x.mp4", f"{tmp_path}/a/x.mp4"]
    spellings.append(f"file://{tmp_path}/a/x.mp4")
    assert {stored_file(path).identity for path in spellings} == {str((tmp_path / "a").resolve() / "x.mp4")}
    assert stored_file("a/X.mp4").identity != stored_file("a/x.mp4").identity


def test_objects_are_compared_by_bucket_and_key_and_not_by_the_connection(s3: S3) -> None:
    assert stored_file("s3://videos/a/x.mp4").identity == stored_file(s3.path("a/x.mp4")).identity
    assert stored_file("s3://videos/a/x.mp4").identity != stored_file("s3://videos/b/x.mp4").identity


def test_an_error_about_a_name_with_an_id_shows_it_as_it_was_written(tmp_path: Path) -> None:
    path = f"{tmp_path}/{'x' * 250}{{generation_id}}.mp4"
    with pytest.raises(errors.InvalidRequestError, match=r"x\{generation_id\}\.mp4 cannot be written") as caught:
        VideoOutput(path).check()
    assert "asyntask" not in str(caught.value)
