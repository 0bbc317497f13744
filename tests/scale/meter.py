"""Measures the CPU time and the peak memory of processes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

EVERY = 0.5
"""Seconds between two samples; if a process ends, its CPU time since the last sample is not counted."""
MIB = 1024**2


@dataclass
class Usage:
    """The usage of a group of processes.

    Attributes:
        cpu: seconds, by process id.
        peak: bytes of the largest process at its largest.
        memory: bytes of the largest process at each sample, in chronological order.
    """

    cpu: dict[int, float] = field(default_factory=dict)
    peak: int = 0
    memory: list[int] = field(default_factory=list)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all processes."""
        return sum(self.cpu.values())


class Meter:
    """A context manager that samples groups of processes, whose ids are read each time.

    Args:
        groups: by name, a function that returns the ids of processes; their children count too.
    """

    def __init__(self, groups: Mapping[str, Callable[[], list[int]]]) -> None:
        self._groups = groups
        self._ended = Event()
        self._thread = Thread(target=self._look_on, daemon=True)
        self.usage = {name: Usage() for name in groups}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._ended.wait(EVERY):
            for name, roots in self._groups.items():
                self._sample(self.usage[name], roots())

    @staticmethod
    def _sample(usage: Usage, roots: list[int]) -> None:
        largest = 0
        for root in roots:
            with suppress(psutil.Error):
                for process in (found := psutil.Process(root), *found.children(recursive=True)):
                    with suppress(psutil.Error), process.oneshot():
                        times = process.cpu_times()
                        usage.cpu[process.pid] = times.user + times.system
                        largest = max(largest, process.memory_info().rss)
        if largest:
            usage.memory.append(largest)
            usage.peak = max(usage.peak, largest)
