"""What was paid for, written down before and after the payment, and what a new attempt makes of it.

::

    (nothing) ──intend──▶ INTENT ──submitted──▶ SUBMITTED ──finish──▶ FINISHED
        ▲                  │  │                     │
        └────withdraw──────┘  └──lose──▶ LOST       └──close──▶ CLOSED

A crash leaves the record at the stage that it had reached, so the next attempt knows whether money may have been spent.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field
from tenacity import Retrying, stop_after_attempt, wait_exponential

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)


class Stage(str, Enum):
    """How far the purchase has come."""

    INTENT = "intent"
    """About to be sent; without an id the answer is unknown."""
    LOST = "lost"
    """The same, and the user has been told: a clear is now an answer to it."""
    SUBMITTED = "submitted"
    """Paid, with an id."""
    CLOSED = "closed"
    """Nothing more can come of it: it failed, or its link has expired."""
    FINISHED = "finished"
    """The task has what it paid for, and Airflow has stored its success: a clear now asks for another."""


class Record(BaseModel):
    """One line of the ledger, as it is stored.

    Attributes:
        fingerprint: of the request and the connection it is billed to.
        max_tries: Airflow's number at that time, which grows when the task is cleared and stays on a retry.
        at: Unix seconds of the intent.
        id: what AnyFast answered; empty until then.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    stage: Stage
    fingerprint: str
    max_tries: int
    at: float = Field(ge=0, lt=32_503_680_000)  # what a date can show
    id: str = ""

    @property
    def is_open(self) -> bool:
        """Whether something was paid for, or perhaps was, that nobody has been told the end of."""
        return self.stage not in (Stage.CLOSED, Stage.LOST)


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
    """Nothing usable was paid for: submit. ``reason`` says why, if there was a record."""

    reason: str = ""


@dataclass(frozen=True)
class Attach:
    """``id`` is paid for: ask for it. ``submitted_at`` is in Unix seconds."""

    id: str
    submitted_at: float


@dataclass(frozen=True)
class Unconfirmed:
    """A submission of ``at`` (Unix seconds) whose answer never came. It may have been billed."""

    at: float


Decision = Submit | Attach | Unconfirmed


class Ledger:
    """The record of one task instance's purchase.

    Args:
        store: where it is kept.
        fingerprint: of the request that this attempt would send.
        max_tries: ``ti.max_tries`` of this attempt.
    """

    def __init__(self, store: Store, *, fingerprint: str, max_tries: int) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._max_tries = max_tries

    @property
    def fingerprint(self) -> str:
        """Of the request that this attempt would send."""
        return self._fingerprint

    def plan(self) -> Decision:
        """What this attempt does, from what an earlier one wrote.

        Raises:
            LedgerError: the record cannot be read. Unknown is not absent, so nothing is submitted.
        """
        record = self._read()
        if record is None:
            return Submit()
        if record.fingerprint != self._fingerprint:
            paid = f"generation {record.id}" if record.id else "a submission whose answer is unknown"
            return Submit(f"the request has changed since {paid} was submitted at {clock.iso(record.at)}")
        cleared = self._max_tries != record.max_tries
        if cleared and record.stage in (Stage.FINISHED, Stage.CLOSED, Stage.LOST):
            ended = {Stage.FINISHED: "finished", Stage.CLOSED: "ended without a file", Stage.LOST: "was lost"}
            return Submit(f"the task was cleared after {record.id or 'its submission'} {ended[record.stage]}")
        if record.stage in (Stage.INTENT, Stage.LOST):
            return Unconfirmed(record.at)
        return Attach(record.id, record.at)

    def record_intent(self) -> None:
        """Writes down that a paid request is about to be sent.

        Raises:
            LedgerError: it could not be written, so the request must not be sent.
        """
        try:
            self._write(Record(stage=Stage.INTENT, at=clock.now(), **self._identity))
        except Exception as error:
            raise LedgerError(
                f"The ledger could not be written ({error}), so nothing was submitted and nothing was spent. "
                "The next attempt tries again."
            ) from error

    def clear_intent(self) -> None:
        """Takes the intent back: AnyFast has certainly not accepted the request."""
        self._try("take back the intent", self._store.delete)

    def record_submitted(self, id_: str) -> None:
        """Writes down what AnyFast answered; tries again, since this note is worth what was paid."""
        record = Record(stage=Stage.SUBMITTED, at=clock.now(), id=id_, **self._identity)
        write = Retrying(
            sleep=clock.sleep, stop=stop_after_attempt(4), wait=wait_exponential(multiplier=1, max=10), reraise=True
        )
        self._try(f"write down {id_}, which is paid for", lambda: write(self._write, record))

    def mark_unconfirmed(self) -> None:
        """Writes down that the user is being told of a lost answer."""
        self._advance(Stage.LOST)

    def mark_closed(self, id_: str) -> None:
        """Writes down that nothing more can come of ``id_``, which was paid for."""
        self._advance(Stage.CLOSED, id_)

    def mark_finished(self, id_: str) -> None:
        """Writes down that the task has ``id_``, which it paid for.

        Only to be called when Airflow has stored the success: a crash in between must leave a clear nothing to buy.
        """
        self._advance(Stage.FINISHED, id_)

    @property
    def _identity(self) -> dict[str, Any]:
        return {"fingerprint": self._fingerprint, "max_tries": self._max_tries}

    def _read(self) -> Record | None:
        try:
            value = self._store.get()
        except Exception as error:
            raise LedgerError(
                f"The ledger could not be read ({error}). A video may be paid for already, so nothing was submitted. "
                "The next attempt tries again."
            ) from error
        return None if value is None else record_of(value)

    def _write(self, record: Record) -> None:
        self._store.set(record.model_dump(mode="json"))

    def _advance(self, stage: Stage, id_: str = "") -> None:
        """Also mends a record whose note of the id had failed."""

        def advance() -> None:
            record = self._read()
            if record is not None:
                reached = {"stage": stage, "max_tries": self._max_tries, "id": id_ or record.id}
                self._write(record.model_copy(update=reached))

        self._try(f"note that the purchase is {stage.value}", advance)

    def _try(self, what: str, write: Any) -> None:
        """A note that fails must not throw away what was paid for: it is logged, and the attempt goes on."""
        try:
            write()
        except Exception:
            log.exception("The ledger could not %s. This attempt goes on; a later one may have to ask.", what)


def record_of(value: Any) -> Record:
    """What is stored, as a record.

    Raises:
        LedgerError: it makes no sense. Unknown is not absent.
    """
    try:
        record = Record.model_validate(value)
        if not record.id and record.stage not in (Stage.INTENT, Stage.LOST):
            raise ValueError("a record without an id")  # noqa: TRY301 - told like any other that makes no sense
    except ValueError as error:
        raise LedgerError(
            "The ledger holds a record that cannot be understood. A video may be paid for already, so nothing was "
            "submitted. Delete the task's state to start anew."
        ) from error
    return record


def fingerprint_of(request: Mapping[str, Any], billed_to: str) -> str:
    """A digest of a rendered request and the connection it is billed to.

    The signatures of links are left out: they differ at every rendering, and the request is the same.
    """
    canonical = json.dumps([request, billed_to], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(
        _LINK.sub(lambda link: _unsigned(link[0]), canonical).encode("utf-8", "surrogatepass")
    ).hexdigest()


_LINK = re.compile(r"https?://[^\s\"'<>\\]+")
_SIGNATURE = re.compile(
    r"(?i)^(x-(amz|goog|tos|oss|cos|bce)-.*|q-[a-z-]+|x-expires|x-signature|security-token|signature|sig|expires|awsaccesskeyid|googleaccessid|ossaccesskeyid"
    r"|policy|key-pair-id|token|se|sp|sv|sr|st|spr|skoid|sktid|skt|ske|sks|skv|auth_key)$"
)


def _unsigned(link: str) -> str:
    try:
        parts = urlsplit(link)
    except ValueError:
        return link
    kept = [
        (name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if not _SIGNATURE.match(name)
    ]
    return urlunsplit(parts._replace(query=urlencode(kept)))
