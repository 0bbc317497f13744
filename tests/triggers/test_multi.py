"""One trigger for many videos: when it resumes the task."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, AuthenticationError
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.polling.event import JobsEvent
from airflow_provider_anyfast.triggers.asset import AssetTrigger
from airflow_provider_anyfast.triggers.base import hold_until_reaped
from airflow_provider_anyfast.triggers.video import VideosTrigger, VideoTrigger
from tests.support.task_log import captured_log

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.endpoints import Call
    from airflow_provider_anyfast.client.transport import AsyncAnyFastClient
    from tests.support.clock import FakeClock

START = 1_780_000_000.0
HOUR = 3600.0


@dataclass
class Video:
    """A video that renders until ``ready_at``, or whose polls fail."""

    ready_at: float
    error: Exception | None = None
    lacks_link: bool = False

    @property
    def outcome(self) -> Outcome:
        return Outcome.SUCCEEDED if clock.now() >= self.ready_at else Outcome.PENDING


@dataclass
class FakeClient:
    """Reports the videos that it knows."""

    videos: dict[str, Video]
    once: asyncio.Event = field(default_factory=asyncio.Event)

    async def send_once(self, call: Call[Any]) -> Any:
        video = self.videos[call.path.rpartition("/")[2]]
        self.once.set()
        if video.error:
            raise video.error
        return video


def trigger_for(videos: dict[str, Video], *, timeout: float = HOUR, **parameters: Any) -> VideosTrigger:
    jobs = [(video, START, START + timeout) for video in videos]
    return VideosTrigger(jobs=jobs, anyfast_conn_id="one", poll_interval=5.0, **parameters)


def seconds_until_resumed(trigger: VideosTrigger, videos: dict[str, Video]) -> float:
    asyncio.run(trigger.watch(cast("AsyncAnyFastClient", FakeClient(videos))))
    return clock.now() - START


def ready_after(*seconds: float) -> dict[str, Video]:
    return {f"g{number}": Video(START + after) for number, after in enumerate(seconds)}


@pytest.mark.parametrize(
    ("parameters", "earliest"),
    [
        ({}, 300),
        ({"min_finished": 2}, 200),
        ({"min_finished": 1}, 100),
        ({"resume_at": START + 50}, 100),
        ({"resume_at": START + 150}, 150),
        ({"min_finished": 2, "resume_at": START + 20}, 100),
    ],
)
def test_the_task_resumes_when_enough_jobs_have_ended_or_after_resume_at_when_any_has(
    fake_clock: FakeClock, parameters: dict[str, Any], earliest: float
) -> None:
    videos = ready_after(300, 100, 200)
    resumed = seconds_until_resumed(trigger_for(videos, **parameters), videos)
    assert earliest <= resumed <= earliest + 6


def test_the_learned_time_of_a_video_counts_from_its_own_submission(
    fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[float] = []
    monkeypatch.setattr(VideoTrigger, "learn", lambda *given: learned.append(given[-1]))
    jobs = [("g0", START, START + HOUR), ("g1", START + 40, START + HOUR)]
    trigger = VideosTrigger(jobs=jobs, anyfast_conn_id="one", kind="seedance", poll_interval=5.0)
    seconds_until_resumed(trigger, ready_after(300, 100))
    assert learned == [START + 40, START]


def test_without_videos_the_trigger_fires_at_resume_at(fake_clock: FakeClock) -> None:
    assert seconds_until_resumed(trigger_for({}, resume_at=START + 120), {}) == 120
    assert trigger_for({}).deadline == clock.now()


def test_a_deadline_ends_the_wait_for_a_video(fake_clock: FakeClock) -> None:
    videos = ready_after(2 * HOUR)
    assert HOUR <= seconds_until_resumed(trigger_for(videos), videos) <= HOUR + 6


@pytest.mark.parametrize("error", [AuthenticationError("wrong key"), RuntimeError("a bug")])
def test_polling_that_fails_permanently_resumes_the_task_with_the_reason(
    fake_clock: FakeClock, error: Exception
) -> None:
    videos = {"g0": Video(START, error), "g1": Video(START, error)}
    watch = asyncio.run(trigger_for(videos).watch(cast("AsyncAnyFastClient", FakeClient(videos))))
    assert clock.now() - START <= 30
    assert watch.gave_up_on.startswith("g")
    said = error.what if isinstance(error, AnyFastError) else "RuntimeError: a bug"
    assert said in watch.gave_up_on


def test_a_response_that_cannot_be_judged_ends_the_wait_for_its_video(fake_clock: FakeClock) -> None:
    class Odd(Video):
        @property
        def outcome(self) -> Outcome:
            raise RuntimeError("no outcome")

    videos = ready_after(100) | {"odd": Odd(START)}
    assert seconds_until_resumed(trigger_for(videos), videos) == pytest.approx(100, abs=10)


def test_a_cancelled_trigger_leaves_no_running_polls(fake_clock: FakeClock) -> None:
    async def tasks_left() -> int:
        watching = asyncio.create_task(trigger_for(videos).watch(cast("AsyncAnyFastClient", client)))
        await client.once.wait()
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        return len(asyncio.all_tasks()) - 1

    videos = ready_after(HOUR, HOUR, HOUR)
    client = FakeClient(videos)
    assert asyncio.run(tasks_left()) == 0


def test_a_trigger_survives_serialization(fake_clock: FakeClock) -> None:
    given = trigger_for(ready_after(1, 2), min_finished=1, resume_at=START)
    path, arguments = given.serialize()
    assert path == "airflow_provider_anyfast.triggers.video.VideosTrigger"
    assert VideosTrigger(**arguments).serialize() == given.serialize()


def test_progress_is_logged_about_once_a_minute(fake_clock: FakeClock) -> None:
    videos = ready_after(*range(50, 350, 15))
    log = io.StringIO()
    with captured_log(log):
        seconds_until_resumed(trigger_for(videos), videos)
    assert 4 <= log.getvalue().count("of 20 have ended") <= 7


def test_on_kill_logs_that_the_videos_will_be_billed() -> None:
    log = io.StringIO()
    with captured_log(log):
        asyncio.run(trigger_for(ready_after(1, 2)).on_kill())
    assert "no longer waits for 2 generations" in log.getvalue()


def test_the_jobs_of_a_trigger_are_stored_as_one_text() -> None:
    trigger = trigger_for(ready_after(1, 2))
    _, stored = trigger.serialize()
    assert isinstance(stored["jobs"], str)
    assert VideosTrigger(**stored).jobs == trigger.jobs


# What version 0.1.0 has stored.


def test_a_trigger_row_of_version_0_1_0_still_makes_a_trigger() -> None:
    stored: dict[str, Any] = {
        "jobs": [["asyntask_1", START, START + HOUR], ["asyntask_2", START, START + HOUR]],
        "anyfast_conn_id": "one",
        "poll_interval": None,
        "kind": "seedance 480p 4",
        "enough": 1,
        "wake_at": START + 600,
    }
    trigger = VideosTrigger(**stored)
    assert (trigger.min_finished, trigger.resume_at, trigger.deferred_at) == (1, START + 600, None)
    single: dict[str, Any] = {
        "job_id": "asyntask_1",
        "anyfast_conn_id": "one",
        "started_at": START,
        "deadline": START + HOUR,
        "poll_interval": 5.0,
        "kind": "",
    }
    assert VideoTrigger(**single).deadline == START + HOUR
    assert AssetTrigger(**single).poller().first_wait(START) >= 5.0


def test_the_event_names_the_jobs_that_have_ended_and_an_old_one_only_counts_them() -> None:
    assert JobsEvent.parse({"ended": ["g0", "g2"], "reason": ""}) == JobsEvent(frozenset({"g0", "g2"}))
    assert JobsEvent.parse({"ended": 2, "reason": "g0: no"}) == JobsEvent(None, "g0: no")
    assert JobsEvent.parse(None) == JobsEvent()


# Many jobs.


def test_thousands_of_jobs_are_polled_at_a_hundred_a_second_at_most(fake_clock: FakeClock) -> None:
    class Counted(FakeClient):
        polls: ClassVar[list[float]] = []

        async def send_once(self, call: Call[Any]) -> Any:
            self.polls.append(clock.now())
            return await super().send_once(call)

    videos = {f"g{number}": Video(START + 60) for number in range(3000)}
    asyncio.run(trigger_for(videos).watch(cast("AsyncAnyFastClient", Counted(videos))))
    first = min(Counted.polls)
    assert max(sum(second <= poll - first < second + 1 for poll in Counted.polls) for second in range(30)) <= 102


@pytest.mark.parametrize(("since", "held"), [(0.0, 10.0), (4.0, 6.0), (10.0, 0.0), (500.0, 0.0), (-500.0, 10.0)])
def test_an_event_is_held_until_ten_seconds_after_the_deferral(
    fake_clock: FakeClock, since: float, held: float
) -> None:
    asyncio.run(hold_until_reaped(clock.now() - since))
    assert clock.now() - START == pytest.approx(held)
