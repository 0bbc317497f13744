"""One trigger for many jobs ends with all that it has begun."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow_provider_anyfast.triggers import many

if TYPE_CHECKING:
    import pytest


def test_a_request_that_is_stuck_while_it_closes_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "SECONDS_TO_END", 0.01)

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

    async def run() -> bool:
        task = asyncio.create_task(stuck())
        await asyncio.sleep(0)
        await asyncio.wait_for(many._cancel({task}), timeout=5)
        return task.cancelled()

    assert asyncio.run(run())
