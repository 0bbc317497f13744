"""When to ask about a job, by its age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Timing(Protocol):
    """When to ask, by the age of the job in seconds."""

    @property
    def initial_delay(self) -> float:
        """Seconds before the first poll."""

    @property
    def interval(self) -> float:
        """Seconds between polls, about."""

    def wait(self, age: float) -> float:
        """Seconds until the next poll of a job of ``age`` seconds."""


@dataclass(frozen=True)
class Schedule:
    """Seconds between polls, by the age of the job.

    Nothing before ``initial_delay``, then every ``interval``; from the age of ``slows_after`` on ever more slowly,
    up to ``longest`` at the age of ``slowest_at``.
    """

    initial_delay: float
    interval: float
    slows_after: float = 150.0
    slowest_at: float = 430.0
    longest: float = 15.0

    @classmethod
    def fixed(cls, interval: float) -> Schedule:
        """The same interval always."""
        return cls(initial_delay=interval, interval=interval, longest=interval)

    def wait(self, age: float) -> float:
        """Seconds until the next poll of a job of ``age`` seconds."""
        if age < self.initial_delay:
            return max(self.initial_delay - age, min(self.interval, self.initial_delay))
        late = (age - self.slows_after) / (self.slowest_at - self.slows_after)
        return self.interval + (self.longest - self.interval) * min(1.0, max(0.0, late))


VIDEO_SCHEDULE = Schedule(initial_delay=69.0, interval=7.0, slows_after=170.0)
"""For a median of 120 s: half the detection delay of a poll every 15 s, the gateway's own pace, with as many polls."""
_QUICK_SCHEDULES = (
    VIDEO_SCHEDULE,
    Schedule(initial_delay=54.0, interval=7.0, slows_after=130.0, slowest_at=400.0),
    Schedule(initial_delay=24.0, interval=6.5, slows_after=60.0, slowest_at=200.0),
)
"""The same for medians of 120, 90 and 30 s, by how many things speak for a quick video; ``benchmarks/detection.py``."""
ASSET_SCHEDULE = Schedule(initial_delay=4.0, interval=3.0, slows_after=30.0, slowest_at=120.0, longest=10.0)
"""AnyFast processes an asset in 6 to 12 s, a video in 20 s."""

SANDBOX = "sandbox"
"""The kind of a sandbox's videos, which take seconds whatever they are."""
SANDBOX_SCHEDULE = Schedule(initial_delay=1.0, interval=1.0, slows_after=30.0, slowest_at=120.0)
"""A sandbox's videos take as long as its user has asked for, and polls of one's own machine cost nothing. A server that
only claims to be a sandbox gets some more polls in the first two minutes, under the same limits as ever."""


def video_schedule(kind: str) -> Timing:
    """When to ask for a video of this kind before anything has been learned.

    AnyFast publishes no times of its models. A fast or small model renders sooner than others, and so do the fewer
    pixels of 480p. No later look is risked for what may take longer: a guess that is too early costs some free polls,
    one that is too late would cost the user's time.

    Args:
        kind: model, resolution and seconds of the request, or ``SANDBOX``; empty where several are waited for together.
    """
    if kind == SANDBOX:
        return SANDBOX_SCHEDULE
    model, *size = kind.split() or [""]
    return _QUICK_SCHEDULES[("fast" in model or "mini" in model) + ("480p" in size)]
