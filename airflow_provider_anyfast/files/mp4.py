"""Reads the boxes of an ISO base media file (MP4, MOV, HEIF), to check that it is complete.

A file is a sequence of boxes that begin with their length, so any truncation is detected without decoding.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARTS_OF_A_VIDEO = {b"ftyp": "file type", b"moov": "index", b"mdat": "pictures"}
_WITH_CONTENT = (b"mdat", b"moov", b"meta")
_SHORT_HEADER, _LONG_HEADER = 8, 16


class _Box(NamedTuple):
    kind: bytes
    end: int


def video_problem(file: IO[bytes], size: int) -> str:
    """What is wrong with a file of ``size`` bytes that should be a complete MP4 or MOV; empty if nothing is.

    Every box must be complete. A file that was cut between two boxes lacks one that every video has.
    """
    file.seek(0)
    start = file.read(_SHORT_HEADER)
    if start[4:8] != b"ftyp":
        return f"is not an MP4 or MOV file (it begins with {start!r})"
    boxes = list(_boxes(file, size))
    end = boxes[-1].end if boxes else 0
    if end > size:
        return f"is missing its last {end - size:,} bytes"
    if end < size:
        return f"is damaged after its first {end:,} bytes"
    kinds = {box.kind for box in boxes}
    lacking = [f"{name} ({kind.decode()})" for kind, name in _PARTS_OF_A_VIDEO.items() if kind not in kinds]
    return f"is missing its {' and its '.join(lacking)}" if lacking else ""


def missing_bytes(file: IO[bytes], size: int) -> int:
    """The number of content bytes that are missing at the end of a file of ``size`` bytes; 0 if it is complete.

    More lenient than ``video_problem``: players ignore the data after the content, so a user's own file may be damaged
    there.
    """
    return max((box.end - size for box in _boxes(file, size) if box.kind in _WITH_CONTENT), default=0)


def _boxes(file: IO[bytes], size: int) -> Iterator[_Box]:
    """The top-level boxes, each with the position at which it should end, up to the first invalid one."""
    start = 0
    while start < size:
        file.seek(start)
        header = file.read(_LONG_HEADER)
        length, kind, least = int.from_bytes(header[:4], "big"), header[4:8], _SHORT_HEADER
        if length == 1:  # the real length follows as 64 bits
            length, least = int.from_bytes(header[8:16], "big"), _LONG_HEADER
            if len(header) < _LONG_HEADER:
                length = least
        elif length == 0 and kind == b"mdat":  # up to the end of the file, as in live recordings
            length = max(size - start, least)
        if length < least or len(header) < _SHORT_HEADER:
            return
        start += length
        yield _Box(kind, start)
