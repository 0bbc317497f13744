"""Local files that appear under their name whole, or not at all."""

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
def appearing(target: Path) -> Iterator[Path]:
    """A path beside ``target`` to write to; at the end of the block what was written is renamed to ``target``.

    Where the block fails, ``target`` stays as it is and nothing is left beside it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    partial = partial_path(target)
    try:
        yield partial
        os.replace(partial, target)  # noqa: PTH105 - the one atomic step, named as the system calls it
    finally:
        with suppress(OSError):
            partial.unlink()


def partial_path(target: Path) -> Path:
    """A new name beside ``target`` for a file that is not complete yet."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def lock(file: IO[bytes]) -> None:
    """Keeps others from removing an incomplete file while this process has it open for writing."""
    with suppress(OSError):  # a file system without locks has no sweeping either
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def begin_writeback(file: IO[bytes], start: int) -> int:
    """Lets the disk begin to write what comes after ``start``, so that ``fsync`` has less to wait for at the end.

    Returns:
        Where in the file the next part starts.
    """
    file.flush()
    end = file.tell()
    if hasattr(os, "posix_fadvise"):  # Linux then writes the part out without waiting for it
        os.posix_fadvise(file.fileno(), start, end - start, os.POSIX_FADV_DONTNEED)
    return end


def _sweep(target: Path) -> None:
    """Removes what killed attempts have left beside ``target``: a lock ends with the process that holds it."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 8}.part"):
        with suppress(OSError), left.open("r+b") as file:  # NFS locks for writing only what is open for it
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
