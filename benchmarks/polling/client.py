"""The process that waits: ``python -m benchmarks.polling.client OPTIONS``, where OPTIONS is JSON.

It reports when it is ready, starts at ``go``, measures from one ``mark`` to the next, and reports the result.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import time
from dataclasses import dataclass

from benchmarks.channel import Channel
from benchmarks.polling.ways import WAYS, Target, Way
from benchmarks.usage import LoopLag, forget_peak, peak, resident

IDLE = 1.0
"""Seconds in which the cost of sampling the event loop is measured."""


@dataclass(frozen=True)
class Options:
    """Which videos to wait for, and how."""

    way: str
    url: str
    videos: int
    interval: float
    burst: bool = False
    """All first polls are due at the first ``mark``, instead of being spread over one interval."""


async def measure(options: Options) -> None:
    """Runs the waits and the measurements."""
    channel = await Channel.begin()
    due = asyncio.Event() if options.burst else None
    way = WAYS[options.way](Target(options.url, options.interval, due))
    lag = LoopLag()
    watching = asyncio.create_task(lag.watch())
    idle_cpu = await _idle_cpu()
    channel.send(ready=True)
    await channel.command()
    gc.collect()
    base = resident()
    forget_peak()
    waiting = asyncio.create_task(_begin(way, options))
    await channel.command()
    lag.samples.clear()
    cpu, begun = time.process_time(), time.monotonic()
    if due:
        due.set()
    await channel.command()
    seconds = time.monotonic() - begun
    channel.send(
        begun=begun,
        seconds=seconds,
        cpu=time.process_time() - cpu - idle_cpu * seconds,
        memory=max(0, peak() - base),
        errors=way.errors,
        **lag.facts(),
    )
    watching.cancel()
    waiting.cancel()


async def _idle_cpu() -> float:
    """CPU seconds per second of the loop without any waits."""
    await asyncio.sleep(0.1)
    cpu, begun = time.process_time(), time.monotonic()
    await asyncio.sleep(IDLE)
    return (time.process_time() - cpu) / (time.monotonic() - begun)


async def _begin(way: Way, options: Options) -> None:
    """Starts the waits one after the other over one interval, and waits for all of them."""
    begun = time.monotonic()
    waits = []
    for number in range(options.videos):
        waits.append(asyncio.create_task(way.wait_for(f"asyntask_{number:032}")))
        if not options.burst:
            wanted = begun + options.interval * (number + 1) / options.videos
            await asyncio.sleep(max(0.0, wanted - time.monotonic()))
    await asyncio.gather(*waits)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(measure(Options(**json.loads(sys.argv[1]))))
