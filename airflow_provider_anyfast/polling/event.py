"""The event that a trigger for several jobs sends to its task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class JobsEvent:
    """The event with which a ``JobsTrigger`` resumes its task.

    Attributes:
        ended: the ids of the jobs that have ended or are no longer waited for; None for an event of version 0.1.0,
            which only counts them.
        reason: why polling one of them failed permanently; empty if none did.
    """

    ended: frozenset[str] | None = None
    reason: str = ""

    @classmethod
    def parse(cls, event: Mapping[str, Any] | None) -> JobsEvent:
        """Parses the event that Airflow passes to ``execute_complete``; None if the trigger sent none."""
        event = event or {}
        ended = event.get("ended")
        return cls(frozenset(ended) if isinstance(ended, list) else None, event.get("reason") or "")
