"""A saved video: what its file contains, and how that differs from the request."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.seedance.catalog import RATIOS
from airflow_provider_anyfast.seedance.pricing import pixels_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DURATION_TOLERANCE = 0.25
"""Seconds by which a video may be too short: containers round, and some models make one frame more or less."""
_RATIO_TOLERANCE, _PIXELS_TOLERANCE = 0.05, 0.15
"""How far width and height may differ from the table, as a share. Models differ by a few pixels; the next ratio differs
by a third, and the next resolution is twice as large."""


@dataclass(frozen=True)
class VideoFacts:
    """What the file of a finished video contains.

    Attributes:
        width, height: pixels.
        seconds: the length of its picture track.
        frame_rate: frames a second; None if the file does not say.
        has_sound: whether it has a sound track.
    """

    width: int
    height: int
    seconds: float
    frame_rate: float | None
    has_sound: bool


@dataclass(frozen=True)
class SavedVideo:
    """The saved files of a generation.

    Attributes:
        uri: of the video, without the connection.
        facts: of the video; None if they could not be measured.
    """

    path: str
    uri: str
    last_frame_path: str | None = None
    poster_path: str | None = None
    facts: VideoFacts | None = None


def saved_fields(saved: SavedVideo | None, requested: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of a result about its files. Missing facts are None.

    Args:
        saved: the files, if there are any.
        requested: the parameters of the request, if they are known.
    """
    facts = saved.facts if saved else None
    return {
        "path": saved.path if saved else None,
        "last_frame_path": saved.last_frame_path if saved else None,
        "poster_path": saved.poster_path if saved else None,
        **(asdict(facts) if facts else dict.fromkeys(field.name for field in fields(VideoFacts))),
        "warnings": list(_differences(requested or {}, facts)) if facts else [],
    }


def _differences(requested: Mapping[str, Any], facts: VideoFacts) -> Iterator[str]:
    seconds, resolution, ratio = requested.get("duration") or 0, requested.get("resolution"), requested.get("ratio")
    if facts.seconds < seconds - _DURATION_TOLERANCE:
        yield f"The video lasts {facts.seconds:.4g} s, but {seconds} s were requested."
    if _has_other_size(facts, resolution, ratio):
        sides = " at ".join(filter(None, (ratio, resolution)))
        yield f"The video is {facts.width} x {facts.height} pixels, but {sides} was requested."
    if requested.get("generate_audio") and not facts.has_sound:
        yield "The video has no sound, although generate_audio=True requested it."


def _has_other_size(facts: VideoFacts, resolution: str | None, ratio: str | None) -> bool:
    """Compares with the requested size, but not with what the request left to the model."""
    if ratio in RATIOS and ratio != "adaptive":
        width, height = map(int, ratio.split(":"))
        if not math.isclose(facts.width / facts.height, width / height, rel_tol=_RATIO_TOLERANCE):
            return True
    pixels = pixels_of(resolution or "", ratio or "")
    return pixels is not None and not math.isclose(facts.width * facts.height, pixels, rel_tol=_PIXELS_TOLERANCE)
