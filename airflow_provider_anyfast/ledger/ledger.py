"""Writes the record of one purchase before and after the billed call.

::

    (nothing) ──record_intent──▶ INTENT ──record_submitted, record_found──▶ SUBMITTED ──mark_closed──▶ CLOSED
        ▲                         │  │                                        ▲
        └──────clear_intent───────┘  └──mark_unconfirmed──▶ LOST ──record_found┘

An intent can also be recorded over a record that has ended; ``clear_intent`` then restores that record.

A crash leaves the record at the stage that it had reached, so the next attempt knows whether money may have been spent.
When Airflow has stored the task's success, the record is removed: a clear then finds nothing and pays for a new video.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import Retrying, stop_after_attempt, wait_exponential

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, LedgerError
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.ledger.record import Record, Stage, decide, record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_provider_anyfast.ledger.matching import LostSubmission, RequestTraits
    from airflow_provider_anyfast.ledger.record import Decision, Store

log = subject_logger(__name__)

_ResultT = TypeVar("_ResultT")


class Ledger:
    """The record of one task instance's purchase.

    Args:
        store: where it is kept.
        max_tries: ``ti.max_tries`` of this attempt. It grows when the task is cleared, and stays on a retry.
        fingerprint: of the request that this attempt would send; not needed where only an end is recorded.
        former_fingerprints: of the same request, as earlier versions computed them.
        traits: of that request, which distinguish it from others if its response is lost.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_tries: int,
        fingerprint: str = "",
        former_fingerprints: Collection[str] = (),
        traits: RequestTraits | None = None,
    ) -> None:
        self._store = store
        self._max_tries = max_tries
        self._fingerprint = fingerprint
        self._former_fingerprints = former_fingerprints
        self._traits = traits
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
        is_clear = record is not None and record.is_from_before_clear(self._max_tries)
        self._has_resubmitted = record is not None and record.resubmitted and not is_clear
        known = (self._fingerprint, *self._former_fingerprints)
        return decide(record, is_same_request=record is None or record.fingerprint in known, is_clear=is_clear)

    def acknowledge_clear(self) -> None:
        """Records that this attempt follows a clear and continues with what is paid for, so later attempts are retries.

        Otherwise a retry that renders differently would be taken for the clear, and pay for the changed request.
        """
        record = self._stored
        if record is not None and record.is_from_before_clear(self._max_tries):
            self._stored = record.model_copy(update={"max_tries": self._max_tries, "resubmitted": False})
            self._write_or_log("record the clear", partial(self._write, self._stored))

    def record_intent(self, *, is_resubmission: bool = False) -> None:
        """Records that a billed request is about to be sent, and reads the record back.

        Airflow can store a write to which it responds with an error, and another attempt can write at the same moment.

        Args:
            is_resubmission: whether it repeats a submission that was lost.

        Raises:
            LedgerError: this attempt's intent is not recorded, so the request must not be sent.
        """
        self._has_resubmitted |= is_resubmission
        self._before_intent = self._stored
        record = Record(
            stage=Stage.INTENT, at=clock.now(), token=secrets.token_hex(8), traits=self._traits, **self._identity
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
        """Returns if the intent is stored in spite of ``error``; otherwise makes sure that it is not, and raises.

        If the intent stayed, the next attempt would believe that a submission was lost.
        """
        left = ""
        try:
            stored = _with_retries(self._read)
            if stored is not None and stored.token == record.token:
                self._stored = record
                log.warning("Airflow reported an error but did store the intent to submit: %s", error)
                return
        except Exception:  # noqa: BLE001 - it is unknown what is stored, so the previous record is restored
            try:
                _with_retries(self._restore)
            except Exception:  # noqa: BLE001 - the error below says so
                left = (
                    " It may still contain an intent, which the next attempt cannot distinguish from a lost submission."
                )
        raise LedgerError(
            f"The record of what was paid for could not be written ({_reason(error)}). Nothing was submitted.{left}"
        ) from error

    def clear_intent(self) -> None:
        """Removes the intent, since AnyFast has not accepted the request, and restores the previous record."""
        self._write_or_log("remove the intent", self._restore)

    def record_submitted(self, id_: str) -> None:
        """Records the id that AnyFast returned. Retries a failed write, since losing this record may cost a video."""
        record = Record(stage=Stage.SUBMITTED, at=clock.now(), id=id_, **self._identity)
        self._write_or_log(f"record {id_}, which is paid for", lambda: _with_retries(self._write, record))

    def record_lost_response(self, request_id: str = "") -> LostSubmission:
        """Records that this attempt's submission got no response, and returns what a lookup can find it by.

        The record stays an intent, since the failure has not been reported yet: if the worker is killed now, the next
        attempt looks it up.
        """
        record = self._stored or Record(stage=Stage.INTENT, at=clock.now(), traits=self._traits, **self._identity)
        self._stored = record.model_copy(update={"lost_at": clock.now(), "request_id": request_id or None})
        self._write_or_log("record that the response was lost", partial(self._write, self._stored))
        return self._stored.lost

    def record_found(self, id_: str) -> None:
        """Records the generation of a lost submission, as paid for at the time of that submission."""
        self._advance(Stage.SUBMITTED, id_)

    def mark_unconfirmed(self) -> None:
        """Records that the task fails with a message about a lost response."""
        self._advance(Stage.LOST)

    def mark_closed(self, id_: str) -> None:
        """Records that ``id_``, which was paid for, can no longer yield a file."""
        self._advance(Stage.CLOSED, id_)

    def submitted_at(self, id_: str) -> float | None:
        """Unix seconds at which ``id_`` was recorded; None if the record is about another, or cannot be read."""
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
        """Also repairs a record that lacks the id because it could not be written."""

        def advance() -> None:
            record = self._read()
            if record is not None:
                reached = {"stage": stage, "max_tries": self._max_tries, "id": id_ or record.id}
                if reached["id"]:
                    reached |= {"traits": None, "lost_at": None, "request_id": None}
                self._stored = record.model_copy(update=reached)
                self._write(self._stored)

        self._write_or_log(f"record that the purchase is {stage.value}", advance)

    def _write_or_log(self, what: str, write: Any) -> None:
        """A failed write must not throw away what was paid for, so the attempt continues."""
        try:
            write()
        except Exception:
            log.exception(
                "The ledger could not %s. This attempt continues; a later one may have to look this up again.", what
            )


def _with_retries(act: Callable[..., _ResultT], *given: Any) -> _ResultT:
    """The result of ``act``, which calls Airflow and is retried for some seconds if it fails."""
    retrying = Retrying(
        sleep=clock.sleep, stop=stop_after_attempt(4), wait=wait_exponential(multiplier=1, max=10), reraise=True
    )
    return retrying(act, *given)


def _reason(error: Exception) -> str:
    return error.what if isinstance(error, AnyFastError) else str(error)
