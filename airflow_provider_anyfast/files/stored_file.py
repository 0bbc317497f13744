"""What a file can do wherever it is stored. It appears all at once, so nothing partial is ever visible."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeVar

from airflow_provider_anyfast.client.errors import AnyFastError, InvalidRequestError, StorageError
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.files.atomic import appearing, lock
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
        """As ``ObjectStoragePath`` takes it, with the connection; what tasks hand on."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """As asset events and lineage name it, without the connection."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """The same for two spellings of one file, as the storage compares them: ``a/x.mp4`` and ``a//./x.mp4``."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of its path."""

    @abstractmethod
    def sibling(self, name: str) -> StoredFile:
        """Another file in the same folder."""

    @abstractmethod
    def check_name(self) -> None:
        """Finds out whether a file in this folder, which exists, may have this name; for thousands of them.

        Raises:
            InvalidRequestError: it may not.
        """

    @abstractmethod
    def check_writable(self) -> None:
        """Finds out what it can, for free, before anything is billed.

        Raises:
            InvalidRequestError: it can never be written.
            StorageError: the storage does not answer.
        """

    @abstractmethod
    def size(self) -> int | None:
        """Bytes; None if it does not exist.

        Raises:
            StorageError: the storage does not answer, so nobody knows.
        """

    @abstractmethod
    def open(self) -> IO[bytes]:
        """Its bytes, seekable, from the start."""

    @abstractmethod
    def local_copy(self) -> Any:
        """A context manager: the file as a local ``Path``, for as long as the block lasts."""

    @abstractmethod
    def write_atomically(self, make: Callable[[Path], Made]) -> Made:
        """Becomes the file that ``make`` makes appear, all at once, at the path that it is given.

        Returns:
            What ``make`` returns, which may look at the file before a temporary one is gone.
        """

    @abstractmethod
    def files(self) -> list[str]:
        """The paths of the files in this folder, or of those that this pattern names; hidden ones are left out."""

    def is_whole_video(self) -> bool:
        """Whether it exists and is a whole MP4 or MOV file."""
        size = self.size()
        if not size:
            return False
        with self.open() as file:
            return not video_problem(file, size)

    def read_text(self) -> str | None:
        """Its text; None if it does not exist."""
        if self.size() is None:
            return None
        with storage_errors(self.path, reading=True), self.open() as file:
            content = file.read()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidRequestError(f"{self.path} is not UTF-8 text ({error}).") from error

    def write_text(self, text: str) -> None:
        """Replaces it, all at once."""
        self.write_atomically(lambda path: _write(path, text.encode()))

    def write_bytes(self, content: bytes) -> None:
        """Replaces it, all at once."""
        self.write_atomically(lambda path: _write(path, content))


@contextmanager
def storage_errors(path: str, *, reading: bool = False) -> Iterator[None]:
    """Whatever a storage back end raises becomes one error that names the path; what is to be read must exist."""
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
    """Lets a file with this content appear, all at once."""
    with appearing(path) as partial, partial.open("wb") as file:
        lock(file)
        file.write(content)
