"""Continues with what failed runs of a batch task have, or may have, paid for and not saved.

A run finds no files for these rows, so without this it would pay for them again. Clearing the failed task saves them
too, but a new run is often there first.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.consistency import GENERATION_KEPT
from airflow_provider_anyfast.ledger.pages import PagedLedger
from airflow_provider_anyfast.ledger.record import Stage, record_of
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.batch.run_lock import OtherRun
    from airflow_provider_anyfast.ledger.record import Record

log = logging.getLogger(__name__)

LINK_KEPT = 23 * 3600.0
"""Seconds since a submission in which its video can be saved: a link lives for 24 hours after the rendering."""


def continue_failed_runs(
    rows: Iterable[BatchRow], ledger: PagedLedger, failed: Iterable[OtherRun], *, max_tries: int
) -> None:
    """Copies the records of what failed runs have paid for into this run's ledger, as if this run had submitted it.

    Args:
        rows: of this run. A row that renders differently than in the failed run has another key and is not continued.
        ledger: of this run.
        failed: the failed task instances of the same task.
        max_tries: of this task instance.

    Raises:
        LedgerError: a ledger could not be read or written. Unknown is not absent.
    """
    missing = {row.key for row in rows if ledger.get(row.key) is None}
    newest: dict[str, Record] = {}
    for run in failed:
        for key, value in PagedLedger(run.store_of).items():
            if key not in missing:
                continue
            record = _record_in(value)
            if key not in newest or record.at >= newest[key].at:
                newest[key] = record
    paid = {key: record for key, record in newest.items() if _can_be_saved(record)}
    lost = {key: _as_lost(record) for key, record in newest.items() if _may_be_billed(record)}
    if found := {**paid, **lost}:
        ledger.put_all(
            {key: record.model_copy(update={"max_tries": max_tries}).to_stored() for key, record in found.items()}
        )
    if paid:
        log.info("Continuing with %s that failed runs of this task have paid for.", counted(len(paid), "video"))
    if lost:
        log.info(
            "Failed runs of this task may have paid for %s: the responses to their submissions were lost.",
            counted(len(lost), "more video" if paid else "video"),
        )


def _record_in(value: Any) -> Record:
    """The record in a stored value. A saved video is done, even if its file was deleted since."""
    record = record_of(value)
    return record.model_copy(update={"stage": Stage.CLOSED}) if "saved" in value else record


def _can_be_saved(record: Record) -> bool:
    return record.stage is Stage.SUBMITTED and clock.now() - record.at < LINK_KEPT


def _may_be_billed(record: Record) -> bool:
    return record.stage in (Stage.INTENT, Stage.LOST) and clock.now() - record.at < GENERATION_KEPT


def _as_lost(record: Record) -> Record:
    """An intent counts as lost: its task has failed, so nothing else finds out what became of it."""
    return record.model_copy(update={"stage": Stage.LOST})
