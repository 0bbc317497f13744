"""How far a saved video may differ from its request before there is a warning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_anyfast.seedance.saved import SavedVideo, VideoFacts, saved_fields

FACTS = VideoFacts(864, 496, 4.0, 24.0, has_sound=True)
REQUESTED = {"resolution": "480p", "ratio": "16:9", "duration": 4, "generate_audio": True}


def warnings(requested: dict[str, Any] | None = None, **facts: Any) -> list[str]:
    saved = SavedVideo("/x.mp4", "file:///x.mp4", facts=replace(FACTS, **facts))
    found: list[str] = saved_fields(saved, REQUESTED if requested is None else requested)["warnings"]
    return found


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"seconds": 2.5}, "The video lasts 2.5 s, but 4 s were requested."),
        ({"width": 496, "height": 864}, "The video is 496 x 864 pixels, but 16:9 at 480p was requested."),
        ({"width": 1280, "height": 720}, "The video is 1280 x 720 pixels, but 16:9 at 480p was requested."),
        ({"has_sound": False}, "The video has no sound, although generate_audio=True requested it."),
    ],
)
def test_each_difference_is_a_sentence(facts: dict[str, Any], sentence: str) -> None:
    assert warnings(**facts) == [sentence]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"seconds": 4.042},
        {"seconds": 3.96},
        {"width": 864, "height": 480},
        {"width": 854, "height": 480},
        {"frame_rate": None},
    ],
)
def test_rounding_is_not_a_difference(facts: dict[str, Any]) -> None:
    assert warnings(**facts) == []


@pytest.mark.parametrize(
    "requested",
    [
        {},
        {"duration": -1, "ratio": "adaptive", "generate_audio": False},
        {"resolution": "8k", "ratio": "2.39:1"},
        {"resolution": "480p", "ratio": "adaptive"},
    ],
    ids=["nothing", "the model's choice", "not known here", "any ratio of a resolution"],
)
def test_only_requested_values_are_compared(requested: dict[str, Any]) -> None:
    assert warnings(requested, width=432, height=992, seconds=1.0, has_sound=False) == []


@pytest.mark.parametrize("saved", [None, SavedVideo("/x.mp4", "file:///x.mp4")], ids=["no file", "not measured"])
def test_a_file_that_was_not_measured_has_no_differences(saved: SavedVideo | None) -> None:
    found = saved_fields(saved, REQUESTED)
    assert found["warnings"] == []
    assert found["width"] is found["has_sound"] is None
