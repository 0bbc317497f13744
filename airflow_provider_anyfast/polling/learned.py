"""Learning when to ask from how long the last videos of the same kind took. No I/O and no clock of its own.

The best moments to look at something that ends at a random time follow the square root of its hazard rate: hardly ever
while nothing can have ended, most often when most do.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_anyfast.polling.schedule import Timing

REMEMBERED = 64
"""Completion times of one kind of video."""
ENOUGH = 20
"""As many must be known before they say more than the schedule for all videos."""
_RENEWED_AFTER = 8
_PACE = 13.9
"""Seconds of a video for each poll. That makes 1.05 of the polls of one every 15 s, the gateway's own pace."""
_SHORTEST = 5.0
"""Seconds between two polls; faster ones bring nothing."""
_SMALLEST_SPREAD = 0.05
_STEPS = 400


class LearnedTiming:
    """When to ask for a job whose time to completion is lognormal, as these ``seconds`` tell it.

    Attributes:
        initial_delay: seconds from the creation to the first poll.
        interval: seconds between polls where most jobs end.
    """

    def __init__(self, seconds: Sequence[float]) -> None:
        from statistics import NormalDist, fmean, stdev  # noqa: PLC0415 - only a triggerer learns

        normal = NormalDist()
        logs = [math.log(max(each, 1.0)) for each in seconds]
        middle, spread = fmean(logs), max(stdev(logs), _SMALLEST_SPREAD)
        mean = math.exp(middle + spread * spread / 2)
        self._step = 5.0 * mean / _STEPS
        hazards, unfinished = [], []
        for number in range(_STEPS):
            age = (number + 0.5) * self._step
            deviation = (math.log(age) - middle) / spread
            left = max(1.0 - normal.cdf(deviation), 1e-9)
            hazards.append(normal.pdf(deviation) / (age * spread * left))
            unfinished.append(left)
        polls = max(mean / _PACE, 1.0)
        weight = sum(math.sqrt(hazard) * left for hazard, left in zip(hazards, unfinished, strict=True)) * self._step
        rates = [min(polls / weight * math.sqrt(hazard), 1.0 / _SHORTEST) for hazard in hazards]
        self._polls_until = list(accumulate((rate * self._step for rate in rates), initial=0.0))
        self._last_interval = 1.0 / max(rates[-1], 1.0 / 60.0)
        self.initial_delay = self.wait(0.0)
        self.interval = 1.0 / max(rates)

    def wait(self, age: float) -> float:
        """Seconds until the next poll of a job of ``age`` seconds."""
        place = age / self._step
        before = int(place)
        if before >= _STEPS:
            return self._last_interval
        start, end = self._polls_until[before : before + 2]
        wanted = start + (end - start) * (place - before) + 1.0
        after = bisect_left(self._polls_until, wanted)
        if after > _STEPS:
            return self._last_interval
        low, high = self._polls_until[after - 1 : after + 1]
        return (after - 1 + (wanted - low) / (high - low)) * self._step - age


class CompletionTimes:
    """How long the last videos of one kind took, and the timing that follows.

    Args:
        default: the timing until enough is known.
    """

    def __init__(self, default: Timing) -> None:
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._new = 0
        self._timing = default

    def add(self, seconds: float) -> None:
        """A video took ``seconds`` from its submission to its end."""
        self._seconds.append(seconds)
        self._new += 1
        if len(self._seconds) >= ENOUGH and self._new >= _RENEWED_AFTER:
            self._new = 0
            self._timing = LearnedTiming(self._seconds)

    @property
    def initial_delay(self) -> float:
        """Seconds from the creation to the first poll."""
        return self._timing.initial_delay

    @property
    def interval(self) -> float:
        """Seconds between polls, about."""
        return self._timing.interval

    def wait(self, age: float) -> float:
        """Seconds until the next poll of a job of ``age`` seconds."""
        return self._timing.wait(age)
