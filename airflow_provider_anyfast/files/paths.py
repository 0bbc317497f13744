"""Which file a path names: a local one, or any ``ObjectStoragePath`` with its own Airflow connection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.files.base import storage_errors
from airflow_provider_anyfast.files.local_file import LocalFile
from airflow_provider_anyfast.files.remote_file import SAME_SCHEME, RemoteFile

if TYPE_CHECKING:
    from os import PathLike
    from typing import TypeAlias

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_anyfast.files.base import StoredFile

    Place: TypeAlias = str | PathLike[str] | ObjectStoragePath

_STORAGE_SCHEMES = (*SAME_SCHEME, "s3", "gs", "abfs", "wasb", "oss", "hdfs", "file", "http", "https", "ftp", "sftp")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.)")
"""The start of a URL, also of one that lost a slash, as in ``str(Path("s3://films/x.mp4"))``."""


def stored_file(path: Place, parameter: str = "output_path") -> StoredFile:
    """The file named by a local path, a ``file://`` URL or an object's URL.

    Raises:
        InvalidRequestError: it names no file, or no file system is installed for its scheme.
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
        local = rest.removeprefix("localhost") if separator else path
        if separator and not local.startswith(("/", "~")):
            raise InvalidRequestError(
                f"{parameter}={path} names a file of the host {local.partition('/')[0]!r}. Write file:///{local} for a "
                "local path, with three slashes."
            )
        try:
            return LocalFile(Path(local).expanduser())
        except RuntimeError as error:
            raise InvalidRequestError(f"{parameter}={path}: {error}") from error
    from airflow.sdk import ObjectStoragePath  # noqa: PLC0415 - imports fsspec's registry; not while a DAG is parsed

    with storage_errors(path):
        try:
            remote = ObjectStoragePath(path)
            remote.fs  # noqa: B018 - connects, or raises an error that names what is missing
        except (ValueError, ImportError) as error:
            raise InvalidRequestError(
                f"{parameter}={path}: {error}. Install the Airflow provider for that storage, such as "
                "apache-airflow-providers-amazon[s3fs], -google or -microsoft-azure."
            ) from error
    return RemoteFile(remote)


def _refuse_almost_url(path: str, parameter: str) -> None:
    """Refuses a path that would become a local folder such as ``s3:`` in the worker's working directory."""
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
    """The files in a folder or matching a pattern such as ``s3://bucket/pictures/*.png``, sorted, without hidden ones.

    Raises:
        InvalidRequestError: there are none.
        StorageError: the storage does not respond.
    """
    files = stored_file(place, "files").files()
    if not files:
        raise InvalidRequestError(f"files={str(place)!r}: there is no file.")
    return files
