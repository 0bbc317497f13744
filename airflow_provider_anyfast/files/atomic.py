"""Writes local files atomically: complete under their final name, or not at all."""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path next to ``target``; at the end of the block, that file is renamed to ``target``.

    If the block fails, ``target`` stays as it is and the temporary file is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    partial = partial_path(target)
    try:
        yield partial
        os.replace(partial, target)  # noqa: PTH105 - the one atomic step, under the name of its system call
    finally:
        with suppress(OSError):
            partial.unlink()


def partial_path(target: Path) -> Path:
    """A new path next to ``target`` for an incomplete file."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def lock(file: IO[bytes]) -> None:
    """Prevents others from removing an incomplete file while this process has it open for writing."""
    with suppress(OSError):  # a file system without locks is not swept either
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def begin_writeback(file: IO[bytes], start: int) -> int:
    """Starts writing the data after ``start`` to disk, so that the final ``fsync`` has less to wait for.

    Returns:
        Where in the file the next part starts.
    """
    file.flush()
    end = file.tell()
    if hasattr(os, "posix_fadvise"):  # Linux then writes this part out in the background
        with suppress(OSError):  # a file system without this
            os.posix_fadvise(file.fileno(), start, end - start, os.POSIX_FADV_DONTNEED)
    return end


def _sweep(target: Path) -> None:
    """Removes incomplete files of killed attempts next to ``target``: a lock ends with the process that holds it."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 8}.part"):
        with suppress(OSError), left.open("r+b") as file:  # NFS needs the file open for writing to lock it
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
