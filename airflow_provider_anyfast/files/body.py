"""Reads the body of a download in pieces."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

LARGEST = 8 * 1024**3
"""Bytes; no video is larger. Stops an endless body, and one that decompresses to far more than its size."""
_BUFFER = 1024**2
_LONGEST_PIECE = 1.0
"""Seconds for which one piece is collected, so that a slow body is detected."""
_WORTH_IT = 4 * _BUFFER
"""Bytes from which bypassing httpx is worthwhile, although the connection cannot be reused afterwards."""


def is_encoded(response: httpx.Response) -> bool:
    """Whether the body is compressed, although no download requests that."""
    return response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def pieces_of(response: httpx.Response) -> Iterator[bytes | memoryview]:
    """Yields the decoded body as it arrives. A piece is valid until the next one is requested.

    A large body is read from the socket into one buffer, since httpx and httpcore copy every 64 KiB of it several
    times, which halves the speed.

    Raises:
        httpx.HTTPError: the body is incomplete, if the response states its length.
    """
    if is_encoded(response):
        yield from response.iter_bytes()
        return
    chunks = response.iter_raw()
    first = next(chunks, b"")  # all that httpcore has read after the headers; the socket continues from here
    yield first
    left = int(response.headers.get("content-length", 0)) - len(first)
    connection = _plain_socket(response)
    if connection is None or left < _WORTH_IT:
        yield from chunks
    else:
        yield from _read(connection, left, response.request.extensions.get("timeout", {}).get("read"))


def _plain_socket(response: httpx.Response) -> socket.socket | None:
    """The socket, if it delivers the rest of this body as plain bytes and nothing else; otherwise None."""
    stream = response.extensions.get("network_stream")
    if stream is None or response.http_version != "HTTP/1.1" or "transfer-encoding" in response.headers:
        return None
    if isinstance(stream.get_extra_info("ssl_object"), ssl.SSLObject):
        return None  # TLS within TLS to a proxy: only httpcore can decrypt the data of the socket
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
    """The number of bytes received, and the error that ended the piece before the buffer or ``_LONGEST_PIECE`` did.

    TLS delivers at most 16 KiB at a time, and passing each of these on takes longer than receiving it. The bytes
    received before an error are kept, since the next try requests only the rest.
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
