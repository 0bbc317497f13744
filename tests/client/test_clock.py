"""The client's clock and its time format."""

from __future__ import annotations

import asyncio
import time

import pytest

from airflow_provider_anyfast.client import clock


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
