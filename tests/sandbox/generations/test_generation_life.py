"""A generation from its submission to its end, by the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.sandbox.generations.catalog import nearest_ratio, size_of, tokens_of
from airflow_provider_anyfast.sandbox.generations.generation import seconds_to_complete
from tests.sandbox.client import ok_json, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock


def test_a_generation_waits_runs_and_succeeds(anyfast: Client, clock: FakeClock) -> None:
    generation_id = anyfast.generate()
    seen: list[tuple[str, str, bool]] = []
    for _ in range(9):
        shown = anyfast.task(generation_id)
        seen.append((shown["status"], shown["progress"], shown["data"] is None))
        clock.advance(1)

    assert list(dict.fromkeys(seen)) == [
        ("NOT_START", "0%", True),
        ("QUEUED", "10%", True),
        ("IN_PROGRESS", "50%", False),
        ("SUCCESS", "100%", False),
    ]
    assert seen.index(("SUCCESS", "100%", False)) == 8


def test_a_query_is_free_and_shows_the_documented_fields(anyfast: Client, clock: FakeClock) -> None:
    submitted = int(clock.now())
    generation_id = anyfast.generate(duration=5, resolution="720p", ratio="16:9", seed=4304)
    before = anyfast.billed()
    early = anyfast.task(generation_id)
    clock.advance(8)
    shown = anyfast.task(generation_id)

    assert (early["start_time"], early["finish_time"], early["data"]) == (0, 0, None)
    assert "result_url" not in early
    assert shown["task_id"] == generation_id
    assert (shown["submit_time"], shown["finish_time"]) == (submitted, submitted + 8)
    assert shown["submit_time"] <= shown["start_time"] <= shown["finish_time"]
    assert shown["fail_reason"] == ""
    assert shown["request_id"]
    raw = shown["data"]
    assert raw["content"] == {"video_url": shown["result_url"]}
    assert raw["usage"] == {"completion_tokens": 108900, "total_tokens": 108900}
    expected = {
        "status": "succeeded", "duration": 5, "ratio": "16:9", "resolution": "720p", "seed": 4304,
        "framespersecond": 24, "generate_audio": True, "service_tier": "default", "draft": False,
        "model": "doubao-seedance-2-0-260128",
    }  # fmt: skip
    assert expected.items() <= raw.items()
    assert raw["id"].startswith("cgt-")
    assert anyfast.billed() == before


def test_the_result_link_is_set_once_at_completion(anyfast: Client, clock: FakeClock) -> None:
    generation_id = anyfast.generate()
    clock.advance(8)
    first = anyfast.task(generation_id)["result_url"]
    clock.advance(3600)

    assert anyfast.task(generation_id)["result_url"] == first


def test_a_random_seed_is_shown_and_stays_the_same(anyfast: Client, clock: FakeClock) -> None:
    generation_id = anyfast.generate(seed=-1)
    clock.advance(8)

    seed = anyfast.task(generation_id)["data"]["seed"]
    assert seed >= 0
    assert anyfast.task(generation_id)["data"]["seed"] == seed


def test_a_failure_has_status_200_and_a_reason_and_is_refunded(anyfast: Client, clock: FakeClock) -> None:
    generation_id = anyfast.generate(text("a fox [sandbox:fail]"))
    assert anyfast.billed()["tokens"] > 0
    clock.advance(8)
    shown = anyfast.task(generation_id)

    assert (shown["status"], shown["progress"]) == ("FAILURE", "100%")
    assert "result_url" not in shown
    assert shown["data"]["status"] == "failed"
    assert shown["data"]["error"] == {"code": "InternalServiceError", "message": shown["fail_reason"]}
    billed = anyfast.billed()
    assert (billed["generations"], billed["refunded_generations"], billed["tokens"]) == (1, 1, 0)


def test_output_can_be_refused_after_rendering(anyfast: Client, clock: FakeClock) -> None:
    generation_id = anyfast.generate(text("[sandbox:output-moderation] a fox"))
    clock.advance(8)
    shown = anyfast.task(generation_id)

    assert shown["status"] == "FAILURE"
    assert shown["data"]["error"]["code"] == "OutputVideoSensitiveContentDetected"
    assert "output video may contain sensitive information" in shown["fail_reason"]


@pytest.mark.parametrize(("marker", "status"), [("stuck", "IN_PROGRESS"), ("unknown-status", "UNKNOWN")])
def test_a_generation_can_run_forever(anyfast: Client, clock: FakeClock, marker: str, status: str) -> None:
    generation_id = anyfast.generate(text(f"a fox [sandbox:{marker}]"))
    clock.advance(1_000_000)
    shown = anyfast.task(generation_id)

    assert (shown["status"], shown["progress"], shown["finish_time"]) == (status, "30%", 0)
    assert "result_url" not in shown
    assert anyfast.billed()["refunded_generations"] == 0


@pytest.mark.parametrize(("status", "message"), [(400, "task_not_exist"), (404, "task does not exist")])
def test_an_unknown_task_gets_the_configured_status(
    anyfast: Client, configure: Callable[..., None], status: int, message: str
) -> None:
    configure(unknown_task=status)
    response = anyfast.query("asyntask_" + "x" * 32)

    assert response.status_code == status
    assert response.json() == {"code": "task_not_exist", "message": message, "data": None}


def test_tasks_are_seen_by_the_whole_account_and_by_no_other(
    anyfast: Client, configure: Callable[..., None], client_with: Callable[[str | None], Client]
) -> None:
    configure(
        api_keys=(
            {"value": "sandbox-key", "account": "studio"},
            {"value": "sibling-key", "account": "studio"},
            {"value": "stranger-key"},
        )
    )
    generation_id = anyfast.generate()

    assert client_with("sibling-key").task(generation_id)["task_id"] == generation_id
    assert client_with("stranger-key").query(generation_id).status_code == 400


@pytest.mark.parametrize(
    ("fields", "usage", "resolution"),
    [
        ({"resolution": "1080p", "duration": 5}, (108900, 245025), ("720p", "1080p")),
        ({"resolution": "720p", "duration": 5}, (50638, 108900), ("480p", "720p")),
    ],
)
def test_an_ultra_video_shows_what_it_was_made_from(
    anyfast: Client, clock: FakeClock, fields: dict[str, Any], usage: tuple[int, int], resolution: tuple[str, str]
) -> None:
    generation_id = anyfast.generate(model="seedance-2.0-ultra", ratio="16:9", **fields)
    clock.advance(8)
    shown = anyfast.task(generation_id)

    assert shown["original_result_url"] not in ("", shown["result_url"])
    assert shown["data"]["usage"] == {
        "completion_tokens": usage[0],
        "total_tokens": usage[0],
        "super_resolution_tokens": usage[1],
    }
    assert (shown["data"]["resolution"], shown["data"]["super_resolution"]) == resolution


def test_a_completion_time_of_zero_completes_at_once(anyfast: Client, configure: Callable[..., None]) -> None:
    configure(completion_seconds=0)

    assert anyfast.task(anyfast.generate())["status"] == "SUCCESS"


def test_a_spread_makes_videos_differ_and_each_stays_as_it_is() -> None:
    times = [seconds_to_complete(100, 0.5, f"asyntask_{number}") for number in range(200)]

    assert times == [seconds_to_complete(100, 0.5, f"asyntask_{number}") for number in range(200)]
    assert len(set(times)) == 200
    assert 85 < sorted(times)[100] < 115
    assert {seconds_to_complete(100, 0, "asyntask_1"), seconds_to_complete(100, 0, "asyntask_2")} == {100}


def test_a_spread_makes_videos_finish_at_different_times(
    anyfast: Client, configure: Callable[..., None], clock: FakeClock
) -> None:
    configure(completion_spread=1)
    generations = [anyfast.generate() for _ in range(20)]
    clock.advance(8)

    assert {anyfast.task(generation)["status"] == "SUCCESS" for generation in generations} == {True, False}


@pytest.mark.parametrize(
    ("resolution", "ratio", "size"),
    [
        ("480p", "16:9", (864, 496)),
        ("480p", "9:16", (496, 864)),
        ("480p", "4:3", (752, 560)),
        ("720p", "1:1", (960, 960)),
        ("720p", "21:9", (1470, 630)),
        ("720p", "3:4", (834, 1112)),
        ("1080p", "16:9", (1920, 1080)),
        ("2k", "16:9", (2560, 1440)),
        ("4k", "9:16", (2160, 3840)),
    ],
)
def test_the_frame_sizes_are_those_that_seedance_publishes(resolution: Any, ratio: Any, size: tuple[int, int]) -> None:
    assert size_of(resolution, ratio) == size


def test_every_size_is_even_and_close_to_its_ratio() -> None:
    for resolution in ("480p", "720p", "1080p", "2k", "4k"):
        for ratio in ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9"):
            width, height = size_of(resolution, ratio)
            assert (width % 2, height % 2) == (0, 0)
            assert nearest_ratio(width, height) == ratio


def test_tokens_follow_the_documented_example() -> None:
    assert tokens_of(5 * 24, (1280, 720)) == 108900


def test_frames_decide_the_length_of_a_1_0_video(anyfast: Client, clock: FakeClock) -> None:
    model = "doubao-seedance-1-0-pro-250528"
    generation_id = anyfast.generate(model=model, frames=57, duration=None, ratio="16:9")
    clock.advance(8)

    shown = anyfast.task(generation_id)["data"]
    assert shown["duration"] == 2
    assert shown["usage"]["total_tokens"] == tokens_of(57, (864, 496))
    assert shown["generate_audio"] is False


def test_the_default_of_audio_depends_on_the_model(anyfast: Client, clock: FakeClock) -> None:
    old = anyfast.generate(model="doubao-seedance-1-5-pro-251215")
    requested = anyfast.generate(model="doubao-seedance-1-5-pro-251215", generate_audio=True)
    clock.advance(8)

    assert anyfast.task(old)["data"]["generate_audio"] is False
    assert anyfast.task(requested)["data"]["generate_audio"] is True
    assert ok_json(anyfast.query(old))["code"] == "success"
