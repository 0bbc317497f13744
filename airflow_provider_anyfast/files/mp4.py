"""The boxes of an ISO base media file (MP4, MOV, HEIF): whether each has all the bytes that it announces."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_WITH_CONTENT = (b"mdat", b"moov", b"meta")
_FIRST_OF_A_VIDEO = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def missing_bytes(file: IO[bytes], size: int) -> int:
    """How many bytes a file of ``size`` lacks at its end, as its boxes tell; 0 if it is whole."""
    return max((end - size for kind, end in _boxes(file, size) if kind in _WITH_CONTENT), default=0)


def starts_like_a_video(start: bytes) -> bool:
    """Whether these first bytes are those of an MP4 or MOV file."""
    return start[4:8] in _FIRST_OF_A_VIDEO


def _boxes(file: IO[bytes], size: int) -> Iterator[tuple[bytes, int]]:
    """The boxes of the outermost level, each with the place where it says that it ends."""
    start = 0
    while start < size:
        file.seek(start)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:  # the real length follows, in 64 bits
            length = int.from_bytes(header[8:16], "big")
        if length < 8:  # noqa: PLR2004 - 0 reaches to the end of the file, and no box is smaller than its own header
            return
        start += length
        yield kind, start
