"""Receives and sends large files over TLS, with one thread per connection, as fast as OpenSSL can."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

BLOCK = 256 * 1024
_BLOCK_OF_ZEROS = bytes(BLOCK)
_START = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0\0\0\x08moov"
"""How an MP4 begins, with an empty index; one box of content follows."""


class StorageHandler(BaseHTTPRequestHandler):
    """``GET /files/BYTES`` sends that many bytes; a POST accepts a body of any size."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Sends a file of the requested size."""
        size = int(self.path.rpartition("/")[2])
        self._start(size, "video/mp4")
        start = _START + (size - len(_START)).to_bytes(4, "big") + b"mdat"
        self.wfile.write(start)
        left = size - len(start)
        while left > 0:
            self.wfile.write(_BLOCK_OF_ZEROS if left >= BLOCK else _BLOCK_OF_ZEROS[:left])
            left -= BLOCK

    def do_POST(self) -> None:
        """Receives an upload and responds as CreateAsset does, with the number of bytes received."""
        expected = int(self.headers["content-length"])
        buffer = memoryview(bytearray(BLOCK))
        taken = 0
        while taken < expected and (read := self.rfile.readinto(buffer[: expected - taken])):
            taken += read
        body = json.dumps({"Id": "asset-20260320120147-pqwhc", "taken": taken}).encode()
        self._start(len(body), "application/json")
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""

    def _start(self, size: int, media_type: str) -> None:
        self.send_response(200)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(size))
        self.end_headers()


def serve_storage(tls: ssl.SSLContext) -> int:
    """Serves in threads of this process; returns the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), StorageHandler)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_port)
