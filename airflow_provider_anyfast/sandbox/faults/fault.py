"""One fault that is switched on, with its parameters."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from airflow_provider_anyfast.sandbox.faults.kinds import FAULT_KINDS, Call

DEFAULT_SECONDS = 5.0
IdPlace = Literal["data", "data.id", "data.task_id", "task_id", "Result.Id", "list"]
"""``data`` is ``{"data": "<id>"}``, ``list`` is ``[{"id": "<id>"}]``; the others are paths of keys."""
_ALWAYS = frozenset({"name", "on", "times", "skip", "match"})


class Fault(BaseModel):
    """One fault that is switched on.

    Args:
        name: one of :data:`FAULT_KINDS`.
        on: the call it hits, or ``*`` for every call; by default the call where the fault usually occurs.
        times: how many requests it hits; 0 means until it is removed.
        skip: how many matching requests it skips first.
        match: it hits only requests with this text in their path, query or body.
        seconds: how long the fault waits, in real seconds; for ``drip``, the pause after each byte.
        retry_after: the value of the ``Retry-After`` header; none by default.
        empty: whether the body is left out.
        shape: which error shape the response has: the gateway's (A), upstream's (B) or the task's (C).
        code, reason: the error's code and message.
        status: the HTTP status.
        body: the whole body of ``status``, sent as JSON unless it is a text; for ``patch``, the changes to the JSON
            of the response as a merge patch: objects are merged, null removes a field.
        fraction: the part of the file that is sent first, 0 to 1.
        bytes: how many bytes are sent, in place of ``fraction``.
        part: what ``drip`` sends slowly: everything from the status line on (``headers``), or only the ``body``.
        place: where in the response the new id is.
        value: the unknown status, the upstream status, the other task's id, the new task's id, the finish time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    on: Call | Literal["*"] | None = None
    times: int = Field(default=1, ge=0)
    skip: int = Field(default=0, ge=0)
    match: str = ""

    seconds: float = Field(default=DEFAULT_SECONDS, ge=0)
    retry_after: int | str | None = None
    empty: bool = False
    shape: Literal["A", "B", "C"] = "C"
    code: str | None = None
    reason: str | None = None
    status: int | None = Field(default=None, ge=200, le=599)
    body: Any = ""
    fraction: float = Field(default=0.5, ge=0, le=1)
    bytes: int | None = Field(default=None, ge=0)
    part: Literal["headers", "body"] = "headers"
    place: IdPlace = "data"
    value: str | int | None = None

    @model_validator(mode="after")
    def _is_a_known_fault(self) -> Fault:
        kind = FAULT_KINDS.get(self.name)
        if kind is None:
            raise ValueError(f"there is no fault {self.name!r}; there are: {', '.join(FAULT_KINDS)}")
        if foreign := self.model_fields_set - _ALWAYS - kind.parameters:
            takes = ", ".join(sorted(kind.parameters)) or "no parameters of its own"
            raise ValueError(f"the fault {self.name!r} does not take {', '.join(sorted(foreign))}; it takes {takes}")
        if kind.only_on and self.target not in kind.only_on:
            raise ValueError(f"the fault {self.name!r} hits {' or '.join(kind.only_on)} only, not {self.target!r}")
        return self

    @property
    def target(self) -> str:
        """The call that this fault hits, or ``*``."""
        return self.on or FAULT_KINDS[self.name].on

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``NAME[:key=value,…]``; a value is JSON where it can be, otherwise text."""
        name, _, rest = text.partition(":")
        given: dict[str, object] = {"name": name}
        for pair in filter(None, rest.split(",")):
            key, equals, value = pair.partition("=")
            if not equals:
                raise ValueError(f"in the fault {text!r}, {pair!r} is not of the form key=value")
            given[key] = _value(value)
        return cls.model_validate(given)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
