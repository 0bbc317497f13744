"""Responses that fail on the wire: none at all, a part of one, a slow one or an encoded one."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from airflow_provider_anyfast.sandbox.faults.fault import Fault

TRANSPORT = "transport"
"""The key of a request's TCP connection in the state of its scope, where the server stores it."""
CLIENT_GONE = 499
"""The status in the log of a request whose client disconnected before anything was done."""


async def _close_connection(scope: Scope, receive: Receive) -> None:
    """Close the TCP connection after its buffer is sent, and wait until the server has noticed."""
    scope["state"][TRANSPORT].close()
    await receive()


class NoResponse(Response):
    """The connection is closed without a response.

    Args:
        logged_status: the status in the log.
    """

    def __init__(self, logged_status: int | None = None) -> None:
        super().__init__()
        self.logged_status = logged_status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is sent
        """Close the connection."""
        await _close_connection(scope, receive)


@dataclass
class _Recording:
    """A response as it would be sent."""

    status: int = 500
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], tuple(message["headers"])
        else:
            self.body += message.get("body", b"")

    def headers_without(self, *names: bytes) -> list[tuple[bytes, bytes]]:
        return [(name, value) for name, value in self.headers if name.lower() not in names]


class _Altered(Response):
    """A response made from a complete one."""

    def __init__(self, whole: Response, fault: Fault) -> None:
        super().__init__(status_code=whole.status_code)
        self.raw_headers = whole.raw_headers
        self._whole = whole
        self._fault = fault

    async def _record(self, scope: Scope, receive: Receive) -> _Recording:
        recording = _Recording()
        await self._whole(scope, receive, recording.send)
        return recording


class Dripping(_Altered):
    """The complete response, one byte at a time: ``drip``.

    It is written to the TCP connection itself, since a server sends the status line and the headers in one piece.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - see above
        """Write the response slowly until it is complete or the client has disconnected."""
        recording = await self._record(scope, receive)
        head = _head_of(recording)
        transport: asyncio.Transport = scope["state"][TRANSPORT]
        fast, slow = (head, recording.body) if self._fault.part == "body" else (b"", head + recording.body)
        transport.write(fast)
        for byte in slow:
            if transport.is_closing():
                break
            transport.write(bytes((byte,)))
            await asyncio.sleep(self._fault.seconds)
        await _close_connection(scope, receive)


def _head_of(recording: _Recording) -> bytes:
    headers = recording.headers_without(b"connection")
    if not any(name.lower() == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(len(recording.body)).encode()))
    lines = [f"HTTP/1.1 {recording.status} {HTTPStatus(recording.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"connection: close", b"", b""])


class Gzipped(_Altered):
    """The complete response, compressed even if the client does not accept that: ``gzip``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the compressed response."""
        recording = await self._record(scope, receive)
        body = gzip.compress(recording.body)
        headers = recording.headers_without(b"content-length", b"accept-ranges")
        headers += [(b"content-length", str(len(body)).encode()), (b"content-encoding", b"gzip")]
        await send({"type": "http.response.start", "status": recording.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class CutDownload(_Altered):
    """The beginning of a file without its length, so that it looks complete: ``cut_download``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the part."""
        recording = await self._record(scope, receive)
        kept = _kept_bytes(self._fault, len(recording.body))
        headers = recording.headers_without(b"content-length")
        await send({"type": "http.response.start", "status": recording.status, "headers": headers})
        await send({"type": "http.response.body", "body": recording.body[:kept]})


def _kept_bytes(fault: Fault, length: int) -> int:
    return int(length * fault.fraction) if fault.bytes is None else fault.bytes


class _CutError(Exception):
    """The response ends here."""


class DamagedDownload(_Altered):
    """A file of known length of which only a part is sent at first.

    ``truncate_download`` closes the connection after it, ``stall_download`` waits there.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response through the fault."""
        pipe = _DamagedPipe(send, self._fault)
        try:
            await self._whole(scope, receive, pipe.send)
        except _CutError:
            await _close_connection(scope, receive)


class _DamagedPipe:
    def __init__(self, send: Send, fault: Fault) -> None:
        self._send = send
        self._fault = fault
        self._left = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._left = _kept_bytes(self._fault, int(dict(message["headers"])[b"content-length"]))
            await self._send(message)
            return
        body = message.get("body", b"")
        if len(body) <= self._left:
            self._left -= len(body)
            await self._send(message)
            return
        await self._send({**message, "body": body[: self._left], "more_body": True})
        if self._fault.name == "truncate_download":
            raise _CutError
        await asyncio.sleep(self._fault.seconds)
        rest, self._left = body[self._left :], 2**63
        await self._send({**message, "body": rest})


def corrupted() -> Response:
    """Return a response that claims to be a video but is not."""
    return Response(b"<html><body>Service temporarily unavailable</body></html>" * 40, media_type="video/mp4")
