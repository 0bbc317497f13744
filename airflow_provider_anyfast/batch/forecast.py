"""Estimates how long the rest of a batch takes, from the rows that have ended."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Forecast:
    """The figures from which the remaining time of a batch is estimated.

    Attributes:
        rendering: submission times of the videos that are rendering, in Unix seconds.
        waiting: rows that are still to be submitted.
        max_active: videos that may render at the same time; None where AnyFast sets the limit.
        mean, slowest: render seconds of the batch's videos; 0 until one has ended.
        to_save: videos still to be polled or downloaded.
        saving: seconds per such video, at the current concurrency; None until one is saved.
    """

    rendering: Sequence[float]
    waiting: int
    max_active: int | None
    mean: float
    slowest: float
    to_save: int
    saving: float | None

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the last row ends; None if there is no basis for an estimate."""
        parts = []
        if self.to_save:
            parts.append(None if self.saving is None else self.saving * self.to_save)
        if self.rendering or self.waiting:
            parts.append(self._rendered_in(now))
        known = [part for part in parts if part is not None and part > 0]
        return max(known) if known and len(known) == len(parts) else None

    def _rendered_in(self, now: float) -> float | None:
        """Each waiting row takes the place of the video that ends first; the last one may be as slow as the slowest."""
        places = self.max_active or len(self.rendering) + self.to_save
        if not self.slowest or not places:
            return None
        ends = sorted(max(now, submitted_at + self.mean) for submitted_at in self.rendering)
        ends = [*[now] * (places - len(ends)), *ends]
        last = max(self.rendering, default=now) + self.mean
        for _ in range(self.waiting):
            last = max(last, heapq.heapreplace(ends, ends[0] + self.mean) + self.mean)
        return last + self.slowest - self.mean - now
