"""Detects what an uploaded file is, from its content and not its name."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from PIL.Image import Image

MediaKind = Literal["Image", "Video", "Audio"]
_THUMBNAIL_SIDE = 256
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}


@dataclass(frozen=True)
class Media:
    """An image, a video or an audio file.

    ``format`` is a short lower-case name (``png``, ``mp4``, ``wav``); sizes are bytes, pixels and seconds, and ``None``
    if the content does not say. ``thumbnail`` is a small PNG.
    """

    kind: MediaKind
    format: str
    size: int
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    frame_rate: float | None = None
    thumbnail: bytes | None = None


def read_media(content: bytes) -> Media | None:
    """Return what ``content`` is, or ``None`` if it is not a readable image, video or audio file."""
    return _read_heif(content) or _read_image(content) or _read_timed(content)


def _read_heif(content: bytes) -> Media | None:
    """Recognize HEIC and HEIF by their first bytes; Pillow cannot open them, so their pixels stay unknown."""
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        return Media("Image", "heic", len(content))
    return None


def _read_image(content: bytes) -> Media | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            name = (image.format or "").lower()
            width, height = image.size
            thumbnail = _thumbnail(image)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return Media("Image", name, len(content), width, height, thumbnail=thumbnail)


def _thumbnail(image: Image) -> bytes:
    image.draft("RGB", (2 * _THUMBNAIL_SIDE, 2 * _THUMBNAIL_SIDE))
    small = image.convert("RGB")
    small.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return buffer.getvalue()


def _read_timed(content: bytes) -> Media | None:
    import av

    try:
        with av.open(io.BytesIO(content)) as container:
            return _describe(container, len(content))
    except (av.FFmpegError, ValueError):
        return None


def _describe(container: InputContainer, size: int) -> Media | None:
    import av

    seconds = container.duration / av.time_base if container.duration is not None else None
    if container.streams.video:
        stream = container.streams.video[0]
        rate = float(stream.average_rate) if stream.average_rate is not None else None
        picture = next(container.decode(stream), None)
        thumbnail = _thumbnail(_to_image(picture)) if picture is not None else None
        name = "mov" if container.metadata.get("major_brand", "").startswith("qt") else _container_name(container)
        return Media("Video", name, size, stream.width, stream.height, seconds, rate, thumbnail)
    if container.streams.audio:
        return Media("Audio", _container_name(container), size, seconds=seconds)
    return None


def _to_image(picture: VideoFrame) -> Image:
    from av.video.reformatter import VideoReformatter

    # PyAV 19 keeps a reformatter with C threads for every Python thread. A process forked from a sandbox would wait for
    # those threads for ever, so PyAV must not use that reformatter here.
    picture = VideoReformatter().reformat(picture, format="rgb24")
    image: Image = picture.to_image()  # type: ignore[no-untyped-call] # PyAV does not type it
    return image


def _container_name(container: InputContainer) -> str:
    return "mp4" if "mp4" in container.format.name.split(",") else container.format.name
