"""Reads videos, pictures and reports for a browser: the whole file or a range, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.files.paths import stored_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyfast.files.base import StoredFile

CHUNK = 256 * 1024
"""Bytes in memory for each viewer."""
_DOCUMENTS = {
    b"<!DOCTYPE html>\n<!-- AnyFast contact sheet -->": "text/html; charset=utf-8",
    b"row,status,": "text/csv; charset=utf-8",
    b'{"row": ': "text/plain; charset=utf-8",
}
"""The first bytes of a report, of its table and of a manifest, and the media type that the browser gets."""
_HEAD = 48


class NotMediaError(Exception):
    """This path has no video, picture or report."""


class UnsatisfiableRangeError(Exception):
    """A range begins after the end of the file."""


@dataclass(frozen=True)
class ServedFile:
    """An existing video, picture or report."""

    file: StoredFile
    size: int
    media_type: str

    def read(self, start: int, length: int) -> Iterator[bytes]:
        """Yields ``length`` bytes from ``start`` on, in chunks."""
        with self.file.open() as opened:
            opened.seek(start)
            while length > 0 and (chunk := opened.read(min(CHUNK, length))):
                length -= len(chunk)
                yield chunk


def find_media(path: str) -> ServedFile:
    """The video, picture or report at ``path``. The content decides, so that no other kind of file is ever served.

    Raises:
        NotMediaError: the path has none of these.
        StorageError: the storage does not respond.
    """
    try:
        file = stored_file(path, "path")
        size = file.size()
        media_type = _media_type(path, size) if size else ""
    except InvalidRequestError as error:
        raise NotMediaError(path) from error
    if not size or not media_type:
        raise NotMediaError(path)
    return ServedFile(file, size, media_type)


@lru_cache(maxsize=4096)
def _media_type(path: str, size: int) -> str:
    """Cached by path and ``size``, since a new file can replace one at the same path."""
    del size
    with stored_file(path, "path").open() as opened:
        return _served_type(opened.read(_HEAD))


def _served_type(head: bytes) -> str:
    """The media type of a file with these first bytes; empty if this provider saves no such file.

    ``media.sniff`` also knows types that a browser must not get from this server, such as SVG.
    """
    if head[4:8] == b"ftyp":
        return "video/mp4"  # browsers also play a QuickTime file under this type
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for start, media_type in _DOCUMENTS.items() if head.startswith(start)), "")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and length of the requested range; None for the whole file.

    As RFC 9110 allows, several ranges and an invalid header get the whole file.

    Raises:
        UnsatisfiableRangeError: the range begins after the end.
    """
    unit, _, ranges = (header or "").partition("=")
    first, dash, last = ranges.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or not _is_number(first) or not _is_number(last):
        return None
    if not first:
        if not last:
            return None
        length = min(int(last), size)
        start = size - length
    else:
        start = int(first)
        length = min(int(last) if last else size - 1, size - 1) - start + 1
        if last and int(last) < start:
            return None
    if start >= size or length <= 0:
        raise UnsatisfiableRangeError
    return start, length


def _is_number(text: str) -> bool:
    return text == "" or (text.isascii() and text.isdigit())
