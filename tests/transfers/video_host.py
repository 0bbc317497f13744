"""A storage host for finished videos: it can send parts, and it can be cut off, slow or silent when it is told to."""

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
    """How one answer is given.

    Attributes:
        stops_after: bytes after which it breaks off; None sends all.
        silent: whether it holds the line then and says nothing, instead of hanging up.
        rate: bytes a second; None is as fast as can be.
    """

    stops_after: int | None = None
    silent: bool = False
    rate: float | None = None


@dataclass
class VideoHost:
    """A video, and what was sent of it.

    Attributes:
        manners: of the next answers, the first one first; afterwards every answer is ``usual``.
        ranges: what was asked for, in order; empty where it was all.
        sent: bytes of all answers.
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
        """It names the content, as storage hosts' do."""
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
    """Serve a video on a free loopback port for as long as the block lasts."""
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
            with suppress(OSError):  # whoever asked is gone
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
            """Not to the terminal."""

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
