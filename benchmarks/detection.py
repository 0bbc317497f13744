"""How soon the end of a video is detected, and after how many polls: the real poller with a simulated clock.

Times to completion are lognormal, as for videos with a median of 120 s, 5 % under 70 s, 95 % under 226 s. The default
schedule of each median is that of the kind of request for which it is assumed; no kind is assumed to take 300 s.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.polling.learned import MAX_SAMPLES, LearnedTiming
from airflow_provider_anyfast.polling.poller import Poller, Wait
from airflow_provider_anyfast.polling.schedule import Schedule, video_schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_anyfast.polling.schedule import Timing

VIDEOS = 10_000
TRIGGERERS = 5
"""Triggerers, each of which has learned from different videos."""
SPREAD = 0.3566
"""Standard deviation of the logarithm of the seconds."""
KINDS = {
    30.0: "seedance-fast 480p 5",
    90.0: "seedance-fast 720p 5",
    120.0: "seedance 720p 5",
    300.0: "seedance 1080p 15",
}
"""By the median in seconds."""
DEADLINE = 3600.0
BEST = "the best there is"
"""Polls timed with full knowledge of how long such videos take, for 1.05 times the polls of a fixed 15 s."""
MOST_POLLS = 1.05
_STEPS = 500
_LONGEST = 5.0
"""Nearly all videos end within this many medians."""


@dataclass(frozen=True)
class Job:
    """A video as the poller sees it."""

    outcome: Outcome
    lacks_link: bool = False


@dataclass(frozen=True)
class Detection:
    """One schedule over many videos."""

    way: str
    median: float
    """Seconds to completion."""
    delay: float
    """Seconds from the end of a video to the poll that detects it."""
    delay_p95: float
    polls: float


def detections() -> Iterator[Detection]:
    """Every schedule over the same videos."""
    for median, kind in KINDS.items():
        ends = _ends(median, VIDEOS, seed=7)
        learned = [LearnedTiming(_ends(median, MAX_SAMPLES, seed=number)) for number in range(TRIGGERERS)]
        ways: dict[str, Sequence[Timing]] = {
            "fixed 15 s": [Schedule.fixed(15.0)],
            "this provider": [video_schedule(kind)],
            "this provider, learned": learned,
            "fixed 5 s": [Schedule.fixed(5.0)],
        }
        for way, timings in ways.items():
            yield _detection(way, median, [_watch(timing, end) for timing in timings for end in ends])
        moments = _best_moments(ends, MOST_POLLS * statistics.fmean(end / 15.0 + 0.5 for end in ends))
        yield _detection(BEST, median, [_seen_at(moments, end) for end in ends])


def _ends(median: float, number: int, *, seed: int) -> list[float]:
    chance = random.Random(seed)
    return [chance.lognormvariate(math.log(median), SPREAD) for _ in range(number)]


def _detection(way: str, median: float, seen: Sequence[tuple[float, int]]) -> Detection:
    delays = [delay for delay, _ in seen]
    return Detection(
        way=way,
        median=median,
        delay=statistics.fmean(delays),
        delay_p95=statistics.quantiles(delays, n=20)[18],
        polls=statistics.fmean(polls for _, polls in seen),
    )


def _watch(schedule: Timing, end: float) -> tuple[float, int]:
    """Delay and polls of one video that was submitted at 0."""
    poller: Poller[Job] = Poller(f"asyntask_{end}", started_at=0.0, deadline=DEADLINE, schedule=schedule)
    now, polls = poller.first_wait(0.0), 1
    while isinstance(step := poller.on_response(Job(Outcome.SUCCEEDED if now >= end else Outcome.PENDING), now), Wait):
        now += step.seconds
        polls += 1
    return now - end, polls


def _seen_at(moments: Sequence[float], end: float) -> tuple[float, int]:
    """Delay and polls of one video that is polled at these ages."""
    number = next((number for number, moment in enumerate(moments) if moment >= end), len(moments) - 1)
    return max(0.0, moments[number] - end), number + 1


def _best_moments(ends: Sequence[float], polls: float) -> list[float]:
    """The ages at which so many polls give the least delay, found by varying the price of one poll in seconds."""
    low, high = 0.01, 60.0
    for _ in range(12):
        price = math.sqrt(low * high)
        moments = _moments(ends, price)
        if statistics.fmean(_seen_at(moments, end)[1] for end in ends[:2000]) > polls:
            low = price
        else:
            high = price
    return _moments(ends, high)


def _moments(ends: Sequence[float], price: float) -> list[float]:
    """The ages with the least sum of delays and of polls at ``price`` seconds each, computed backwards."""
    step = _LONGEST * statistics.median(ends) / _STEPS
    numbers, sums = [0.0] * _STEPS, [0.0] * _STEPS
    for end in ends:
        place = min(int(end / step), _STEPS - 1)
        numbers[place] += 1 / len(ends)
        sums[place] += end / len(ends)
    ended, seconds = list(accumulate(numbers, initial=0.0)), list(accumulate(sums, initial=0.0))
    costs, following = [0.0] * (_STEPS + 1), [0] * (_STEPS + 1)
    for now in range(_STEPS - 1, -1, -1):
        costs[now], following[now] = min(
            (
                after * step * (ended[after] - ended[now]) - (seconds[after] - seconds[now])
                + price * (1.0 - ended[now]) + costs[after],
                after,
            )
            for after in range(now + 1, _STEPS + 1)
        )  # fmt: skip
    places = [0]
    while places[-1] < _STEPS:
        places.append(following[places[-1]])
    return [after * step for _, after in pairwise(places)]
