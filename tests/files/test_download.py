"""A video is saved completely or not at all, and its link counts as expired only if it has expired."""

from __future__ import annotations

import errno
import gzip
import io
import os
import resource
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from airflow_provider_anyfast.client.errors import DownloadError, InvalidRequestError, LinkExpiredError, StorageError
from airflow_provider_anyfast.files import download as files_download
from airflow_provider_anyfast.files.download import PATIENCE, TRIES, download
from airflow_provider_anyfast.files.images import image_problem
from airflow_provider_anyfast.files.local_file import LocalFile
from airflow_provider_anyfast.files.mp4 import video_problem
from airflow_provider_anyfast.files.target import check_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.clock import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock")
LINK = "https://host/x.mp4?X-Tos-Signature=ab12"


def box(kind: bytes, content: bytes = b"") -> bytes:
    """A box of an MP4 file."""
    return (8 + len(content)).to_bytes(4, "big") + kind + content


FTYP, MOOV = box(b"ftyp", b"mp42" + bytes(12)), box(b"moov", bytes(100))
VIDEO = FTYP + MOOV + box(b"mdat", bytes(range(256)) * 1000)
OLD = b"an older file"


class Parts(httpx.SyncByteStream):
    """A body in parts; an exception among them is raised."""

    def __init__(self, *parts: bytes | Exception) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[bytes]:
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield part


Answer = httpx.Response | Exception


class Store:
    """A storage host that returns one response after another, and repeats the last one."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.headers: list[dict[str, str] | None] = []

    @contextmanager
    def open(self, url: str, *, headers: dict[str, str] | None = None) -> Iterator[httpx.Response]:
        self.asked.append(url)
        self.headers.append(headers)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        yield httpx.Response(answer.status_code, headers=answer.headers, stream=answer.stream)


def served(*parts: bytes | Exception, status: int = 200, length: int | None = None) -> httpx.Response:
    headers = {} if length is None else {"content-length": str(length)}
    return httpx.Response(status, stream=Parts(*parts), headers=headers)


def whole() -> httpx.Response:
    return served(VIDEO[:1000], VIDEO[1000:], length=len(VIDEO))


def fetched(store: Store, target: Path, **parameters: Any) -> int:
    return download(store.open, LINK, target, what="generation asyntask_1", **parameters)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "video.mp4"


def picture(kind: str) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(content, kind)
    return content.getvalue()


def only(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


# Complete videos.


def test_a_video_is_saved_whole(target: Path) -> None:
    store = Store(whole())
    assert fetched(store, target) == len(VIDEO)
    assert target.read_bytes() == VIDEO
    assert store.asked == [LINK]
    assert only(target.parent, "video.mp4")


def test_a_video_of_unknown_length_is_saved(target: Path) -> None:
    assert fetched(Store(served(VIDEO)), target) == len(VIDEO)


def test_the_folder_of_a_video_is_created(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "video.mp4"
    fetched(Store(whole()), target)
    assert target.read_bytes() == VIDEO


def test_an_older_file_is_replaced(target: Path) -> None:
    target.write_bytes(OLD)
    fetched(Store(whole()), target)
    assert target.read_bytes() == VIDEO


def test_an_incomplete_video_is_never_visible_under_its_name(target: Path) -> None:
    seen: list[bool] = []

    class Watched(Parts):
        def __iter__(self) -> Iterator[bytes]:
            for part in super().__iter__():
                seen.append(target.exists())
                yield part

    fetched(Store(httpx.Response(200, stream=Watched(VIDEO[:9], VIDEO[9:]))), target)
    assert seen == [False, False]


# Retries.

BROKEN: dict[str, Callable[[], Answer]] = {
    "too short": lambda: served(VIDEO[:5000], length=len(VIDEO)),
    "too long": lambda: served(VIDEO, b"x", length=len(VIDEO)),
    "broken stream": lambda: served(VIDEO[:5000], httpx.ReadError("reset")),
    "broken protocol": lambda: served(VIDEO[:5000], httpx.RemoteProtocolError("peer closed connection")),
    "read timeout": lambda: httpx.ReadTimeout("slow"),
    "no connection": lambda: httpx.ConnectError("refused"),
    "broken link": lambda: httpx.InvalidURL("Invalid port"),
    "broken host": lambda: UnicodeError("label empty or too long"),
    "empty": served,
    "HTML": lambda: served(b"<html>Please wait</html>"),
    "XML": lambda: served(b'<?xml version="1.0"?><Error/>'),
    "500": lambda: served(b"oops", status=500),
    "503": lambda: served(status=503),
    "304": lambda: served(status=304),
    "400": lambda: served(status=400),
}
broken = pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN.keys())


@broken
def test_a_broken_download_is_started_again(target: Path, make: Callable[[], Answer]) -> None:
    store = Store(make(), whole())
    assert fetched(store, target) == len(VIDEO)
    assert target.read_bytes() == VIDEO
    assert len(store.asked) == 2
    assert only(target.parent, "video.mp4")


@broken
def test_a_download_that_always_breaks_leaves_no_file_and_reports_the_cost(
    target: Path, make: Callable[[], Answer], fake_clock: FakeClock
) -> None:
    store = Store(*(make() for _ in range(TRIES)))
    with pytest.raises(DownloadError, match="generation asyntask_1") as caught:
        fetched(store, target)
    assert "The video is billed." in str(caught.value)
    assert "without a new submission" in str(caught.value)
    assert "ab12" not in str(caught.value)
    assert caught.value.retryable
    assert not isinstance(caught.value, LinkExpiredError)
    assert len(store.asked) == TRIES
    assert len(fake_clock.sleeps) == TRIES - 1
    assert only(target.parent)


@broken
def test_an_older_file_survives_a_failed_download(target: Path, make: Callable[[], Answer]) -> None:
    target.write_bytes(OLD)
    with pytest.raises(DownloadError):
        fetched(Store(*(make() for _ in range(TRIES))), target)
    assert target.read_bytes() == OLD
    assert only(target.parent, "video.mp4")


# Resuming.

ETAG = '"v1"'


def begun(etag: str = ETAG) -> httpx.Response:
    """Half of the video, and then a broken connection."""
    headers = {b"content-length": b"%d" % len(VIDEO), b"etag": etag.encode()}
    return httpx.Response(200, stream=Parts(VIDEO[:5000], httpx.ReadError("reset")), headers=headers)


def rest(
    start: int = 5000, *, total: str = str(len(VIDEO)), place: str | None = None, etag: str = ETAG
) -> httpx.Response:
    headers = {"content-range": place or f"bytes {start}-{len(VIDEO) - 1}/{total}", "etag": etag}
    return httpx.Response(206, stream=Parts(VIDEO[start:]), headers=headers)


@pytest.mark.parametrize("total", [str(len(VIDEO)), "*"])
def test_a_broken_transfer_resumes_where_it_stopped(target: Path, total: str) -> None:
    store = Store(begun(), rest(total=total))
    assert fetched(store, target) == len(VIDEO)
    assert target.read_bytes() == VIDEO
    assert store.headers == [None, {"Range": "bytes=5000-", "If-Range": ETAG}]


def test_a_transfer_that_breaks_twice_resumes_twice(target: Path) -> None:
    second = httpx.Response(
        206,
        stream=Parts(VIDEO[5000:9000], httpx.ReadTimeout("stalled")),
        headers={"content-range": f"bytes 5000-{len(VIDEO) - 1}/{len(VIDEO)}", "etag": ETAG},
    )
    store = Store(begun(), second, rest(9000))
    assert fetched(store, target) == len(VIDEO)
    assert target.read_bytes() == VIDEO
    assert store.headers[-1] == {"Range": "bytes=9000-", "If-Range": ETAG}


def test_tries_with_progress_do_not_count(target: Path) -> None:
    """A long video is saved although the connection breaks every other megabyte."""
    long, step = FTYP + MOOV + box(b"mdat", bytes(12 * 2**20)), 2**20 + 1

    def answer(start: int) -> httpx.Response:
        last = start + step >= len(long)
        parts = (long[start : start + step], *(() if last else (httpx.ReadError("reset"),)))
        headers = {"content-range": f"bytes {start}-{len(long) - 1}/{len(long)}", "etag": ETAG}
        return httpx.Response(206, stream=Parts(*parts), headers=headers)

    store = Store(*(answer(start) for start in range(0, len(long), step)))
    assert fetched(store, target) == len(long)
    assert target.read_bytes() == long
    assert len(store.asked) == 13 > TRIES


def test_a_host_that_cannot_resume_sends_the_whole_file_again(target: Path) -> None:
    store = Store(begun(), whole())
    fetched(store, target)
    assert target.read_bytes() == VIDEO


@pytest.mark.parametrize("etag", ["", 'W/"v1"', '"v1 é"'])
def test_without_a_strong_etag_a_transfer_does_not_resume(target: Path, etag: str) -> None:
    store = Store(begun(etag), whole())
    fetched(store, target)
    assert target.read_bytes() == VIDEO
    assert store.headers == [None, None]


@pytest.mark.parametrize(
    "answer",
    [
        lambda: rest(6000),
        lambda: rest(place="bytes 5000"),
        lambda: rest(total="9999999"),
        lambda: rest(etag='"v2"'),
        lambda: served(status=416),
        lambda: served(status=503),
    ],
    ids=["another part", "no place", "another length", "another file", "416", "503"],
)
def test_a_range_that_does_not_fit_discards_the_received_bytes_too(
    target: Path, answer: Callable[[], httpx.Response]
) -> None:
    store = Store(begun(), answer(), whole())
    assert fetched(store, target) == len(VIDEO)
    assert target.read_bytes() == VIDEO


@pytest.mark.parametrize("answer", [lambda: rest(6000), lambda: rest(place="bytes 5000"), lambda: rest(etag='"v2"')])
def test_after_a_range_that_does_not_fit_the_whole_file_is_requested(
    target: Path, answer: Callable[[], httpx.Response]
) -> None:
    store = Store(begun(), answer(), whole())
    fetched(store, target)
    assert [headers and "Range" in headers for headers in store.headers] == [None, True, None]


def test_a_file_system_that_takes_no_advice_is_written_to(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def advise(*_: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "posix_fadvise", advise)
    long = FTYP + MOOV + box(b"mdat", bytes(9 * 2**20))
    fetched(Store(served(*(long[at : at + 2**20] for at in range(0, len(long), 2**20)))), target)
    assert target.read_bytes() == long


def test_a_transfer_of_something_other_than_a_video_does_not_resume(target: Path) -> None:
    page = httpx.Response(200, stream=Parts(b"<html>Please wait</html>"), headers={"etag": ETAG})
    store = Store(page, whole())
    fetched(store, target)
    assert store.headers == [None, None]


def test_a_video_shorter_than_its_boxes_state_is_incomplete(target: Path) -> None:
    cut = FTYP + MOOV + b"\x00\x01\x00\x00mdat" + b"x" * 1000
    store = Store(served(cut), whole())
    assert fetched(store, target) == len(VIDEO)
    with pytest.raises(DownloadError, match="is missing its last 64,528 bytes"):
        fetched(Store(*(served(cut) for _ in range(TRIES))), target)


LONG_MDAT = b"\x00\x00\x00\x01mdat" + (16 + 300).to_bytes(8, "big") + bytes(300)
VIDEOS = {
    "index first": FTYP + MOOV + box(b"free", bytes(9)) + box(b"mdat", bytes(300)),
    "index last": FTYP + box(b"mdat", bytes(300)) + MOOV + box(b"udta", bytes(20)),
    "64-bit length": FTYP + LONG_MDAT + MOOV,
}


@pytest.mark.parametrize("video", VIDEOS.values(), ids=VIDEOS.keys())
def test_a_video_that_is_cut_anywhere_is_detected_without_its_length(video: bytes) -> None:
    assert video_problem(io.BytesIO(video), len(video)) == ""
    mistaken = [at for at in range(len(video)) if not video_problem(io.BytesIO(video[:at]), at)]
    last_needed = max(video.index(b"moov") + 4 + 100, video.index(b"mdat") + 4 + 300)
    assert [at for at in mistaken if at < last_needed] == []


def test_a_video_whose_end_is_replaced_by_zeros_is_incomplete() -> None:
    cut = VIDEOS["index last"][:-130] + bytes(130)
    assert "damaged after its first" in video_problem(io.BytesIO(cut), len(cut))


def test_a_box_without_a_length_extends_to_the_end_of_the_file() -> None:
    video = FTYP + MOOV + b"\x00\x00\x00\x00mdat" + bytes(300)
    assert video_problem(io.BytesIO(video), len(video)) == ""


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_last_frame_that_is_cut_is_detected(kind: str) -> None:
    image = picture(kind)
    assert image_problem(io.BytesIO(image), len(image)) == ""
    for cut in (len(image) // 2, len(image) - 1 if kind != "GIF" else len(image) - 2):
        assert "is missing its last" in image_problem(io.BytesIO(image[:cut]), cut)


def test_a_last_frame_has_to_be_an_image(tmp_path: Path) -> None:
    target, png = tmp_path / "frame.png", picture("PNG")
    assert fetched(Store(served(VIDEO), served(png)), target, problem=image_problem) == len(png)
    assert target.read_bytes() == png
    with pytest.raises(DownloadError, match="is not an image"):
        fetched(Store(*(served(VIDEO) for _ in range(TRIES))), target, problem=image_problem)


def test_a_message_shows_no_secret_of_a_broken_link(target: Path) -> None:
    store = Store(httpx.ConnectError("https://host/x?sig=ab12 via http://u:p99@proxy"))
    with pytest.raises(DownloadError) as caught:
        fetched(store, target)
    assert "ab12" not in str(caught.value)
    assert "p99" not in str(caught.value)


# Busy hosts.


def test_a_video_that_is_not_ready_at_the_storage_host_is_waited_for(target: Path, fake_clock: FakeClock) -> None:
    began = fake_clock.now()

    def not_ready() -> httpx.Response:
        return httpx.Response(400, json={"error": {"code": "video_not_ready", "message": "try later"}})

    store = Store(*(not_ready() for _ in range(30)), whole())
    assert fetched(store, target) == len(VIDEO)
    assert fake_clock.now() - began > 60


def test_a_pause_that_a_storage_host_requests_is_respected(target: Path, fake_clock: FakeClock) -> None:
    busy = [httpx.Response(status, headers={"retry-after": "90"}) for status in (429, 503, 429, 429, 503)]
    assert fetched(Store(*busy, whole()), target) == len(VIDEO)
    assert fake_clock.sleeps == [90.0] * 5


@pytest.mark.parametrize("life", [600.0, 30 * 3600.0, None])
def test_retries_of_a_busy_host_end_with_the_link_or_after_an_hour(
    target: Path, fake_clock: FakeClock, life: float | None
) -> None:
    began = fake_clock.now()
    busy = [httpx.Response(429) for _ in range(1000)]
    with pytest.raises(DownloadError, match="HTTP 429") as caught:
        fetched(Store(*busy), target, expires_at=None if life is None else began + life)
    assert caught.value.retryable
    assert 0 <= fake_clock.now() - began - min(life or PATIENCE, PATIENCE) <= 30


def test_a_body_that_is_compressed_without_being_requested_is_decompressed(target: Path) -> None:
    packed = gzip.compress(VIDEO)
    headers = {"content-encoding": "gzip", "content-length": str(len(packed)), "etag": ETAG}
    broken = httpx.Response(200, stream=Parts(packed[:500], httpx.ReadError("reset")), headers=headers)
    store = Store(broken, httpx.Response(200, stream=Parts(packed[:900], packed[900:]), headers=headers))
    assert fetched(store, target) == len(VIDEO)
    assert target.read_bytes() == VIDEO
    assert store.headers == [None, None], "places in a compressed body are no places in the file"


def test_a_body_that_decompresses_to_more_than_any_video_is_aborted(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_download, "LARGEST", 10**6)
    bomb = gzip.compress(FTYP + bytes(2 * 10**6))
    answers = [httpx.Response(200, stream=Parts(bomb), headers={"content-encoding": "gzip"}) for _ in range(TRIES)]
    with pytest.raises(DownloadError, match="larger than 1,000,000 bytes"):
        fetched(Store(*answers), target)
    assert only(target.parent)


# Expired links.

GONE = (401, 403, 404, 410)


@pytest.mark.parametrize("status", GONE)
@pytest.mark.parametrize("age", [0.0, 1.0, 1e9])
def test_a_link_refused_after_its_expiry_has_expired(
    target: Path, status: int, age: float, fake_clock: FakeClock
) -> None:
    store = Store(served(status=status))
    with pytest.raises(LinkExpiredError, match="has expired") as caught:
        fetched(store, target, expires_at=fake_clock.now() - age)
    assert caught.value.status == status
    assert not caught.value.retryable
    assert "Clear the task to submit and pay for a new one." in str(caught.value)
    assert len(store.asked) == 2
    assert only(target.parent)


def test_a_single_refusal_after_the_expiry_of_a_link_is_retried(target: Path, fake_clock: FakeClock) -> None:
    store = Store(served(status=403), whole())
    assert fetched(store, target, expires_at=fake_clock.now() - 1) == len(VIDEO)


@pytest.mark.parametrize("status", GONE)
def test_a_refused_link_of_unknown_age_is_retried_and_may_have_expired(target: Path, status: int) -> None:
    with pytest.raises(DownloadError, match="Its link may have expired") as caught:
        fetched(Store(served(status=status)), target)
    assert caught.value.retryable


@pytest.mark.parametrize("status", GONE)
def test_a_refused_fresh_link_is_retried(target: Path, status: int, fake_clock: FakeClock) -> None:
    end = fake_clock.now() + 23 * 3600
    assert fetched(Store(served(status=status), whole()), target, expires_at=end) == len(VIDEO)
    target.unlink()
    with pytest.raises(DownloadError) as caught:
        fetched(Store(served(status=status)), target, expires_at=end)
    assert caught.value.retryable
    assert caught.value.status == status


def test_an_old_link_that_still_works_is_used(target: Path, fake_clock: FakeClock) -> None:
    assert fetched(Store(whole()), target, expires_at=fake_clock.now() - 3600) == len(VIDEO)


# Disks.


def test_a_full_disk_leaves_no_partial_file(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    target.write_bytes(OLD)
    store = Store(whole())
    with pytest.raises(DownloadError, match=r"could not be written to .*video\.mp4 \(No space left on device\)"):
        fetched(store, target)
    assert len(store.asked) == 1
    assert target.read_bytes() == OLD
    assert only(target.parent, "video.mp4")


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may have more than 4,096 bytes."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
def test_a_file_larger_than_allowed_leaves_no_partial_file(target: Path) -> None:
    with pytest.raises(DownloadError, match="File too large"):
        fetched(Store(whole()), target)
    assert only(target.parent)


def test_a_file_in_place_of_the_folder_is_a_download_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    store = Store(whole())
    with pytest.raises(DownloadError, match="could not be written"):
        fetched(store, tmp_path / "file" / "video.mp4")
    assert (tmp_path / "file").read_bytes() == OLD
    assert store.asked == []


def test_a_folder_in_place_of_the_video_is_a_download_error(target: Path) -> None:
    target.mkdir()
    with pytest.raises(DownloadError, match="could not be written"):
        fetched(Store(whole()), target)
    assert only(target.parent, "video.mp4")


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_a_stopped_download_leaves_no_partial_file(target: Path, end: type[BaseException]) -> None:
    class Stopping(Parts):
        def __iter__(self) -> Iterator[bytes]:
            yield VIDEO[:5000]
            raise end

    with pytest.raises(end):
        fetched(Store(httpx.Response(200, stream=Stopping())), target)
    assert only(target.parent)


def test_two_downloads_of_one_video_do_not_interfere(target: Path) -> None:
    inner = Store(whole())

    class During(Parts):
        def __iter__(self) -> Iterator[bytes]:
            yield VIDEO[:5000]
            fetched(inner, target)
            yield VIDEO[5000:]

    fetched(Store(httpx.Response(200, stream=During())), target)
    assert target.read_bytes() == VIDEO
    assert only(target.parent, "video.mp4")


# Checks before anything is billed.


def test_a_folder_is_created_and_checked_to_be_writable(tmp_path: Path) -> None:
    check_target(tmp_path / "a" / "b" / "video.mp4")
    assert only(tmp_path / "a" / "b")


def test_a_check_leaves_an_older_file_alone(target: Path) -> None:
    target.write_bytes(OLD)
    check_target(target)
    assert target.read_bytes() == OLD
    assert only(target.parent, "video.mp4")


def test_a_target_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"it is a folder; add a file name such as \{generation_id\}\.mp4"):
        check_target(tmp_path)


def test_a_pipe_a_device_and_a_socket_are_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for special in (tmp_path / "pipe", tmp_path / "null", Path("/dev/null")):
        with pytest.raises(InvalidRequestError, match="only an ordinary file is replaced"):
            check_target(special)
        with pytest.raises(StorageError, match="only an ordinary file is replaced"):
            LocalFile(special).write_text("text")
    assert (tmp_path / "pipe").is_fifo()


def refused_targets(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return {
        "below a file": tmp_path / "file" / "video.mp4",
        "a name too long": tmp_path / ("x" * 300),
        "a folder too long": tmp_path / ("x" * 300) / "video.mp4",
        "no name at all": tmp_path / "a\0b",
        "a loop": tmp_path / "loop" / "video.mp4",
    }


@pytest.mark.parametrize("case", ["below a file", "a name too long", "a folder too long", "no name at all", "a loop"])
def test_a_target_that_cannot_be_written_is_refused_before_anything_is_paid(tmp_path: Path, case: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"cannot be written \(.+\)"):
        check_target(refused_targets(tmp_path)[case])


@pytest.mark.parametrize("trouble", [errno.ESTALE, errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_failed_file_system_is_not_reported_as_a_wrong_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: int
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(trouble, os.strerror(trouble))

    monkeypatch.setattr(Path, "touch", fail)
    with pytest.raises(StorageError, match=os.strerror(trouble)) as caught:
        check_target(tmp_path / "video.mp4")
    assert caught.value.retryable


def test_only_the_leftovers_of_killed_attempts_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".video[1].mp4.0a1b2c3d.part").write_bytes(b"half")
    others = {
        tmp_path / ".video.mp4.0a1b2c3d.part",
        tmp_path / ".video[1].mp4.mine.part",
        tmp_path / "video[1].mp4.part",
    }
    for other in others:
        other.write_bytes(b"not ours")
    target = tmp_path / "video[1].mp4"
    fetched(Store(whole()), target)
    assert set(tmp_path.iterdir()) == {target, *others}
