"""The start of a worker segment of a batch: which rows have ended, which are paid for, and which are new."""

from __future__ import annotations

import hashlib
import logging
from collections import ChainMap, defaultdict
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.assets.references import connect
from airflow_provider_anyfast.batch.checkpoint import RowIndex
from airflow_provider_anyfast.batch.manifest import (
    SUCCEEDED,
    Manifest,
    ManifestEntry,
    entry_from_facts,
    new_entry,
)
from airflow_provider_anyfast.batch.other_runs import OtherRuns, continue_other_runs
from airflow_provider_anyfast.batch.selection import is_paid, select_rows
from airflow_provider_anyfast.batch.source import CHANGED, CHANGED_ADVICE, check_places, check_poster, log_estimate
from airflow_provider_anyfast.batch.table import listed
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, Cost, InvalidRequestError, LedgerError
from airflow_provider_anyfast.ledger.fingerprint import short_digest
from airflow_provider_anyfast.ledger.pages import PagedLedger
from airflow_provider_anyfast.ledger.purchase import PaidGeneration
from airflow_provider_anyfast.ledger.record import Submit, decide, record_of
from airflow_provider_anyfast.seedance.saved import VideoFacts
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from airflow_provider_anyfast.assets.references import ReferenceLibrary
    from airflow_provider_anyfast.batch.checkpoint import BatchCheckpoint
    from airflow_provider_anyfast.batch.options import BatchOptions
    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.batch.source import RowSource
    from airflow_provider_anyfast.files.base import StoredFile
    from airflow_provider_anyfast.ledger.record import Record, Store

log = logging.getLogger(__name__)

_PAID_BEFORE = "This attempt has submitted rows already: they are paid for, and clearing the task continues with them."
NEW_ROWS = 1_000
"""Rows that a later segment renders for submission if no other limit applies."""


@dataclass
class Segment:
    """The state at the start of one segment.

    Attributes:
        total: number of rows in the batch.
        ledger: all pages of the ledger, or those that this segment needs.
        manifest: the entries of the rows that have ended.
        recorded: rows that have a record of any stage.
        new: rows to submit.
        is_resumed: whether this attempt has waited before; rows that failed since are then not resubmitted.
        active: videos that are rendering and are not queried, by row number.
        known: generations of the rows to query, as known from an earlier segment of the attempt.
        doubted: rows whose generation AnyFast did not find, or returned without its link, at the last query.
        located: ledger pages of the rows that this segment does not process, by row number.
        left_out: rows beyond the limit of the batch.
        library: the assets of files that rows name as references.
        closed_by: the error that stops submissions, if any.
    """

    total: int
    ledger: PagedLedger
    manifest: Manifest
    recorded: Sequence[BatchRow]
    new: Sequence[BatchRow]
    is_resumed: bool
    active: dict[int, PaidGeneration] = field(default_factory=dict)
    known: dict[int, PaidGeneration] = field(default_factory=dict)
    doubted: set[int] = field(default_factory=set)
    located: dict[int, int] = field(default_factory=dict)
    left_out: int = 0
    library: ReferenceLibrary | None = None
    closed_by: AnyFastError | None = None


@dataclass
class SegmentStart:
    """Starts the segments of a task: cheaply if an earlier one of the same attempt left a checkpoint.

    Args:
        source: the source of the rows.
        store_of: returns the store of the ledger.
        manifest: where the manifest is written.
        claim: called with the manifest before the first segment of an attempt; raises if another task writes it.
        index: index of the rows, if an earlier segment made one.
        library: turns files that rows name as references into assets.
        other_runs: those that may make, or have paid for, the same rows; None if each run makes all of its rows.
    """

    source: RowSource
    store_of: Callable[[str], Store]
    manifest: StoredFile
    claim: Callable[[StoredFile], None]
    index: RowIndex | None = None
    library: ReferenceLibrary | None = None
    other_runs: OtherRuns | None = None

    @property
    def kind(self) -> str:
        """The kind of the videos, which determines how long they take; empty if they differ."""
        return self.index.kind if self.index is not None else ""

    def segment(self, checkpoint: BatchCheckpoint, ended: Collection[str] | None, options: BatchOptions) -> Segment:
        """The state at the start of the next segment.

        Args:
            checkpoint: the checkpoint of the previous segment, if there was one.
            ended: ids of the generations that have ended since; None if unknown.
            options: the options of the batch.

        Raises:
            InvalidRequestError: the rows cannot be submitted, or differ from those that were paid for.
            LedgerError: the ledger could not be read or written.
            StorageError: the storage does not respond.
            HeldByAnotherRunError: another run has to end first.
        """
        if not checkpoint.resumed:
            return self._first(options, is_resumed=False)
        try:
            return self._later(checkpoint, ended, options) or self._first(options, is_resumed=True)
        except InvalidRequestError as error:
            raise error.with_context(
                _PAID_BEFORE, cost=Cost.PAID, cost_sentence="What this attempt has submitted is billed."
            ) from error

    def _first(self, options: BatchOptions, *, is_resumed: bool) -> Segment:
        """Starts from all rows and the whole ledger. Whatever can refuse the batch comes before the first payment."""
        rows = self.source.all()
        ledger = self._open_ledger(rows, options, is_resumed=is_resumed)
        manifest = Manifest(self.manifest, options.attempt)
        written = _own_entries(manifest, options)
        rows = _as_recorded(rows, {*written, *(key for key, _ in ledger.items())})
        _refuse_changed_rows(rows, ledger, options)
        ended = {entry.row: entry for entry in _final_entries(rows, ledger, written, options)}
        selection = select_rows(rows, ledger, ended=ended.keys(), options=options)
        self.source.refuse_if_over_budget(selection.made)
        unfinished = [row for row in selection.made if row.number not in ended]
        unpaid = (row for row in unfinished if not is_paid(row, ledger))
        log_estimate([row.request.estimated_tokens() for row in unpaid], self.source.price)
        closed_by = self._create_assets(unfinished, ledger, options)
        self.index = RowIndex.of(selection.rows, self.source.digest, left_out=len(rows) - len(selection.rows))
        if self.library is not None:
            self.index.assets.update(self.library.found)
        for entry in (*ended.values(), *selection.skipped):
            manifest.add(entry)
        if ended:
            log.info("%d of %s had already ended.", len(ended), counted(len(selection.rows), "row"))
        return Segment(
            total=len(selection.rows),
            left_out=self.index.left_out,
            ledger=ledger,
            manifest=manifest,
            recorded=[row for row in unfinished if ledger.get(row.key) is not None],
            new=[row for row in unfinished if ledger.get(row.key) is None],
            is_resumed=is_resumed,
            library=self.library,
            closed_by=closed_by,
        )

    def _open_ledger(self, rows: Sequence[BatchRow], options: BatchOptions, *, is_resumed: bool) -> PagedLedger:
        """The whole ledger, once the batch can write its files and no other run makes the same rows.

        An attempt that has waited before has ensured both, and may have paid for rows since.
        """
        if not is_resumed:
            check_places(rows, self.source.rows, self.manifest)
            self.claim(self.manifest)
        ledger = PagedLedger(self.store_of)
        if not ledger.items():  # a video that is paid for is saved, even if no poster can be made of it
            check_poster(rows)
        if self.other_runs is not None and not is_resumed:
            self.other_runs.lock.acquire(ledger)
            continue_other_runs(rows, ledger, self.other_runs, options)
        return ledger

    def _later(
        self, checkpoint: BatchCheckpoint, ended: Collection[str] | None, options: BatchOptions
    ) -> Segment | None:
        """Starts from the checkpoint of an earlier segment of the same attempt; None if it is no longer valid.

        It renders, queries and reads from the ledger only the rows that have ended and those that may be submitted.
        """
        manifest = Manifest(self.manifest, options.attempt)
        if self.index is None or checkpoint.tally is None or self.source.digest != self.index.digest:
            return None
        if not manifest.take_over(checkpoint.manifest, checkpoint.tally):
            log.warning("The manifest was changed since this task wrote it. Rewriting it.")
            return None
        keys = self.index.keys
        generations = {number: PaidGeneration(id_, at, reattached=True) for number, id_, at in checkpoint.active}
        active = {} if ended is None else {row: found for row, found in generations.items() if found.id not in ended}
        asked = [*(number for number in generations if number not in active), *checkpoint.unanswered]
        paid_for = {*generations, *checkpoint.unanswered}
        limit = options.given.max_active
        room = NEW_ROWS if limit is None else max(0, limit - len(active))
        new = list(islice((number for number in keys if number not in manifest and number not in paid_for), room))
        located = dict(checkpoint.located)
        pages = {keys[number]: located[number] for number in (*asked, *new) if number in located}
        if self.library is not None:
            self.library.found |= self.index.assets
        return Segment(
            total=len(keys),
            ledger=PagedLedger(self.store_of, pages),
            manifest=manifest,
            recorded=self.source.some(asked, self.index),
            new=self.source.some(new, self.index),
            is_resumed=True,
            active=active,
            known={number: generations[number] for number in asked if number in generations},
            doubted=set(checkpoint.doubted),
            located=located,
            left_out=self.index.left_out,
            library=self.library,
        )

    def _create_assets(
        self, rows: Sequence[BatchRow], ledger: PagedLedger, options: BatchOptions
    ) -> AnyFastError | None:
        """Creates the assets of all rows that are certain to be submitted; other rows create theirs later.

        Returns:
            The error that affects all rows, if some are paid for and have to be saved first.

        Raises:
            AnyFastError: the same error, if no row is paid for.
        """
        if self.library is None:
            return None
        submitted = [row for row in rows if _is_to_submit(ledger.record(row.key), options)]
        labels = defaultdict[str, list[str]](list)
        for row in submitted:
            for file in row.request.files:
                labels[file].append(row.label)
        is_first_payment = not ledger.items()
        connect(file for row in rows for file in row.request.files)
        try:
            self.library.obtain(
                dict(ChainMap(*(row.request.files for row in submitted))),
                is_strict=is_first_payment,
                needed_by={file: listed(of_rows) for file, of_rows in labels.items()},
            )
        except AnyFastError as error:
            if is_first_payment:
                raise
            return error
        return None


def _is_to_submit(record: Record | None, options: BatchOptions) -> bool:
    """Whether no video was paid for that this attempt could continue with or look up."""
    is_clear = record is not None and record.is_from_before_clear(options.max_tries)
    decision = decide(record, is_same_request=True, is_clear=is_clear)
    return isinstance(decision, Submit) and decision.lost is None


def _as_recorded(rows: Sequence[BatchRow], recorded: Collection[str]) -> list[BatchRow]:
    """The rows, each with the key of its record; version 0.1.0 built keys differently."""
    found = []
    for row in rows:
        former = row.former_key if recorded and row.key not in recorded else row.key
        found.append((row.recorded_as(former) if former in recorded else None) or row)
    return found


_ORPHANS = "left_alone"
"""The ledger's key for the digest of paid records that a clear left without a row; named by version 0.1.0."""


def _refuse_changed_rows(rows: Sequence[BatchRow], ledger: PagedLedger, options: BatchOptions) -> None:
    """Refuses changed rows, which a retry would pay for as new requests. Only a clear may submit them."""
    keys = {row.key for row in rows}
    orphans = sorted(key for key, value in ledger.items() if key not in keys and record_of(value).is_open)
    digest = hashlib.sha256(" ".join(orphans).encode()).hexdigest()
    if ledger.metadata("max_tries") != options.max_tries:
        if orphans:
            log.warning(
                "No current row asks for %s that was paid for before the task was cleared. What was paid for stays "
                "billed; a video that is not saved yet is not downloaded.",
                counted(len(orphans), "video"),
            )
        try:
            ledger.set_metadata({"max_tries": options.max_tries, _ORPHANS: digest})
        except Exception as error:
            raise LedgerError(f"The ledger could not be written ({error}), so this attempt submits nothing.") from error
    elif ledger.metadata(_ORPHANS) != digest:
        found = f"no current row asks for {counted(len(orphans), 'video')} that it has paid for"
        raise InvalidRequestError(CHANGED.format(rows=found), advice=CHANGED_ADVICE)


def _final_entries(
    rows: Sequence[BatchRow], ledger: PagedLedger, written: Mapping[str, ManifestEntry], options: BatchOptions
) -> Iterator[ManifestEntry]:
    """The entries of rows that succeeded in any attempt, and of those that failed in this one.

    The ledger decides what succeeded. The manifest decides where the ledger has no record: version 0.1.0 wrote it, or
    its Variables were deleted when the task succeeded.
    """
    for row in rows:
        entry = written.get(row.key)
        value = ledger.get(row.key) or {}
        facts = value.get("saved")
        generation_id = record_of(value).id if facts else ""
        if facts and _is_in_place(facts, row, generation_id):
            if entry is None or entry.status != SUCCEEDED or entry.result.get("generation_id") != generation_id:
                if _has_live_link(facts, row):
                    continue  # querying AnyFast is not billed, and returns the link again
                entry = _restored(row, facts, generation_id, options)
        elif entry is None or not _is_final(entry, row, options):
            continue
        key_column = options.given.key_column
        yield replace(entry, row=row.number, input=row.data, key_column=key_column, label=row.label)


def _own_entries(manifest: Manifest, options: BatchOptions) -> dict[str, ManifestEntry]:
    entries = manifest.read()
    if foreign := sum(entry.batch != options.identity for entry in entries):
        log.warning("Replacing %s of another batch in %s.", counted(foreign, "line"), manifest.path)
    return {entry.request: entry for entry in entries if entry.batch == options.identity}


def _is_final(entry: ManifestEntry, row: BatchRow, options: BatchOptions) -> bool:
    if entry.status != SUCCEEDED:
        return entry.attempt == options.attempt
    generation_id = str(entry.result.get("generation_id"))
    return row.output is None or entry.result.get("path") == row.output.path_of(generation_id)


def _is_in_place(facts: dict[str, Any], row: BatchRow, generation_id: str) -> bool:
    """Whether the video was saved to the row's current output path."""
    return row.output is None or facts.get("place") == short_digest(row.output.path_of(generation_id))


def _has_live_link(facts: dict[str, Any], row: BatchRow) -> bool:
    """Whether the result needs a link, which the ledger does not keep and AnyFast may still have."""
    expires_at = facts.get("expires_at")
    return row.output is None and (expires_at is None or str(expires_at) > str(clock.iso(clock.now())))


def _restored(row: BatchRow, facts: dict[str, Any], generation_id: str, options: BatchOptions) -> ManifestEntry:
    entry = new_entry(row, options)
    saved = None
    if row.output is not None:
        saved = row.output.saved_before(
            generation_id,
            frame_ending=facts.get("frame"),
            has_poster="poster" in facts,
            facts=VideoFacts(*facts["measured"]) if "measured" in facts else None,
        )
    return entry_from_facts(entry, facts, generation_id, prompt=row.request.prompt, saved=saved)
