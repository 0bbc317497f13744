"""Continues with what other runs of a batch task have, or may have, paid for and not saved.

A run finds no files for these rows, so without this it would pay for them again. The other run has failed, or waits for
this one after it was cleared. Clearing a failed task saves its videos too, but a new run is often there first.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch.selection import existing_videos
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.consistency import GENERATION_KEPT
from airflow_provider_anyfast.ledger.pages import PagedLedger
from airflow_provider_anyfast.ledger.record import Stage, record_of
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_anyfast.batch.options import BatchOptions
    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.batch.run_lock import OtherRun
    from airflow_provider_anyfast.ledger.record import Record

log = logging.getLogger(__name__)

LINK_KEPT = 23 * 3600.0
"""Seconds since a submission in which its video can be saved: a link lives for 24 hours after the rendering."""


def continue_other_runs(
    rows: Iterable[BatchRow], ledger: PagedLedger, others: Iterable[OtherRun], options: BatchOptions
) -> None:
    """Copies the records of what other runs have paid for into this run's ledger, as if this run had submitted it.

    A row whose complete video exists needs none: its generation may have failed since, and another one made the video.

    Args:
        rows: of this run. A row that renders differently than in the other run has another key and is not continued.
        ledger: of this run.
        others: the task instances of the same task that have not succeeded. None of them makes rows now.
        options: the options of the batch.

    Raises:
        LedgerError: a ledger could not be read or written. Unknown is not absent.
        StorageError: the storage does not respond, so it is unknown which videos exist.
    """
    missing = {row.key: row for row in rows if ledger.get(row.key) is None}
    newest: dict[str, Record] = {}
    for run in others:
        for key, value in PagedLedger(run.store_of).items():
            if key not in missing:
                continue
            record = _record_in(value)
            if key not in newest or _age_and_progress(record) > _age_and_progress(newest[key]):
                newest[key] = record
    open_rows = [missing[key] for key, record in newest.items() if _can_be_saved(record) or _may_be_billed(record)]
    made = existing_videos(open_rows, options)
    left = {row.key: newest[row.key] for row in open_rows if row.number not in made}
    paid = {key: record for key, record in left.items() if _can_be_saved(record)}
    lost = {key: _as_lost(record) for key, record in left.items() if _may_be_billed(record)}
    if found := {**paid, **lost}:
        own = {"max_tries": options.max_tries}
        ledger.put_all({key: record.model_copy(update=own).to_stored() for key, record in found.items()})
    if paid:
        log.info("Continuing with %s that other runs of this task have paid for.", counted(len(paid), "video"))
    if lost:
        log.info(
            "Other runs of this task may have paid for %s: the responses to their submissions were lost.",
            counted(len(lost), "more video" if paid else "video"),
        )


def _record_in(value: Any) -> Record:
    """The record in a stored value. A saved video is done, even if its file was deleted since."""
    record = record_of(value)
    return record.model_copy(update={"stage": Stage.CLOSED}) if "saved" in value else record


def _age_and_progress(record: Record) -> tuple[float, bool, bool]:
    """Orders the records of one row. A run that continues a submission keeps its time, and may have found its id."""
    return record.at, bool(record.id), record.stage is Stage.CLOSED


def _can_be_saved(record: Record) -> bool:
    return record.stage is Stage.SUBMITTED and clock.now() - record.at < LINK_KEPT


def _may_be_billed(record: Record) -> bool:
    return record.stage in (Stage.INTENT, Stage.LOST) and clock.now() - record.at < GENERATION_KEPT


def _as_lost(record: Record) -> Record:
    """An intent counts as lost: its task is not running, so nothing else finds out what became of it."""
    return record.model_copy(update={"stage": Stage.LOST})
