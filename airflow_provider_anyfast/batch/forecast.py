"""How long the rest of a batch takes, from what its rows have taken so far."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Forecast:
    """What is known of a batch.

    Attributes:
        rendering: Unix seconds of the submissions of the videos that are rendering.
        waiting: rows that are still to be submitted.
        max_active: videos that may render at the same time; None where AnyFast sets the limit.
        mean, slowest: seconds that the videos of the batch took to render; 0 while none has ended.
        to_save: videos that are to be polled or downloaded.
        saving: seconds for each of these, side by side as they are; None while none is saved.
    """

    rendering: Sequence[float]
    waiting: int
    max_active: int | None
    mean: float
    slowest: float
    to_save: int
    saving: float | None

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the last row has ended; None where nothing tells."""
        parts = []
        if self.to_save:
            parts.append(None if self.saving is None else self.saving * self.to_save)
        if self.rendering or self.waiting:
            parts.append(self._rendered_in(now))
        known = [part for part in parts if part is not None and part > 0]
        return max(known) if known and len(known) == len(parts) else None

    def _rendered_in(self, now: float) -> float | None:
        """Each row that waits takes the place of the video that ends first; the last one may be the slowest."""
        places = self.max_active or len(self.rendering) + self.to_save
        if not self.slowest or not places:
            return None
        ends = sorted(max(now, submitted_at + self.mean) for submitted_at in self.rendering)
        ends = [*[now] * (places - len(ends)), *ends]
        last = max(self.rendering, default=now) + self.mean
        for _ in range(self.waiting):
            last = max(last, heapq.heapreplace(ends, ends[0] + self.mean) + self.mean)
        return last + self.slowest - self.mean - now
