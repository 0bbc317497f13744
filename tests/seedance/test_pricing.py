"""The estimated and the billed cost of a video."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_anyfast.client.responses import Usage
from airflow_provider_anyfast.seedance.pricing import billed_tokens, money
from airflow_provider_anyfast.seedance.request import VideoRequest


def estimate(**parameters: Any) -> int | None:
    return VideoRequest.parse(prompt="A boat", **parameters).estimated_tokens()


def test_the_estimate_matches_the_documented_example() -> None:
    assert estimate(resolution="720p", ratio="16:9", duration=5) == 108_900


@pytest.mark.parametrize(
    ("parameters", "tokens"),
    [
        ({"resolution": "720p", "ratio": "9:16", "duration": 5}, 108_900),
        ({"ratio": "16:9"}, 108_900),
        ({"resolution": "1080p", "ratio": "16:9"}, 245_025),
        ({"resolution": "480p", "ratio": "1:1", "duration": 4}, 640 * 640 * 97 // 1024),
        ({"extra_body": {"resolution": "480p", "ratio": "1:1"}, "duration": 4}, 640 * 640 * 97 // 1024),
    ],
)
def test_tokens_are_the_pixels_of_all_frames(parameters: dict[str, Any], tokens: int) -> None:
    assert estimate(**parameters) == tokens


def test_the_estimate_is_the_maximum_if_the_model_decides() -> None:
    adaptive, fixed = estimate(), estimate(ratio="16:9")
    assert adaptive is not None
    assert fixed is not None
    assert fixed <= adaptive <= 1.03 * fixed
    assert estimate(model="seedance-2.5", duration=-1) == estimate(model="seedance-2.5", duration=30)
    with_video = estimate(duration=5, reference_videos=["https://example.com/x.mp4"])
    assert with_video == 1112 * 834 * (24 * 20 + 1) // 1024


def test_ultra_counts_the_rendered_and_the_upscaled_video() -> None:
    ultra = estimate(model="seedance-2.0-ultra", resolution="1080p", ratio="16:9")
    assert ultra is not None
    assert ultra > 245_025 + 108_900 - 1


def test_an_unknown_model_has_an_estimate_and_an_unknown_resolution_has_none() -> None:
    assert estimate(model="seedance-9", resolution="720p", ratio="16:9") == 108_900
    assert estimate(model="seedance-9", resolution="16k") is None


@pytest.mark.parametrize("duration", ["auto", [5], {}])
def test_a_duration_that_is_no_number_has_no_estimate(duration: Any) -> None:
    assert estimate(extra_body={"duration": duration or {"seconds": 5}}) is None


def test_billed_tokens_include_upscaling() -> None:
    assert billed_tokens(Usage(total_tokens=108_900, super_resolution_tokens=245_025)) == 353_925
    assert billed_tokens(Usage()) is None


def test_money_is_exact_to_a_hundredth_of_a_cent() -> None:
    assert money(108_900, Decimal(46)) == "5.0094"
    assert money(1, Decimal("0.000001")) == "0.0000"


@pytest.mark.parametrize("tokens", [-1, 10**29])
def test_a_number_of_tokens_that_no_video_has_costs_nothing_known(tokens: int) -> None:
    assert money(tokens, Decimal(46)) is None
    assert money(None, Decimal(1)) is None
    assert money(1, None) is None
