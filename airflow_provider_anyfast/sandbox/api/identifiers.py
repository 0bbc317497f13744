"""Ids in the formats that AnyFast documents, and the id of the current request."""

from __future__ import annotations

import random
import string
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone

# Ids carry Beijing time while the CreateTime fields are UTC, as in the examples at docs.anyfast.ai.
_BEIJING = timezone(timedelta(hours=8))
_LOWER = string.ascii_lowercase + string.digits
_MIXED = string.ascii_letters + string.digits

current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")
"""The id of the current request, for error messages and the header ``X-Oneapi-Request-Id``."""


def new_request_id(now: float) -> str:
    """Return an id like ``20260427111505260254000NBdvZFoP``: time to the nanosecond, then eight characters."""
    moment = datetime.fromtimestamp(now, timezone.utc)
    return f"{moment:%Y%m%d%H%M%S%f}000{_characters(_MIXED, 8)}"


class Identifiers:
    """Makes unique ids, even many within one second."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def group(self, now: float) -> str:
        """Return an id like ``group-20260427160000-ab1cd``."""
        return self._dated("group", now)

    def asset(self, now: float) -> str:
        """Return an id like ``asset-20260320120147-pqwhc``."""
        return self._dated("asset", now)

    def upstream_task(self, now: float) -> str:
        """Return an id like ``cgt-20260427191505-9j2q7``: the task's name at the service behind AnyFast."""
        return self._dated("cgt", now)

    def task(self) -> str:
        """Return an id like ``asyntask_`` with 32 characters after it."""
        return f"asyntask_{_characters(_MIXED, 32)}"

    def _dated(self, kind: str, now: float) -> str:
        moment = datetime.fromtimestamp(now, _BEIJING)
        made = ""
        while not made or made in self._used:
            made = f"{kind}-{moment:%Y%m%d%H%M%S}-{_characters(_LOWER, 5)}"
        self._used.add(made)
        return made


def _characters(alphabet: str, count: int) -> str:
    return "".join(random.choices(alphabet, k=count))
