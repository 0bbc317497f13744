"""Bytes of videos, pictures and reports, as a browser asks for them: whole or a range, in flat memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.files.storage import stored_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyfast.files.storage import StoredFile

CHUNK = 256 * 1024
"""Bytes that one viewer holds in memory."""
_DOCUMENTS = {
    b"<!DOCTYPE html>\n<!-- AnyFast contact sheet -->": "text/html; charset=utf-8",
    b"row,status,": "text/csv; charset=utf-8",
    b'{"row": ': "text/plain; charset=utf-8",
}
"""How a report, the table beside it and a manifest begin, and as what a browser gets them."""
_HEAD = 48


class NotMediaError(Exception):
    """There is no video, picture or report at this path, whatever else there may be."""


class UnsatisfiableRangeError(Exception):
    """A range begins behind the end of the file."""


@dataclass(frozen=True)
class MediaFile:
    """A video, a picture or a report that is there."""

    file: StoredFile
    size: int
    media_type: str

    def read(self, start: int, length: int) -> Iterator[bytes]:
        """So many bytes from ``start`` on, chunk by chunk."""
        with self.file.open() as opened:
            opened.seek(start)
            while length > 0 and (chunk := opened.read(min(CHUNK, length))):
                length -= len(chunk)
                yield chunk


def find_media(path: str) -> MediaFile:
    """The video, picture or report at ``path``. Its content decides, so that no other file is ever handed out.

    Raises:
        NotMediaError: there is none.
        StorageError: the storage does not answer.
    """
    try:
        file = stored_file(path, "path")
        size = file.size()
        media_type = _media_type(path, size) if size else ""
    except InvalidRequestError as error:
        raise NotMediaError(path) from error
    if not size or not media_type:
        raise NotMediaError(path)
    return MediaFile(file, size, media_type)


@lru_cache(maxsize=4096)
def _media_type(path: str, size: int) -> str:
    """``size`` tells a file from the one that was there before."""
    del size
    with stored_file(path, "path").open() as opened:
        return media_type_of(opened.read(_HEAD))


def media_type_of(head: bytes) -> str:
    """The type of a file that begins so; empty if it is nothing that this provider saves."""
    if head[4:8] == b"ftyp":
        return "video/mp4"  # browsers play a QuickTime file under this name too
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for start, media_type in _DOCUMENTS.items() if head.startswith(start)), "")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and length of the range that a request asks for; None if it asks for the whole file.

    As RFC 9110 allows, several ranges and what makes no sense are answered with the whole file.

    Raises:
        UnsatisfiableRangeError: it begins behind the end.
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
