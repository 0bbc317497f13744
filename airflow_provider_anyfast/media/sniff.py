"""A file's media type, told from how it starts."""

from __future__ import annotations

import re
from typing import Any

SNIFFED = 4096
"""Bytes of a file's start that tell its type."""

_ISO_BRANDS = {
    b"qt  ": "video/quicktime",
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), "audio/mp4"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "image/heic"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    b"crx ": "image/x-canon-cr3",
}
"""ISO base media files are told apart by their brand (registered at mp4ra.org); any other brand is an MP4."""
_ISO_IMAGES = (b"mif1", b"msf1")
"""Brands that say no more than that it is an image of some ISO kind."""
_SVG = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*<(?:svg\b|\?xml\b.*?<svg\b)", re.DOTALL | re.IGNORECASE)
_JPEG_2000 = (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")
_SAME = {
    "image/x-ms-bmp": "image/bmp",
    "audio/mp3": "audio/mpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
}
"""Other spellings of puremagic's."""


def media_type_of(start: bytes) -> str:
    """Such as ``image/png``; empty if unknown.

    Args:
        start: the first ``SNIFFED`` bytes of a file, or all of a smaller one.
    """
    if _is_mpeg_audio(start):
        return _mpeg_audio_type(start[:3])
    return _known_here(start) or _known_to_puremagic(start)


def _known_here(start: bytes) -> str:
    """What puremagic mistakes for something else, or does not know."""
    if start[4:8] == b"ftyp":
        return _iso_type(start)
    if start.startswith(_JPEG_2000):
        return "image/jp2"
    if _SVG.match(start):
        return "image/svg+xml"
    return ""


def _is_mpeg_audio(start: bytes) -> bool:
    """Whether it starts like a frame of MPEG sound, of which puremagic's newer versions take any for an MP3."""
    return start[:1] == b"\xff" and start[1:2] >= b"\xe0"


def _mpeg_audio_type(header: bytes) -> str:
    """An MP3 without tags or AAC; empty for another layer, and where the start is no header at all."""
    if len(header) < 3:  # noqa: PLR2004 - the layout of MPEG's frame header
        return ""
    version, layer, bitrate, rate = header[1] & 0x18, header[1] & 0x06, header[2] & 0xF0, header[2] & 0x0C
    if header[1] >= 0xF0 and layer == 0:  # noqa: PLR2004 - likewise
        return "audio/aac"
    is_layer_3 = version != 0x08 and layer == 0x02 and bitrate != 0xF0 and rate != 0x0C  # noqa: PLR2004 - likewise
    return "audio/mpeg" if is_layer_3 else ""


def _iso_type(start: bytes) -> str:
    end = min(int.from_bytes(start[:4], "big"), len(start))
    major, others = start[8:12], [start[at : at + 4] for at in range(16, end, 4)]
    if major in _ISO_IMAGES:
        return next((_ISO_BRANDS[brand] for brand in others if _ISO_BRANDS.get(brand, "")[:5] == "image"), "image/heif")
    if major[:3] in (b"3gp", b"3g2"):
        return "video/3gpp" if major[:3] == b"3gp" else "video/3gpp2"
    return _ISO_BRANDS.get(major, "video/mp4")


def _known_to_puremagic(start: bytes) -> str:
    import puremagic

    try:
        matches: list[Any] = puremagic.magic_string(start)
    except (puremagic.PureError, ValueError):
        return ""
    types = [str(match.mime_type).lower() for match in matches]
    found = next((kind for kind in types if kind.startswith(("image/", "video/", "audio/"))), next(iter(types), ""))
    return _SAME.get(found, found)
