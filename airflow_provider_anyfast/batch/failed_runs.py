"""Continues with the videos that failed runs of a batch task have paid for and not saved.

A run finds no files for them, so without this it would make them again. Clearing the failed task saves them too, but a
new run is often there first.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.ledger.pages import PagedLedger
from airflow_provider_anyfast.ledger.record import Stage, record_of
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.batch.run_lock import OtherRun
    from airflow_provider_anyfast.ledger.record import Record

log = logging.getLogger(__name__)

MAX_AGE = 23 * 3600.0
"""Seconds since a submission in which its video is worth continuing: a link lives for 24 hours after the rendering."""


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
    found: dict[str, Record] = {}
    for run in failed:
        for key, value in PagedLedger(run.store_of).items():
            if key in missing and "saved" not in value and _is_worth_it(record := record_of(value)):
                found[key] = record
    if found:
        ledger.put_all(
            {key: record.model_copy(update={"max_tries": max_tries}).to_stored() for key, record in found.items()}
        )
        log.info("Continuing with %s that failed runs of this task have paid for.", counted(len(found), "video"))


def _is_worth_it(record: Record) -> bool:
    return record.stage is Stage.SUBMITTED and clock.now() - record.at < MAX_AGE
