"""Learned timing detects the end of a video sooner, with as many polls."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

import pytest

from airflow_provider_anyfast.polling.learned import MAX_SAMPLES, MIN_SAMPLES, CompletionTimes, LearnedTiming
from airflow_provider_anyfast.polling.schedule import VIDEO_SCHEDULE, Schedule

if TYPE_CHECKING:
    from airflow_provider_anyfast.polling.schedule import Timing


def ends_of(number: int, *, median: float = 120.0, spread: float = 0.36, seed: int = 7) -> list[float]:
    chance = random.Random(seed)
    return [chance.lognormvariate(math.log(median), spread) for _ in range(number)]


def watch(timing: Timing, ends: list[float]) -> tuple[float, float]:
    """Mean delay in seconds until an end is detected, and mean number of polls."""
    delays, polls = [], []
    for end in ends:
        age, count = timing.wait(0.0), 1
        while age < end:
            age += timing.wait(age)
            count += 1
        delays.append(age - end)
        polls.append(count)
    return fmean(delays), fmean(polls)


@pytest.mark.parametrize(("median", "spread"), [(120.0, 0.36), (120.0, 0.2), (60.0, 0.3), (300.0, 0.36)])
def test_learned_timing_detects_an_end_sooner_than_as_many_polls_every_15_seconds(median: float, spread: float) -> None:
    teachers = [ends_of(MAX_SAMPLES, median=median, spread=spread, seed=number) for number in range(10)]
    ends = ends_of(500, median=median, spread=spread, seed=18)
    delay, polls = map(fmean, zip(*(watch(LearnedTiming(teacher), ends) for teacher in teachers), strict=True))
    fixed_delay, fixed_polls = watch(Schedule.fixed(15.0), ends)
    assert delay <= 0.55 * fixed_delay
    assert polls <= 1.1 * fixed_polls


def test_polls_are_rare_before_any_video_can_have_ended_and_most_frequent_when_most_end() -> None:
    learned = LearnedTiming(ends_of(MAX_SAMPLES))
    assert learned.initial_delay > 45.0
    waits = [learned.wait(age) for age in (60.0, 90.0, 120.0)]
    assert all(later <= earlier for earlier, later in pairwise(waits))
    assert min(waits) >= 5.0


@pytest.mark.parametrize("age", [0.0, 1.0, 59.9, 1e4, 1e9])
def test_a_wait_is_at_least_a_second_and_finite(age: float) -> None:
    assert 1.0 <= LearnedTiming(ends_of(MAX_SAMPLES)).wait(age) <= 120.0


@pytest.mark.parametrize("seconds", [[30.0] * MIN_SAMPLES, [0.0] * MIN_SAMPLES, [1.0, 1e6] * MIN_SAMPLES])
def test_extreme_times_make_no_extreme_waits(seconds: list[float]) -> None:
    learned = LearnedTiming(seconds)
    assert all(math.isfinite(learned.wait(age)) and learned.wait(age) > 0 for age in (0.0, 10.0, 100.0, 1e5))


def test_the_default_schedule_applies_until_enough_times_are_known() -> None:
    times = CompletionTimes(VIDEO_SCHEDULE)
    for seconds in ends_of(MIN_SAMPLES - 1, median=20.0):
        times.add(seconds)
    assert (times.initial_delay, times.interval, times.wait(0.0)) == (69.0, 7.0, VIDEO_SCHEDULE.wait(0.0))
    for seconds in ends_of(8, median=20.0):
        times.add(seconds)
    assert times.initial_delay < 30.0


def test_the_timing_adapts_when_videos_become_slower() -> None:
    times = CompletionTimes(VIDEO_SCHEDULE)
    for seconds in (*ends_of(MAX_SAMPLES, median=30.0), *ends_of(MAX_SAMPLES, median=300.0)):
        times.add(seconds)
    assert times.initial_delay > 60.0
