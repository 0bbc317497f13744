"""A small HTTP/2 server over TLS, in which a test responds to each stream."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import trustme

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator


class Stream:
    """One request: its path, and the methods to respond to it."""

    def __init__(self, state: h2.connection.H2Connection, writer: asyncio.StreamWriter, number: int, path: str) -> None:
        self.path = path
        self._state, self._writer, self._number = state, writer, number

    def headers(self) -> None:
        self._state.send_headers(self._number, [(":status", "200"), ("content-type", "application/json")])
        self._flush()

    def data(self, content: bytes, *, last: bool = False) -> None:
        self._state.send_data(self._number, content, end_stream=last)
        self._flush()

    def _flush(self) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(self._state.data_to_send())


@asynccontextmanager
async def http2_server(handle: Callable[[Stream], Awaitable[None]]) -> AsyncIterator[str]:
    """The address (``https://host:port``) of a server that calls ``handle`` in a new task for each stream."""
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        writer.write(state.data_to_send())
        while data := await reader.read(65536):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    path = dict(event.headers)[b":path"].decode()
                    tasks.add(asyncio.ensure_future(handle(Stream(state, writer, event.stream_id, path))))
            writer.write(state.data_to_send())
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


@contextmanager
def http2_server_in_thread(handle: Callable[[Stream], Awaitable[None]]) -> Iterator[str]:
    """The same server in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = http2_server(handle)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    url = asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    try:
        yield url
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
