"""When a job is polled, and when polling ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyfast.client import errors
from airflow_provider_anyfast.client.consistency import GENERATION_APPEARS, LINK_APPEARS
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.polling.inline import wait_inline
from airflow_provider_anyfast.polling.learned import MIN_SAMPLES, LearnedTiming
from airflow_provider_anyfast.polling.poller import (
    JITTER,
    LONGEST_PAUSE,
    TOLERATED_FAILURES,
    TOLERATED_SECONDS,
    Ended,
    FailedPolls,
    Finished,
    GaveUp,
    Poller,
    TimedOut,
    Wait,
    wait_for_async,
)
from airflow_provider_anyfast.polling.schedule import ASSET_SCHEDULE, VIDEO_SCHEDULE, Schedule
from airflow_provider_anyfast.polling.watch import Watch
from tests.support.clock import START, FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_anyfast.polling.schedule import Timing


@dataclass(frozen=True)
class Job:
    outcome: Outcome = Outcome.PENDING
    lacks_link: bool = False


PENDING, DONE, FAILED = Job(), Job(Outcome.SUCCEEDED), Job(Outcome.FAILED)
LINKLESS = Job(lacks_link=True)
STEADY = Schedule.fixed(10.0)
UNKNOWN = errors.GenerationNotFoundError("task_not_exist")
BROKEN = errors.ServerError("broken")
BUSY = errors.RateLimitError("busy")
Event = Job | errors.AnyFastError


def new_poller(
    subject: str = "asyntask_1",
    *,
    started_at: float = 0.0,
    deadline: float = 10_000.0,
    schedule: Timing = STEADY,
    failed_polls: FailedPolls | None = None,
) -> Poller[Job]:
    return Poller(subject, started_at=started_at, deadline=deadline, schedule=schedule, failed_polls=failed_polls)


def seconds(step: Wait | Ended[Job]) -> float:
    assert isinstance(step, Wait)
    return step.seconds


# The schedule.


@pytest.mark.parametrize(
    ("age", "wait"),
    [(0, 69), (30, 39), (69, 7), (70, 7), (170, 7), (300, 11), (430, 15), (431, 15), (10_000, 15), (68.9, 7)],
)
def test_a_video_is_polled_after_a_delay_then_often_then_less_and_less(age: float, wait: float) -> None:
    assert VIDEO_SCHEDULE.wait(age) == pytest.approx(wait)


@pytest.mark.parametrize(("age", "wait"), [(0, 4), (4, 3), (30, 3), (75, 6.5), (120, 10), (900, 10)])
def test_an_asset_is_polled_soon(age: float, wait: float) -> None:
    assert ASSET_SCHEDULE.wait(age) == pytest.approx(wait)


@pytest.mark.parametrize("age", [0, 10, 100, 1000, 100_000])
def test_a_users_interval_never_changes(age: float) -> None:
    assert Schedule.fixed(20.0).wait(age) == 20.0


@pytest.mark.parametrize("schedule", [VIDEO_SCHEDULE, ASSET_SCHEDULE, Schedule.fixed(15.0)])
def test_no_job_is_polled_during_its_initial_delay_or_in_a_burst(schedule: Schedule) -> None:
    for number in range(300):
        poller = new_poller(f"asyntask_{number}", schedule=schedule)
        now = poller.first_wait(0.0)
        assert schedule.initial_delay <= now <= schedule.initial_delay * (1 + JITTER)
        for _ in range(10):
            wait = seconds(poller.on_response(PENDING, now))
            assert wait >= schedule.interval * (1 - JITTER)
            now += wait


# Jitter.


@pytest.mark.parametrize("age", [80.0, 500.0])
def test_the_jitter_of_a_wait_is_at_most_a_tenth(age: float) -> None:
    waits = [
        seconds(new_poller(f"asyntask_{number}", schedule=VIDEO_SCHEDULE).on_response(PENDING, age))
        for number in range(300)
    ]
    middle = VIDEO_SCHEDULE.wait(age)
    assert middle * (1 - JITTER) <= min(waits) < middle * (1 - JITTER / 2)
    assert middle * (1 + JITTER / 2) < max(waits) <= middle * (1 + JITTER)


def test_a_batch_submitted_at_once_is_not_polled_at_once() -> None:
    firsts = sorted(new_poller(f"asyntask_{number}", schedule=VIDEO_SCHEDULE).first_wait(0.0) for number in range(1000))
    assert max(sum(1 for first in firsts if start <= first < start + 1) for start in range(68, 75)) < 200


def test_the_same_job_is_always_polled_at_the_same_times() -> None:
    def times(subject: str) -> list[float]:
        poller = new_poller(subject)
        return [poller.first_wait(0.0), *(seconds(poller.on_response(PENDING, 20.0 + number)) for number in range(9))]

    assert times("asyntask_1") == times("asyntask_1")
    assert times("asyntask_1") != times("asyntask_2")


# The first poll.


def test_first_polls_of_jobs_of_some_age_are_spread_over_one_interval() -> None:
    interval = VIDEO_SCHEDULE.wait(200.0)
    firsts = sorted(
        new_poller(f"asyntask_{number}", schedule=VIDEO_SCHEDULE).first_wait(200.0) for number in range(1000)
    )
    assert 0.0 <= firsts[0] < 0.1 * interval
    assert 0.9 * interval < firsts[-1] <= interval
    assert max(sum(start <= first < start + 0.5 for first in firsts) for start in range(int(interval))) < 110


@pytest.mark.parametrize("ahead", [0.5, 3.0, 3600.0])
@pytest.mark.parametrize(
    "timing", [VIDEO_SCHEDULE, LearnedTiming([100.0] * MIN_SAMPLES), LearnedTiming([1.0] * MIN_SAMPLES)]
)
def test_a_worker_whose_clock_is_ahead_of_the_triggerers_changes_nothing(timing: Timing, ahead: float) -> None:
    assert new_poller(started_at=ahead, schedule=timing).first_wait(0.0) == new_poller(schedule=timing).first_wait(0.0)


def test_the_first_poll_is_due_by_the_deadline() -> None:
    assert new_poller(schedule=VIDEO_SCHEDULE, deadline=5.0).first_wait(0.0) == 5.0
    assert new_poller(deadline=5.0).first_wait(6.0) == 0.0


# Successful polls.


@pytest.mark.parametrize("job", [DONE, FAILED])
@pytest.mark.parametrize("now", [10.0, 99.0, 100.0, 5000.0])
def test_a_job_that_has_ended_is_accepted_however_late_it_is(job: Job, now: float) -> None:
    assert new_poller(deadline=100.0).on_response(job, now) == Finished(job)


@pytest.mark.parametrize("now", [100.0, 101.0, 5000.0])
def test_the_wait_for_a_pending_job_ends_at_its_deadline(now: float) -> None:
    assert new_poller(deadline=100.0, started_at=40.0).on_response(PENDING, now) == TimedOut(now - 40.0)


def test_the_last_poll_is_due_at_the_deadline() -> None:
    assert new_poller(deadline=100.0).on_response(PENDING, 98.0) == Wait(2.0)


# Successes without a link.


def test_a_success_without_a_link_is_polled_on_schedule_for_some_minutes() -> None:
    poller = new_poller()
    for now in (100.0, 150.0, 99.9 + LINK_APPEARS):
        assert seconds(poller.on_response(LINKLESS, now)) == pytest.approx(STEADY.interval, rel=JITTER)
    gave_up = poller.on_response(LINKLESS, 100.0 + LINK_APPEARS)
    assert isinstance(gave_up, GaveUp)
    assert isinstance(gave_up.error, errors.LinkMissingError)
    assert poller.on_response(DONE, 500.0) == Finished(DONE)


def test_the_log_says_once_that_a_link_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    poller = new_poller()
    for now in (100.0, 150.0):
        poller.on_response(LINKLESS, now)
    assert caplog.text.count("does not return its link yet") == 1


def test_the_wait_for_a_link_ends_at_the_deadline() -> None:
    poller = new_poller(deadline=105.0)
    assert poller.on_response(LINKLESS, 100.0) == Wait(5.0)
    assert isinstance(poller.on_response(LINKLESS, 105.0), GaveUp)


def test_failed_polls_neither_lengthen_nor_shorten_the_wait_for_a_link() -> None:
    poller = new_poller()
    for number in range(20):
        assert isinstance(poller.on_response(LINKLESS, 100.0 + 10 * number), Wait)
        assert isinstance(poller.on_error(BROKEN, 105.0 + 10 * number), Wait)
    resumed = new_poller(failed_polls=poller.failed_polls)
    assert isinstance(resumed.on_response(LINKLESS, 100.0 + LINK_APPEARS), GaveUp)


def test_the_wait_for_a_link_starts_again_if_the_status_goes_back() -> None:
    poller = new_poller()
    poller.on_response(LINKLESS, 100.0)
    poller.on_response(PENDING, 110.0)
    assert isinstance(poller.on_response(LINKLESS, 100.0 + LINK_APPEARS), Wait)


# Errors.


@pytest.mark.parametrize(
    "error",
    [
        errors.AuthenticationError("key"),
        errors.PermissionDeniedError("no"),
        errors.QuotaError("no money"),
        errors.BadRequestError("odd"),
        errors.ConfigurationError("moved"),
    ],
)
def test_an_error_that_no_further_poll_can_resolve_ends_the_wait(error: errors.AnyFastError) -> None:
    assert new_poller().on_error(error, 50.0) == GaveUp(error)


@pytest.mark.parametrize("now", [0.0, 15.0, GENERATION_APPEARS])
def test_a_new_job_may_be_unknown_at_first(now: float) -> None:
    poller = new_poller()
    for _ in range(3 * TOLERATED_FAILURES):
        assert seconds(poller.on_error(UNKNOWN, now)) == pytest.approx(STEADY.interval, rel=JITTER)


@pytest.mark.parametrize("error", [UNKNOWN, errors.AssetNotFoundError("no"), errors.NotFoundError("no")])
@pytest.mark.parametrize("known", [True, False])
def test_the_wait_for_an_unknown_job_ends_after_several_polls_over_some_time(
    error: errors.AnyFastError, *, known: bool
) -> None:
    poller = new_poller()
    if known:
        poller.on_response(PENDING, 90.0)
    for number in range(3 * TOLERATED_FAILURES):
        assert isinstance(poller.on_error(error, 1000.0 + number), Wait)
    assert isinstance(poller.on_error(error, 999.9 + TOLERATED_SECONDS), Wait)
    assert poller.on_error(error, 1000.0 + TOLERATED_SECONDS) == GaveUp(error)


def test_few_polls_over_a_long_time_do_not_end_the_wait_for_an_unknown_job() -> None:
    poller = new_poller()
    for number in range(TOLERATED_FAILURES):
        assert isinstance(poller.on_error(UNKNOWN, 1000.0 + 600.0 * number), Wait)
    assert poller.on_error(UNKNOWN, 9000.0) == GaveUp(UNKNOWN)


def test_failed_polls_of_an_earlier_process_count_if_they_are_passed_on() -> None:
    first = new_poller()
    for number in range(TOLERATED_FAILURES):
        first.on_error(UNKNOWN, 1000.0 + number)
    second = new_poller(failed_polls=first.failed_polls)
    assert second.on_error(UNKNOWN, 1000.0 + TOLERATED_SECONDS) == GaveUp(UNKNOWN)
    assert isinstance(new_poller().on_error(UNKNOWN, 1000.0 + TOLERATED_SECONDS), Wait)


def test_a_status_that_goes_back_is_polled_until_the_deadline() -> None:
    poller = new_poller(deadline=300.0)
    assert isinstance(poller.on_response(PENDING, 100.0), Wait)
    assert poller.on_response(PENDING, 299.0) == Wait(1.0)
    assert poller.on_response(DONE, 310.0) == Finished(DONE)


@pytest.mark.parametrize(
    "error",
    [
        BROKEN,
        errors.NoAnswerError("slow"),
        errors.ConnectionFailedError("down"),
        errors.UnexpectedAnswerError("odd"),
    ],
)
def test_some_failed_polls_in_a_row_are_tolerated(error: errors.AnyFastError) -> None:
    poller = new_poller()
    for number in range(TOLERATED_FAILURES):
        assert isinstance(poller.on_error(error, 100.0 + number), Wait)
    assert poller.on_error(error, 200.0) == GaveUp(error)


def test_a_successful_poll_resets_the_failures() -> None:
    poller = new_poller()
    for round_ in range(5):
        for number in range(TOLERATED_FAILURES):
            assert isinstance(poller.on_error(BROKEN, 100.0 * round_ + number), Wait)
        assert isinstance(poller.on_response(PENDING, 100.0 * round_ + 50), Wait)


def test_polls_after_failures_slow_down_up_to_a_limit() -> None:
    poller = new_poller()
    waits = [seconds(poller.on_error(BROKEN, 100.0)) for _ in range(TOLERATED_FAILURES)]
    for wait, middle in zip(waits, (20.0, 40.0, 80.0, 120.0, 120.0), strict=True):
        assert middle * (1 - JITTER) <= wait <= min(middle * (1 + JITTER), LONGEST_PAUSE)


def test_a_429_never_counts_as_a_failure() -> None:
    poller = new_poller()
    for number in range(10 * TOLERATED_FAILURES):
        assert isinstance(poller.on_error(BUSY, 100.0 + number), Wait)
    for number in range(TOLERATED_FAILURES):
        assert isinstance(poller.on_error(BROKEN, 200.0 + number), Wait)


def test_a_429_slows_the_polls_down() -> None:
    poller = new_poller()
    waits = [seconds(poller.on_error(BUSY, 100.0)) for _ in range(4)]
    assert waits[0] < waits[1] < waits[2] < waits[3] <= LONGEST_PAUSE


@pytest.mark.parametrize("error", [errors.RateLimitError, errors.ServerError])
@pytest.mark.parametrize("retry_after", [40.0, 60.0, 119.0])
def test_no_poll_is_due_before_retry_after_has_passed(error: type[errors.APIError], retry_after: float) -> None:
    for number in range(50):
        wait = seconds(new_poller(f"asyntask_{number}").on_error(error("busy", retry_after=retry_after), 100.0))
        assert retry_after <= wait <= LONGEST_PAUSE


@pytest.mark.parametrize("retry_after", [121.0, 3600.0, float("inf")])
def test_no_retry_after_stops_the_polls_for_ever(retry_after: float) -> None:
    assert (
        seconds(new_poller().on_error(errors.RateLimitError("busy", retry_after=retry_after), 100.0)) <= LONGEST_PAUSE
    )


def test_a_short_retry_after_does_not_shorten_a_wait() -> None:
    assert seconds(new_poller().on_error(errors.RateLimitError("busy", retry_after=1.0), 100.0)) >= 9.0


@pytest.mark.parametrize("error", [BROKEN, BUSY, UNKNOWN])
def test_an_outage_at_the_deadline_is_a_timeout(error: errors.AnyFastError) -> None:
    poller = new_poller(deadline=30.0)
    assert poller.on_error(error, 29.0) == Wait(1.0)
    assert poller.on_error(error, 30.0) == TimedOut(30.0)


# Both drivers.


class Script:
    """What the service returns at each poll; the last event repeats. Each poll takes ``latency`` seconds."""

    def __init__(self, events: Sequence[Event], clock: FakeClock, latency: float = 0.0) -> None:
        self.events = list(events)
        self.clock = clock
        self.latency = latency
        self.polls: list[float] = []

    def poll(self) -> Job:
        self.clock.advance(self.latency)
        self.polls.append(self.clock.now())
        event = self.events.pop(0) if len(self.events) > 1 else self.events[0]
        if isinstance(event, errors.AnyFastError):
            raise event
        return event

    async def poll_async(self) -> Job:
        return self.poll()


def wait_in_this_thread(poller: Poller[Job], script: Script) -> Ended[Job]:
    watch: Watch[Job] = Watch()
    watch.add("asyntask_1", poller, script.clock.now())
    wait_inline(watch, lambda _: script.poll(), lambda: bool(watch.ended))
    return watch.ended["asyntask_1"]


WaitRun = tuple[Ended[Job], list[float]]


def drive(make: Callable[[], Poller[Job]], events: Sequence[Event], latency: float = 0.0) -> WaitRun:
    """The end and the times of the polls, which must be the same for both drivers."""
    courses: list[WaitRun] = []
    for asynchronous in (False, True):
        clock = FakeClock()
        script = Script(events, clock, latency)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("now", "sleep", "sleep_async"):
                patch.setattr(f"airflow_provider_anyfast.client.clock.{name}", getattr(clock, name))
            if asynchronous:
                end = asyncio.run(wait_for_async(make(), script.poll_async))
            else:
                end = wait_in_this_thread(make(), script)
        courses.append((end, script.polls))
    (end, polls), (end_here, polls_here) = courses
    assert type(end) is type(end_here)
    assert isinstance(end, TimedOut) or end == end_here
    assert polls == pytest.approx(polls_here)
    return end, polls


def running(deadline: float = 600.0, schedule: Schedule = VIDEO_SCHEDULE) -> Poller[Job]:
    return new_poller(started_at=START, deadline=START + deadline, schedule=schedule)


@pytest.mark.parametrize(
    ("events", "end"),
    [
        ([DONE], Finished(DONE)),
        ([PENDING, PENDING, FAILED], Finished(FAILED)),
        ([PENDING, BROKEN, BUSY, DONE], Finished(DONE)),
        ([PENDING, errors.AuthenticationError("key")], GaveUp),
        ([BROKEN], GaveUp),
        ([PENDING], TimedOut),
    ],
)
def test_both_drivers_poll_at_the_same_times_and_end_the_same_way(events: list[Event], end: object) -> None:
    actual, _ = drive(running, events)
    assert actual == end or isinstance(actual, end if isinstance(end, type) else ())


def test_the_wait_for_a_job_that_is_unknown_for_some_seconds_continues() -> None:
    end, polls = drive(lambda: running(schedule=Schedule.fixed(5.0)), [UNKNOWN, UNKNOWN, PENDING, DONE])
    assert end == Finished(DONE)
    assert len(polls) == 4


def test_a_job_that_ended_is_accepted_if_the_response_arrives_after_the_deadline() -> None:
    end, polls = drive(lambda: running(deadline=120.0), [DONE], latency=400.0)
    assert end == Finished(DONE)
    assert polls[-1] > START + 120.0


EVENTS = st.lists(
    st.sampled_from(
        [PENDING, PENDING, BROKEN, BUSY, UNKNOWN, errors.RateLimitError("x", retry_after=300.0), DONE, FAILED]
    ),
    min_size=1,
    max_size=30,
)


@given(
    events=EVENTS,
    deadline=st.floats(-100, 2000),
    schedule=st.sampled_from([VIDEO_SCHEDULE, ASSET_SCHEDULE, Schedule.fixed(5.0), Schedule.fixed(500.0)]),
)
def test_a_wait_ends_by_its_deadline_with_a_bounded_number_of_polls(
    events: list[Event], deadline: float, schedule: Schedule
) -> None:
    end, polls = drive(lambda: running(deadline, schedule), events)
    assert polls[-1] <= START + max(0.0, deadline) + 1e-6
    shortest = min(schedule.interval, schedule.initial_delay) * (1 - JITTER)
    assert len(polls) <= max(0.0, deadline) / shortest + 3
    met = events[: len(polls)] + [events[-1]] * (len(polls) - len(events))
    assert all(event not in (DONE, FAILED) for event in met[:-1])
    if met[-1] in (DONE, FAILED):
        assert end == Finished(met[-1])
    elif isinstance(end, TimedOut):
        assert polls[-1] >= START + deadline - 1e-6


def test_a_clock_that_is_set_back_does_not_pause_the_polls() -> None:
    watch: Watch[Job] = Watch()
    for number in range(3):
        watch.add(f"asyntask_{number}", new_poller(f"asyntask_{number}", started_at=5000.0, deadline=9000.0), 5000.0)
    assert watch.take_due(5000.0) is None
    pause = watch.pause(5001.0)
    assert watch.pause(1401.0) == pytest.approx(pause), "an hour earlier"
    first = watch.take_due(1401.0 + pause)
    assert first is not None
    watch.on_response(first, PENDING, 1401.0 + pause)
    assert watch.pause(1401.0 + pause) <= STEADY.interval * (1 + JITTER)
