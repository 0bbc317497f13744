"""What a task returns: the same facts from every operator and sensor."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from airflow_provider_anyfast.client.responses import Asset, Generation, Outcome, Usage
from airflow_provider_anyfast.seedance.result import LINK_LIFETIME, asset_facts, describe_result, video_result
from airflow_provider_anyfast.seedance.saved import SavedVideo, VideoFacts

FIELDS = [
    *("generation_id", "status", "model", "prompt", "parameters", "video_url", "expires_at", "last_frame_url", "path"),
    *("last_frame_path", "poster_path", "width", "height", "seconds", "frame_rate", "has_sound", "warnings"),
    *("duration", "resolution", "ratio", "seed", "usage"),
    *("estimated_tokens", "estimated_cost", "cost", "submitted_at", "finished_at"),
]
DONE = Generation(
    "asyntask_1",
    "SUCCESS",
    Outcome.SUCCEEDED,
    model="doubao-seedance-2-0-260128",
    video_url="https://host/x.mp4",
    last_frame_url="https://host/x.png",
    duration=5,
    resolution="720p",
    ratio="16:9",
    seed=4304,
    usage=Usage(completion_tokens=108900, total_tokens=108900),
    submitted_at=1777288506.0,
    finished_at=1777288800.0,
)


def test_a_result_contains_every_fact() -> None:
    facts = VideoFacts(1280, 720, 5.042, 24.0, has_sound=True)
    saved = SavedVideo("/data/x.mp4", "file:///data/x.mp4", "/data/x.last_frame.png", "/data/x.poster.jpg", facts)
    assert video_result(DONE, prompt="A boat", parameters={"seed": 7}, saved=saved) == {
        "generation_id": "asyntask_1",
        "status": "SUCCESS",
        "model": "doubao-seedance-2-0-260128",
        "prompt": "A boat",
        "parameters": {"seed": 7},
        "video_url": "https://host/x.mp4",
        "expires_at": "2026-04-28T11:20:00Z",
        "path": "/data/x.mp4",
        "last_frame_url": "https://host/x.png",
        "last_frame_path": "/data/x.last_frame.png",
        "poster_path": "/data/x.poster.jpg",
        "width": 1280,
        "height": 720,
        "seconds": 5.042,
        "frame_rate": 24.0,
        "has_sound": True,
        "warnings": [],
        "duration": 5,
        "resolution": "720p",
        "ratio": "16:9",
        "seed": 4304,
        "usage": {"completion_tokens": 108900, "total_tokens": 108900},
        "estimated_tokens": None,
        "estimated_cost": None,
        "cost": None,
        "submitted_at": "2026-04-27T11:15:06Z",
        "finished_at": "2026-04-27T11:20:00Z",
    }


def test_a_price_turns_tokens_into_money() -> None:
    result = video_result(DONE, estimated_tokens=110_000, price=Decimal("46.5"))
    assert (result["estimated_cost"], result["cost"]) == ("5.1150", "5.0638")


def test_a_link_expires_after_a_day() -> None:
    assert LINK_LIFETIME == 24 * 3600


def test_missing_facts_are_none() -> None:
    result = video_result(Generation("asyntask_1", "", Outcome.PENDING))
    assert list(result) == FIELDS
    assert (result["usage"], result["warnings"]) == ({}, [])
    assert all(result[name] is None for name in FIELDS if name not in ("generation_id", "usage", "warnings"))
    json.dumps(result)


@pytest.mark.parametrize(
    ("submitted_at", "shown"), [(1777288506.0, "2026-04-27T11:15:06Z"), (None, "2026-04-27T11:15:00Z")]
)
def test_anyfasts_submission_time_takes_precedence_over_the_tasks(submitted_at: float | None, shown: str) -> None:
    task = Generation("asyntask_1", "QUEUED", Outcome.PENDING, submitted_at=submitted_at)
    assert video_result(task, submitted_at=1777288500.0)["submitted_at"] == shown


def test_without_a_link_nothing_expires() -> None:
    task = Generation("asyntask_1", "FAILURE", Outcome.FAILED, finished_at=1777288800.0)
    assert video_result(task)["expires_at"] is None


def test_the_facts_of_an_asset_omit_its_link() -> None:
    facts = asset_facts(Asset(id="asset-1", name="hero", status="Active", url="https://host/x?sig=ab12"))
    assert "ab12" not in json.dumps(facts)
    assert "url" not in facts
    assert (facts["id"], facts["uri"], facts["status"]) == ("asset-1", "asset://asset-1", "Active")


@pytest.mark.parametrize(
    ("usage", "cost", "line"),
    [
        ({"total_tokens": 108_900}, None, "seed 7, 108,900 tokens"),
        ({}, None, "seed 7, an unknown number of tokens"),
        ({"total_tokens": 1}, "0.0001", "seed 7, 1 token, 0.0001"),
    ],
)
def test_a_log_line_describes_a_result(usage: dict[str, int], cost: str | None, line: str) -> None:
    assert describe_result({"seed": 7, "usage": usage, "cost": cost}) == line
