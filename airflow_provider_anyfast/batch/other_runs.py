"""Continues with what other runs of a batch task have, or may have, paid for and not saved.

A run finds no files for these rows, so without this it would pay for them again. The other run has failed, or waits for
this one after it was cleared. Clearing a failed task saves its videos too, but a new run is often there first.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_anyfast.batch.selection import existing_videos
from airflow_provider_anyfast.batch.unsaved_rows import UnsavedRows, can_be_saved, may_be_billed, record_in
from airflow_provider_anyfast.ledger.pages import PagedLedger
from airflow_provider_anyfast.ledger.record import Stage
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_anyfast.batch.options import BatchOptions
    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.batch.run_lock import OtherRun, RunLock
    from airflow_provider_anyfast.ledger.record import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OtherRuns:
    """The other runs of a batch task, as far as this run must not pay for their rows again.

    Args:
        lock: lets this run make rows while no other run does.
        unsuccessful: returns the instances of the task in other runs that have not succeeded.
        unsaved_rows: what those that have succeeded have, or may have, paid for and not saved.
    """

    lock: RunLock
    unsuccessful: Callable[[], Iterable[OtherRun]]
    unsaved_rows: UnsavedRows


def continue_other_runs(
    rows: Iterable[BatchRow], ledger: PagedLedger, others: OtherRuns, options: BatchOptions
) -> None:
    """Copies the records of what other runs have paid for into this run's ledger, as if this run had submitted it.

    A row whose complete video exists needs none: its generation may have failed since, and another one made the video.

    Args:
        rows: of this run. A row that renders differently than in the other run has another key and is not continued.
        ledger: of this run.
        others: the other runs, none of which makes rows now.
        options: the options of the batch.

    Raises:
        LedgerError: a ledger could not be read or written. Unknown is not absent.
        StorageError: the storage does not respond, so it is unknown which videos exist.
    """
    missing = {row.key: row for row in rows if ledger.get(row.key) is None}
    newest = {key: record for key, record in others.unsaved_rows.records().items() if key in missing}
    for run in others.unsuccessful():
        for key, value in PagedLedger(run.store_of).items():
            if key not in missing:
                continue
            record = record_in(value)
            if key not in newest or _age_and_progress(record) > _age_and_progress(newest[key]):
                newest[key] = record
    open_rows = [missing[key] for key, record in newest.items() if can_be_saved(record) or may_be_billed(record)]
    made = existing_videos(open_rows, options)
    left = {row.key: newest[row.key] for row in open_rows if row.number not in made}
    paid = {key: record for key, record in left.items() if can_be_saved(record)}
    lost = {key: _as_lost(record) for key, record in left.items() if may_be_billed(record)}
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


def _age_and_progress(record: Record) -> tuple[float, bool, bool]:
    """Orders the records of one row. A run that continues a submission keeps its time, and may have found its id."""
    return record.at, bool(record.id), record.stage is Stage.CLOSED


def _as_lost(record: Record) -> Record:
    """An intent counts as lost: its task is not running, so nothing else finds out what became of it."""
    return record.model_copy(update={"stage": Stage.LOST})
