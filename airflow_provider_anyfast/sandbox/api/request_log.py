"""The requests that the sandbox received: the last ones, and the number for each call."""

from __future__ import annotations

from collections import Counter, deque

from pydantic import BaseModel

_KEPT = 10_000


class LoggedRequest(BaseModel):
    """One request to the AnyFast interface; requests for the sandbox's own pages are not logged.

    ``at`` is Unix seconds; ``key`` is masked, ``None`` for an unknown one or none; ``status`` is ``None`` until there
    is a response, also if the connection was closed without one; 499 means that the client disconnected before
    anything was done.
    """

    at: float
    call: str
    method: str
    path: str
    status: int | None
    authorized: bool
    key: str | None


class RequestLog:
    """The last 10,000 requests, and the total count of each call."""

    def __init__(self) -> None:
        self._requests: deque[LoggedRequest] = deque(maxlen=_KEPT)
        self._by_call: Counter[str] = Counter()

    def add(self, request: LoggedRequest) -> None:
        """Add ``request``, which has no response yet."""
        self._requests.append(request)
        self._by_call[request.call] += 1

    def requests(self, call: str | None = None) -> list[LoggedRequest]:
        """Return the logged requests, oldest first; of one call only, if given."""
        return [request.model_copy() for request in self._requests if call in (None, request.call)]

    def by_call(self) -> dict[str, int]:
        """Return the number of requests for each call."""
        return dict(self._by_call)
