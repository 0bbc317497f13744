"""How a measured process talks with the one that measures: words on stdin, one JSON object a line on stdout."""

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
    """Stdout for this talk alone: what libraries print goes to stderr from now on."""
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return lines


def tell(out: TextIO, **facts: object) -> None:
    """Write one line."""
    out.write(json.dumps(facts) + "\n")
    out.flush()


@dataclass(frozen=True)
class Talk:
    """The side of the measured process, in an event loop."""

    loop: asyncio.AbstractEventLoop
    _words: asyncio.StreamReader
    _out: TextIO

    @classmethod
    async def begin(cls) -> Talk:
        """Takes stdin and stdout."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        return cls(loop, reader, take_stdout())

    def tell(self, **facts: object) -> None:
        """Writes one line."""
        tell(self._out, **facts)

    async def word(self) -> str:
        """The next word; empty when the other side has gone."""
        return (await self._words.readline()).decode().strip()

    async def words(self) -> AsyncIterator[str]:
        """Words until the other side has gone."""
        while word := await self.word():
            yield word
