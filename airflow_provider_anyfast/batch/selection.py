"""Selects the rows that a run generates: without those whose video already exists, and up to its limit."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_anyfast.batch.manifest import new_entry, skipped_entry
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from airflow_provider_anyfast.batch.manifest import ManifestEntry
    from airflow_provider_anyfast.batch.options import BatchOptions
    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.ledger.pages import PagedLedger
    from airflow_provider_anyfast.seedance.saved import SavedVideo

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """The rows of a run, in the order of the table.

    Attributes:
        made: rows that this run generates, or generated in an earlier attempt.
        existing: rows whose complete video already existed.
        skipped: the manifest entries of the existing rows.
    """

    made: Sequence[BatchRow]
    existing: Sequence[BatchRow] = ()
    skipped: Sequence[ManifestEntry] = ()

    @cached_property
    def rows(self) -> list[BatchRow]:
        """All of them."""
        return sorted((*self.made, *self.existing), key=lambda row: row.number)


def select_rows(
    rows: Sequence[BatchRow], ledger: PagedLedger, *, ended: Collection[int], options: BatchOptions
) -> Selection:
    """Selects the rows of a run; the same ones in each of its attempts.

    Args:
        rows: the rows of the table.
        ledger: a row with a payment in the ledger is never skipped and never left out.
        ended: numbers of rows that ended in this task.
        options: the options of the batch.

    Raises:
        StorageError: the storage does not respond, so it is unknown which videos exist.
    """
    paid = {row.number for row in rows if row.number in ended or is_paid(row, ledger)}
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
        log.info("Skipped %d of %s: their complete videos already exist.", len(existing), counted(len(rows), "row"))
    if left_out := len(rows) - len(made) - len(existing):
        log.info("limit=%d leaves out %s. Nothing is billed for them.", options.given.limit, counted(left_out, "row"))
    return Selection(made, existing, list(entries.values()))


def is_paid(row: BatchRow, ledger: PagedLedger) -> bool:
    """Whether the row has a video, or may have one, that an attempt continues with."""
    record = ledger.record(row.key)
    return record is not None and record.is_open


def _existing(rows: Sequence[BatchRow], options: BatchOptions) -> dict[int, ManifestEntry]:
    """The entries of rows whose complete video already exists."""
    found = existing_videos(rows, options)
    return {
        row.number: skipped_entry(new_entry(row, options), prompt=row.request.prompt, saved=found[row.number])
        for row in rows
        if row.number in found
    }


def existing_videos(rows: Sequence[BatchRow], options: BatchOptions) -> dict[int, SavedVideo]:
    """The complete videos that already exist at the rows' output paths, by row number; checked in parallel.

    Raises:
        StorageError: the storage does not respond, so it is unknown which videos exist.
    """
    with ThreadPoolExecutor(options.given.max_in_flight, thread_name_prefix="anyfast") as pool:
        found = list(pool.map(lambda row: row.output and row.output.existing_video(), rows))
    return {row.number: video for row, video in zip(rows, found, strict=True) if video is not None}
