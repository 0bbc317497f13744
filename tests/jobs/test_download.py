"""A link becomes a file, whole or not at all."""

from __future__ import annotations

import resource
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from airflow_provider_anyfast.client.errors import DownloadError, InvalidRequestError, LinkExpiredError
from airflow_provider_anyfast.jobs.download import TRIES, check_target, download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.clock import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock")

FILM = b"\0\0\0\x20ftypisom" + bytes(100_000)
LINK = "https://storage.example.com/x.mp4?X-Tos-Signature=secret"


class Storage:
    """A storage host that answers from a script; its last answer is repeated."""

    def __init__(self, *answers: Callable[[], httpx.Response]) -> None:
        self._answers = answers
        self.asked = 0

    @contextmanager
    def open_link(self, url: str) -> Iterator[httpx.Response]:
        assert url == LINK
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        yield answer()


def whole() -> httpx.Response:
    return httpx.Response(200, content=iter([FILM[:50_000], FILM[50_000:]]), headers={"Content-Length": str(len(FILM))})


def without_length() -> httpx.Response:
    return httpx.Response(200, content=iter([FILM]))


def short() -> httpx.Response:
    return httpx.Response(200, content=iter([FILM[:-1]]), headers={"Content-Length": str(len(FILM))})


def broken() -> httpx.Response:
    def chunks() -> Iterator[bytes]:
        yield FILM[:50_000]
        raise httpx.ReadError("gone")

    return httpx.Response(200, content=chunks())


def page() -> httpx.Response:
    return httpx.Response(200, content=iter([b"<html>sorry</html>"]))


def refused(status: int) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(status, content=b"<Error/>")


def unreachable() -> httpx.Response:
    raise httpx.ConnectError("no route to https://storage.example.com/x.mp4?X-Tos-Signature=secret")


def fetch(target: Path, *answers: Callable[[], httpx.Response], expires_at: float | None = None) -> int:
    return download(Storage(*answers).open_link, LINK, target, what="generation g", expires_at=expires_at)


@pytest.mark.parametrize("answer", [whole, without_length])
def test_every_byte_arrives_in_a_folder_that_is_made(tmp_path: Path, answer: Callable[[], httpx.Response]) -> None:
    target = tmp_path / "new" / "x.mp4"
    assert fetch(target, answer) == len(FILM)
    assert target.read_bytes() == FILM
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("trouble", [short, broken, page, refused(500), refused(403), refused(429), unreachable])
def test_a_trouble_that_passes_is_waited_out(
    tmp_path: Path, fake_clock: FakeClock, trouble: Callable[[], httpx.Response]
) -> None:
    target = tmp_path / "x.mp4"
    assert fetch(target, *[trouble] * (TRIES - 1), whole, expires_at=fake_clock.now() + 3600) == len(FILM)
    assert len(fake_clock.sleeps) == TRIES - 1
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("trouble", [short, broken, page, refused(500), refused(403), unreachable])
def test_a_trouble_that_stays_leaves_nothing_new_and_tells_no_signature(
    tmp_path: Path, fake_clock: FakeClock, trouble: Callable[[], httpx.Response]
) -> None:
    target = tmp_path / "x.mp4"
    target.write_text("of an earlier run")
    with pytest.raises(DownloadError, match="without a new submission") as caught:
        fetch(target, trouble, expires_at=fake_clock.now() + 3600)
    assert caught.value.retryable
    assert "secret" not in str(caught.value)
    assert target.read_text() == "of an earlier run"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
@pytest.mark.parametrize("age", [None, 0.0, 60.0])
def test_a_link_is_expired_when_its_time_has_come_and_not_before(
    tmp_path: Path, fake_clock: FakeClock, status: int, age: float | None
) -> None:
    storage = Storage(refused(status))
    expires_at = None if age is None else fake_clock.now() - age
    with pytest.raises(LinkExpiredError, match="24 hours") as caught:
        download(storage.open_link, LINK, tmp_path / "x.mp4", what="generation g", expires_at=expires_at)
    assert not caught.value.retryable
    assert storage.asked == 1


def test_a_link_that_is_none_is_a_download_that_failed(tmp_path: Path) -> None:
    @contextmanager
    def open_link(url: str) -> Iterator[httpx.Response]:
        yield httpx.get(url)

    with pytest.raises(DownloadError, match="InvalidURL"):
        download(open_link, "https://exa mple/\n", tmp_path / "x.mp4", what="generation g")


def test_a_folder_that_cannot_be_made_is_told_and_retryable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="could not be written") as caught:
        fetch(tmp_path / "file" / "x.mp4", whole)
    assert caught.value.retryable


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(FILM) // 2, limits[1]))
    try:
        with pytest.raises(DownloadError, match="File too large"):
            fetch(tmp_path / "x.mp4", whole)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


def test_a_target_is_proven_writable_without_a_trace(tmp_path: Path) -> None:
    check_target(tmp_path / "a" / "b" / "x.mp4")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("name", ["", "file/x.mp4", "x" * 300, "a\0b"])
def test_a_target_that_cannot_be_written_is_named_before_any_payment(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequestError, match="nothing was submitted or spent"):
        check_target(tmp_path / name)
