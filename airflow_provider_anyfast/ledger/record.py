"""The record of what was paid for, and what a new attempt decides from it. ``ledger`` writes it.

What an attempt does (``decide``):

==========  =============  =====================  ========================
Stage       Retry          Clear, same request    Clear, changed request
==========  =============  =====================  ========================
(nothing)   submit         submit                 submit
INTENT      unconfirmed    unconfirmed            submit
LOST        unconfirmed    look up, else submit   submit
SUBMITTED   attach         attach                 submit
CLOSED      attach         submit                 submit
FINISHED    submit         submit                 submit
==========  =============  =====================  ========================

Unconfirmed means that the submission is looked up in the key's billing log, where AnyFast offers one (``lookup``, by
the rules of ``matching``). If it is not found, the attempt fails so that a person can look, or submits once more.

A retry never pays for a request that renders differently: it continues with what is paid for. Only a person can want
the changed request, and asks for it with a clear. Version 0.1.0 writes FINISHED after Airflow has stored the success,
so only a clear can follow it, even if ``max_tries`` stayed the same because the DAG's ``retries`` were lowered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import LedgerError
from airflow_provider_anyfast.ledger.matching import LostSubmission, RequestTraits


class Stage(str, Enum):
    """How far the purchase has come."""

    INTENT = "intent"
    """About to be sent, or sent. It is unknown whether AnyFast accepted it."""
    LOST = "lost"
    """The same, and the task has failed with a message that says so. A clear is then the user's decision to go on."""
    SUBMITTED = "submitted"
    """Paid, with an id."""
    CLOSED = "closed"
    """It can no longer yield a file: it failed, its link has expired, or AnyFast no longer keeps it."""
    FINISHED = "finished"
    """Airflow has stored the task's success. Only version 0.1.0 writes it."""


class Record(BaseModel):
    """One record of the ledger, as it is stored.

    Attributes:
        fingerprint: of the request and the connection it is billed to.
        max_tries: ``ti.max_tries`` at that time, which grows when the task is cleared and stays on a retry.
        at: Unix seconds of the intent, or of the response with the id.
        id: the id that AnyFast returned; empty until then.
        resubmitted: whether a lost submission has been sent again since the last clear.
        token: of the attempt that wrote it, so that an attempt can distinguish its own intent from another's.
        traits: of the request, until its id is known.
        lost_at: Unix seconds when the attempt gave up on the response; None if it did not, or the worker was killed.
        request_id: of that response, if its headers had arrived.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    stage: Stage
    fingerprint: str
    max_tries: int
    at: float = Field(ge=0, lt=32_503_680_000)  # what a date can show
    id: str = ""
    resubmitted: bool = False
    token: str = ""
    traits: RequestTraits | None = None
    lost_at: float | None = None
    request_id: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether something was, or may have been, paid for and its end has not been reported yet."""
        return self.stage not in (Stage.CLOSED, Stage.LOST)

    def is_from_before_clear(self, max_tries: int) -> bool:
        """Whether the task was cleared since this was written; ``max_tries`` is ``ti.max_tries`` of this attempt."""
        return self.max_tries != max_tries

    def to_stored(self) -> dict[str, Any]:
        """Plain JSON, without the fields that have no value."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def lost(self) -> LostSubmission:
        """The submission without a response, for a lookup that starts now."""
        noticed_at = clock.now() if self.lost_at is None else self.lost_at
        return LostSubmission(self.traits, self.at, self.lost_at, noticed_at, self.request_id or "")


class Store(Protocol):
    """Where one task instance keeps one record. Every method may raise."""

    def get(self) -> Any:
        """The stored value, or None."""

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value`` for later attempts."""

    def delete(self) -> None:
        """Deletes the stored value."""


def record_of(value: Any) -> Record:
    """The record in a stored value.

    Raises:
        LedgerError: the value cannot be parsed. Unknown is not absent.
    """
    try:
        record = Record.model_validate(value)
        if not record.id and record.stage not in (Stage.INTENT, Stage.LOST):
            raise ValueError("a record without an id")  # noqa: TRY301 - reported like any other invalid record
    except ValueError as error:
        raise LedgerError(
            "The record of what was paid for cannot be parsed. A video may be paid for already, so nothing was "
            "submitted.",
            advice="Delete the Variable anyfast_ledger_… of this task, or its task state, to submit again.",
        ) from error
    return record


@dataclass(frozen=True)
class Submit:
    """Nothing usable was paid for: submit.

    Attributes:
        reason: why, if there was a record.
        lost: a submission without a response that must be looked up first.
    """

    reason: str = ""
    lost: LostSubmission | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Attach:
    """``id`` is paid for: query it.

    Attributes:
        submitted_at: Unix seconds.
        changed: whether the request that was paid for differs from what this attempt would send.
    """

    id: str
    submitted_at: float
    changed: bool = False


@dataclass(frozen=True)
class Unconfirmed:
    """A submission that got no response. It may have been billed.

    Attributes:
        lost: what is known of it.
        changed: whether it differs from what this attempt would send.
    """

    lost: LostSubmission
    changed: bool = field(default=False, compare=False)


Decision = Submit | Attach | Unconfirmed


def decide(record: Record | None, *, is_same_request: bool, is_clear: bool) -> Decision:
    """What an attempt does when it finds ``record``; the table is in the module's docstring.

    Args:
        record: what an earlier attempt wrote.
        is_same_request: whether this attempt would send the request of the record.
        is_clear: whether the task was cleared since the record was written.
    """
    if record is None:
        return Submit()
    if is_clear and not is_same_request:
        paid = f"generation {record.id}" if record.id else "a submission whose response is unknown"
        return Submit(f"the task was cleared, and the request has changed since {paid} of {clock.iso(record.at)}")
    if record.stage is Stage.FINISHED or (is_clear and not record.is_open):
        lost = record.lost if record.stage is Stage.LOST else None
        return Submit(f"the task was cleared after {record.id or 'its submission'} {_ENDED[record.stage]}", lost)
    if record.stage in (Stage.INTENT, Stage.LOST):
        return Unconfirmed(record.lost, changed=not is_same_request)
    return Attach(record.id, record.at, changed=not is_same_request)


_ENDED = {Stage.FINISHED: "finished", Stage.CLOSED: "ended without a file", Stage.LOST: "was lost"}
