"""The body of a download, piece by piece."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

LARGEST = 8 * 1024**3
"""Bytes that no video has. A body without end stops here, and so does one that unpacks to far more than it is."""
_BUFFER = 1024**2
_LONGEST_PIECE = 1.0
"""Seconds for which a piece is collected, so that a slow body is noticed."""
_WORTH_IT = 4 * _BUFFER
"""Bytes from which reading past httpx pays: the connection cannot be used again afterwards."""


def is_encoded(response: httpx.Response) -> bool:
    """Whether the body is compressed, although no download asks for that."""
    return response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def pieces_of(response: httpx.Response) -> Iterator[bytes | memoryview]:
    """The decoded body as it comes. A piece is valid until the next one is asked for.

    A large body is read from the socket into one buffer, since httpx and httpcore copy every 64 KiB of it several
    times, which halves the speed.

    Raises:
        httpx.HTTPError: the body did not arrive whole, as far as the answer says how long it is.
    """
    if is_encoded(response):
        yield from response.iter_bytes()
        return
    chunks = response.iter_raw()
    first = next(chunks, b"")  # holds all that httpcore has read beyond the headers, so the socket goes on behind it
    yield first
    left = int(response.headers.get("content-length", 0)) - len(first)
    connection = _plain_socket(response)
    if connection is None or left < _WORTH_IT:
        yield from chunks
    else:
        yield from _read(connection, left, response.request.extensions.get("timeout", {}).get("read"))


def _plain_socket(response: httpx.Response) -> socket.socket | None:
    """The socket on which nothing but the rest of this body is still to come; None where something stands between."""
    stream = response.extensions.get("network_stream")
    if stream is None or response.http_version != "HTTP/1.1" or "transfer-encoding" in response.headers:
        return None
    if isinstance(stream.get_extra_info("ssl_object"), ssl.SSLObject):
        return None  # TLS inside of the TLS to a proxy: the socket holds what only httpcore can decrypt
    found: socket.socket | None = stream.get_extra_info("socket")
    return found


def _read(connection: socket.socket, left: int, timeout: float | None) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_BUFFER))
    connection.settimeout(timeout)
    while left:
        count, error = _fill(connection, buffer[: min(left, _BUFFER)])
        if count:
            yield buffer[:count]
        left -= count
        if isinstance(error, TimeoutError):
            raise httpx.ReadTimeout(f"no data arrived for {timeout:g} s") from error
        if isinstance(error, EOFError):
            raise httpx.RemoteProtocolError(f"the storage host closed the connection {left:,} bytes before the end")
        if error is not None:
            raise httpx.ReadError(str(error)) from error


def _fill(connection: socket.socket, buffer: memoryview) -> tuple[int, Exception | None]:
    """How many bytes have come, and what ended them, if not the end of the buffer or of ``_LONGEST_PIECE``.

    TLS gives at most 16 KiB at a time, and to pass on each of these takes longer than to receive it. What has come
    before an error is kept, since the next try requests the rest alone.
    """
    filled, until = 0, time.monotonic() + _LONGEST_PIECE
    try:
        while filled < len(buffer) and time.monotonic() < until:
            count = connection.recv_into(buffer[filled:])
            if not count:
                return filled, EOFError()
            filled += count
    except OSError as error:  # TimeoutError is one
        return filled, error
    return filled, None
