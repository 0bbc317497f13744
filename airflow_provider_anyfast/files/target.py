"""Whether a local path can become a file, checked before anything is billed."""

from __future__ import annotations

import errno
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client.errors import InvalidRequestError, StorageError
from airflow_provider_anyfast.files.atomic import partial_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PERMANENT = {
    errno.EACCES,
    errno.EEXIST,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
"""Errors that make a path permanently unusable. Others, such as a stale handle or a full disk, may be temporary."""


def check_name(target: Path) -> None:
    """Checks that a file may have this name and the name that it has while incomplete. Writes nothing.

    If the folder does not exist, names in it cannot be checked.

    Raises:
        InvalidRequestError: naming the path and what is in the way.
    """
    with _refused(target):
        if target.is_dir():
            raise IsADirectoryError("it is a folder; add a file name such as {generation_id}.mp4")
        if is_special(target):
            raise FileExistsError("it is a device, a pipe or a socket, and only an ordinary file is replaced")
        with suppress(FileNotFoundError):
            partial_path(target).lstat()


def is_special(target: Path) -> bool:
    """Whether ``target`` is neither an ordinary file nor a folder, but for example a device or a named pipe."""
    try:
        mode = target.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_target(target: Path) -> None:
    """Creates the folder of ``target`` and checks that a file can be written there, before anything is billed.

    Raises:
        InvalidRequestError: naming the path and what is in the way.
        StorageError: the file system failed, which may be temporary.
    """
    check_name(target)
    with _refused(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        probe = partial_path(target)
        probe.touch()
        probe.unlink()


def reason_of(error: Exception) -> str:
    """What the file system says, without the number and the path."""
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def _refused(target: Path) -> Iterator[None]:
    """Converts an error of the file system to one that names ``target``."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None and error.errno not in _PERMANENT:
            raise StorageError(f"{target}: the storage failed ({reason_of(error)}).") from error
        raise InvalidRequestError(f"{target} cannot be written ({reason_of(error)}).") from error
