"""The documented limits of uploaded media, and the codes that say which one was broken.

Sources: docs.anyfast.ai/guides/model-api/bytedance/volc-asset for images, audio files and verified persons; the wider
numbers that its clients saw for other videos.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_anyfast.sandbox.api.masking import mask

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.media.probe import Media, MediaKind

_MEGABYTE = 1024 * 1024
_IMAGE_FORMATS = frozenset({"jpeg", "mpo", "png", "gif", "webp", "bmp", "dib", "tiff", "heic"})
_IMAGE_SIDES = (300, 6000)
_IMAGE_RATIOS = (0.4, 2.5)
_FRAME_PIXELS = (407_696, 8_295_044)
_FRAME_RATES = (24, 60)


@dataclass(frozen=True)
class Failure:
    """Why an asset failed: the upstream code, and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class _Rules:
    """What one kind of group accepts. ``*_bytes`` are exclusive, ``seconds`` inclusive."""

    image_formats: frozenset[str] = _IMAGE_FORMATS
    image_bytes: int = 30 * _MEGABYTE
    video_bytes: int = 200 * _MEGABYTE
    audio_bytes: int = 15 * _MEGABYTE
    seconds: tuple[float, float] = (2, 30)


_RULES = {
    "AIGC": _Rules(),
    "LivenessFace": _Rules(
        image_formats=_IMAGE_FORMATS - {"bmp", "dib", "tiff"}, video_bytes=50 * _MEGABYTE, seconds=(2, 15)
    ),
}
# A clip cut to whole seconds has a last frame or audio packet after its end.
_SLACK_SECONDS = 0.1


def check_media(media: Media | None, expected: MediaKind, group_type: str = "AIGC") -> Failure | None:
    """Return the limit that ``media`` exceeds as an asset of kind ``expected``, or ``None``."""
    if media is None:
        return _failure("FormatUndetectable", "The format of the file cannot be detected.")
    if media.kind != expected:
        return _failure("TypeMismatch", f"The file is of type {media.kind}, but AssetType is {expected}.")
    rules = _RULES[group_type]
    if media.kind == "Image":
        return _check_image(media, rules)
    if media.kind == "Video":
        return _check_video(media, rules)
    return _check_audio(media, rules)


def _check_image(media: Media, rules: _Rules) -> Failure | None:
    if media.format not in rules.image_formats:
        return _unsupported(media)
    if failure := _check_size(media, rules.image_bytes):
        return failure
    if media.width is None or media.height is None:
        return None
    return (
        _check_range("Width", media.width, _IMAGE_SIDES, "px")
        or _check_range("Height", media.height, _IMAGE_SIDES, "px")
        or _check_range("AspectRatio", media.width / media.height, _IMAGE_RATIOS, "")
    )


def _check_video(media: Media, rules: _Rules) -> Failure | None:
    if media.format not in {"mp4", "mov"}:
        return _unsupported(media)
    pixels = media.width * media.height if media.width and media.height else None
    return (
        _check_size(media, rules.video_bytes)
        or _check_seconds(media, rules)
        or (_check_range("PixelCount", pixels, _FRAME_PIXELS, "pixels per frame") if pixels else None)
        or (_check_range("Fps", media.frame_rate, _FRAME_RATES, "fps") if media.frame_rate else None)
    )


def _check_audio(media: Media, rules: _Rules) -> Failure | None:
    if media.format not in {"mp3", "wav"}:
        return _unsupported(media)
    return _check_size(media, rules.audio_bytes) or _check_seconds(media, rules)


def _check_size(media: Media, limit: int) -> Failure | None:
    if media.size < limit:
        return None
    return _failure("FileSizeTooLarge", f"The file has {media.size} bytes; it must have less than {limit}.")


def _check_seconds(media: Media, rules: _Rules) -> Failure | None:
    if media.seconds is None:
        return None
    shortest, longest = rules.seconds
    if media.seconds < shortest - _SLACK_SECONDS:
        return _failure("DurationTooShort", f"The file lasts {media.seconds:.2f} s; at least {shortest} s are needed.")
    if media.seconds > longest + _SLACK_SECONDS:
        return _failure("DurationTooLong", f"The file lasts {media.seconds:.2f} s; at most {longest} s are taken.")
    return None


# A frame rate is too low or too high; everything else is too small or too large.
_TOO_LITTLE = {"Fps": "TooLow"}
_TOO_MUCH = {"Fps": "TooHigh"}


def _check_range(what: str, value: float, allowed: tuple[float, float], unit: str) -> Failure | None:
    low, high = allowed
    text = f"{what} is {value:.10g} {unit}".rstrip() + f"; it must be from {low:.10g} to {high:.10g}."
    if value < low:
        return _failure(what + _TOO_LITTLE.get(what, "TooSmall"), text)
    if value > high:
        return _failure(what + _TOO_MUCH.get(what, "TooLarge"), text)
    return None


def _unsupported(media: Media) -> Failure:
    return _failure("FormatUnsupported", f"The format {media.format} is not supported.")


def _failure(code: str, message: str) -> Failure:
    return Failure(code, mask(f"[InvalidParameter.{code}] {message}"))
