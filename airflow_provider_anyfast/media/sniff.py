"""A file's media type, detected from its first bytes."""

from __future__ import annotations

import re

SNIFFED = 4096
"""Bytes at a file's start that are read to detect its type."""

_SIGNATURES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", re.DOTALL), "image/bmp"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "image/tiff"),
    (re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"), "image/jp2"),
    (re.compile(rb"\x00\x00\x00\x0cJXL |\xff\x0a"), "image/jxl"),
    (re.compile(rb"\x00\x00\x01\x00[^\x00]"), "image/x-icon"),
    (re.compile(rb"8BPS"), "image/vnd.adobe.photoshop"),
    (re.compile(rb"P[1-6]\s"), "image/x-portable-anymap"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:svg\b|\?xml\b.*?<svg\b)", re.DOTALL | re.IGNORECASE), "image/svg+xml"),
    (re.compile(rb"....(?:moov|mdat|wide|free|skip|pnot)", re.DOTALL), "video/quicktime"),  # older than the file type
    (re.compile(rb"RIFF....AVI ", re.DOTALL), "video/x-msvideo"),
    (re.compile(rb"\x1a\x45\xdf\xa3.{0,60}webm", re.DOTALL), "video/webm"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "video/x-matroska"),
    (re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), "video/x-ms-asf"),
    (re.compile(rb"FLV\x01"), "video/x-flv"),
    (re.compile(rb"\x00\x00\x01[\xba\xb3]|\x47.{187}\x47", re.DOTALL), "video/mpeg"),
    (re.compile(rb"ID3"), "audio/mpeg"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), "audio/wav"),
    (re.compile(rb"fLaC"), "audio/flac"),
    (re.compile(rb"OggS"), "audio/ogg"),
    (re.compile(rb"FORM....AIF[FC]", re.DOTALL), "audio/aiff"),
    (re.compile(rb"#!AMR"), "audio/amr"),
    (re.compile(rb"%PDF-"), "application/pdf"),
    (re.compile(rb"PK\x03\x04"), "application/zip"),
)
"""Formats that AnyFast accepts, and others that users try."""

_ISO_BRANDS = {
    b"qt  ": "video/quicktime",
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), "audio/mp4"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "image/heic"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    b"crx ": "image/x-canon-cr3",
}
"""Media types of ISO base media files by their brand (registered at mp4ra.org); any other brand is an MP4."""
_ISO_IMAGES = (b"mif1", b"msf1")
"""Brands that only say that the file is some ISO image."""


def media_type_of(start: bytes) -> str:
    """The media type, such as ``image/png``; empty if unknown.

    Args:
        start: the first ``SNIFFED`` bytes of a file, or all of a smaller one.
    """
    if start[4:8] == b"ftyp":
        return _iso_type(start)
    known = next((media_type for signature, media_type in _SIGNATURES if signature.match(start)), "")
    return known or _mpeg_audio_type(start[:3])


def _mpeg_audio_type(header: bytes) -> str:
    """The type of an MP3 without tags or of AAC; empty for another layer, and if the start is not a frame header."""
    if len(header) < 3 or header[0] != 0xFF or header[1] < 0xE0:  # noqa: PLR2004 - the layout of MPEG's frame header
        return ""
    version, layer, bitrate, rate = header[1] & 0x18, header[1] & 0x06, header[2] & 0xF0, header[2] & 0x0C
    if header[1] >= 0xF0 and layer == 0:  # noqa: PLR2004 - the layout of MPEG's frame header
        return "audio/aac"
    is_layer_3 = version != 0x08 and layer == 0x02 and bitrate != 0xF0 and rate != 0x0C  # noqa: PLR2004 - the layout of MPEG's frame header
    return "audio/mpeg" if is_layer_3 else ""


def _iso_type(start: bytes) -> str:
    end = min(int.from_bytes(start[:4], "big"), len(start))
    major, others = start[8:12], [start[at : at + 4] for at in range(16, end, 4)]
    if major in _ISO_IMAGES:
        return next((_ISO_BRANDS[brand] for brand in others if _ISO_BRANDS.get(brand, "")[:5] == "image"), "image/heif")
    if major[:3] in (b"3gp", b"3g2"):
        return "video/3gpp" if major[:3] == b"3gp" else "video/3gpp2"
    return _ISO_BRANDS.get(major, "video/mp4")
