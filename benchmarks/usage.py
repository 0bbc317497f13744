"""What a process measures of itself: CPU, memory and how late its event loop is."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")
_STATUS = Path("/proc/self/status")

SAMPLE_PAUSE = 0.02
"""Seconds between two samples of the event loop; their cost is measured and subtracted."""


def resident() -> int:
    """Resident bytes of this process now."""
    return int(_STATM.read_text().split()[1]) * _PAGE


def forget_peak() -> None:
    """Resets the peak."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Peak resident bytes since ``forget_peak``."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@dataclass
class LoopLag:
    """Samples how many milliseconds late a short sleep returns."""

    samples: list[float] = field(default_factory=list)

    async def watch(self) -> None:
        """Measures until it is cancelled."""
        while True:
            before = time.perf_counter()
            await asyncio.sleep(SAMPLE_PAUSE)
            self.samples.append((time.perf_counter() - before - SAMPLE_PAUSE) * 1000)

    def facts(self) -> dict[str, float]:
        """Median, 99th percentile and maximum."""
        hundredths = statistics.quantiles(self.samples, n=100, method="inclusive")
        return {"lag_p50": hundredths[49], "lag_p99": hundredths[98], "lag_max": max(self.samples)}
