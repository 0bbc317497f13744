"""Which rows have ended already: what the ledger knows, and what an earlier manifest says beside it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch.manifest import SUCCEEDED, ManifestEntry, digest_of, entry_from_facts
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.ledger.record import record_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_anyfast.batch.manifest import Manifest
    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.batch.runner import BatchOptions
    from airflow_provider_anyfast.ledger.pages import PagedLedger

log = logging.getLogger(__name__)


def final_entries(
    rows: Sequence[BatchRow], ledger: PagedLedger, manifest: Manifest, options: BatchOptions
) -> Iterator[ManifestEntry]:
    """The entries of rows that succeeded at any time, and of those that failed in this very attempt.

    A success is what the ledger says. The manifest is believed where the ledger says nothing: it was written by version
    0.1.0, or its Variables went with the task's success.
    """
    written = _own_entries(manifest, options)
    for row in rows:
        entry = written.get(row.key)
        value = ledger.get(row.key) or {}
        facts = value.get("saved")
        generation_id = record_of(value).id if facts else ""
        if facts and _is_in_place(facts, row, generation_id):
            if entry is None or entry.status != SUCCEEDED or entry.result.get("generation_id") != generation_id:
                if _has_live_link(facts, row):
                    continue  # asking AnyFast is free, and brings the link back
                entry = _restored(row, facts, generation_id, options)
        elif entry is None or not _is_final(entry, row, options):
            continue
        yield replace(entry, row=row.number, input=row.data)


def _own_entries(manifest: Manifest, options: BatchOptions) -> dict[str, ManifestEntry]:
    entries = manifest.read()
    own = {entry.request: entry for entry in entries if entry.batch == options.identity}
    if foreign := sum(entry.batch != options.identity for entry in entries):
        log.warning("%s held %d lines of another batch, which are replaced.", manifest.path, foreign)
    return own


def _is_final(entry: ManifestEntry, row: BatchRow, options: BatchOptions) -> bool:
    if entry.status != SUCCEEDED:
        return entry.attempt == options.attempt
    generation_id = str(entry.result.get("generation_id"))
    return row.delivery is None or entry.result.get("path") == row.delivery.path_of(generation_id)


def _is_in_place(facts: dict[str, Any], row: BatchRow, generation_id: str) -> bool:
    """Whether the video was saved where the row wants it now."""
    return row.delivery is None or facts.get("place") == digest_of(row.delivery.path_of(generation_id))


def _has_live_link(facts: dict[str, Any], row: BatchRow) -> bool:
    expires_at = facts.get("expires_at")
    return row.delivery is None and (expires_at is None or str(expires_at) > str(clock.iso(clock.now())))


def _restored(row: BatchRow, facts: dict[str, Any], generation_id: str, options: BatchOptions) -> ManifestEntry:
    path = row.delivery.path_of(generation_id) if row.delivery is not None else None
    entry = ManifestEntry(row.number, row.key, options.identity, options.attempt, row.data, status="")
    return entry_from_facts(entry, facts, generation_id, prompt=row.request.prompt, path=path)
