"""What a finished generation can be downloaded as: its links, and the films behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from airflow_provider_anyfast.sandbox.film import Film, Picture

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.generation import Generation
    from airflow_provider_anyfast.sandbox.links import LinkSigner

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
        return f"{generation.id}.{generation.order.container}"
    if part == "original":
        return f"{generation.id}-original.{generation.order.container}"
    return f"{generation.id}-last-frame.png"


def files_of(generation: Generation) -> dict[str, Part]:
    """Return which files a generation has, by their names."""
    parts: list[Part] = ["video"]
    if generation.order.upscaled:
        parts.append("original")
    if generation.order.return_last_frame:
        parts.append("last-frame")
    return {file_name(generation, part): part for part in parts}


def result_of(generation: Generation, signer: LinkSigner, lifetime: float) -> Result:
    """Return the links of a generation that has succeeded, signed when it ended and good for ``lifetime`` seconds."""
    links = {
        part: signer.sign(generation.base_url, f"/files/{name}", generation.finishes_at, lifetime)
        for name, part in files_of(generation).items()
    }
    return Result(links["video"], links.get("original"), links.get("last-frame"))


def film_of(generation: Generation, part: Part) -> Film:
    """Return what to render for one file of a generation."""
    order = generation.order
    width, height = order.rendered_size if part == "original" else order.size
    facts = (order.model, order.resolution, order.ratio, f"{order.duration} s", f"seed {order.seed}", generation.id)
    return Film(
        width=width,
        height=height,
        frames=order.frames,
        audio=order.audio,
        container=order.container,
        prompt=order.prompt,
        caption="  ".join(facts),
        pictures=tuple(Picture(reference.name, reference.thumbnail) for reference in order.references),
    )
