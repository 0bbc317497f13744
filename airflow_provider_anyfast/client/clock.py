"""The only module that reads the time and sleeps, so that tests can replace the clock."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pendulum

if TYPE_CHECKING:
    from collections.abc import Callable

_SLICE = 1.0
"""Seconds for which a thread sleeps at a time, so that it ends within a second once its task is stopped."""


def now() -> float:
    """Unix time in seconds."""
    return time.time()


def sleep(seconds: float) -> None:
    """Blocks this thread for ``seconds``."""
    time.sleep(seconds)


def pause(seconds: float, is_stopped: Callable[[], bool]) -> None:
    """Blocks this thread for ``seconds``, or until Airflow stops the task.

    It counts the seconds that it sleeps, so a clock that is set back does not lengthen it.
    """
    while seconds > 0 and not is_stopped():
        sleep(min(seconds, _SLICE))
        seconds -= _SLICE


async def sleep_async(seconds: float) -> None:
    """Suspends this coroutine for ``seconds``."""
    await asyncio.sleep(seconds)


def iso(timestamp: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC, to the second, for example ``2026-05-28T06:09:22Z``; None stays None."""
    if timestamp is None:
        return None
    return pendulum.from_timestamp(int(timestamp)).to_iso8601_string()


def from_iso(moment: str | None) -> float | None:
    """Unix seconds of a text that ``iso`` wrote; None for anything else."""
    parsed = pendulum.parse(moment) if moment else None
    return parsed.timestamp() if isinstance(parsed, pendulum.DateTime) else None
