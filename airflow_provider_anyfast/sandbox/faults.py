"""What can be made to go wrong: the faults by name, and the book of those that are switched on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Call = Literal[
    "submit",
    "query",
    "download",
    "models",
    "CreateAssetGroup",
    "CreateAsset",
    "GetAsset",
    "ListAssets",
    "ListAssetGroups",
    "UpdateAsset",
    "UpdateAssetGroup",
    "DeleteAsset",
    "DeleteAssetGroup",
]
CALLS: tuple[str, ...] = get_args(Call)


@dataclass(frozen=True)
class FaultKind:
    """Where a fault strikes unless told otherwise, what it does, which parameters it takes.

    ``only_on`` names the calls that it makes sense for; empty means all of them.
    """

    on: Call | Literal["*"]
    effect: str
    parameters: frozenset[str] = frozenset()
    only_on: tuple[Call, ...] = ()


def _kind(on: Call | Literal["*"], effect: str, *parameters: str, only_on: tuple[Call, ...] = ()) -> FaultKind:
    return FaultKind(on, effect, frozenset(parameters), only_on)


_FILES: tuple[Call, ...] = ("download",)
_FATES: tuple[Call, ...] = ("submit", "query")

FAULT_KINDS: dict[str, FaultKind] = {
    # Refusals: nothing is done, nothing is billed.
    "unauthorized": _kind("*", "401, invalid token"),
    "forbidden": _kind("*", "403, access denied"),
    "no_quota": _kind("submit", "403, the account's money is used up"),
    "moderation": _kind("submit", "400, the input is refused as sensitive", "code"),
    "bad_request": _kind("submit", "400, invalid parameter", "reason"),
    "model_not_found": _kind("submit", "503, no channel serves the model"),
    "endpoint_not_available": _kind("submit", "404, the plan lacks the model"),
    "rate_limited": _kind("submit", "429", "retry_after", "empty", "shape"),
    "asset_copy_not_ready": _kind("submit", "503, an asset is still copied to a channel"),
    "asset_processing": _kind("submit", "400, an asset is still processing"),
    "asset_not_found": _kind("submit", "an asset is not found: 400 at submit, 404 in the asset library"),
    "invalid_url_scheme": _kind("submit", "400, the URL of an asset is not there yet"),
    "group_not_found": _kind("CreateAsset", "404, the asset group is not found"),
    "not_found_yet": _kind("query", "the task or asset is unknown"),
    "server_error": _kind("*", "500", "code"),
    "bad_gateway": _kind("*", "502 with an HTML page"),
    "gateway_timeout": _kind("*", "504 with an HTML page"),
    "empty_answer": _kind("*", "200 with an empty body"),
    "html_answer": _kind("*", "200 with an HTML page"),
    "odd_json": _kind("*", "200 with JSON of another shape"),
    "status": _kind("*", "any status with any body", "status", "body", "retry_after"),
    # Before acting.
    "slow": _kind("*", "waits, then acts unless the caller has gone", "seconds"),
    "drop_request": _kind("*", "closes the connection and does nothing"),
    # After acting: what was asked is done and billed, but the answer is lost or late.
    "drop_answer": _kind("submit", "acts, then closes the connection without an answer"),
    "bad_gateway_after": _kind("submit", "acts, then answers 502 with an HTML page"),
    "slow_answer": _kind("submit", "acts, then waits before it answers", "seconds"),
    # On the file.
    "truncate_download": _kind(
        "download", "announces the whole file, closes after a part of it", "fraction", only_on=_FILES
    ),
    "stall_download": _kind("download", "sends a part, waits, sends the rest", "fraction", "seconds", only_on=_FILES),
    "corrupt_download": _kind("download", "sends something that is no video", only_on=_FILES),
    "link_expired": _kind("download", "403, the link has expired", only_on=_FILES),
    # The fate of a generation: on submit for ever, on query in that one answer.
    "stuck": _kind("submit", "the generation stays at IN_PROGRESS 30%", only_on=_FATES),
    "unknown_status": _kind("submit", "the generation shows a status that nobody knows", "value", only_on=_FATES),
    "fail_generation": _kind("submit", "the generation fails after rendering", "reason", "code", only_on=("submit",)),
}
DEFAULT_SECONDS = 5.0
_ALWAYS = frozenset({"name", "on", "times", "skip", "match"})


class Fault(BaseModel):
    """One fault that is switched on.

    Args:
        name: one of :data:`FAULT_KINDS`.
        on: the call it strikes, or ``*`` for every call; by default the one where the fault is usually met.
        times: how many requests it strikes; 0 means until it is removed.
        skip: how many matching requests it lets pass first.
        match: strikes only requests with this text in their path, query or body.
        seconds: how long it waits, in real seconds.
        retry_after: the value of the ``Retry-After`` header; none by default.
        empty: whether the body is left out.
        shape: which error shape a 429 has: the gateway's (A), upstream's (B) or the task's (C).
        code, reason: what the error says.
        status, body: the whole answer; a ``body`` that is not a text is sent as JSON.
        fraction: which part of the file is sent before the fault strikes, 0 to 1.
        value: the status that nobody knows.
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
    status: int = Field(default=500, ge=200, le=599)
    body: Any = ""
    fraction: float = Field(default=0.5, ge=0, le=1)
    value: str = "UNKNOWN"

    @model_validator(mode="after")
    def _is_a_known_fault(self) -> Fault:
        kind = FAULT_KINDS.get(self.name)
        if kind is None:
            raise ValueError(f"there is no fault {self.name!r}; there are: {', '.join(FAULT_KINDS)}")
        if foreign := self.model_fields_set - _ALWAYS - kind.parameters:
            takes = ", ".join(sorted(kind.parameters)) or "no parameters of its own"
            raise ValueError(f"the fault {self.name!r} does not take {', '.join(sorted(foreign))}; it takes {takes}")
        if kind.only_on and self.strikes not in kind.only_on:
            raise ValueError(f"the fault {self.name!r} strikes {' or '.join(kind.only_on)} only, not {self.strikes!r}")
        return self

    @property
    def strikes(self) -> str:
        """The call that this fault strikes, or ``*``."""
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


@dataclass(eq=False)
class _Armed:
    """A fault and what it has done so far."""

    fault: Fault
    let_pass: int = 0
    struck: int = 0

    def matches(self, call: str, content: bytes) -> bool:
        return self.fault.strikes in ("*", call) and self.fault.match.encode() in content

    @property
    def spent(self) -> bool:
        return 0 < self.fault.times <= self.struck


class FaultBook:
    """The faults that are switched on, in the order in which they were."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self._armed = [_Armed(fault) for fault in faults]

    def add(self, fault: Fault) -> None:
        """Switch ``fault`` on, after those that are on already."""
        self._armed.append(_Armed(fault))

    def clear(self) -> None:
        """Switch every fault off."""
        self._armed.clear()

    def active(self) -> list[Fault]:
        """Return the faults that can still strike."""
        return [armed.fault for armed in self._armed]

    def take(self, call: str, content: bytes) -> Fault | None:
        """Return the fault that strikes this request: one at most, the first that wants it.

        ``content`` is what a fault's ``match`` is looked for in. Each fault counts the requests that it lets pass by
        itself, whatever strikes them instead.
        """
        striking: _Armed | None = None
        for armed in self._armed:
            if not armed.matches(call, content):
                continue
            if armed.let_pass < armed.fault.skip:
                armed.let_pass += 1
            elif striking is None:
                striking = armed
        if striking is None:
            return None
        striking.struck += 1
        if striking.spent:
            self._armed.remove(striking)
        return striking.fault


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
