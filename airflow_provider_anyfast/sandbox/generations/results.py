"""The files of a finished generation: their links, and what to render for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from airflow_provider_anyfast.sandbox.media.video import Picture, Video

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.generations.generation import Generation
    from airflow_provider_anyfast.sandbox.media.links import LinkSigner

_POSTER_WIDTH = 480
Part = Literal["video", "original", "last-frame"]


@dataclass(frozen=True)
class Result:
    """The links of a success, fixed when it ended; ``original_url`` for up-scaled videos, a PNG as the last frame."""

    video_url: str
    original_url: str | None = None
    last_frame_url: str | None = None


def file_name(generation: Generation, part: Part) -> str:
    """Return the name of one file of a generation."""
    if part == "video":
        return f"{generation.id}.{generation.spec.container}"
    if part == "original":
        return f"{generation.id}-original.{generation.spec.container}"
    return f"{generation.id}-last-frame.png"


def files_of(generation: Generation) -> dict[str, Part]:
    """Return which files a generation has, by their names."""
    parts: list[Part] = ["video"]
    if generation.spec.upscaled:
        parts.append("original")
    if generation.spec.return_last_frame:
        parts.append("last-frame")
    return {file_name(generation, part): part for part in parts}


def result_of(generation: Generation, signer: LinkSigner, lifetime: float) -> Result:
    """Return the links of a generation that has succeeded, signed when it ended and good for ``lifetime`` seconds."""
    links = {
        part: signer.sign(generation.base_url, f"/files/{name}", generation.finishes_at - generation.aged_by, lifetime)
        for name, part in files_of(generation).items()
    }
    return Result(links["video"], links.get("original"), links.get("last-frame"))


def poster_of(generation: Generation) -> Video:
    """Return a small video like the one of ``generation``, whose last frame serves as its poster."""
    video = video_of(generation, "video")
    height = _POSTER_WIDTH * video.height // video.width
    return replace(video, width=_POSTER_WIDTH, height=height + height % 2)


def video_of(generation: Generation, part: Part) -> Video:
    """Return what to render for one file of a generation."""
    spec = generation.spec
    width, height = spec.rendered_size if part == "original" else spec.size
    facts = (spec.model, spec.resolution, spec.ratio, f"{spec.duration} s", f"seed {spec.seed}", generation.id)
    return Video(
        width=width,
        height=height,
        frames=spec.frames,
        audio=spec.audio,
        container=spec.container,
        prompt=spec.prompt,
        caption="  ".join(facts),
        pictures=tuple(Picture(reference.name, reference.thumbnail) for reference in spec.references),
    )
