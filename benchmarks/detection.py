"""How soon the end of a video is seen, and after how many polls: the real poller with a clock that is only counted.

Times to completion are lognormal: median 120 s, 5 % under 70 s, 95 % under 226 s; or with another median.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.polling.poller import Poller, Wait
from airflow_provider_anyfast.polling.schedule import VIDEO_SCHEDULE, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

VIDEOS = 20_000
SPREAD = 0.3566
"""Standard deviation of the logarithm of the seconds."""
MEDIANS = (120.0, 90.0, 180.0)
"""Seconds; the schedule was made for the first one."""
DEADLINE = 3600.0

SCHEDULES = {"fixed 15 s": Schedule.fixed(15.0), "this provider": VIDEO_SCHEDULE, "fixed 5 s": Schedule.fixed(5.0)}


@dataclass(frozen=True)
class Job:
    """A video, as far as the poller looks at it."""

    outcome: Outcome


@dataclass(frozen=True)
class Detection:
    """One schedule over many videos."""

    way: str
    median: float
    """Seconds to completion."""
    delay: float
    """Seconds from the end of a video to the poll that sees it."""
    delay_p95: float
    polls: float


def detections() -> Iterator[Detection]:
    """Every schedule over the same videos."""
    for median in MEDIANS:
        chance = random.Random(7)
        ends = [chance.lognormvariate(math.log(median), SPREAD) for _ in range(VIDEOS)]
        for way, schedule in SCHEDULES.items():
            seen = [_watch(f"asyntask_{number}", end, schedule) for number, end in enumerate(ends)]
            delays = [delay for delay, _ in seen]
            yield Detection(
                way=way,
                median=median,
                delay=statistics.fmean(delays),
                delay_p95=statistics.quantiles(delays, n=20)[18],
                polls=statistics.fmean(polls for _, polls in seen),
            )


def _watch(video: str, end: float, schedule: Schedule) -> tuple[float, int]:
    """Delay and polls of one video that was submitted at 0."""
    poller: Poller[Job] = Poller(video, started_at=0.0, deadline=DEADLINE, schedule=schedule)
    now, polls = poller.first_wait(0.0), 1
    while isinstance(step := poller.on_answer(Job(Outcome.SUCCEEDED if now >= end else Outcome.PENDING), now), Wait):
        now += step.seconds
        polls += 1
    return now - end, polls
