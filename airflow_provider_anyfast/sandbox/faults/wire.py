"""Answers that go wrong on the wire: a connection that is cut, a file that arrives in part."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from airflow_provider_anyfast.sandbox.faults.fault import Fault

CLOSE_CONNECTION = "close_connection"
"""Where the server puts a function that closes the TCP connection: in the state of each request's scope."""


async def close_connection(scope: Scope, receive: Receive) -> None:
    """Close the TCP connection once what was sent has left, and wait until the server has noticed."""
    scope["state"][CLOSE_CONNECTION]()
    await receive()


CALLER_GONE = 499
"""What the log shows for a request whose caller had gone before it was acted upon."""


class NoResponse(Response):
    """The connection is closed without an answer.

    Args:
        logged_status: what the log shows instead of an answer's status.
    """

    def __init__(self, logged_status: int | None = None) -> None:
        super().__init__()
        self.logged_status = logged_status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is sent
        """Close the connection."""
        await close_connection(scope, receive)


class _CutError(Exception):
    """The response ends here."""


class DamagedDownload(Response):
    """A whole response of which only a part is sent at first.

    Args:
        whole: the response, a body of known length.
        fault: ``truncate_download`` closes the connection after its ``fraction``, ``stall_download`` waits there.
    """

    def __init__(self, whole: Response, fault: Fault) -> None:
        super().__init__(status_code=whole.status_code)
        self.raw_headers = whole.raw_headers
        self._whole = whole
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response through the fault."""
        pipe = _DamagedPipe(send, self._fault)
        try:
            await self._whole(scope, receive, pipe.send)
        except _CutError:
            await close_connection(scope, receive)


class _DamagedPipe:
    def __init__(self, send: Send, fault: Fault) -> None:
        self._send = send
        self._fault = fault
        self._left = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            length = int(dict(message["headers"])[b"content-length"])
            self._left = int(length * self._fault.fraction)
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
    """Return something that says it is a video, and is none."""
    return Response(b"<html><body>Service temporarily unavailable</body></html>" * 40, media_type="video/mp4")
