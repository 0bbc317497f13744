"""What a key's billing log proves about a submission whose response was lost. No HTTP, no clock, no Airflow.

========  ============================================================================================================
Verdict   When
========  ============================================================================================================
found     A charge is proven to be ours, and names a generation.
billed    A charge can only be ours, but names no generation that can be queried; or as many charges are left over as
          submissions are lost, and nothing shows which belongs to which.
unknown   Everything else. A missing charge never means "not billed": rows appear late, or not at all.
========  ============================================================================================================

A charge is proven to be ours in one of three ways:

1. Its request id is that of the lost response, whose headers had arrived.
2. It is the only one in the time window of our submission whose generation shows our prompt, or the seed that we chose.
3. It is the only one left over: it lies in the time window of our submission, its generation shows nothing that differs
   from our request, it fits no other lost submission, and within a minute of it there is no other charge for this model
   that might be ours. If others use the key at that moment, this proves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from airflow_provider_anyfast.ledger.fingerprint import short_digest

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.billing import LogRow
    from airflow_provider_anyfast.client.responses import Generation

CLOCK_SLACK = 3.0
"""Seconds by which two clocks may still differ: ``Date`` and the log's times are whole seconds."""
GATEWAY_ACCEPTS_FOR = 60.0
"""Seconds for which the gateway may still accept a request after its sender has disconnected. Our margin."""
RESPONSE_HELD_FOR = 300.0
"""Seconds for which the gateway may hold back a response, where it is unknown when the sender gave up on it."""
MAX_ROW_DELAY = 20.0
"""Seconds after which a charge is certainly in the log. Gateways of this kind have taken up to 16 s."""
ISOLATION = 60.0
"""Seconds around a submission that must be free of other charges for the only charge to count as ours."""

_LOWEST_SEED = 0
_UPSCALED = "-ultra"


class RequestTraits(BaseModel):
    """What AnyFast's responses can show of a request. None for what the request left open.

    Attributes:
        prompt: a digest of the prompt; empty if there is none.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    model: str
    prompt: str = ""
    duration: int | None = None
    resolution: str | None = None
    ratio: str | None = None
    seed: int | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> RequestTraits:
        """The traits of a submission's JSON."""
        items = body.get("content")
        texts = [item.get("text") for item in items or () if isinstance(item, Mapping) and item.get("type") == "text"]
        model, ratio = str(body.get("model", "")), _text(body.get("ratio"))
        return cls(
            model=model,
            prompt=_prompt_digest(" ".join(str(text) for text in texts if text)),
            duration=_chosen(body.get("duration"), least=1),
            # An upscaled video shows the resolution at which it was rendered.
            resolution=None if model.endswith(_UPSCALED) else _text(body.get("resolution")),
            ratio=None if ratio == "adaptive" else ratio,
            seed=_chosen(body.get("seed"), least=_LOWEST_SEED),
        )

    def differs_from(self, shown: Generation) -> bool:
        """Whether ``shown`` has a value that this request cannot have caused."""
        pairs = (
            (self.duration, shown.duration),
            (self.resolution and self.resolution.lower(), shown.resolution and shown.resolution.lower()),
            (self.ratio, shown.ratio),
            (self.seed, shown.seed),
            (self.prompt or None, _prompt_digest(shown.prompt or "") or None),
        )
        return any(mine is not None and found is not None and mine != found for mine, found in pairs)

    def is_shown_by(self, shown: Generation) -> bool:
        """Whether ``shown`` has what distinguishes this request: its prompt or its chosen seed."""
        if self.differs_from(shown):
            return False
        by_prompt = bool(self.prompt) and bool(shown.prompt)
        return by_prompt or (self.seed is not None and shown.seed is not None)


@dataclass(frozen=True)
class LostSubmission:
    """A submission whose response is unknown. Times are Unix seconds by our clock.

    Attributes:
        traits: of its request; None if an older version wrote the record.
        sent_at: when it was about to be sent.
        lost_at: when the attempt gave up on the response; None if the worker was killed before.
        noticed_at: when an attempt noticed the loss; ``lost_at`` where that is known.
        request_id: of the lost response, if its headers had arrived.
    """

    traits: RequestTraits | None
    sent_at: float
    lost_at: float | None
    noticed_at: float
    request_id: str = ""

    @property
    def accepted_until(self) -> float:
        """The latest time at which AnyFast can have accepted it."""
        given_up = self.sent_at + RESPONSE_HELD_FOR if self.lost_at is None else self.lost_at
        return given_up + GATEWAY_ACCEPTS_FOR

    @property
    def settles_at(self) -> float:
        """When its charge must be in the log, so that no second one can appear later."""
        return min(self.noticed_at, self.accepted_until) + MAX_ROW_DELAY


@dataclass(frozen=True)
class Found:
    """The generation of a lost submission."""

    id: str


@dataclass(frozen=True)
class Billed:
    """It was billed, and no generation is known. ``charges`` are the candidates, with times by our clock."""

    charges: tuple[LogRow, ...]


@dataclass(frozen=True)
class Unknown:
    """The log proves nothing.

    Attributes:
        charges: the candidates, which may also belong to others, with times by our clock.
        is_log_read: False if AnyFast offers no log, or it was not queried.
    """

    charges: tuple[LogRow, ...] = ()
    is_log_read: bool = False


Verdict = Found | Billed | Unknown


@dataclass(frozen=True)
class LogSnapshot:
    """All that is known at one moment.

    Attributes:
        rows: of the billing log, with times by our clock.
        taken_at: Unix seconds when the log was queried.
        others: ids that are known to belong to other submissions.
        shown: the generations that the log names, by id; None for one that could not be queried.
        is_last: whether the log is not queried again, so that a generation that shows nothing yet is not waited for.
    """

    rows: Sequence[LogRow]
    taken_at: float
    others: Collection[str] = ()
    shown: Mapping[str, Generation | None] = field(default_factory=dict)
    is_last: bool = True


def ids_to_query(lost: Sequence[LostSubmission], snapshot: LogSnapshot) -> list[str]:
    """Generations that can show more than the log: those of charges that fit, and those that later rows name.

    If a charge names no generation, a later row does: a settlement or a refund. The generation shows the charge's
    request id.
    """
    near = [charge for one in lost for charge in _near(one, snapshot)]
    named = [charge.task_id for charge in near]
    if not all(named):
        named += [row.task_id for row in snapshot.rows if not row.is_charge]
    return [id_ for id_ in dict.fromkeys(named) if id_ and id_ not in snapshot.others]


def judge(lost: Sequence[LostSubmission], snapshot: LogSnapshot) -> list[Verdict]:
    """What the snapshot proves about each of ``lost``; judged together, since a charge belongs to one at most."""
    certain = [_certain_charge(one, snapshot) for one in lost]
    claims = {number: _claim(one, certain, snapshot) for number, one in enumerate(lost) if certain[number] is None}
    return [
        _verdict(claims[number], [*claims.values()], snapshot) if charge is None else _found(charge, snapshot)
        for number, charge in enumerate(certain)
    ]


@dataclass(frozen=True)
class _Claim:
    """The charges that may be one submission's: those in its time window (``fitting``), and those near it too."""

    lost: LostSubmission
    fitting: tuple[LogRow, ...]
    near: tuple[LogRow, ...]


def _claim(lost: LostSubmission, certain: Collection[LogRow | None], snapshot: LogSnapshot) -> _Claim:
    near = [
        charge for charge in _near(lost, snapshot) if charge not in certain and not _is_foreign(lost, charge, snapshot)
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
        return unknown  # a later response may show more
    return Found(id_) if shown is not None else Billed(charges)


def _found(charge: LogRow, snapshot: LogSnapshot) -> Verdict:
    id_ = _id_of(charge, snapshot)
    return Found(id_) if id_ else Billed((charge,))


def _certain_charge(lost: LostSubmission, snapshot: LogSnapshot) -> LogRow | None:
    """The charge with the request id of the lost response."""
    if not lost.request_id:
        return None
    charges = (row for row in snapshot.rows if row.is_charge)
    return next((charge for charge in charges if charge.request_id == lost.request_id), None)


def _near(lost: LostSubmission, snapshot: LogSnapshot) -> list[LogRow]:
    """Charges for the model around the time of the submission that are not known to belong to another one."""
    if lost.traits is None:
        return []
    begins, ends = lost.sent_at - CLOCK_SLACK - ISOLATION, lost.accepted_until + CLOCK_SLACK + ISOLATION
    return [
        row
        for row in snapshot.rows
        if row.is_charge
        and row.model.lower() == lost.traits.model.lower()
        and begins <= row.created_at <= ends
        and _id_of(row, snapshot) not in snapshot.others
    ]


def _is_in_time(lost: LostSubmission, charge: LogRow) -> bool:
    return lost.sent_at - CLOCK_SLACK <= charge.created_at <= lost.accepted_until + CLOCK_SLACK


def _is_foreign(lost: LostSubmission, charge: LogRow, snapshot: LogSnapshot) -> bool:
    """Whether a charge certainly belongs to another request."""
    if lost.request_id and charge.request_id:
        return True  # a charge with our request id would be a certain one
    shown = snapshot.shown.get(_id_of(charge, snapshot))
    return shown is not None and lost.traits is not None and lost.traits.differs_from(shown)


def _shows_our_request(lost: LostSubmission, charge: LogRow, snapshot: LogSnapshot) -> bool:
    shown = snapshot.shown.get(_id_of(charge, snapshot))
    return shown is not None and lost.traits is not None and lost.traits.is_shown_by(shown)


def _id_of(charge: LogRow, snapshot: LogSnapshot) -> str:
    """The generation of a charge: the one that it names, or the one that shows the same request id."""
    if charge.task_id or not charge.request_id:
        return charge.task_id
    shown = (generation for generation in snapshot.shown.values() if generation is not None)
    return next((one.generation_id for one in shown if one.request_id == charge.request_id), "")


def _shows_anything(shown: Generation) -> bool:
    return any(value is not None for value in (shown.duration, shown.resolution, shown.ratio, shown.seed, shown.prompt))


def _chosen(value: Any, *, least: int) -> int | None:
    """An integer that the request chose; None for what it leaves to the model."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if number >= least else None


def _text(value: Any) -> str | None:
    return str(value) if value else None


def _prompt_digest(prompt: str) -> str:
    words = " ".join(prompt.split())
    return short_digest(words) if words else ""
