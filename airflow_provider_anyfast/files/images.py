"""Checks that a downloaded image is complete, without decoding it."""

from __future__ import annotations

import os
from typing import IO

from airflow_provider_anyfast.media.sniff import SNIFFED, media_type_of

_END = {"image/png": b"IEND\xaeB`\x82", "image/jpeg": b"\xff\xd9", "image/gif": b"\x3b"}
"""The end mark of an image, by its type."""
_TAIL = 64
"""Bytes at the end of a file that must contain the end mark; some programs append a few bytes."""


def image_problem(file: IO[bytes], size: int) -> str:
    """What is wrong with a file of ``size`` bytes that should be a complete image; empty if nothing is."""
    file.seek(0)
    start = file.read(SNIFFED)
    kind = media_type_of(start)
    if not kind.startswith("image/"):
        return f"is not an image (it begins with {start[:8]!r})"
    if kind == "image/webp":
        missing = int.from_bytes(start[4:8], "little") + 8 - size
        return f"is missing its last {missing:,} bytes" if missing > 0 else ""
    file.seek(max(0, size - _TAIL), os.SEEK_SET)
    return "" if _END.get(kind, b"") in file.read() else "is missing its last bytes"
