"""The Seedance models as AnyFast offers them: what each accepts, its pixels, its tokens.

Sources: the model guides at docs.anyfast.ai; the pixel sizes are those that Seedance publishes for its models.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

FRAME_RATE = 24
"""Frames per second of every video."""

Resolution = Literal["480p", "720p", "1080p", "2k", "4k"]
Ratio = Literal["16:9", "4:3", "1:1", "3:4", "9:16", "21:9"]
Size = tuple[int, int]
"""Width and height in pixels."""

RATIOS: tuple[Ratio, ...] = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9")

_SIZES: dict[Resolution, dict[Ratio, Size]] = {
    "480p": {"16:9": (864, 496), "4:3": (752, 560), "1:1": (640, 640), "21:9": (992, 432)},
    "720p": {"16:9": (1280, 720), "4:3": (1112, 834), "1:1": (960, 960), "21:9": (1470, 630)},
    "1080p": {"16:9": (1920, 1080), "4:3": (1664, 1248), "1:1": (1440, 1440), "21:9": (2206, 946)},
    "2k": {"16:9": (2560, 1440), "4:3": (2224, 1668), "1:1": (1920, 1920), "21:9": (2940, 1260)},
    "4k": {"16:9": (3840, 2160), "4:3": (3328, 2496), "1:1": (2880, 2880), "21:9": (4412, 1892)},
}
_TURNED: dict[Ratio, Ratio] = {"3:4": "4:3", "9:16": "16:9"}


@dataclass(frozen=True)
class Limits:
    """How many references of each kind one request may have, and how long they may be together."""

    images: int = 0
    videos: int = 0
    audios: int = 0
    items: int | None = None
    seconds: float = 15
    audio_alone: bool = False


@dataclass(frozen=True)
class Model:
    """One model.

    ``durations`` are whole seconds; ``upscaled_from`` names for each resolution the one rendered before upscaling
    (ultra only); ``only`` names the parameters that exist for this model and not for every other one.
    """

    name: str
    upstream: str
    resolutions: tuple[Resolution, ...]
    durations: range
    references: Limits = Limits()
    only: frozenset[str] = frozenset()
    automatic_duration: bool = False
    resolution_required: bool = False
    generate_audio: bool = True
    silent: bool = False
    frames: Literal["none", "optional", "required"] = "optional"
    frames_need_adaptive: bool = False
    liveness_assets: bool = True
    upscaled_from: dict[Resolution, Resolution] = field(default_factory=dict)


SELECTIVE_PARAMETERS = frozenset(
    {"camera_fixed", "draft", "frames", "output_format", "omni_reference_task_type", "tools"}
)
"""Parameters that only some models have."""

_MULTIMODAL = Limits(images=9, videos=3, audios=3)
_V2 = Model(
    name="seedance-2.0",
    upstream="doubao-seedance-2-0-260128",
    resolutions=("480p", "720p", "1080p", "4k"),
    durations=range(4, 16),
    references=_MULTIMODAL,
    only=frozenset({"tools"}),
)
_FAST = replace(_V2, name="seedance-fast", upstream="doubao-seedance-2-0-fast-260128", resolutions=("480p", "720p"))
_MINI = replace(_FAST, name="seedance-2.0-mini", upstream="doubao-seedance-2-0-mini-260515")
_ULTRA = replace(
    _V2,
    name="seedance-2.0-ultra",
    resolutions=("720p", "1080p", "2k"),
    resolution_required=True,
    upscaled_from={"720p": "480p", "1080p": "720p", "2k": "720p"},
)
_V25 = replace(
    _V2,
    name="seedance-2.5",
    upstream="dreamina-seedance-2-5-260628",
    resolutions=("480p", "720p", "1080p"),
    durations=range(4, 31),
    automatic_duration=True,
    references=Limits(images=30, videos=10, audios=10, items=51, seconds=30, audio_alone=True),
    only=frozenset({"draft", "tools", "output_format", "omni_reference_task_type"}),
    frames_need_adaptive=True,
    liveness_assets=False,
)
_V15 = Model(
    name="doubao-seedance-1-5-pro-251215",
    upstream="doubao-seedance-1-5-pro-251215",
    resolutions=("480p", "720p", "1080p"),
    durations=range(4, 13),
    only=frozenset({"camera_fixed", "draft"}),
    generate_audio=False,
)
_V1 = replace(
    _V15,
    name="doubao-seedance-1-0-pro-250528",
    upstream="doubao-seedance-1-0-pro-250528",
    durations=range(2, 13),
    only=frozenset({"camera_fixed", "frames"}),
    silent=True,
)


def _renamed(model: Model, name: str, frames: Literal["none", "optional", "required"] = "optional") -> Model:
    return replace(model, name=name, upstream=name, frames=frames)


def _also_called(model: Model, name: str) -> Model:
    return replace(model, name=name)


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        _V2,
        _also_called(_V2, "seedance"),
        _also_called(_V2, "seedance-2.0-nsfw"),
        _FAST,
        _also_called(_FAST, "seedance-2.0-fast"),
        _also_called(_FAST, "seedance-2.0-fast-nsfw"),
        _MINI,
        _also_called(_MINI, "seedance-2.0-mini-nsfw"),
        _ULTRA,
        _V25,
        _also_called(_V25, "seedance-2.5-nsfw"),
        _V15,
        _V1,
        _renamed(_V1, "doubao-seedance-1-0-pro-fast-251015"),
        _renamed(_V1, "doubao-seedance-1-0-lite-t2v-250428", frames="none"),
        _renamed(_V1, "doubao-seedance-1-0-lite-i2v-250428", frames="required"),
    )
}
GROUP_MODEL = "volc-asset"
"""The billing model of a group."""
ASSET_MODELS = {"Image": "volc-asset", "Video": "volc-asset-video", "Audio": "volc-asset-audio"}
"""The billing model of each asset type."""


def size_of(resolution: Resolution, ratio: Ratio) -> Size:
    """Return the pixels of a frame; both sides are even, as H.264 needs."""
    sizes = _SIZES[resolution]
    if ratio in _TURNED:
        width, height = sizes[_TURNED[ratio]]
        return height, width
    return sizes[ratio]


def nearest_ratio(width: int, height: int) -> Ratio:
    """Return the ratio nearest to an image's own, which ``adaptive`` means."""
    own = width / height
    return min(RATIOS, key=lambda ratio: abs(_value(ratio) / own - 1))


def tokens_of(frames: int, size: Size) -> int:
    """Return the tokens of a video: its frames plus one, times the pixels of a frame, divided by 1024, rounded down.

    Five seconds of 720p at 16:9 give the 108900 of the documented example.
    """
    width, height = size
    return (frames + 1) * width * height // 1024


def _value(ratio: Ratio) -> float:
    across, down = ratio.split(":")
    return int(across) / int(down)
