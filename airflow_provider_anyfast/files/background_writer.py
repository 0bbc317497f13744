"""Writes a download in a thread of its own, so that receiving and decrypting go on meanwhile."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_WRITEBACK = 8 * 1024**2
"""Bytes after which writing to disk is started."""


class BackgroundWriter:
    """Writes one piece at a time in order; ``write`` returns as soon as the piece before it is written.

    At the end of the block every piece has been passed to ``file``, also after an error of the block, so that the next
    try can continue from there.

    Args:
        file: open for writing, at its end. Nothing else writes to it within the block.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="anyfast-writer")
        self._last: Future[None] | None = None
        self._written_back = file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self._wait()

    def write(self, piece: bytes | memoryview) -> None:
        """Writes ``piece`` behind the pieces before it. It must not change until the next call has returned.

        Raises:
            OSError: an earlier piece could not be written.
        """
        self._wait()
        self._last = self._thread.submit(self._write, piece)

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()

    def _write(self, piece: bytes | memoryview) -> None:
        self._file.write(piece)
        if self._file.tell() - self._written_back >= _WRITEBACK:
            self._begin_writeback()

    def _begin_writeback(self) -> None:
        """Starts writing the newest data to disk, so that the final ``fsync`` has less to wait for."""
        self._file.flush()
        start, self._written_back = self._written_back, self._file.tell()
        if hasattr(os, "posix_fadvise"):  # Linux then writes this part out in the background
            length = self._written_back - start
            os.posix_fadvise(self._file.fileno(), start, length, os.POSIX_FADV_DONTNEED)
