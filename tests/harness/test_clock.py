"""The fake clock moves only when a test moves it."""

from __future__ import annotations

import asyncio
import os

from tests.support.clock import FakeClock


def test_sleeping_moves_the_clock() -> None:
    clock = FakeClock(start=100)
    clock.sleep(5)
    clock.advance(1)

    assert clock.now() == 106
    assert clock.sleeps == [5]


def test_coroutines_wake_in_order_and_sleep_together() -> None:
    clock = FakeClock(start=0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep_async(nap)
            woken.append((name, clock.now()))

    async def night() -> None:
        await asyncio.gather(sleeper("long", 100), sleeper("short", 10, 10), sleeper("middle", 15))

    asyncio.run(night())

    assert woken == [("short", 10), ("middle", 15), ("short", 20), ("long", 100)]


def test_a_cancelled_sleep_delays_no_other() -> None:
    clock = FakeClock(start=0)

    async def night() -> None:
        nap = asyncio.create_task(clock.sleep_async(1))
        await asyncio.sleep(0)
        nap.cancel()
        await clock.sleep_async(50)

    asyncio.run(night())

    assert clock.now() == 50


def test_a_forked_process_moves_the_same_clock() -> None:
    clock = FakeClock(start=0)
    pid = os.fork()
    if pid == 0:
        clock.sleep(42)
        os._exit(0)
    os.waitpid(pid, 0)

    assert clock.now() == 42
