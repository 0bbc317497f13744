"""What a key's billing log proves about a submission whose answer was lost. No HTTP, no clock, no Airflow.

========  ============================================================================================================
Verdict   When
========  ============================================================================================================
found     A charge is proven to be ours, and names a generation.
billed    A charge can only be ours, but names none that can be asked for; or as many charges are left over as
          submissions are lost, and nothing tells which is whose.
unknown   Everything else. That there is no charge never means "not billed": rows come late, or not at all.
========  ============================================================================================================

A charge is proven to be ours in one of three ways:

1. Its request id is that of the lost answer, whose headers had come.
2. It is the only one in the time of our submission whose generation shows our prompt, or the seed that we have chosen.
3. It is the only one that is left over: it lies in the time of our submission, nothing that its generation shows
   differs from our request, it fits no other lost submission, and within a minute there is no further charge for this
   model that is not known to be another's. Where others use the key at that moment, nothing is proven in this way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.billing import LogRow
    from airflow_provider_anyfast.client.responses import Generation

CLOCK_SLACK = 3.0
"""Seconds that remain uncertain between two clocks: ``Date`` and the log's times are whole seconds."""
GATEWAY_GOES_ON = 60.0
"""Seconds after which the gateway accepts nothing more of a request whose sender is gone. Our margin."""
ANSWER_IS_HELD = 300.0
"""Seconds for which the gateway may hold back the answer to a submission, where nobody knows when it was given up."""
ROWS_COME_LATE = 20.0
"""Seconds after which a charge is surely in the log. Elsewhere up to 16 s were met."""
ALONE = 60.0
"""Seconds around a submission in which no foreign charge may be, for one to be ours because it is the only one."""

_LOWEST_SEED = 0
_UPSCALED = "-ultra"


class Asked(BaseModel):
    """What a request asked for, as far as AnyFast's answers can show it. None where the request left it open.

    Attributes:
        prompt: a digest of the prompt; empty without one.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    model: str
    prompt: str = ""
    duration: int | None = None
    resolution: str | None = None
    ratio: str | None = None
    seed: int | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Asked:
        """What the JSON of a submission asks for."""
        items = body.get("content")
        texts = [item.get("text") for item in items or () if isinstance(item, Mapping) and item.get("type") == "text"]
        model, ratio = str(body.get("model", "")), _text(body.get("ratio"))
        return cls(
            model=model,
            prompt=_digest(" ".join(str(text) for text in texts if text)),
            duration=_chosen(body.get("duration"), least=1),
            # An up-scaled video shows the resolution that it was made at.
            resolution=None if model.endswith(_UPSCALED) else _text(body.get("resolution")),
            ratio=None if ratio == "adaptive" else ratio,
            seed=_chosen(body.get("seed"), least=_LOWEST_SEED),
        )

    def differs_from(self, shown: Generation) -> bool:
        """Whether ``shown`` has a value that another request must have asked for."""
        pairs = (
            (self.duration, shown.duration),
            (self.resolution and self.resolution.lower(), shown.resolution and shown.resolution.lower()),
            (self.ratio, shown.ratio),
            (self.seed, shown.seed),
            (self.prompt or None, _digest(shown.prompt or "") or None),
        )
        return any(asked is not None and found is not None and asked != found for asked, found in pairs)

    def is_shown_by(self, shown: Generation) -> bool:
        """Whether ``shown`` has what only this request asked for: the prompt or a chosen seed."""
        if self.differs_from(shown):
            return False
        by_prompt = bool(self.prompt) and bool(shown.prompt)
        return by_prompt or (self.seed is not None and shown.seed is not None)


@dataclass(frozen=True)
class Lost:
    """A submission whose answer is unknown. Times are Unix seconds by our clock.

    Attributes:
        asked: None where the record is older than this version.
        sent_at: when it was about to be sent.
        lost_at: when its answer was given up; None if the worker was killed before.
        noticed_at: when an attempt found out about it; ``lost_at`` where that is known.
        request_id: of the lost answer, if its headers had come.
    """

    asked: Asked | None
    sent_at: float
    lost_at: float | None
    noticed_at: float
    request_id: str = ""

    @property
    def accepted_until(self) -> float:
        """When AnyFast can have accepted it at the latest."""
        given_up = self.sent_at + ANSWER_IS_HELD if self.lost_at is None else self.lost_at
        return given_up + GATEWAY_GOES_ON

    @property
    def settles_at(self) -> float:
        """When its charge must be in the log, so that a second one cannot turn up any more."""
        return min(self.noticed_at, self.accepted_until) + ROWS_COME_LATE


@dataclass(frozen=True)
class Found:
    """The generation of a lost submission."""

    id: str


@dataclass(frozen=True)
class Billed:
    """It was billed, and there is no generation to go on with. ``charges`` are those that it may be, by our clock."""

    charges: tuple[LogRow, ...]


@dataclass(frozen=True)
class Unknown:
    """The log proves nothing.

    Attributes:
        charges: those that it may be among others, by our clock.
        is_log_read: False where AnyFast offers no log, or nobody asked.
    """

    charges: tuple[LogRow, ...] = ()
    is_log_read: bool = False


Verdict = Found | Billed | Unknown


@dataclass(frozen=True)
class LogSnapshot:
    """All that is known at one moment.

    Attributes:
        rows: of the billing log, by our clock.
        taken_at: Unix seconds when the log was asked.
        others: ids that are known to belong to other submissions.
        shown: AnyFast's answers about generations that the log names, by id; None for one that could not be asked for.
        is_last: whether there will be no further look, so that a generation that shows nothing yet is not waited for.
    """

    rows: Sequence[LogRow]
    taken_at: float
    others: Collection[str] = ()
    shown: Mapping[str, Generation | None] = field(default_factory=dict)
    is_last: bool = True


def ids_to_ask_for(lost: Sequence[Lost], snapshot: LogSnapshot) -> list[str]:
    """Generations whose answers can tell more than the log: those of charges that fit, and others that it names later.

    Where charges name no generation, later rows do: a settlement or a refund. Its answer has the charge's request id.
    """
    near = [charge for one in lost for charge in _near(one, snapshot)]
    named = [charge.task_id for charge in near]
    if not all(named):
        named += [row.task_id for row in snapshot.rows if not row.is_charge]
    return [id_ for id_ in dict.fromkeys(named) if id_ and id_ not in snapshot.others]


def judge(lost: Sequence[Lost], snapshot: LogSnapshot) -> list[Verdict]:
    """What the snapshot proves about each of ``lost``, which are judged together since a charge is of one of them."""
    certain = [_certain(one, snapshot) for one in lost]
    claims = {number: _claim(one, certain, snapshot) for number, one in enumerate(lost) if certain[number] is None}
    return [
        _verdict(claims[number], [*claims.values()], snapshot) if charge is None else _found(charge, snapshot)
        for number, charge in enumerate(certain)
    ]


@dataclass(frozen=True)
class _Claim:
    """The charges that one submission may be: those within its time, and those around it too."""

    lost: Lost
    fitting: tuple[LogRow, ...]
    near: tuple[LogRow, ...]


def _claim(lost: Lost, certain: Collection[LogRow | None], snapshot: LogSnapshot) -> _Claim:
    near = [
        charge for charge in _near(lost, snapshot) if charge not in certain and not _is_anothers(lost, charge, snapshot)
    ]
    fitting = [charge for charge in near if _is_in_time(lost, charge)]
    if ours := [charge for charge in fitting if _shows_our_request(lost, charge, snapshot)]:
        near = fitting = ours
    return _Claim(lost, tuple(fitting), tuple(near))


def _verdict(claim: _Claim, claims: Sequence[_Claim], snapshot: LogSnapshot) -> Verdict:
    charges = claim.fitting
    unknown = Unknown(charges, is_log_read=True)
    if not charges or len(claim.near) > len(charges) or snapshot.taken_at < claim.lost.settles_at:
        return unknown
    rivals = [other for other in claims if set(other.fitting) & set(charges)]
    if len(rivals) != len(charges) or any(set(other.fitting) != set(charges) for other in rivals):
        return unknown
    if len(charges) > 1:
        return Billed(charges)
    id_ = _id_of(charges[0], snapshot)
    shown = snapshot.shown.get(id_)
    if id_ and not snapshot.is_last and (shown is None or not _shows_anything(shown)):
        return unknown  # a later answer may tell more
    return Found(id_) if shown is not None else Billed(charges)


def _found(charge: LogRow, snapshot: LogSnapshot) -> Verdict:
    id_ = _id_of(charge, snapshot)
    return Found(id_) if id_ else Billed((charge,))


def _certain(lost: Lost, snapshot: LogSnapshot) -> LogRow | None:
    """The charge of the very request whose answer was lost."""
    if not lost.request_id:
        return None
    charges = (row for row in snapshot.rows if row.is_charge)
    return next((charge for charge in charges if charge.request_id == lost.request_id), None)


def _near(lost: Lost, snapshot: LogSnapshot) -> list[LogRow]:
    """Charges for the model around the submission that are not known to be of another one."""
    if lost.asked is None:
        return []
    begins, ends = lost.sent_at - CLOCK_SLACK - ALONE, lost.accepted_until + CLOCK_SLACK + ALONE
    return [
        row
        for row in snapshot.rows
        if row.is_charge
        and row.model.lower() == lost.asked.model.lower()
        and begins <= row.created_at <= ends
        and _id_of(row, snapshot) not in snapshot.others
    ]


def _is_in_time(lost: Lost, charge: LogRow) -> bool:
    return lost.sent_at - CLOCK_SLACK <= charge.created_at <= lost.accepted_until + CLOCK_SLACK


def _is_anothers(lost: Lost, charge: LogRow, snapshot: LogSnapshot) -> bool:
    """Whether a charge is surely that of another request."""
    if lost.request_id and charge.request_id:
        return True  # it is not the certain one
    shown = snapshot.shown.get(_id_of(charge, snapshot))
    return shown is not None and lost.asked is not None and lost.asked.differs_from(shown)


def _shows_our_request(lost: Lost, charge: LogRow, snapshot: LogSnapshot) -> bool:
    shown = snapshot.shown.get(_id_of(charge, snapshot))
    return shown is not None and lost.asked is not None and lost.asked.is_shown_by(shown)


def _id_of(charge: LogRow, snapshot: LogSnapshot) -> str:
    """The generation of a charge: the one that it names, or the one whose own answer names the same request."""
    if charge.task_id or not charge.request_id:
        return charge.task_id
    shown = (task for task in snapshot.shown.values() if task is not None)
    return next((task.generation_id for task in shown if task.request_id == charge.request_id), "")


def _shows_anything(shown: Generation) -> bool:
    return any(value is not None for value in (shown.duration, shown.resolution, shown.ratio, shown.seed, shown.prompt))


def _chosen(value: Any, *, least: int) -> int | None:
    """A whole number that the request chose; None for what it leaves to the model."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if number >= least else None


def _text(value: Any) -> str | None:
    return str(value) if value else None


def _digest(prompt: str) -> str:
    words = " ".join(prompt.split())
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:16] if words else ""
