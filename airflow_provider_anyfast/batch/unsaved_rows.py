"""What runs of a batch task have, or may have, paid for and not saved, although they have succeeded.

``failure_threshold`` lets a task succeed with rows that failed, and the video of such a row may be paid for. No later
run reads the records of a run that has succeeded, since there may be thousands of them. So each run notes what it
leaves in one place for all.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.consistency import GENERATION_KEPT
from airflow_provider_anyfast.client.errors import AnyFastError, LedgerError
from airflow_provider_anyfast.ledger.record import Record, Stage, record_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_anyfast.ledger.record import Store

LINK_KEPT = 23 * 3600.0
"""Seconds since a submission in which its video can be saved: a link lives for 24 hours after the rendering."""


class _UnsavedRow(BaseModel):
    record: Record
    runs: tuple[str, ...]
    """The ids of the runs that have failed the row."""


class _Stored(BaseModel):
    rows: dict[str, _UnsavedRow] = Field(default_factory=dict)


@dataclass(frozen=True)
class UnsavedRows:
    """The unsaved rows of the successful runs of a task.

    Args:
        store: shared by the runs. They take turns, so no two of them write at the same time.
        run_id: of this run.
    """

    store: Store
    run_id: str

    def records(self) -> dict[str, Record]:
        """The records that this run continues, by the keys of their rows.

        Without a lost submission that this run has failed before: it was cleared since, and a clear submits again.

        Raises:
            LedgerError: they cannot be read. Unknown is not absent.
        """
        return {
            key: row.record
            for key, row in self._stored().rows.items()
            if row.record.stage is Stage.SUBMITTED or self.run_id not in row.runs
        }

    def note(self, ledger: Iterable[tuple[str, Any]]) -> None:
        """Adds the unsaved rows of this run, and removes those that nothing can be done about any more.

        Args:
            ledger: the stored records of this run's rows by their keys; none if no row has failed.

        Raises:
            LedgerError: they cannot be read or written.
        """
        stored = self._stored().rows
        rows = dict(stored)
        for key, value in ledger:
            record, known = record_in(value), rows.get(key)
            runs = known.runs if known is not None and known.record.at == record.at else ()
            rows[key] = _UnsavedRow(record=record, runs=(*runs, self.run_id))
        left = {key: row for key, row in rows.items() if can_be_saved(row.record) or may_be_billed(row.record)}
        with _ledger_error("could not be written"):
            if left and left != stored:
                self.store.set(_Stored(rows=left).model_dump(mode="json", exclude_none=True))
            elif stored and not left:
                self.store.delete()

    def _stored(self) -> _Stored:
        with _ledger_error("could not be read"):
            value = self.store.get() or {}
        try:
            return _Stored.model_validate(value)
        except ValueError as error:
            raise LedgerError(
                "The record of what was paid for cannot be parsed. Videos may be paid for already, so nothing more was "
                "submitted.",
                advice="Restore the Variable anyfast_ledger_… that was changed. If you delete it, rows may be paid for "
                "again.",
            ) from error


@contextmanager
def _ledger_error(what: str) -> Iterator[None]:
    """Turns whatever Airflow raises into an error that says what it cost."""
    try:
        yield
    except AnyFastError:
        raise
    except Exception as error:
        raise LedgerError(
            f"The record of what was paid for {what} ({error}). Videos may be paid for already, so nothing more was "
            "submitted."
        ) from error


def record_in(value: Any) -> Record:
    """The record in a stored value. A saved video is done, even if its file was deleted since."""
    record = record_of(value)
    return record.model_copy(update={"stage": Stage.CLOSED}) if "saved" in value else record


def can_be_saved(record: Record) -> bool:
    """Whether a video is paid for and AnyFast still returns its link."""
    return record.stage is Stage.SUBMITTED and clock.now() - record.at < LINK_KEPT


def may_be_billed(record: Record) -> bool:
    """Whether a submission without a response may still be found at AnyFast."""
    return record.stage in (Stage.INTENT, Stage.LOST) and clock.now() - record.at < GENERATION_KEPT
