"""Temporary folders of this worker, for transfers to and from object storage."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCRATCH = "airflow-anyfast-"
_UNLOCKED_FOR = 60.0
"""Seconds within which the creator of a temporary folder has locked it."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder. First removes those of killed tasks, since a lock ends with its process.

    Raises:
        StorageError: this worker cannot create one.
    """
    try:
        _sweep_scratch_folders()
        made = tempfile.TemporaryDirectory(prefix=_SCRATCH)
    except OSError as error:
        raise StorageError(
            f"This worker has no writable temporary folder ({error.strerror}), and every transfer from or to object "
            f"storage needs one: mount /tmp, or set TMPDIR."
        ) from error
    with made as folder, ExitStack() as held:
        with suppress(OSError):  # a file system without locks is not swept either
            held.enter_context(_locked(Path(folder)))
        yield Path(folder)


def _sweep_scratch_folders() -> None:
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _UNLOCKED_FOR:
                with _locked(left):
                    shutil.rmtree(left)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises a ``BlockingIOError`` if another process holds the lock, and an ``OSError`` if locks are not supported."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
