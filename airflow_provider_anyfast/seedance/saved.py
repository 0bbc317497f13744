"""A finished video where it is saved: what its file holds, and how that differs from what was asked for."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.seedance.catalog import RATIOS
from airflow_provider_anyfast.seedance.pricing import pixels_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SHORTER = 0.25
"""Seconds that a video may lack: containers round, and some models make one frame more or less."""
_RATIO_SPREAD, _PIXELS_SPREAD = 0.05, 0.15
"""How far sides may be from those of the table, as a share. Models differ by a few pixels; the next ratio is a third
away, and the next resolution twice as large."""


@dataclass(frozen=True)
class VideoFacts:
    """What the file of a finished video holds.

    Attributes:
        width, height: pixels.
        seconds: for which it has pictures.
        frame_rate: frames a second; None where the file does not tell.
        has_sound: whether it has a sound track.
    """

    width: int
    height: int
    seconds: float
    frame_rate: float | None
    has_sound: bool


@dataclass(frozen=True)
class SavedVideo:
    """Where the files of a generation are now.

    Attributes:
        uri: of the video, without the connection.
        facts: of the video; None where they could not be measured.
    """

    path: str
    uri: str
    last_frame_path: str | None = None
    poster_path: str | None = None
    facts: VideoFacts | None = None


def saved_fields(saved: SavedVideo | None, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a result says about its files. Missing facts are None.

    Args:
        saved: the files, where there are any.
        asked: the parameters of the request, where they are known.
    """
    facts = saved.facts if saved else None
    return {
        "path": saved.path if saved else None,
        "last_frame_path": saved.last_frame_path if saved else None,
        "poster_path": saved.poster_path if saved else None,
        **(asdict(facts) if facts else dict.fromkeys(field.name for field in fields(VideoFacts))),
        "warnings": list(_differences(asked or {}, facts)) if facts else [],
    }


def _differences(asked: Mapping[str, Any], facts: VideoFacts) -> Iterator[str]:
    seconds, resolution, ratio = asked.get("duration") or 0, asked.get("resolution"), asked.get("ratio")
    if facts.seconds < seconds - _SHORTER:
        yield f"The video lasts {facts.seconds:.4g} s, but {seconds} s were requested."
    if _is_of_other_sides(facts, resolution, ratio):
        sides = " at ".join(filter(None, (ratio, resolution)))
        yield f"The video is {facts.width} x {facts.height} pixels, but {sides} was requested."
    if asked.get("generate_audio") and not facts.has_sound:
        yield "The video has no sound, although generate_audio=True requested it."


def _is_of_other_sides(facts: VideoFacts, resolution: str | None, ratio: str | None) -> bool:
    """Compares with what was asked for, and with nothing that was left to the model."""
    if ratio in RATIOS and ratio != "adaptive":
        width, height = map(int, ratio.split(":"))
        if not math.isclose(facts.width / facts.height, width / height, rel_tol=_RATIO_SPREAD):
            return True
    pixels = pixels_of(resolution or "", ratio or "")
    return pixels is not None and not math.isclose(facts.width * facts.height, pixels, rel_tol=_PIXELS_SPREAD)
