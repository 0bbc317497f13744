"""One TLS connection: HTTP/2 or HTTP/1.1, as ALPN selects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

import httptools
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

if TYPE_CHECKING:
    from benchmarks.server.counters import Counters
    from benchmarks.server.responses import Responder, Response

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}


class HttpProtocol(Protocol):
    """A version of HTTP on one connection."""

    def feed(self, data: bytes) -> None:
        """Processes bytes from the client."""


class Connection(asyncio.Protocol):
    """Serves the requests of one client.

    Args:
        responder: decides the responses.
        counters: counts requests, responses and connections.
    """

    def __init__(self, responder: Responder, counters: Counters) -> None:
        self._responder = responder
        self._counters = counters

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Selects the version of HTTP that ALPN negotiated."""
        self._transport = cast("asyncio.Transport", transport)
        self._counters.connected()
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        self._speaker: HttpProtocol = Http2(self) if chosen == "h2" else Http1(self)

    def data_received(self, data: bytes) -> None:
        """Passes the bytes to the protocol."""
        self._speaker.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts the end."""
        del exc
        self._counters.disconnected()

    def write(self, data: bytes) -> None:
        """Sends bytes."""
        self._transport.write(data)

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()

    def respond_later(self, method: str, path: str, send: SendResponse) -> None:
        """Calls ``send`` with the response when it is due, if the client is still connected."""
        self._counters.requested()
        response = self._responder.response(method, path)

        def now() -> None:
            if not self._transport.is_closing() and send(response):
                self._counters.responded(response.status)

        asyncio.get_running_loop().call_later(response.after, now)


class SendResponse(Protocol):
    """Sends one response; False if the client no longer waits for it."""

    def __call__(self, response: Response, /) -> bool:
        """Sends ``response``."""


class Http1:
    """HTTP/1.1 with keep-alive, without pipelining."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._start()

    def _start(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""

    def feed(self, data: bytes) -> None:
        """Parses; the parser calls the methods below."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._connection.close()

    def on_url(self, url: bytes) -> None:
        """Collects the target."""
        self._url += url

    def on_message_complete(self) -> None:
        """Responds to the request."""
        method, path = self._parser.get_method().decode(), self._url.decode()
        self._url = b""
        self._connection.respond_later(method, path, self._send)

    def _send(self, response: Response) -> bool:
        lines = [
            f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Refused')}",
            "content-type: application/json",
            f"content-length: {len(response.body)}",
            *(f"{name}: {value}" for name, value in response.headers),
        ]
        self._connection.write("\r\n".join(lines).encode() + b"\r\n\r\n" + response.body)
        return True


class Http2:
    """HTTP/2: many requests at once on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._requests: dict[int, tuple[str, str]] = {}
        self._h2 = H2Connection(H2Configuration(client_side=False))
        self._h2.initiate_connection()
        self._flush()

    def feed(self, data: bytes) -> None:
        """Parses and responds."""
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except ProtocolError:
            self._connection.close()
        self._flush()

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            headers = dict(event.headers)
            self._requests[event.stream_id] = (headers[b":method"].decode(), headers[b":path"].decode())
        elif isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamReset):
            self._requests.pop(event.stream_id, None)
        elif isinstance(event, StreamEnded):
            stream = event.stream_id
            self._connection.respond_later(*self._requests[stream], lambda response: self._send(stream, response))

    def _send(self, stream: int, response: Response) -> bool:
        if self._requests.pop(stream, None) is None:
            return False
        headers = [
            (":status", str(response.status)),
            ("content-type", "application/json"),
            ("content-length", str(len(response.body))),
            *response.headers,
        ]
        self._h2.send_headers(stream, headers)
        self._h2.send_data(stream, response.body, end_stream=True)
        self._flush()
        return True

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._connection.write(data)
