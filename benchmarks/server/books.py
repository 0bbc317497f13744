"""What the server counts."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Books:
    """Counts since the last reset; times are of the monotonic clock, which all processes of a machine share."""

    requests: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    """By HTTP status; those that could still be sent."""
    connections: int = 0
    """Made."""
    open: int = 0
    open_peak: int = 0
    first_request_at: float | None = None
    last_answer_at: float | None = None

    def requested(self) -> None:
        """A request has arrived."""
        self.requests += 1
        if self.first_request_at is None:
            self.first_request_at = time.monotonic()

    def answered(self, status: int) -> None:
        """An answer was sent."""
        self.answers[status] += 1
        self.last_answer_at = time.monotonic()

    def connected(self) -> None:
        """A connection was made."""
        self.connections += 1
        self.open += 1
        self.open_peak = max(self.open_peak, self.open)

    def disconnected(self) -> None:
        """A connection has ended."""
        self.open -= 1

    def facts(self) -> dict[str, object]:
        """As JSON, with the CPU seconds of this process so far."""
        return {**vars(self), "cpu": time.process_time()}

    def reset(self) -> None:
        """Counts from now on."""
        self.__init__(open=self.open, open_peak=self.open)  # type: ignore[misc]  # starts anew
