"""Connects a measured process with the measuring one: commands on stdin, one JSON object per line on stdout."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def take_stdout() -> TextIO:
    """Reserves stdout for this channel; what libraries print goes to stderr from now on."""
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return lines


def send(out: TextIO, **facts: object) -> None:
    """Writes one line."""
    out.write(json.dumps(facts) + "\n")
    out.flush()


@dataclass(frozen=True)
class Channel:
    """The measured process's end of the channel, in an event loop."""

    loop: asyncio.AbstractEventLoop
    _commands: asyncio.StreamReader
    _out: TextIO

    @classmethod
    async def begin(cls) -> Channel:
        """Opens stdin and stdout."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        return cls(loop, reader, take_stdout())

    def send(self, **facts: object) -> None:
        """Writes one line."""
        send(self._out, **facts)

    async def command(self) -> str:
        """The next command; empty after the other side has closed."""
        return (await self._commands.readline()).decode().strip()

    async def commands(self) -> AsyncIterator[str]:
        """Commands until the other side closes."""
        while command := await self.command():
            yield command
