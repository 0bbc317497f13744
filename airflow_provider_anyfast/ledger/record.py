"""The record of what was paid for, and what a new attempt decides from it.

::

    (nothing) ──record_intent──▶ INTENT ──record_submitted, record_found──▶ SUBMITTED ──mark_closed──▶ CLOSED
        ▲                         │  │                                        ▲
        └──────clear_intent───────┘  └──mark_unconfirmed──▶ LOST ──record_found┘

An intent can also be recorded over a record that has ended; ``clear_intent`` then puts that one back.

A crash leaves the record at the stage that it had reached, so the next attempt knows whether money may have been spent.
When Airflow has stored the task's success, the record is removed: a clear then finds nothing, and buys a new one.

What an attempt does (``decide``):

==========  =============  =====================  ========================
Stage       Retry          Clear, same request    Clear, changed request
==========  =============  =====================  ========================
(nothing)   submit         submit                 submit
INTENT      unconfirmed    unconfirmed            submit
LOST        unconfirmed    look, else submit      submit
SUBMITTED   attach         attach                 submit
CLOSED      attach         submit                 submit
FINISHED    submit         submit                 submit
==========  =============  =====================  ========================

Unconfirmed means that the submission is looked for in the key's billing log, where AnyFast offers one (``lookup``, by
the rules of ``matching``). Where it is not found, the attempt fails for a person to look, or submits once more.

A retry never buys a request that renders differently: it goes on with what is paid for. Only a person can want the
changed one, and says so by a clear. FINISHED is written by version 0.1.0 after Airflow has stored the success, so only
a clear can follow it, also where ``max_tries`` stayed the same because the DAG's ``retries`` were lowered.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from tenacity import Retrying, stop_after_attempt, wait_exponential

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, LedgerError
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.ledger.matching import Asked, Lost

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

log = subject_logger(__name__)

_ResultT = TypeVar("_ResultT")


class Stage(str, Enum):
    """How far the purchase has come."""

    INTENT = "intent"
    """About to be sent, or sent. It is unknown whether AnyFast accepted it."""
    LOST = "lost"
    """The same, and the task has failed with a message that says so: a clear is now an answer to it."""
    SUBMITTED = "submitted"
    """Paid, with an id."""
    CLOSED = "closed"
    """Nothing more can come of it: it failed, its link has expired, or AnyFast no longer keeps it."""
    FINISHED = "finished"
    """Airflow has stored the task's success. Only version 0.1.0 writes it."""


class Record(BaseModel):
    """One line of the ledger, as it is stored.

    Attributes:
        fingerprint: of the request and the connection it is billed to.
        max_tries: Airflow's number at that time, which grows when the task is cleared and stays on a retry.
        at: Unix seconds of the intent, or of the answer with the id.
        id: what AnyFast answered; empty until then.
        resubmitted: whether a lost submission has been sent again since the last clear.
        token: of the attempt that wrote it, so that an attempt can tell its own intent from another's.
        asked: what the request asked for, until its id is known.
        lost_at: Unix seconds when its answer was given up, if it was lost and the worker lived to see that.
        request_id: of that answer, if its headers had come.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    stage: Stage
    fingerprint: str
    max_tries: int
    at: float = Field(ge=0, lt=32_503_680_000)  # what a date can show
    id: str = ""
    resubmitted: bool = False
    token: str = ""
    asked: Asked | None = None
    lost_at: float | None = None
    request_id: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether something was paid for, or may have been, whose end was not reported yet."""
        return self.stage not in (Stage.CLOSED, Stage.LOST)

    def to_stored(self) -> dict[str, Any]:
        """Plain JSON, without the fields that have no value."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def lost(self) -> Lost:
        """The submission without an answer, for whoever looks for it now."""
        noticed_at = clock.now() if self.lost_at is None else self.lost_at
        return Lost(self.asked, self.at, self.lost_at, noticed_at, self.request_id or "")


class Store(Protocol):
    """Where one task instance keeps one record. Every method may raise."""

    def get(self) -> Any:
        """The stored value, or None."""

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value`` for the attempts to come."""

    def delete(self) -> None:
        """Forgets what is stored."""


@dataclass(frozen=True)
class Submit:
    """Nothing usable was paid for: submit.

    Attributes:
        reason: why, if there was a record.
        lost: a submission without an answer that is to be looked for before.
    """

    reason: str = ""
    lost: Lost | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Attach:
    """``id`` is paid for: ask for it.

    Attributes:
        submitted_at: Unix seconds.
        changed: whether the request that was paid for differs from what this attempt would send.
    """

    id: str
    submitted_at: float
    changed: bool = False


@dataclass(frozen=True)
class Unconfirmed:
    """A submission whose answer never came. It may have been billed.

    Attributes:
        lost: what is known of it.
        changed: whether it differs from what this attempt would send.
    """

    lost: Lost
    changed: bool = field(default=False, compare=False)


Decision = Submit | Attach | Unconfirmed


def decide(record: Record | None, *, is_same_request: bool, is_clear: bool) -> Decision:
    """What an attempt does that finds ``record``; the table is in the module's docstring.

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


class Ledger:
    """The record of one task instance's purchase.

    Args:
        store: where it is kept.
        max_tries: ``ti.max_tries`` of this attempt. It grows when the task is cleared, and stays on a retry.
        fingerprint: of the request that this attempt would send; not needed where only an end is recorded.
        former_fingerprints: of the same request, as earlier versions computed them.
        asked: what that request asks for, by which it can be told from others if its answer is lost.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_tries: int,
        fingerprint: str = "",
        former_fingerprints: Collection[str] = (),
        asked: Asked | None = None,
    ) -> None:
        self._store = store
        self._max_tries = max_tries
        self._fingerprint = fingerprint
        self._former_fingerprints = former_fingerprints
        self._asked = asked
        self._stored: Record | None = None
        self._before_intent: Record | None = None
        self._has_resubmitted = False

    @property
    def fingerprint(self) -> str:
        """Of the request that this attempt would send."""
        return self._fingerprint

    @property
    def may_resubmit(self) -> bool:
        """Whether no lost submission was sent again since the last clear."""
        return not self._has_resubmitted

    def plan(self) -> Decision:
        """What this attempt does, from what an earlier one wrote.

        Raises:
            LedgerError: the record cannot be read. Unknown is not absent, so nothing is submitted.
        """
        record = self._stored = self._read()
        is_clear = record is not None and record.max_tries != self._max_tries
        self._has_resubmitted = record is not None and record.resubmitted and not is_clear
        known = (self._fingerprint, *self._former_fingerprints)
        return decide(record, is_same_request=record is None or record.fingerprint in known, is_clear=is_clear)

    def acknowledge_clear(self) -> None:
        """Records that this attempt follows a clear and goes on with what is paid for: what comes now is a retry again.

        Else a retry that renders differently would be taken for the clear, and buy the changed request.
        """
        record = self._stored
        if record is not None and record.max_tries != self._max_tries:
            self._stored = record.model_copy(update={"max_tries": self._max_tries, "resubmitted": False})
            self._try("record the clear", partial(self._write, self._stored))

    def record_intent(self, *, is_resubmission: bool = False) -> None:
        """Records that a billed request is about to be sent, and reads it back.

        A write can be stored although it was answered with an error, and another attempt can write at the same moment.

        Args:
            is_resubmission: whether it repeats a submission that was lost.

        Raises:
            LedgerError: this attempt's intent is not recorded, so the request must not be sent.
        """
        self._has_resubmitted |= is_resubmission
        self._before_intent = self._stored
        record = Record(
            stage=Stage.INTENT, at=clock.now(), token=secrets.token_hex(8), asked=self._asked, **self._identity
        )
        try:
            self._write(record)
            stored = self._read()
        except Exception as error:  # noqa: BLE001 - raised again, unless the intent is stored in spite of it
            self._confirm_or_undo_intent(record, error)
        else:
            if stored is not None and stored.token == record.token:
                self._stored = record
                return
            raise LedgerError(
                "The record of what was paid for does not contain what this attempt has just written: another "
                "attempt of the task is running, or something else responds in place of Airflow. Nothing was submitted."
            )

    def _confirm_or_undo_intent(self, record: Record, error: Exception) -> None:
        """Returns if the intent is stored in spite of ``error``; else makes sure that it is not, and raises.

        An intent that stayed would make the next attempt believe that a submission was lost.
        """
        left = ""
        try:
            stored = _patiently(self._read)
            if stored is not None and stored.token == record.token:
                self._stored = record
                log.warning("Airflow reported an error but did store the intent to submit: %s", error)
                return
        except Exception:  # noqa: BLE001 - it is unknown what is stored, so the record of before is put back
            try:
                _patiently(self._restore)
            except Exception:  # noqa: BLE001 - all that is left is to say so
                left = (
                    " It may still contain an intent, which the next attempt cannot distinguish from a lost submission."
                )
        raise LedgerError(
            f"The record of what was paid for could not be written ({_reason(error)}). Nothing was submitted.{left}"
        ) from error

    def clear_intent(self) -> None:
        """Takes the intent back, since AnyFast has not accepted the request. What stood before stands again."""
        self._try("remove the intent", self._restore)

    def record_submitted(self, id_: str) -> None:
        """Records what AnyFast answered. Tries again where it fails, since this record is worth what was paid."""
        record = Record(stage=Stage.SUBMITTED, at=clock.now(), id=id_, **self._identity)
        self._try(f"record {id_}, which is paid for", lambda: _patiently(self._write, record))

    def record_lost_answer(self, request_id: str = "") -> Lost:
        """Records that the answer to this attempt's submission is lost, and what it may be found by.

        The record stays an intent, since nobody was told yet: if the worker is killed now, the next attempt looks.
        """
        record = self._stored or Record(stage=Stage.INTENT, at=clock.now(), asked=self._asked, **self._identity)
        self._stored = record.model_copy(update={"lost_at": clock.now(), "request_id": request_id or None})
        self._try("record that the response was lost", partial(self._write, self._stored))
        return self._stored.lost

    def record_found(self, id_: str) -> None:
        """Records the generation of a submission whose answer was lost, as paid for at the time of that submission."""
        self._advance(Stage.SUBMITTED, id_)

    def mark_unconfirmed(self) -> None:
        """Records that the task fails with a message about a lost answer."""
        self._advance(Stage.LOST)

    def mark_closed(self, id_: str) -> None:
        """Records that nothing more can come of ``id_``, which was paid for."""
        self._advance(Stage.CLOSED, id_)

    def submitted_at(self, id_: str) -> float | None:
        """Unix seconds at which ``id_`` was recorded; None where the record does not tell, or cannot be read."""
        try:
            record = self._read()
        except LedgerError as error:
            log.warning("%s", error.what)
            return None
        return record.at if record is not None and record.id == id_ else None

    @property
    def _identity(self) -> dict[str, Any]:
        return {
            "fingerprint": self._fingerprint,
            "max_tries": self._max_tries,
            "resubmitted": self._has_resubmitted,
        }

    def _restore(self) -> None:
        before = self._stored = self._before_intent  # even if the write fails
        if before is None:
            self._store.delete()
        else:
            self._write(before)

    def _read(self) -> Record | None:
        try:
            value = self._store.get()
        except LedgerError:
            raise
        except Exception as error:
            raise LedgerError(
                f"The record of what was paid for could not be read ({_reason(error)}). A video may be paid "
                "for already, so nothing was submitted."
            ) from error
        return None if value is None else record_of(value)

    def _write(self, record: Record) -> None:
        self._store.set(record.to_stored())

    def _advance(self, stage: Stage, id_: str = "") -> None:
        """Also mends a record in which the id is missing, because it could not be written."""

        def advance() -> None:
            record = self._read()
            if record is not None:
                reached = {"stage": stage, "max_tries": self._max_tries, "id": id_ or record.id}
                if reached["id"]:
                    reached |= {"asked": None, "lost_at": None, "request_id": None}
                self._stored = record.model_copy(update=reached)
                self._write(self._stored)

        self._try(f"record that the purchase is {stage.value}", advance)

    def _try(self, what: str, write: Any) -> None:
        """A record that cannot be written must not throw away what was paid for: the attempt goes on."""
        try:
            write()
        except Exception:
            log.exception(
                "The ledger could not %s. This attempt continues; a later one may have to look this up again.", what
            )


def _patiently(act: Callable[..., _ResultT], *given: Any) -> _ResultT:
    """The result of ``act``, which talks to Airflow; tried again for some seconds where it fails."""
    again = Retrying(
        sleep=clock.sleep, stop=stop_after_attempt(4), wait=wait_exponential(multiplier=1, max=10), reraise=True
    )
    return again(act, *given)


def _reason(error: Exception) -> str:
    return error.what if isinstance(error, AnyFastError) else str(error)


def record_of(value: Any) -> Record:
    """What is stored, as a record.

    Raises:
        LedgerError: it makes no sense. Unknown is not absent.
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
