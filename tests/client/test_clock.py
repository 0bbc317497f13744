"""The client's clock and its time format."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from airflow_provider_anyfast.client import clock

if TYPE_CHECKING:
    from tests.support.clock import FakeClock


def test_now_is_the_system_time() -> None:
    before = time.time()
    assert before <= clock.now() <= time.time()


def test_sleep_takes_the_given_seconds() -> None:
    started = time.monotonic()
    clock.sleep(0.01)
    asyncio.run(clock.sleep_async(0.01))
    assert time.monotonic() - started >= 0.02


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [(None, None), (0.0, "1970-01-01T00:00:00Z"), (1779948562, "2026-05-28T06:09:22Z"), (1.5, "1970-01-01T00:00:01Z")],
)
def test_a_time_is_written_as_iso_8601_in_utc(timestamp: float | None, text: str | None) -> None:
    assert clock.iso(timestamp) == text


@pytest.mark.parametrize("back", [0.0, 3600.0])
def test_a_pause_lasts_its_seconds_even_if_the_clock_is_set_back(fake_clock: FakeClock, back: float) -> None:
    def set_back() -> bool:
        fake_clock.advance(-back)
        return False

    clock.pause(10.5, set_back)
    assert sum(fake_clock.sleeps) == pytest.approx(10.5)


def test_a_pause_ends_within_a_second_once_the_task_is_stopped(fake_clock: FakeClock) -> None:
    clock.pause(600.0, lambda: sum(fake_clock.sleeps) >= 3)
    assert sum(fake_clock.sleeps) == 3
