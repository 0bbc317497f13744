"""In-memory stores of a ledger's record, some of which fail."""

from __future__ import annotations

from typing import Any


class OutageError(Exception):
    """Airflow's API server does not respond."""


class Shelf:
    """Keeps a record as JSON; ``failures`` is how many of the next calls of each kind fail."""

    def __init__(self, value: Any = None, **failures: int) -> None:
        self.value = value
        self.failures = failures
        self.calls: list[str] = []

    def get(self) -> Any:
        self._call("get")
        return self.value

    def set(self, value: dict[str, Any]) -> None:
        self._call("set")
        self.value = dict(value)

    def delete(self) -> None:
        self._call("delete")
        self.value = None

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.failures.get(name, 0) > 0:
            self.failures[name] -= 1
            raise OutageError("503 Service Unavailable")
