"""Learns when to poll from how long the last videos of the same kind took. No I/O and no clock of its own.

The best times to poll a job that ends at a random time follow the square root of its hazard rate: hardly ever while no
job can have ended, most often when most jobs end.
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

MAX_SAMPLES = 64
"""Completion times that are kept for one kind of video."""
MIN_SAMPLES = 20
"""Completion times that are needed before they replace the default schedule."""
_RENEWED_AFTER = 8
"""New completion times after which the timing is estimated again."""
_PACE = 13.9
"""Seconds of rendering for each poll. In ``benchmarks/detection.py`` that makes at most 1.05 times the polls of one
every 15 s, the gateway's own interval."""
_SHORTEST = 5.0
"""Seconds between two polls at least; polling faster does not help."""
_SMALLEST_SPREAD = 0.05
"""Of the logarithms. If all samples were equal, the next video would otherwise be expected within the same second."""
_LONGEST_IN_MEANS = 5.0
"""The age up to which rates are computed, in mean times to completion. Hardly any video takes longer."""
_STEPS = 400
"""Ages for which a rate is computed."""
_LAST_INTERVAL = 60.0
"""Seconds at most between two polls of a video that is older."""


class LearnedTiming:
    """When to poll a job whose time to completion is lognormal, estimated from ``seconds`` of earlier jobs.

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
        self._step = _LONGEST_IN_MEANS * mean / _STEPS
        # At each age: the rate at which unfinished videos end, and the share of videos that are unfinished.
        hazards, unfinished = [], []
        for number in range(_STEPS):
            age = (number + 0.5) * self._step
            deviation = (math.log(age) - middle) / spread
            left = max(1.0 - normal.cdf(deviation), 1e-9)
            hazards.append(normal.pdf(deviation) / (age * spread * left))
            unfinished.append(left)
        # The rates follow the square root of the hazard, scaled so that a video takes ``polls`` polls on average; only
        # unfinished videos are polled.
        polls = max(mean / _PACE, 1.0)
        weight = sum(math.sqrt(hazard) * left for hazard, left in zip(hazards, unfinished, strict=True)) * self._step
        rates = [min(polls / weight * math.sqrt(hazard), 1.0 / _SHORTEST) for hazard in hazards]
        # How many polls an unfinished video has had by each age. ``wait`` looks up the age at which it is one more.
        self._polls_until = list(accumulate((rate * self._step for rate in rates), initial=0.0))
        self._last_interval = 1.0 / max(rates[-1], 1.0 / _LAST_INTERVAL)
        self.initial_delay = self.wait(0.0)
        self.interval = 1.0 / max(rates)

    def wait(self, age: float) -> float:
        """Seconds until the next poll of a job of ``age`` seconds."""
        place = age / self._step
        before = int(place)
        if before >= _STEPS:
            return self._last_interval
        start, end = self._polls_until[before : before + 2]
        target = start + (end - start) * (place - before) + 1.0
        after = bisect_left(self._polls_until, target)
        if after > _STEPS:
            return self._last_interval
        low, high = self._polls_until[after - 1 : after + 1]
        return (after - 1 + (target - low) / (high - low)) * self._step - age


class CompletionTimes:
    """How long the last videos of one kind took, and the timing learned from that.

    Args:
        default: the timing until ``MIN_SAMPLES`` are known.
    """

    def __init__(self, default: Timing) -> None:
        self._seconds: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._new = 0
        self._timing = default

    def add(self, seconds: float) -> None:
        """Records a video that took ``seconds`` from its submission to its end."""
        self._seconds.append(seconds)
        self._new += 1
        if len(self._seconds) >= MIN_SAMPLES and self._new >= _RENEWED_AFTER:
            self._new = 0
            self._timing = LearnedTiming(self._seconds)

    @property
    def initial_delay(self) -> float:
        """Seconds from the creation to the first poll."""
        return self._timing.initial_delay

    @property
    def interval(self) -> float:
        """Approximate seconds between polls."""
        return self._timing.interval

    def wait(self, age: float) -> float:
        """Seconds until the next poll of a job of ``age`` seconds."""
        return self._timing.wait(age)
