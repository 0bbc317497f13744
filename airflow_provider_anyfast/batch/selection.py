"""Which rows of a table a run makes: not those whose video is there already, and no more than its limit."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_anyfast.batch.manifest import new_entry, skipped_entry

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from airflow_provider_anyfast.batch.manifest import ManifestEntry
    from airflow_provider_anyfast.batch.options import BatchOptions
    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.ledger.pages import PagedLedger

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """The rows of a run, in the order of the table.

    Attributes:
        made: rows that this run makes, or has made in an earlier attempt.
        existing: rows whose whole video was there before.
        skipped: the entries of these.
    """

    made: Sequence[BatchRow]
    existing: Sequence[BatchRow] = ()
    skipped: Sequence[ManifestEntry] = ()


def select_rows(
    rows: Sequence[BatchRow], ledger: PagedLedger, *, ended: Collection[int], options: BatchOptions
) -> Selection:
    """Chooses the rows of a run; the same ones in each of its attempts.

    Args:
        rows: of the table.
        ledger: a row that it has a payment of is never skipped and never left out.
        ended: numbers of rows that ended in this task.
        options: of the batch.

    Raises:
        StorageError: the storage does not answer, so nobody knows which videos are there.
    """
    paid = {row.number for row in rows if row.number in ended or _is_paid(row, ledger)}
    entries: dict[int, ManifestEntry] = {}
    if options.given.if_exists == "skip":
        entries = _existing([row for row in rows if row.number not in paid], options)
    made: list[BatchRow] = []
    for row in rows:
        has_room = options.given.limit is None or len(made) < options.given.limit
        if row.number not in entries and (has_room or row.number in paid):
            made.append(row)
    existing = [row for row in rows if row.number in entries]
    if existing:
        log.info("Skipped %d of %d rows: their complete videos already exist.", len(existing), len(rows))
    if left_out := len(rows) - len(made) - len(existing):
        log.info("limit=%d leaves out %d rows, for which nothing is billed.", options.given.limit, left_out)
    return Selection(made, existing, list(entries.values()))


def _is_paid(row: BatchRow, ledger: PagedLedger) -> bool:
    record = ledger.record(row.key)
    return record is not None and record.is_open


def _existing(rows: Sequence[BatchRow], options: BatchOptions) -> dict[int, ManifestEntry]:
    """The entries of rows whose whole video is where it would go, which is looked for side by side."""
    with ThreadPoolExecutor(options.given.max_in_flight, thread_name_prefix="anyfast") as pool:
        found = list(pool.map(lambda row: row.output and row.output.existing_video(), rows))
    return {
        row.number: skipped_entry(
            new_entry(row, options.identity, options.attempt),
            prompt=row.request.prompt,
            saved=video,
        )
        for row, video in zip(rows, found, strict=True)
        if video is not None
    }
