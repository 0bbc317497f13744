"""What AnyFast accepts in an uploaded file, by type: data, and the message for a value outside of it.

Where sources differ, only what all of them refuse is refused here: AnyFast may accept a file in between, and refusing
it would cost more than an asset that fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_GUIDE = "docs.anyfast.ai, guide volc-asset"


class Measure(Enum):
    """Something measured in a file: its name, and the sentence that states its value."""

    SIZE = ("size", "has {} bytes")
    WIDTH = ("width", "is {} pixels wide")
    HEIGHT = ("height", "is {} pixels high")
    RATIO = ("aspect ratio", "is {} times as wide as high")
    PIXELS = ("pixels per frame", "has {} pixels per frame")
    DURATION = ("duration", "lasts {} seconds")
    FRAME_RATE = ("frame rate", "has {} frames per second")

    def __init__(self, label: str, sentence: str) -> None:
        self.label = label
        self.sentence = sentence


@dataclass(frozen=True)
class Limit:
    """The values of one measure that AnyFast accepts, both ends included.

    Attributes:
        lowest: in the measure's unit; 0 if there is no lower limit.
        highest: in the measure's unit.
        source: where the limit comes from.
        spare: how far outside either limit AnyFast is not known to refuse.
    """

    lowest: float
    highest: float
    source: str
    spare: float = 0

    def problem(self, measure: Measure, value: float) -> str:
        """What is wrong with ``value``, as the end of a sentence about the file; empty if nothing is."""
        if self.lowest - self.spare <= value <= self.highest + self.spare:
            return ""
        taken = (
            f"{_number(self.lowest)} to {_number(self.highest)}" if self.lowest else f"at most {_number(self.highest)}"
        )
        return f"{measure.sentence.format(_number(value))}, but AnyFast accepts {taken}"


@dataclass(frozen=True)
class MediaRules:
    """What AnyFast accepts of one asset type.

    Attributes:
        formats: names by media type.
        limits: by measure.
    """

    formats: dict[str, str]
    limits: dict[Measure, Limit]


_SIDE = Limit(300, 6000, f"{_GUIDE}, for images; its clients for videos, 2026-08")
_RATIO = Limit(0.4, 2.5, f"{_GUIDE}, for images; its clients for videos, 2026-08")
_DURATION = Limit(
    2,
    30,
    f"{_GUIDE}, says 2 to 15 seconds; its clients saw 2 to 30 taken, 2026-08",
    spare=0.2,  # the service's refusals name 1.8 and 30.2 seconds (seen by clients, 2026-07 and 2026-08)
)

RULES: dict[str, MediaRules] = {
    "Image": MediaRules(
        formats={
            "image/jpeg": "JPEG",
            "image/png": "PNG",
            "image/gif": "GIF",
            "image/webp": "WebP",
            "image/bmp": "BMP",
            "image/tiff": "TIFF",
            "image/heic": "HEIC",
            "image/heif": "HEIF",
        },
        limits={
            Measure.SIZE: Limit(0, 30 * 1024**2, f"{_GUIDE}: 30 MB, in its larger reading"),
            Measure.WIDTH: _SIDE,
            Measure.HEIGHT: _SIDE,
            Measure.RATIO: _RATIO,
        },
    ),
    "Video": MediaRules(
        formats={"video/mp4": "MP4", "video/quicktime": "MOV"},
        limits={
            Measure.SIZE: Limit(0, 200 * 1024**2, f"{_GUIDE}, says 50 MB; its clients saw 200 MB taken, 2026-08"),
            Measure.WIDTH: _SIDE,
            Measure.HEIGHT: _SIDE,
            Measure.RATIO: _RATIO,
            Measure.PIXELS: Limit(
                407_696,  # 409,600 in older refusals
                8_295_044,  # 2,086,876 in older refusals
                f"{_GUIDE}, says 480p and 720p; the numbers are from refusals that clients saw, 2026-05 and 2026-08",
            ),
            Measure.DURATION: _DURATION,
            Measure.FRAME_RATE: Limit(
                24,
                60,
                _GUIDE,
                spare=0.2,  # clients saw 23.8 named, so that film's 23.976 passes; the same is assumed above
            ),
        },
    ),
    "Audio": MediaRules(
        formats={"audio/mpeg": "MP3", "audio/wav": "WAV"},
        limits={
            Measure.SIZE: Limit(0, 15 * 1024**2, f"{_GUIDE}: 15 MB, in its larger reading"),
            Measure.DURATION: _DURATION,
        },
    ),
}
"""By asset type."""


def _number(value: float) -> str:
    """With enough digits that a ratio just outside a limit does not read like the limit."""
    if value >= 10_000:  # noqa: PLR2004 - thousands are set off from here
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"  # noqa: PLR2004 - four digits are enough
