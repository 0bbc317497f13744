"""A triggerer learns from the videos it has seen when to poll the next ones of their kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.polling.learned import MIN_SAMPLES, CompletionTimes
from airflow_provider_anyfast.polling.schedule import SANDBOX, VIDEO_SCHEDULE, Schedule, video_schedule
from airflow_provider_anyfast.triggers import video as module
from airflow_provider_anyfast.triggers.video import VideoTrigger

if TYPE_CHECKING:
    from airflow_provider_anyfast.polling.schedule import Timing


@pytest.fixture(autouse=True)
def nothing_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    empty: dict[tuple[str, str], CompletionTimes] = {}
    monkeypatch.setattr(module, "_completion_times", empty)


def timing(kind: str = "seedance 720p 4", conn_id: str = "anyfast_default") -> Timing:
    return VideoTrigger.timing(conn_id, kind)


def learn(job: Generation, kind: str = "seedance 720p 4", conn_id: str = "anyfast_default") -> None:
    VideoTrigger.learn(conn_id, kind, job, 0.0)


def done(seconds: float, outcome: Outcome = Outcome.SUCCEEDED) -> Generation:
    return Generation("asyntask_0", "SUCCESS", outcome, submitted_at=100.0, finished_at=100.0 + seconds)


def teach(seconds: float, **of: str) -> None:
    for number in range(MIN_SAMPLES + 8):
        learn(done(seconds + number), **of)


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("", 69.0),
        ("seedance 720p 5", 69.0),
        ("seedance-2.0  ", 69.0),
        ("seedance 480p 5", 54.0),
        ("seedance-2.0-mini 720p 5", 54.0),
        ("doubao-seedance-1-0-pro-fast-251015 480p 12", 24.0),
    ],
)
def test_before_anything_is_learned_fast_kinds_are_polled_earlier(kind: str, first: float) -> None:
    assert video_schedule(kind).initial_delay == first
    assert timing(kind=kind).initial_delay == first


def test_later_triggers_poll_fast_videos_of_the_same_kind_sooner() -> None:
    teach(20.0)
    assert timing().initial_delay < 35.0 < VIDEO_SCHEDULE.initial_delay


def test_what_was_learned_of_one_kind_or_connection_is_not_used_for_another() -> None:
    teach(20.0)
    for other in (timing(kind="seedance 1080p 15"), timing(conn_id="other"), timing(kind="")):
        assert other.initial_delay == VIDEO_SCHEDULE.initial_delay


def test_videos_that_failed_teach_nothing() -> None:
    for _ in range(MIN_SAMPLES * 2):
        learn(done(5.0, Outcome.FAILED))
        learn(Generation("asyntask_0", "SUCCESS", Outcome.SUCCEEDED))
    assert timing().initial_delay == VIDEO_SCHEDULE.initial_delay


def test_videos_of_a_sandbox_are_polled_at_once_and_teach_nothing() -> None:
    teach(200.0, kind=SANDBOX)
    assert timing(kind=SANDBOX).initial_delay <= 1.0
    assert timing(kind=SANDBOX).wait(9.0) <= 1.0


def test_a_server_that_only_claims_to_be_a_sandbox_gets_a_hundred_polls_more_at_most() -> None:
    def polls(schedule: Timing) -> int:
        age, count = 0.0, 0
        while age < 3600.0:
            age += schedule.wait(age)
            count += 1
        return count

    assert polls(timing(kind=SANDBOX)) <= polls(Schedule.fixed(15.0)) + 100


def test_a_given_poll_interval_is_kept() -> None:
    teach(20.0)
    by_hand = VideoTrigger(
        job_id="a",
        anyfast_conn_id="anyfast_default",
        started_at=0.0,
        deadline=1e4,
        poll_interval=9.0,
        kind="seedance 720p 4",
    )
    assert by_hand.poller().first_wait(0.0) == pytest.approx(9.0, rel=0.11)
