"""Files where a team keeps them: a local path, or any ``ObjectStoragePath`` with its own Airflow connection.

A local file appears by a rename and a stored object by one finished put, so nothing partial is ever visible.
"""

from __future__ import annotations

import glob
import inspect
import os
import re
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from airflow_provider_anyfast.client.errors import AnyFastError, InvalidRequestError, StorageError
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.files.atomic import appearing, lock
from airflow_provider_anyfast.files.download import check_name, check_target, is_special
from airflow_provider_anyfast.files.mp4 import video_problem
from airflow_provider_anyfast.files.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from os import PathLike
    from typing import TypeAlias

    from airflow.sdk import ObjectStoragePath

    Place: TypeAlias = str | PathLike[str] | ObjectStoragePath

Made = TypeVar("Made")

_SAME_SCHEME = {"s3a": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs"}
"""Other names of one storage."""
_STORAGE_SCHEMES = (*_SAME_SCHEME, "s3", "gs", "abfs", "wasb", "oss", "hdfs", "file", "http", "https", "ftp", "sftp")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.)")
"""How a URL begins, and also one whose slashes were lost, as in ``str(Path("s3://films/x.mp4"))``."""
_IN_PATHS = "/!$&'()*+,;=:@"
"""What stands in the path of a URI as it is, besides letters and digits."""
_LONGEST_KEY = 1024
"""Bytes of an object's name at S3, Google and Azure."""
_LONGEST_ENDING = 16
"""Characters of a file's ending that a temporary file keeps, since the type is detected from it."""
_READ_AHEAD = 64 * 1024
"""Bytes that are read beyond what was asked for; s3fs would read 50 MB."""
_PUT = {"chunksize": 8 * 1024**2, "max_concurrency": 2, "overwrite": True}
_GET = {"max_concurrency": 1}
"""Options of a transfer, where a file system has them: without these, s3fs holds 500 MB of a file in memory, and some
versions of adlfs do not replace what is there."""


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
        with _storage_errors(self.path, reading=True), self.open() as file:
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
        """The path without ``.``, ``..`` and links to folders. A link to a file is replaced itself, so it counts."""
        return os.path.join(os.path.realpath(self.local.parent), self.local.name)  # noqa: PTH118 - for thousands of rows

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.local.name

    def sibling(self, name: str) -> LocalFile:
        """Another file in the same folder."""
        return LocalFile(self.local.with_name(name))

    def check_name(self) -> None:
        """The file system tells."""
        check_name(self.local)

    def check_writable(self) -> None:
        """Makes the folder and proves that a file can be written there."""
        check_target(self.local)

    def size(self) -> int | None:
        """Bytes; None if it does not exist."""
        with _storage_errors(self.path):
            return self.local.stat().st_size if self.local.is_file() else None

    def open(self) -> IO[bytes]:
        """Its bytes."""
        with _storage_errors(self.path, reading=True):
            return self.local.open("rb")

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        """Itself."""
        yield self.local

    def write_atomically(self, make: Callable[[Path], Made]) -> Made:
        """``make`` knows how to let a local file appear."""
        if is_special(self.local):
            raise StorageError(f"{self.path} is a device, a pipe or a socket, and only an ordinary file is replaced.")
        with _storage_errors(self.path):
            return make(self.local)

    def files(self) -> list[str]:
        """The paths of the files in this folder or of this pattern."""
        with _storage_errors(self.path):
            if self.local.is_dir():
                found = list(self.local.iterdir())
            elif self.local.exists():
                found = [self.local]
            else:
                found = [Path(path) for path in glob.glob(self.path, recursive=True)]  # noqa: PTH207 - any part may be one
            return sorted(str(path) for path in found if path.is_file() and not path.name.startswith("."))


@dataclass(frozen=True)
class RemoteFile(StoredFile):
    """An object behind an ``ObjectStoragePath``."""

    remote: ObjectStoragePath

    @property
    def path(self) -> str:
        """The URL with the connection."""
        return str(self.remote)

    @property
    def uri(self) -> str:
        """The URI without the connection."""
        return f"{self.remote.protocol}://{quote(self.remote.path, safe=_IN_PATHS)}"

    @property
    def identity(self) -> str:
        """The bucket and the key under one scheme, whichever connection leads there. Keys are compared byte by byte."""
        return f"{_SAME_SCHEME.get(self.remote.protocol, self.remote.protocol)}://{self.remote.path}"

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.remote.name

    def sibling(self, name: str) -> RemoteFile:
        """Another object in the same folder."""
        return RemoteFile(self.remote.with_name(name))

    def check_name(self) -> None:
        """What all storages have in common, without asking this one."""
        if not self.name or self.path.endswith("/"):
            raise InvalidRequestError(f"{self.path} is a folder; add a file name such as {{generation_id}}.mp4.")
        key = self.remote.path.partition("/")[2]
        try:
            length = len(key.encode())
        except UnicodeEncodeError as error:
            raise InvalidRequestError(f"{self.path!r} is not valid text ({error}).") from error
        if length > _LONGEST_KEY:
            raise InvalidRequestError(
                f"{self.path} cannot be written: its key has {length:,} bytes, and the limit is {_LONGEST_KEY:,}."
            )

    def check_writable(self) -> None:
        """Looks for the bucket and a temporary folder. Whether the key may write shows only by writing."""
        self.check_name()
        with _storage_errors(self.path):
            bucket = self.remote.path.partition("/")[0]  # in Airflow 3.1 .bucket holds the connection too
            try:
                _look_for_bucket(self.remote.fs, bucket)
            except FileNotFoundError as error:
                raise InvalidRequestError(f"{self.path} cannot be written: there is no bucket {bucket!r}.") from error
        with scratch_folder():
            pass  # what is written comes through one

    def size(self) -> int | None:
        """Bytes; None if it does not exist."""
        with _storage_errors(self.path):
            try:
                self.remote.fs.invalidate_cache(str(self.remote.parent.path))
                info = self.remote.fs.info(self.remote.path)
            except FileNotFoundError:
                return None
            return None if info["type"] == "directory" else int(info["size"])

    def open(self) -> IO[bytes]:
        """Its bytes, fetched in ranges."""
        with _storage_errors(self.path, reading=True):
            opened: IO[bytes] = self.remote.fs.open(self.remote.path, "rb", block_size=_READ_AHEAD)
            return opened

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        """A copy in a temporary folder, streamed, so that memory does not grow with the file."""
        with scratch_folder() as folder:
            copy = folder / self.name
            with _storage_errors(self.path, reading=True):
                get = self.remote.fs.get_file
                get(self.remote.path, str(copy), **_known(_GET, get))
            yield copy

    def write_atomically(self, make: Callable[[Path], Made]) -> Made:
        """``make`` writes a temporary file, which is then put in one go."""
        with scratch_folder() as folder:
            made = folder / f"made{self.remote.suffix[:_LONGEST_ENDING]}"  # names may be longer here than on a disk
            result = make(made)
            with _storage_errors(self.path):
                put = self.remote.fs.put_file
                put(str(made), self.remote.path, **_known(_PUT, put))
            return result

    def files(self) -> list[str]:
        """The paths of the files in this folder or of this pattern, from one listing."""
        fs, path = self.remote.fs, self.remote.path.rstrip("/")
        with _storage_errors(self.path):
            fs.invalidate_cache(path)
            try:
                found: Iterable[dict[str, Any]] = (
                    fs.glob(path, detail=True).values()
                    if glob.has_magic(path) and not fs.exists(path)
                    else fs.ls(path, detail=True)
                )
            except FileNotFoundError:
                return []
            names = [info["name"] for info in found if info["type"] == "file" and not info["name"].endswith("/")]
        scheme, _, rest = self.path.partition("://")
        connection, at, _ = rest.partition("/")[0].rpartition("@")
        visible = (name for name in names if not PurePosixPath(name).name.startswith("."))
        return sorted(f"{scheme}://{connection}{at}{name}" for name in visible)


def stored_file(path: Place, parameter: str = "output_path") -> StoredFile:
    """The file that a local path, a ``file://`` URL or an object's URL names.

    Raises:
        InvalidRequestError: it names nothing, or no file system is installed for its scheme.
    """
    path = str(path)
    if path.strip() in ("", "None"):
        raise InvalidRequestError(f"{parameter} is empty; its template may have rendered to nothing.")
    scheme, separator, rest = path.partition("://")
    if separator:
        scheme, path = scheme.strip(), path.strip()
    else:
        _refuse_almost_url(path, parameter)
    if not separator or scheme in ("file", "local"):
        try:
            return LocalFile(Path(rest.removeprefix("localhost") if separator else path).expanduser())
        except RuntimeError as error:
            raise InvalidRequestError(f"{parameter}={path}: {error}") from error
    from airflow.sdk import ObjectStoragePath  # noqa: PLC0415 - brings fsspec's registry; not while a DAG is parsed

    with _storage_errors(path):
        try:
            remote = ObjectStoragePath(path)
            remote.fs  # noqa: B018 - connects, or says what is missing
        except (ValueError, ImportError) as error:
            raise InvalidRequestError(
                f"{parameter}={path}: {error}. Install the Airflow provider for that storage, such as "
                "apache-airflow-providers-amazon[s3fs], -google or -microsoft-azure."
            ) from error
    return RemoteFile(remote)


def _refuse_almost_url(path: str, parameter: str) -> None:
    """Refuses what would become a local folder such as ``s3:`` in the worker's working directory."""
    start = _SCHEME.match(path)
    if start is None:
        return
    scheme, rest = start[1], path[start.end(1) + 1 :].lstrip("/")
    if start[2] == "/" or scheme.lower() in _STORAGE_SCHEMES:
        raise InvalidRequestError(
            f"{parameter}={path} looks like a URL that lacks a slash. Write {scheme}://{rest} as a string, since "
            f"pathlib's Path drops a slash, or ./{path} for a local file of this name."
        )


def files_in(place: Place) -> list[str]:
    """The files of a folder or of a pattern such as ``s3://bucket/pictures/*.png``, sorted; hidden ones are left out.

    Raises:
        InvalidRequestError: there are none.
        StorageError: the storage does not answer.
    """
    files = stored_file(place, "files").files()
    if not files:
        raise InvalidRequestError(f"files={str(place)!r}: there is no file.")
    return files


def _known(options: dict[str, int], function: Callable[..., object]) -> dict[str, int]:
    """Those of the options that the function has a name for."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in parameters}


def _look_for_bucket(fs: Any, bucket: str) -> None:
    """Returns unless the bucket is surely missing; a key that may do nothing but write must do.

    Raises:
        FileNotFoundError: there is none.
    """
    try:
        try:
            fs.info(bucket)
        except FileNotFoundError:
            fs.ls(bucket)  # gcsfs calls an empty bucket missing if the key may not read its settings, but lists it
    except OSError as error:
        if not (isinstance(error, PermissionError) or str(error).startswith("Forbidden")):  # the latter is gcsfs's
            raise


@contextmanager
def _storage_errors(path: str, *, reading: bool = False) -> Iterator[None]:
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
