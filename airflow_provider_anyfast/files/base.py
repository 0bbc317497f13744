"""The interface of a file, local or in object storage. Writes are atomic, so a partial file is never visible."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeVar

from airflow_provider_anyfast.client.errors import AnyFastError, InvalidRequestError, StorageError
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.files.atomic import atomic_path, lock
from airflow_provider_anyfast.files.mp4 import video_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Made = TypeVar("Made")


class StoredFile(ABC):
    """One file, local or in object storage."""

    @property
    @abstractmethod
    def path(self) -> str:
        """The path in the form of ``ObjectStoragePath``, with the connection; tasks pass this form on."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """The name in asset events and lineage, without the connection."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Equal for two spellings of one file, as the storage compares them: ``a/x.mp4`` and ``a//./x.mp4``."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of the path."""

    @abstractmethod
    def sibling(self, name: str) -> StoredFile:
        """Another file in the same folder."""

    @abstractmethod
    def check_name(self) -> None:
        """Checks whether a file in this existing folder may have this name; fast enough for thousands.

        Raises:
            InvalidRequestError: the name is not possible.
        """

    @abstractmethod
    def check_writable(self) -> None:
        """Checks for free, as far as possible, that the file can be written, before anything is billed.

        Raises:
            InvalidRequestError: it can never be written.
            StorageError: the storage does not respond.
        """

    @abstractmethod
    def size(self) -> int | None:
        """Size in bytes; None if the file does not exist.

        Raises:
            StorageError: the storage does not respond, so the size is unknown.
        """

    @abstractmethod
    def open(self) -> IO[bytes]:
        """Opens the file for reading from the start; seekable."""

    @abstractmethod
    def local_copy(self) -> Any:
        """A context manager: the file as a local ``Path`` within the block."""

    @abstractmethod
    def write_atomically(self, make: Callable[[Path], Made]) -> Made:
        """Replaces this file atomically with the file that ``make`` writes to the path it receives.

        Returns:
            The result of ``make``, which may inspect the file before a temporary one is removed.
        """

    @abstractmethod
    def files(self) -> list[str]:
        """The paths of the files in this folder, or matching this pattern, without hidden ones."""

    def is_whole_video(self) -> bool:
        """Whether the file exists and is a complete MP4 or MOV file."""
        size = self.size()
        if not size:
            return False
        with storage_errors(self.path), self.open() as file:
            return not video_problem(file, size)

    def read_text(self) -> str | None:
        """The text of the file; None if it does not exist."""
        if self.size() is None:
            return None
        with storage_errors(self.path, reading=True), self.open() as file:
            content = file.read()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidRequestError(f"{self.path} is not UTF-8 text ({error}).") from error

    def write_text(self, text: str) -> None:
        """Replaces the file atomically."""
        self.write_atomically(lambda path: _write(path, text.encode()))

    def write_bytes(self, content: bytes) -> None:
        """Replaces the file atomically."""
        self.write_atomically(lambda path: _write(path, content))


@contextmanager
def storage_errors(path: str, *, reading: bool = False) -> Iterator[None]:
    """Converts any error of a storage backend to one that names the path; a file to read must exist."""
    try:
        yield
    except AnyFastError:
        raise
    except Exception as error:
        if reading and isinstance(error, FileNotFoundError):
            raise InvalidRequestError(f"{path} does not exist.") from error
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise StorageError(f"{path}: the storage failed ({redact(reason)}).") from error


def _write(path: Path, content: bytes) -> None:
    """Writes a file with this content atomically."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        lock(file)
        file.write(content)
