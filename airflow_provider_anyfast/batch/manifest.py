"""The manifest of a batch: one JSON line for each row that has ended, successfully or not."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, field, fields, replace
from pathlib import PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, Cost
from airflow_provider_anyfast.client.responses import Usage
from airflow_provider_anyfast.ledger.fingerprint import short_digest
from airflow_provider_anyfast.seedance.pricing import billed_tokens
from airflow_provider_anyfast.seedance.result import video_result
from airflow_provider_anyfast.seedance.saved import VideoFacts, saved_fields

if TYPE_CHECKING:
    from decimal import Decimal

    from airflow_provider_anyfast.batch.options import BatchOptions
    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.client.responses import Generation
    from airflow_provider_anyfast.files.base import StoredFile
    from airflow_provider_anyfast.seedance.saved import SavedVideo

log = logging.getLogger(__name__)

SUCCEEDED, FAILED, LOST, SKIPPED = "SUCCESS", "FAILURE", "LOST", "SKIPPED"
EXAMPLES = 5
"""Failures that an error message lists."""
_MOMENTS = ("submitted_at", "finished_at")
_ROW_AT = len('{"row": ')
"""Where the row number begins in a line: the row is the first field of an entry."""


@dataclass(frozen=True)
class ManifestEntry:
    """The outcome of one row.

    Attributes:
        row: its number, from 1.
        request: digest of the rendered request; a changed row is a different request.
        batch: name of the task instance.
        attempt: the try of the task in which it ended.
        input: the row as given.
        status: ``SUCCESS``, ``FAILURE``, ``LOST`` if it is unknown whether something was billed, or ``SKIPPED`` if its
            complete video was already there.
        error_type, error: why it failed.
        retryable: whether a retry of the task tries the row again.
        key_column: the column whose value names the row; None for the first one, and in manifests of version 0.1.0.
        result: as for ``GenerateVideoOperator``; contains a signed link only if no file was requested.
        label: the row's name in messages; not written to the file.
    """

    row: int
    request: str
    batch: str
    attempt: int
    input: dict[str, Any]
    status: str
    error_type: str | None = None
    error: str | None = None
    retryable: bool | None = None
    key_column: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def tokens(self) -> int:
        """Tokens billed for the row, including up-scaling."""
        return billed_tokens(Usage.model_validate(self.result.get("usage") or {})) or 0

    @property
    def render_seconds(self) -> float:
        """Seconds from submission to the end of rendering; 0 if unknown."""
        try:
            submitted_at, finished_at = (clock.from_iso(self.result.get(name)) for name in _MOMENTS)
        except (TypeError, ValueError):  # somebody has edited the manifest
            return 0.0
        return max(0.0, finished_at - submitted_at) if submitted_at and finished_at else 0.0


@dataclass
class Tally:
    """The entries of a manifest in numbers.

    Attributes:
        ended_now: rows that ended in this try of the task.
        skipped: rows whose complete video already existed.
        retryable: failed rows that a retry tries again.
        examples: the first failures: the number of the row, and a text that names the row and the error.
        rendered: videos whose render time AnyFast reported.
        render_seconds, slowest: their total render time, and that of the slowest.
    """

    succeeded: int = 0
    failed: int = 0
    lost: int = 0
    tokens: int = 0
    ended_now: int = 0
    retryable: int = 0
    skipped: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)
    rendered: int = 0
    render_seconds: float = 0.0
    slowest: float = 0.0

    @property
    def failures(self) -> int:
        """Rows that ended without success."""
        return self.failed + self.lost

    def add(self, entry: ManifestEntry, attempt: int) -> None:
        """Adds a row that has ended; ``attempt`` is the current try of the task."""
        if entry.status == SKIPPED:
            self.skipped += 1
            return
        self.ended_now += entry.attempt == attempt
        self.tokens += entry.tokens
        if entry.status == SUCCEEDED:
            self.succeeded += 1
            if seconds := entry.render_seconds:
                self.rendered += 1
                self.render_seconds += seconds
                self.slowest = max(self.slowest, seconds)
            return
        self.failed += entry.status != LOST
        self.lost += entry.status == LOST
        self.retryable += bool(entry.retryable)
        what = (entry.error or "").partition("\n")[0]
        self.examples = sorted([*self.examples, (entry.row, f"{entry.label}: {what}")])[:EXAMPLES]


class Manifest:
    """The entries of a batch. Each is serialized once, so a write only joins lines.

    The manifest is a report; the ledger is the authority on what was paid for and what succeeded.
    """

    def __init__(self, file: StoredFile, attempt: int) -> None:
        self.tally = Tally()
        self._file = file
        self._attempt = attempt
        self._lines: dict[int, str] = {}
        self._written = -1
        self._digest = ""
        self._lock = Lock()

    @property
    def path(self) -> str:
        """The path of the manifest."""
        return self._file.path

    @property
    def digest(self) -> str:
        """The digest of the text that was last written."""
        return self._digest

    def __contains__(self, row: int) -> bool:
        return row in self._lines

    def __len__(self) -> int:
        return len(self._lines)

    def generation_ids(self) -> set[str]:
        """The generations of the rows that have ended."""
        return {str(entry.result["generation_id"]) for entry in self.entries() if entry.result.get("generation_id")}

    def entries(self) -> list[ManifestEntry]:
        """The entries of the rows that have ended, in the order of the rows."""
        with self._lock:
            lines = dict(self._lines)
        return from_text("".join(lines[row] for row in sorted(lines)))

    def read(self) -> list[ManifestEntry]:
        """The entries in the file, whoever wrote it."""
        return from_text(self._file.read_text() or "")

    def take_over(self, digest: str, tally: Tally) -> bool:
        """Continues with the file of an earlier segment, without parsing it; False if the file has changed since."""
        text = self._file.read_text() or ""
        if short_digest(text) != digest:
            return False
        lines = [f"{line}\n" for line in text.split("\n") if line]
        self._lines = {int(line[_ROW_AT : line.index(",")]): line for line in lines}
        self.tally, self._digest, self._written = tally, digest, len(lines)
        return True

    def add(self, entry: ManifestEntry) -> None:
        """Adds the entry of a row that has ended."""
        line = _line_of(entry)
        with self._lock:
            self._lines[entry.row] = line
            self.tally.add(entry, self._attempt)

    def write(self) -> None:
        """Replaces the file if an entry was added since the last write."""
        with self._lock:
            lines = dict(self._lines)
        if len(lines) == self._written:
            return
        text = "".join(lines[row] for row in sorted(lines))
        self._file.write_text(text)
        self._written, self._digest = len(lines), short_digest(text)


def new_entry(row: BatchRow, options: BatchOptions) -> ManifestEntry:
    """The entry of a row that has not ended: what was requested."""
    return ManifestEntry(
        row.number,
        row.key,
        options.identity,
        options.attempt,
        row.data,
        status="",
        key_column=options.given.key_column,
        result={"parameters": row.request.given()},
        label=row.label,
    )


def success_entry(
    entry: ManifestEntry,
    generation: Generation,
    *,
    prompt: str | None,
    saved: SavedVideo | None,
    estimated_tokens: int | None = None,
    price: Decimal | None = None,
) -> ManifestEntry:
    """Completes ``entry`` for a row whose video is ready and, if a file was requested, saved."""
    result = video_result(
        generation,
        prompt=prompt,
        parameters=entry.result.get("parameters"),
        saved=saved,
        estimated_tokens=estimated_tokens,
        price=price,
    )
    if saved is not None:
        result |= {"video_url": None, "expires_at": None, "last_frame_url": None}
    return replace(entry, status=SUCCEEDED, result=result)


def skipped_entry(entry: ManifestEntry, *, prompt: str | None, saved: SavedVideo) -> ManifestEntry:
    """Completes ``entry`` for a row whose complete video already exists, so nothing is submitted for it."""
    files = saved_fields(saved, entry.result.get("parameters"))
    return replace(entry, status=SKIPPED, result=entry.result | {"generation_id": None, "prompt": prompt, **files})


def status_of(error: Any) -> str:
    """What a manifest or a report states about a video whose row or task ended with ``error``."""
    return LOST if isinstance(error, AnyFastError) and error.cost is Cost.MAYBE else FAILED


def failure_entry(entry: ManifestEntry, error: AnyFastError, generation_id: str) -> ManifestEntry:
    """Completes ``entry`` for a row that has failed or may have been billed."""
    return replace(
        entry,
        status=status_of(error),
        error_type=type(error).__name__,
        error=str(error),
        retryable=error.retryable,
        result=entry.result | {"generation_id": error.generation_id or generation_id or None},
    )


def from_text(text: str) -> list[ManifestEntry]:
    """The entries of a manifest; unreadable lines are left out, since querying AnyFast again is not billed."""
    entries = []
    for number, part in enumerate(text.split("\n"), start=1):  # splitlines would break prompts
        if not part.strip():
            continue
        try:
            found = json.loads(part)
            result = {name: value for name, value in found.items() if name not in _OWN_FIELDS}
            own = {name: found[name] for name in _OWN_FIELDS if name in found}
            entries.append(ManifestEntry(**own, result=result))
        except (ValueError, TypeError, KeyError, AttributeError):
            log.warning("Cannot parse line %d of the manifest. Looking up the state of its row again.", number)
    return entries


# The part of a success that the ledger keeps, so that the manifest can be rewritten from it.


def facts_of(entry: ManifestEntry) -> dict[str, Any]:
    """The part of a success that the ledger keeps: a few hundred bytes, however long paths and prompt are.

    The prompt and the path are left out, since the row renders to them again; a digest shows whether the path is still
    the same. Links are left out because they are secrets.
    """
    result = entry.result
    facts = {name: result[name] for name in _KEPT if result.get(name) is not None}
    usage = {name: value for name, value in (result.get("usage") or {}).items() if isinstance(value, int)}
    path, frame = result.get("path"), result.get("last_frame_path")
    place = {"place": short_digest(path)} if path else {}
    ending = {"frame": PurePosixPath(frame).suffix} if frame else {}
    poster = {"poster": True} if result.get("poster_path") else {}
    measured = {"measured": [result[name] for name in _MEASURED]} if result.get("width") else {}
    return {"attempt": entry.attempt, "usage": usage, **facts, **place, **ending, **poster, **measured}


def entry_from_facts(
    entry: ManifestEntry,
    facts: dict[str, Any],
    generation_id: str,
    *,
    prompt: str | None,
    saved: SavedVideo | None,
) -> ManifestEntry:
    """Completes ``entry`` for a row that succeeded, from the facts in the ledger."""
    result = {
        **entry.result,
        **dict.fromkeys((*_KEPT, "video_url", "last_frame_url")),
        **{name: facts[name] for name in (*_KEPT, "usage") if name in facts},
        "generation_id": generation_id,
        "prompt": prompt,
        **saved_fields(saved, entry.result.get("parameters")),
    }
    return replace(entry, attempt=int(facts.get("attempt", entry.attempt)), status=SUCCEEDED, result=result)


_KEPT = (
    "model",
    "expires_at",
    "duration",
    "resolution",
    "ratio",
    "seed",
    "estimated_tokens",
    "estimated_cost",
    "cost",
    "submitted_at",
    "finished_at",
)
_MEASURED = tuple(fact.name for fact in fields(VideoFacts))
_OWN_FIELDS = tuple(own.name for own in fields(ManifestEntry) if own.name not in ("result", "label"))


def _line_of(entry: ManifestEntry) -> str:
    """The entry as one JSON object that includes the result's fields.

    Any row can be written: a lone surrogate is escaped, and a number that JSON does not have, such as the NaN of an
    empty pandas cell, becomes null.
    """
    found = {name: getattr(entry, name) for name in _OWN_FIELDS}
    found.update({name: value for name, value in entry.result.items() if name != "status"})
    text = json.dumps(_finite(found), ensure_ascii=False, default=str) + "\n"
    return text.encode(errors="backslashreplace").decode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
