"""A server on a raw socket that misbehaves."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ANYIO_LOSES_CONNECTIONS = Version(version("anyio")) < Version("4.16")
LOST_CONNECTIONS = pytest.mark.filterwarnings(*["ignore:unclosed:ResourceWarning"] * _ANYIO_LOSES_CONNECTIONS)
"""For tests whose short limits may end while a connection is made: an older anyio then never closes it."""


class Peer:
    """One accepted connection, as a behavior sees it."""

    def __init__(self, connection: socket.socket, over: threading.Event) -> None:
        self._connection = connection
        self._over = over

    def request(self) -> str:
        """Reads a request and returns its head; empty if the client has disconnected."""
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = self._connection.recv(65536)
            if not chunk:
                return ""
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        missing = int(fields.get(b"content-length", 0)) - len(body)
        while missing > 0:
            chunk = self._connection.recv(65536)
            if not chunk:
                return ""
            missing -= len(chunk)
        return head.decode()

    def receive(self, most: int) -> bytes:
        """Reads some bytes of a request."""
        return self._connection.recv(most)

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def drip(self, data: bytes, pause: float = 0.03) -> None:
        """Send byte by byte, so that no limit of a single read is reached."""
        for byte in data:
            self.send(bytes([byte]))
            if self._over.wait(pause):
                return

    def drip_for_ever(self, data: bytes, pause: float = 0.03) -> None:
        while not self._over.is_set():
            self.drip(data, pause)

    def repeat(self, data: bytes, pause: float = 0.03) -> None:
        """Send all of ``data`` again and again."""
        while not self._over.wait(pause):
            self.send(data)

    def flood(self, data: bytes) -> None:
        while not self._over.is_set():
            self.send(data)

    def hang(self) -> None:
        """Neither respond nor close."""
        self._over.wait()

    def close(self) -> None:
        """Close after all that was sent."""
        self._connection.close()

    def reset(self) -> None:
        """Close with an RST in place of a FIN."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


@contextmanager
def hostile_server(behave: Callable[[Peer], None]) -> Iterator[str]:
    """The address (``host:port``) of a server that handles every connection with ``behave``."""
    over = threading.Event()
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            behave(Peer(connection, over))

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in (acceptor, *threads):
                thread.join(timeout=5)
