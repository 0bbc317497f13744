"""A file on this machine, written atomically by a rename."""

from __future__ import annotations

import glob
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from airflow_provider_anyfast.client.errors import StorageError
from airflow_provider_anyfast.files.base import Made, StoredFile, storage_errors
from airflow_provider_anyfast.files.target import check_name, check_target, is_special

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class LocalFile(StoredFile):
    """A file on this machine, or on a file system that all workers share."""

    local: Path

    @property
    def path(self) -> str:
        """The local path."""
        return str(self.local)

    @property
    def uri(self) -> str:
        """``file:///…``."""
        return self.local.absolute().as_uri()

    @property
    def identity(self) -> str:
        """The path without ``.``, ``..`` and links to folders. A link to a file stays: a write replaces the link."""
        return os.path.join(os.path.realpath(self.local.parent), self.local.name)  # noqa: PTH118 - for thousands of rows

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.local.name

    def sibling(self, name: str) -> LocalFile:
        """Another file in the same folder."""
        return LocalFile(self.local.with_name(name))

    def check_name(self) -> None:
        """Checks with the file system whether the name is valid."""
        check_name(self.local)

    def check_writable(self) -> None:
        """Creates the folder and checks that a file can be written there."""
        check_target(self.local)

    def size(self) -> int | None:
        """Size in bytes; None if the file does not exist."""
        with storage_errors(self.path):
            try:
                found = self.local.stat()  # since Python 3.14, ``is_file`` takes a failing disk for a missing file
            except (FileNotFoundError, NotADirectoryError):
                return None
            return found.st_size if stat.S_ISREG(found.st_mode) else None

    def open(self) -> IO[bytes]:
        """Opens the file for reading."""
        with storage_errors(self.path, reading=True):
            return self.local.open("rb")

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        """The file itself."""
        yield self.local

    def write_atomically(self, make: Callable[[Path], Made]) -> Made:
        """Calls ``make``, which writes a local file atomically."""
        if is_special(self.local):
            raise StorageError(f"{self.path} is a device, a pipe or a socket, and only an ordinary file is replaced.")
        with storage_errors(self.path):
            return make(self.local)

    def files(self) -> list[str]:
        """The paths of the files in this folder or matching this pattern."""
        with storage_errors(self.path):
            if self.local.is_dir():
                found = list(self.local.iterdir())
            elif self.local.exists():
                found = [self.local]
            else:
                found = [Path(path) for path in glob.glob(self.path, recursive=True)]  # noqa: PTH207 - any part may be a pattern
            return sorted(str(path) for path in found if path.is_file() and not path.name.startswith("."))
