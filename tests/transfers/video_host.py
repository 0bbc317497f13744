"""A storage host for finished videos that sends ranges, and can hang up, be slow or be silent on request."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIECE = 64 * 1024


@dataclass
class Manners:
    """How one response is sent.

    Attributes:
        stops_after: bytes after which it stops; None sends all.
        silent: whether it then keeps the connection open without sending, instead of closing it.
        rate: bytes per second; None is as fast as possible.
    """

    stops_after: int | None = None
    silent: bool = False
    rate: float | None = None


@dataclass
class VideoHost:
    """A video, and a record of what was sent.

    Attributes:
        manners: of the next responses, in order; later responses are ``usual``.
        ranges: the requested ranges, in order; empty for the whole file.
        sent: bytes of all responses.
    """

    video: Path
    url: str = ""
    usual: Manners = field(default_factory=Manners)
    manners: list[Manners] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    sent: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def etag(self) -> str:
        """Identifies the content, as with real storage hosts."""
        return f'"{digest(self.video)}"'

    @property
    def size(self) -> int:
        """Bytes of the video."""
        return self.video.stat().st_size


def digest(file: Path) -> str:
    """Of the content of a file, without holding it in memory."""
    found = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(2**20):
            found.update(piece)
    return found.hexdigest()


@contextmanager
def video_host(video: Path) -> Iterator[VideoHost]:
    """Serves a video on a free loopback port within the block."""
    host = VideoHost(video)
    etag, size = host.etag, host.size

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            host.ranges.append(asked)
            manners = host.manners.pop(0) if host.manners else host.usual
            start = 0
            if asked and self.headers.get("If-Range", etag) == etag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(size - start))
            self.send_header("ETag", etag)
            self.end_headers()
            with suppress(OSError):  # the client is gone
                self._send(start, manners)

        def _send(self, start: int, manners: Manners) -> None:
            left = size - start if manners.stops_after is None else min(size - start, manners.stops_after)
            begun, sent = time.monotonic(), 0
            with video.open("rb") as content:
                content.seek(start)
                while sent < left:
                    piece = content.read(min(_PIECE, left - sent))
                    self.wfile.write(piece)
                    sent += len(piece)
                    host.sent += len(piece)
                    if manners.rate is not None and host.closing.wait(
                        max(0, begun + sent / manners.rate - time.monotonic())
                    ):
                        return
            if start + sent < size:
                self.close_connection = True
                if manners.silent:
                    host.closing.wait(30)

        def log_message(self, *_: object) -> None:
            """Keeps the log out of the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    host.url = f"http://127.0.0.1:{server.server_port}/video.mp4?X-Tos-Signature=ab12"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield host
    finally:
        host.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
