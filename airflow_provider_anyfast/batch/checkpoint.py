"""What an attempt of a batch has to know after each of its deferrals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class BatchCheckpoint:
    """What an attempt has to know over its deferrals.

    Attributes:
        began_at: Unix seconds.
        resumed: False before its first wait.
        saturated_since: Unix seconds since when AnyFast takes no submission, although nothing is rendering.
    """

    began_at: float
    resumed: bool = False
    saturated_since: float | None = None

    @classmethod
    def from_xcom(cls, stored: Mapping[str, Any]) -> BatchCheckpoint:
        """What an earlier segment has pushed; version 0.1.0 called ``saturated_since`` another name."""
        fields = {"saturated_since" if name == "vain_since" else name: value for name, value in stored.items()}
        return cls(**fields)
