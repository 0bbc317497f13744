"""What each Seedance model can do. Only data.

A model that is not listed here is not refused: AnyFast adds models faster than this package lists them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

Ratio = Literal["16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "adaptive"]
"""Width to height; ``adaptive`` follows the references."""
Resolution = Literal["480p", "720p", "1080p", "2k", "4k"]
KnownModel = Literal[
    "seedance",
    "seedance-2.0",
    "seedance-2.0-nsfw",
    "seedance-fast",
    "seedance-2.0-fast",
    "seedance-2.0-fast-nsfw",
    "seedance-2.0-mini",
    "seedance-2.0-mini-nsfw",
    "seedance-2.0-ultra",
    "seedance-2.5",
    "seedance-2.5-nsfw",
    "doubao-seedance-1-5-pro-251215",
    "doubao-seedance-1-0-pro-250528",
    "doubao-seedance-1-0-pro-fast-251015",
    "doubao-seedance-1-0-lite-t2v-250428",
    "doubao-seedance-1-0-lite-i2v-250428",
]
"""The models whose requests are checked before they are billed; any other name is sent unchecked."""
RATIOS: tuple[str, ...] = get_args(Ratio)
CHOSEN_BY_MODEL = -1
"""The duration with which a model chooses the length itself, if it can."""


@dataclass(frozen=True)
class ModelSpec:
    """What one model accepts.

    Attributes:
        resolutions: None if no source names them.
        shortest, longest: seconds of video.
        chooses_duration: whether ``duration=-1`` is accepted.
        images, videos, audios: how many references of each type; 0 means first and last frame only.
        items: how many references in total.
        lone_audio: whether audio may be the only reference.
        needs_resolution: whether the resolution must be given.
        frames_need_adaptive: whether a first frame requires ``ratio="adaptive"``.
        reference_seconds: how long all reference videos may be together, and all reference audios.
    """

    resolutions: tuple[str, ...] | None
    shortest: int
    longest: int
    chooses_duration: bool = False
    images: int = 0
    videos: int = 0
    audios: int = 0
    items: int | None = None
    lone_audio: bool = False
    needs_resolution: bool = False
    frames_need_adaptive: bool = False
    reference_seconds: int = 15


_V2 = ModelSpec(("480p", "720p", "1080p", "4k"), 4, 15, images=9, videos=3, audios=3)
_V2_SMALL = replace(_V2, resolutions=("480p", "720p"))
V2_5 = ModelSpec(
    ("480p", "720p", "1080p"),
    4,
    30,
    chooses_duration=True,
    images=30,
    videos=10,
    audios=10,
    items=51,
    lone_audio=True,
    frames_need_adaptive=True,
    reference_seconds=30,
)
_V1 = ModelSpec(None, 2, 12)

MODELS: Mapping[str, ModelSpec] = {
    "seedance": _V2,
    "seedance-2.0": _V2,
    "seedance-2.0-nsfw": _V2,
    "seedance-fast": _V2_SMALL,
    "seedance-2.0-fast": _V2_SMALL,
    "seedance-2.0-fast-nsfw": _V2_SMALL,
    "seedance-2.0-mini": _V2_SMALL,
    "seedance-2.0-mini-nsfw": _V2_SMALL,
    "seedance-2.0-ultra": replace(_V2, resolutions=("720p", "1080p", "2k"), needs_resolution=True),
    "seedance-2.5": V2_5,
    "seedance-2.5-nsfw": V2_5,
    "doubao-seedance-1-5-pro-251215": ModelSpec(("480p", "720p", "1080p"), 4, 12),
    "doubao-seedance-1-0-pro-250528": _V1,
    "doubao-seedance-1-0-pro-fast-251015": _V1,
    "doubao-seedance-1-0-lite-t2v-250428": _V1,
    "doubao-seedance-1-0-lite-i2v-250428": _V1,
}
"""By the name that AnyFast accepts (docs.anyfast.ai, the guides of each model)."""
