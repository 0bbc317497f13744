"""Misbehaving storage hosts over real sockets: each download ends within a bounded time."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from airflow_provider_anyfast.client.errors import DownloadError
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient
from airflow_provider_anyfast.files import download as files_download
from airflow_provider_anyfast.files.download import TRIES, download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT = 60.0
"""Seconds within which each of these downloads must end."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n"


def box(kind: bytes, content: bytes = b"") -> bytes:
    """A box of an MP4 file."""
    return (8 + len(content)).to_bytes(4, "big") + kind + content


SMALL = box(b"ftyp", b"mp42" + bytes(12)) + box(b"moov", bytes(100)) + box(b"mdat", bytes(range(256)) * 10)
LARGE = SMALL + box(b"mdat", bytes(range(256)) * 4096 * 24)


class Visitor:
    """One connection to a hostile host."""

    def __init__(self, connection: socket.socket, over: threading.Event, number: int, asked: bytes) -> None:
        self.send = connection.sendall
        self.over = over
        self.number = number
        self.asked = asked

    def drip(self, data: bytes, pause: float = 0.05) -> None:
        """Sends single bytes, so that the limit of a single read is never reached."""
        for byte in data:
            if self.over.wait(pause):
                return
            self.send(bytes([byte]))


@contextmanager
def host(behave: Callable[[Visitor], None]) -> Iterator[str]:
    """A link to a host that calls ``behave`` for every connection."""
    over = threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        with suppress(OSError), connection:
            asked = b""
            while b"\r\n\r\n" not in asked:
                if not (received := connection.recv(4096)):
                    return
                asked += received
            behave(Visitor(connection, over, number, asked))

    def accept() -> None:
        with suppress(OSError):
            number = 0
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection, number), daemon=True).start()
                number += 1

    with socket.create_server(("127.0.0.1", 0), backlog=32) as listener:
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/video.mp4?signature=ab12"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(timeout=5)


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_download, "RATE_WINDOW", 0.5)
    monkeypatch.setattr(files_download, "_backoff", lambda _state: 0.0)


def fetch(link: str, target: Path, timeout: float = 1.0) -> int:
    began = time.monotonic()
    try:
        with AnyFastClient(Settings("key", "http://127.0.0.1:1", timeout=timeout)) as client:
            return download(client.open_link, link, target, what="generation asyntask_1")
    finally:
        assert time.monotonic() - began < LIMIT


def with_length(body: bytes, announced: int | None = None) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % (len(body) if announced is None else announced) + body


def dripping(head: bytes, data: bytes) -> Callable[[Visitor], None]:
    def behave(visitor: Visitor) -> None:
        visitor.send(head)
        visitor.drip(data)

    return behave


def silent(head: bytes) -> Callable[[Visitor], None]:
    def behave(visitor: Visitor) -> None:
        visitor.send(head)
        visitor.over.wait()

    return behave


PACKED = gzip.compress(LARGE)
HOSTILE: dict[str, Callable[[Visitor], None]] = {
    "a body that drips": dripping(with_length(b"", 10**6), SMALL * 100),
    "a large body that drips": dripping(with_length(b"", 10**8), SMALL * 100),
    "chunks that drip": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000),
    "silence after the headers": silent(with_length(b"", 10**8)),
    "silence": silent(b""),
    "garbage": lambda visitor: visitor.send(b"\x00\xff" * 1000),
    "a body that ends too early": lambda visitor: visitor.send(with_length(SMALL, len(SMALL) + 1)),
    "a large body that ends too early": lambda visitor: visitor.send(with_length(LARGE, len(LARGE) + 1)),
    "half a gzip": lambda visitor: visitor.send(HEAD + b"Content-Encoding: gzip\r\n\r\n" + PACKED[: len(PACKED) // 2]),
}


@pytest.mark.parametrize("behave", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_host_neither_blocks_a_download_nor_leaves_a_partial_file(
    tmp_path: Path, behave: Callable[[Visitor], None]
) -> None:
    with host(behave) as link, pytest.raises(DownloadError) as caught:
        fetch(link, tmp_path / "video.mp4")
    assert "generation asyntask_1" in str(caught.value)
    assert "ab12" not in str(caught.value)
    assert type(caught.value) is DownloadError
    assert list(tmp_path.iterdir()) == []


EDGES = sorted({edge + off for edge in (0, 8, 24, 32, 132, 140, len(SMALL)) for off in (-4, 0, 4)} - {len(SMALL)})


@pytest.mark.parametrize("at", [edge for edge in EDGES if 0 < edge < len(SMALL)])
def test_a_body_of_unknown_length_that_is_cut_between_two_boxes_is_downloaded_again(tmp_path: Path, at: int) -> None:
    def cut_once(visitor: Visitor) -> None:
        visitor.send(HEAD + b"Connection: close\r\n\r\n" + (SMALL[:at] if visitor.number == 0 else SMALL))

    with host(cut_once) as link:
        assert fetch(link, tmp_path / "video.mp4") == len(SMALL)
    assert (tmp_path / "video.mp4").read_bytes() == SMALL


def test_a_large_video_arrives_whole_and_resumes_where_the_connection_broke(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def break_twice(visitor: Visitor) -> None:
        asked.append(visitor.asked)
        start = 0
        if b"range: bytes=" in visitor.asked.lower():
            start = int(visitor.asked.lower().partition(b"range: bytes=")[2].partition(b"-")[0])
        place = b"Content-Range: bytes %d-%d/%d\r\n" % (start, len(LARGE) - 1, len(LARGE))
        status = b"HTTP/1.1 206 Partial Content\r\n" + place if start else b"HTTP/1.1 200 OK\r\n"
        end = start + 7 * 2**20 if visitor.number < 2 else len(LARGE)
        visitor.send(status + b'ETag: "v1"\r\nContent-Length: %d\r\n\r\n' % (len(LARGE) - start) + LARGE[start:end])

    with host(break_twice) as link:
        assert fetch(link, tmp_path / "video.mp4") == len(LARGE)
    assert (tmp_path / "video.mp4").read_bytes() == LARGE
    assert len(asked) == 3
    assert [b"Range" in request for request in asked] == [False, True, True]


def test_a_slow_but_steady_transfer_is_not_aborted(tmp_path: Path) -> None:
    def slowly(visitor: Visitor) -> None:
        visitor.send(with_length(b"", len(SMALL)))
        for start in range(0, len(SMALL), 256):
            visitor.send(SMALL[start : start + 256])
            visitor.over.wait(0.1)

    with host(slowly) as link:
        assert fetch(link, tmp_path / "video.mp4") == len(SMALL)


def test_a_download_without_progress_is_tried_a_limited_number_of_times(tmp_path: Path) -> None:
    visits: list[int] = []

    def refuse(visitor: Visitor) -> None:
        visits.append(visitor.number)
        visitor.send(HEAD + b"\r\n<html>Please wait</html>")

    with host(refuse) as link, pytest.raises(DownloadError, match="is not an MP4 or MOV file"):
        fetch(link, tmp_path / "video.mp4")
    assert len(visits) == TRIES
