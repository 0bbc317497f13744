"""When to poll a job, by its age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Timing(Protocol):
    """When to poll, by the age of the job in seconds."""

    @property
    def initial_delay(self) -> float:
        """Seconds before the first poll."""

    @property
    def interval(self) -> float:
        """Approximate seconds between polls."""

    def wait(self, age: float) -> float:
        """Seconds until the next poll of a job of ``age`` seconds."""


@dataclass(frozen=True)
class Schedule:
    """Seconds between polls, by the age of the job.

    No poll before ``initial_delay``, then one every ``interval``. From the age of ``slows_after`` on the interval
    grows, up to ``longest`` at the age of ``slowest_at``.
    """

    initial_delay: float
    interval: float
    slows_after: float = 150.0
    slowest_at: float = 430.0
    longest: float = 15.0

    @classmethod
    def fixed(cls, interval: float) -> Schedule:
        """A schedule with one constant interval."""
        return cls(initial_delay=interval, interval=interval, longest=interval)

    def wait(self, age: float) -> float:
        """Seconds until the next poll of a job of ``age`` seconds."""
        if age < self.initial_delay:
            return max(self.initial_delay - age, min(self.interval, self.initial_delay))
        late = (age - self.slows_after) / (self.slowest_at - self.slows_after)
        return self.interval + (self.longest - self.interval) * min(1.0, max(0.0, late))


VIDEO_SCHEDULE = Schedule(initial_delay=69.0, interval=7.0, slows_after=170.0)
"""For a median of 120 s: half the detection delay of a poll every 15 s, the gateway's interval, with as many polls."""
_QUICK_SCHEDULES = (
    VIDEO_SCHEDULE,
    Schedule(initial_delay=54.0, interval=7.0, slows_after=130.0, slowest_at=400.0),
    Schedule(initial_delay=24.0, interval=6.5, slows_after=60.0, slowest_at=200.0),
)
"""For medians of 120, 90 and 30 s, by how many properties suggest a quick video; see ``benchmarks/detection.py``."""
ASSET_SCHEDULE = Schedule(initial_delay=4.0, interval=3.0, slows_after=30.0, slowest_at=120.0, longest=10.0)
"""AnyFast processes an asset in 6 to 12 s, a video in 20 s."""

SANDBOX = "sandbox"
"""The kind of a sandbox's videos, which take seconds whatever their model."""
SANDBOX_SCHEDULE = Schedule(initial_delay=1.0, interval=1.0, slows_after=30.0, slowest_at=120.0)
"""A sandbox's user sets how long its videos take, and polling your own machine costs nothing. A server that only claims
to be a sandbox gets some more polls in the first two minutes, within the usual limits."""


def video_schedule(kind: str) -> Timing:
    """When to poll a video of this kind before any completion times are known.

    AnyFast publishes no rendering times. A fast or small model renders sooner than others, and so does 480p with its
    fewer pixels. No kind is polled later than the default: a poll that is too early is free, one that is too late costs
    the user's time.

    Args:
        kind: model, resolution and seconds of the request, or ``SANDBOX``; empty for several kinds together.
    """
    if kind == SANDBOX:
        return SANDBOX_SCHEDULE
    model, *size = kind.split() or [""]
    return _QUICK_SCHEDULES[("fast" in model or "mini" in model) + ("480p" in size)]
