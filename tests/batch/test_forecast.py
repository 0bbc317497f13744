"""The estimate of how long a batch still takes, and None without a basis for one."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_anyfast.batch.forecast import Forecast

NOW = 1_000.0


def seconds_left(**known: Any) -> float | None:
    nothing: dict[str, Any] = {
        "rendering": [],
        "waiting": 0,
        "max_active": None,
        "mean": 0.0,
        "slowest": 0.0,
        "to_save": 0,
        "saving": None,
    }
    return Forecast(**{**nothing, **known}).seconds_left(NOW)


TOOK = {"mean": 60.0, "slowest": 80.0}


@pytest.mark.parametrize(
    "known",
    [
        pytest.param({}, id="nothing goes on"),
        pytest.param({"rendering": [NOW - 5], "waiting": 3}, id="no video has ended"),
        pytest.param({"to_save": 3}, id="no video is saved"),
        pytest.param({"rendering": [NOW - 5], "to_save": 3, **TOOK}, id="only how long they render is known"),
        pytest.param({"waiting": 3, **TOOK}, id="nobody knows how many AnyFast accepts at a time"),
        pytest.param({"rendering": [NOW - 90], **TOOK}, id="all take longer than any did before"),
    ],
)
def test_without_a_basis_there_is_no_estimate(known: dict[str, Any]) -> None:
    assert seconds_left(**known) is None


def test_videos_that_render_in_parallel_end_with_the_last_one() -> None:
    assert seconds_left(rendering=[NOW - 70, NOW - 30] * 100, **TOOK) == pytest.approx(50)


def test_waiting_rows_take_the_places_of_the_videos_that_end_first() -> None:
    took = {"mean": 60.0, "slowest": 60.0}
    assert seconds_left(rendering=[NOW - 50, NOW - 20], waiting=3, max_active=2, **took) == pytest.approx(10 + 2 * 60)
    assert seconds_left(rendering=[NOW - 50, NOW - 20], waiting=3, **took) == pytest.approx(10 + 2 * 60)
    assert seconds_left(rendering=[NOW - 50, NOW - 20], waiting=3, max_active=5, **took) == pytest.approx(60)


def test_downloads_that_take_longer_than_rendering_determine_the_estimate() -> None:
    assert seconds_left(rendering=[NOW - 30], to_save=40, saving=2.0, **TOOK) == pytest.approx(80)
    assert seconds_left(rendering=[NOW - 30], to_save=4, saving=2.0, **TOOK) == pytest.approx(50)
    assert seconds_left(to_save=4, saving=2.0) == pytest.approx(8)


def test_an_estimate_for_ten_thousand_rows_is_cheap() -> None:
    assert seconds_left(rendering=[NOW] * 100, waiting=9_900, max_active=100, **TOOK) == pytest.approx(100 * 60 + 20)
