"""The faults that are switched on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.faults.fault import Fault


@dataclass(eq=False)
class _SwitchedOn:
    """A fault and how many requests it has skipped and hit so far."""

    fault: Fault
    skipped: int = 0
    hits: int = 0

    def matches(self, call: str, content: bytes) -> bool:
        return self.fault.target in ("*", call) and self.fault.match.encode() in content

    @property
    def used_up(self) -> bool:
        return 0 < self.fault.times <= self.hits


class FaultRegistry:
    """The faults that are switched on, oldest first."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self._switched_on = [_SwitchedOn(fault) for fault in faults]

    def add(self, fault: Fault) -> None:
        """Switch ``fault`` on, after those that are on already."""
        self._switched_on.append(_SwitchedOn(fault))

    def clear(self) -> None:
        """Switch every fault off."""
        self._switched_on.clear()

    def active(self) -> list[Fault]:
        """Return the faults that can still hit a request."""
        return [entry.fault for entry in self._switched_on]

    def take(self, call: str, content: bytes) -> Fault | None:
        """Return the fault that hits this request: at most one, the oldest that matches.

        ``content`` is searched for each fault's ``match``. Each fault counts its own skipped requests, also those that
        another fault hits.
        """
        hit: _SwitchedOn | None = None
        for entry in self._switched_on:
            if not entry.matches(call, content):
                continue
            if entry.skipped < entry.fault.skip:
                entry.skipped += 1
            elif hit is None:
                hit = entry
        if hit is None:
            return None
        hit.hits += 1
        if hit.used_up:
            self._switched_on.remove(hit)
        return hit.fault
