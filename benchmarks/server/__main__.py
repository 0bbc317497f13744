"""The server as a process: ``python -m benchmarks.server FOLDER``. It is asked for its books through stdin."""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from benchmarks.server.answers import Answers
from benchmarks.server.books import Books
from benchmarks.server.certificate import server_context
from benchmarks.server.connection import Connection
from benchmarks.server.storage import serve_storage
from benchmarks.talk import Talk

BACKLOG = 4096
"""A thousand clients may connect at once; the kernel may allow fewer."""


async def serve(folder: Path) -> None:
    """Serves until stdin ends."""
    talk = await Talk.begin()
    books, answers = Books(), Answers()
    ports = {"files": serve_storage(server_context(folder, "http/1.1"))}
    loop = talk.loop
    servers = []
    for name, protocols in (("http1", ("http/1.1",)), ("http2", ("h2", "http/1.1"))):
        server = await loop.create_server(
            lambda: Connection(answers, books),
            "127.0.0.1",
            0,
            ssl=server_context(folder, *protocols),
            backlog=BACKLOG,
        )
        servers.append(server)
        ports[name] = server.sockets[0].getsockname()[1]
    talk.tell(ports=ports)
    async for word in talk.words():
        talk.tell(**books.facts())
        if word == "reset":
            books.reset()


uvloop.run(serve(Path(sys.argv[1])))
