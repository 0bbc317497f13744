"""The server's counters."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counters:
    """Counts since the last reset; times are of the monotonic clock, which all processes of a machine share."""

    requests: int = 0
    responses: Counter[int] = field(default_factory=Counter)
    """Responses sent, by HTTP status."""
    connections: int = 0
    """Connections made."""
    open: int = 0
    open_peak: int = 0
    first_request_at: float | None = None
    last_response_at: float | None = None

    def requested(self) -> None:
        """Counts a request."""
        self.requests += 1
        if self.first_request_at is None:
            self.first_request_at = time.monotonic()

    def responded(self, status: int) -> None:
        """Counts a response that was sent."""
        self.responses[status] += 1
        self.last_response_at = time.monotonic()

    def connected(self) -> None:
        """Counts a new connection."""
        self.connections += 1
        self.open += 1
        self.open_peak = max(self.open_peak, self.open)

    def disconnected(self) -> None:
        """Counts the end of a connection."""
        self.open -= 1

    def facts(self) -> dict[str, object]:
        """The counters as JSON, with the CPU seconds of this process so far."""
        return {**vars(self), "cpu": time.process_time()}

    def reset(self) -> None:
        """Resets all counters except open connections."""
        self.__init__(open=self.open, open_peak=self.open)  # type: ignore[misc]  # resets the fields
