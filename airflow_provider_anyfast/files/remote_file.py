"""An object behind Airflow's ``ObjectStoragePath``, written atomically by a single put."""

from __future__ import annotations

import glob
import inspect
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.files.base import Made, StoredFile, storage_errors
from airflow_provider_anyfast.files.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from airflow.sdk import ObjectStoragePath

SAME_SCHEME = {"s3a": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs"}
"""Aliases of schemes."""
_IN_PATHS = "/!$&'()*+,;=:@"
"""Characters that are not escaped in the path of a URI, besides letters and digits."""
_LONGEST_KEY = 1024
"""Maximum bytes of an object's name in S3, Google and Azure."""
_LONGEST_ENDING = 16
"""Characters of the suffix that a temporary file keeps, since the type is detected from it."""
_READ_AHEAD = 64 * 1024
"""Bytes of read-ahead; s3fs's default is 50 MB."""
_PUT = {"chunksize": 8 * 1024**2, "max_concurrency": 2, "overwrite": True}
_GET = {"max_concurrency": 1}
"""Options of a transfer, if the file system has them: without these, s3fs holds 500 MB of a file in memory, and some
versions of adlfs do not replace an existing object."""


@dataclass(frozen=True)
class RemoteFile(StoredFile):
    """An object behind an ``ObjectStoragePath``."""

    remote: ObjectStoragePath

    @property
    def path(self) -> str:
        """The URL, including the connection."""
        return str(self.remote)

    @property
    def uri(self) -> str:
        """The URI without the connection."""
        return f"{self.remote.protocol}://{quote(self.remote.path, safe=_IN_PATHS)}"

    @property
    def identity(self) -> str:
        """The scheme, the bucket and the key, without the connection. Keys are compared byte by byte."""
        return f"{SAME_SCHEME.get(self.remote.protocol, self.remote.protocol)}://{self.remote.path}"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.remote.name

    def sibling(self, name: str) -> RemoteFile:
        """Another object in the same folder."""
        return RemoteFile(self.remote.with_name(name))

    def check_name(self) -> None:
        """Checks the rules that all storages have in common, without a request."""
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
        """Checks the bucket and a temporary folder. Only a write shows whether the credentials may write."""
        self.check_name()
        with storage_errors(self.path):
            bucket = self.remote.path.partition("/")[0]  # in Airflow 3.1, .bucket includes the connection
            try:
                _look_for_bucket(self.remote.fs, bucket)
            except FileNotFoundError as error:
                raise InvalidRequestError(f"{self.path} cannot be written: there is no bucket {bucket!r}.") from error
        with scratch_folder():
            pass  # writes go through a temporary folder

    def size(self) -> int | None:
        """Size in bytes; None if the object does not exist."""
        with storage_errors(self.path):
            try:
                self.remote.fs.invalidate_cache(str(self.remote.parent.path))
                info = self.remote.fs.info(self.remote.path)
            except FileNotFoundError:
                return None
            return None if info["type"] == "directory" else int(info["size"])

    def open(self) -> IO[bytes]:
        """Opens the object for reading; its bytes are fetched in ranges."""
        with storage_errors(self.path, reading=True):
            opened: IO[bytes] = self.remote.fs.open(self.remote.path, "rb", block_size=_READ_AHEAD)
            return opened

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        """A copy in a temporary folder; streamed, so that memory does not grow with the file."""
        with scratch_folder() as folder:
            copy = folder / self.name
            with storage_errors(self.path, reading=True):
                get = self.remote.fs.get_file
                get(self.remote.path, str(copy), **_known(_GET, get))
            yield copy

    def write_atomically(self, make: Callable[[Path], Made]) -> Made:
        """Calls ``make``, which writes a temporary file, and uploads that file in a single put."""
        with scratch_folder() as folder:
            # An object's name may be longer than a file's.
            made = folder / f"made{self.remote.suffix[:_LONGEST_ENDING]}"
            result = make(made)
            with storage_errors(self.path):
                put = self.remote.fs.put_file
                put(str(made), self.remote.path, **_known(_PUT, put))
            return result

    def files(self) -> list[str]:
        """The paths of the files in this folder or matching this pattern, from one listing."""
        fs, path = self.remote.fs, self.remote.path.rstrip("/")
        with storage_errors(self.path):
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


def _known(options: dict[str, int], function: Callable[..., object]) -> dict[str, int]:
    """The options that the function accepts."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in parameters}


def _look_for_bucket(fs: Any, bucket: str) -> None:
    """Raises only if the bucket is certainly missing; credentials that may only write are sufficient.

    Raises:
        FileNotFoundError: the bucket does not exist.
    """
    try:
        try:
            fs.info(bucket)
        except FileNotFoundError:
            # gcsfs reports an empty bucket as missing if the credentials may not read its settings, but lists it.
            fs.ls(bucket)
    except OSError as error:
        if not (isinstance(error, PermissionError) or str(error).startswith("Forbidden")):  # gcsfs raises the latter
            raise
