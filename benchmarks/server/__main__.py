"""The server as a process: ``python -m benchmarks.server FOLDER``. It reports its counters on each command on stdin."""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from benchmarks.channel import Channel
from benchmarks.server.certificate import server_context
from benchmarks.server.connection import Connection
from benchmarks.server.counters import Counters
from benchmarks.server.responses import Responder
from benchmarks.server.storage import serve_storage

BACKLOG = 4096
"""A thousand clients may connect at once; the kernel may allow fewer."""


async def serve(folder: Path) -> None:
    """Serves until stdin ends."""
    channel = await Channel.begin()
    counters, responder = Counters(), Responder()
    ports = {"files": serve_storage(server_context(folder, "http/1.1"))}
    loop = channel.loop
    servers = []
    for name, protocols in (("http1", ("http/1.1",)), ("http2", ("h2", "http/1.1"))):
        server = await loop.create_server(
            lambda: Connection(responder, counters),
            "127.0.0.1",
            0,
            ssl=server_context(folder, *protocols),
            backlog=BACKLOG,
        )
        servers.append(server)
        ports[name] = server.sockets[0].getsockname()[1]
    channel.send(ports=ports)
    async for command in channel.commands():
        channel.send(**counters.facts())
        if command == "reset":
            counters.reset()


uvloop.run(serve(Path(sys.argv[1])))
