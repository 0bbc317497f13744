"""Reads a PNG's chunks for its size and for damage, without decoding it and without Pillow.

Pillow refuses files that every viewer shows: with much text, or with a wrong checksum in a text chunk.
"""

from __future__ import annotations

import os
import zlib
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNATURE, _NUMBER = 8, 4
"""Bytes of a PNG's signature, and of a number in it."""
_INFLATE_CHUNK = 1024**2


class DamagedPNGError(ValueError):
    """The message is the reason."""


class _Chunk(NamedTuple):
    kind: bytes
    content: bytes


def dimensions_of(file: IO[bytes]) -> tuple[int, int]:
    """Width and height in pixels of a PNG that can be decoded.

    Raises:
        DamagedPNGError: it cannot be decoded.
    """
    width = height = 0
    ended = False
    for kind, content in _critical_chunks(file):
        if kind == b"IHDR":
            width, height = int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big")
        ended = kind == b"IEND"
    if not (width and height):
        raise DamagedPNGError("its header is missing")
    if not ended and not _has_all_pixels(file):
        raise DamagedPNGError("it ends too early")
    return width, height


def _critical_chunks(file: IO[bytes]) -> Iterator[_Chunk]:
    """The chunks that are needed to show the picture. Their names begin with a capital letter."""
    file.seek(_SIGNATURE)
    while len(header := file.read(2 * _NUMBER)) == 2 * _NUMBER:
        length, kind = int.from_bytes(header[:_NUMBER], "big"), header[_NUMBER:]
        if not kind.isalpha():
            return
        if kind[:1].islower():
            file.seek(length + _NUMBER, os.SEEK_CUR)
            continue
        content, checksum = file.read(length), file.read(_NUMBER)
        is_whole = len(content) == length and len(checksum) == _NUMBER
        if is_whole and zlib.crc32(kind + content) != int.from_bytes(checksum, "big"):
            raise DamagedPNGError(f"the checksum of its {kind.decode()} is wrong")
        yield _Chunk(kind, content)
        if kind == b"IEND":
            return


def _has_all_pixels(file: IO[bytes]) -> bool:
    """Whether a PNG without its end mark has all of its pixels. Their compressed stream has its own end mark."""
    pixels = zlib.decompressobj()
    for kind, content in _critical_chunks(file):
        rest = content if kind == b"IDAT" else b""
        try:
            while rest and not pixels.eof:
                pixels.decompress(rest, _INFLATE_CHUNK)  # only the end of the stream matters
                rest = pixels.unconsumed_tail
        except zlib.error:
            return False
    return pixels.eof
