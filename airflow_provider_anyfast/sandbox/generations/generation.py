"""One generation: its request, and its progress over time."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.generations.catalog import Ratio, Resolution, Size

ReferenceKind = Literal["image", "video", "audio"]
Status = Literal["NOT_START", "QUEUED", "IN_PROGRESS", "SUCCESS", "FAILURE"]

# The fractions of the time to completion after which a generation is queued and running.
_QUEUED_AFTER = 0.1
_RUNNING_AFTER = 0.3


@dataclass(frozen=True)
class Reference:
    """An image, video or audio that the request refers to. Facts about content elsewhere are ``None``."""

    kind: ReferenceKind
    role: str
    name: str
    source: str
    asset_id: str | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class GenerationSpec:
    """A checked request, with every default filled in.

    ``size`` is pixels, ``rendered_resolution`` the one before upscaling (the same unless it is an ultra model),
    ``frames`` counts at 24 a second, ``duration`` is whole seconds.
    """

    model: str
    upstream_model: str
    prompt: str
    references: tuple[Reference, ...]
    action: str
    resolution: Resolution
    rendered_resolution: Resolution
    ratio: Ratio
    size: Size
    rendered_size: Size
    duration: int
    frames: int
    audio: bool
    seed: int
    return_last_frame: bool
    container: Literal["mp4", "mov"]
    service_tier: str
    draft: bool
    tokens: int
    super_resolution_tokens: int | None = None

    @property
    def upscaled(self) -> bool:
        """Whether the video was made at a lower resolution first."""
        return self.super_resolution_tokens is not None


@dataclass(frozen=True)
class Progress:
    """The state of a generation at one moment; ``finished_at`` is Unix seconds, ``None`` before the end.

    ``upstream`` is the status of the service behind the gateway if it does not correspond to ``status``.
    """

    status: str
    percent: int
    finished_at: float | None = None
    upstream: str | None = None

    @property
    def started(self) -> bool:
        """Whether rendering has begun."""
        return self.status not in ("NOT_START", "QUEUED")


RUNNING = Progress("IN_PROGRESS", 50)


@dataclass(frozen=True)
class Outcome:
    """How a generation ends: ``code`` and ``reason`` of a failure, or the status of one that never ends."""

    kind: Literal["success", "failure", "endless"] = "success"
    code: str = ""
    reason: str = ""
    shows: Progress | None = None


@dataclass
class Generation:
    """An accepted submission. Times are Unix seconds; ``request`` is the body with its data URIs cut short.

    ``keyed_link`` means that its link leads to the gateway and needs the key, ``goes_back`` that it shows IN_PROGRESS
    once more after SUCCESS; ``aged_by`` is the seconds by which it looks older after it has finished.
    """

    id: str
    upstream_id: str
    request_id: str
    key: str
    account: str
    spec: GenerationSpec
    request: dict[str, Any]
    base_url: str
    submitted_at: float
    seconds: float
    outcome: Outcome = field(default_factory=Outcome)
    keyed_link: bool = False
    goes_back: bool = False
    aged_by: float = 0.0
    _success_seen: bool = field(default=False, repr=False)

    @property
    def finishes_at(self) -> float:
        """When it ends, if it ever does."""
        return self.submitted_at + self.seconds

    @property
    def started_at(self) -> float:
        """When rendering begins."""
        return self.submitted_at + _RUNNING_AFTER * self.seconds

    def progress(self, now: float) -> Progress:
        """Return the result of a query at time ``now``."""
        if now >= self.finishes_at and self.outcome.kind in ("success", "failure"):
            return Progress("SUCCESS" if self.outcome.kind == "success" else "FAILURE", 100, self.finishes_at)
        if now < self.submitted_at + _QUEUED_AFTER * self.seconds:
            return Progress("NOT_START", 0)
        if now < self.started_at:
            return Progress("QUEUED", 10)
        return self.outcome.shows or RUNNING

    def observe(self, now: float) -> Progress:
        """Return the result of the next query at time ``now``; a success that goes back does so once, here."""
        progress = self.progress(now)
        if progress.status == "SUCCESS" and self.goes_back and self._success_seen:
            self.goes_back = False
            return RUNNING
        self._success_seen = self._success_seen or progress.status == "SUCCESS"
        return progress

    def refunded(self, now: float) -> bool:
        """Whether it has failed, which refunds its tokens."""
        return self.progress(now).status == "FAILURE"


def seconds_to_complete(typical: float, spread: float, generation_id: str) -> float:
    """Return how long one generation takes: lognormal around ``typical``, always the same for the same id.

    ``spread`` 0 gives ``typical`` itself; at 1, two thirds of the generations take between half and double of it.
    """
    return typical * math.exp(spread * math.log(2) * random.Random(generation_id).gauss(0, 1))
