"""One worker segment of a batch: submits what may be submitted, settles what has ended, and writes the manifest."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from threading import Condition
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_anyfast.batch.manifest import (
    FAILED,
    LOST,
    SUCCEEDED,
    ManifestEntry,
    failure_entry,
    from_text,
    success_entry,
    to_text,
)
from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    AssetNotReadyError,
    BadRequestError,
    DownloadError,
    GenerationFailedError,
    GenerationTimeoutError,
    InvalidRequestError,
    LedgerError,
    LinkExpiredError,
    LostSubmissionError,
    ModelUnavailableError,
    ModerationError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    RequestTooLargeError,
    StorageError,
    UnexpectedAnswerError,
)
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.ledger.purchase import OnLostSubmission, PaidGeneration, get_or_submit
from airflow_provider_anyfast.ledger.record import Ledger, record_of
from airflow_provider_anyfast.metrics import count_failure, count_obtained, count_success
from airflow_provider_anyfast.seedance.submission import submit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.files.storage import StoredFile
    from airflow_provider_anyfast.files.video_output import SavedVideo
    from airflow_provider_anyfast.ledger.pages import PagedLedger

log = logging.getLogger(__name__)

OnRowFailure = Literal["continue", "fail"]

OF_ONE_ROW = (
    AssetNotReadyError,
    BadRequestError,
    DownloadError,
    GenerationFailedError,
    GenerationTimeoutError,
    InvalidRequestError,
    LinkExpiredError,
    LostSubmissionError,
    ModelUnavailableError,
    ModerationError,
    NotFoundError,
    RequestTooLargeError,
    StorageError,
    UnexpectedAnswerError,
)
"""Errors that say nothing about the other rows. Any other one stops the batch: no money, a wrong key, no connection."""
POLL_SECONDS = 0.05
"""Seconds after which the end of the workers is noticed; what they want written down is, at once."""
FLUSH_EVERY = 10.0
"""Seconds between two writes of the manifest, which replace it as a whole."""
MAX_CONSECUTIVE_FAILURES = 10
"""Rows in a row for which AnyFast, Airflow or the storage did not answer, after which this attempt tries no other."""


@dataclass(frozen=True)
class BatchOptions:
    """What a batch task was told.

    Attributes:
        identity: names the task instance, in the manifest.
        attempt: the try of the task.
        max_tries: Airflow's number, which tells a clear from a retry.
        first_segment: False after a deferral, where what has failed is not submitted again.
        began_at: Unix seconds of the attempt.
        timeout: seconds from a row's submission, or from ``began_at`` if that is later.
        max_in_flight: submissions, questions and downloads at a time.
        max_active: videos being made at a time; None sets no limit.
    """

    identity: str
    attempt: int
    max_tries: int
    first_segment: bool
    began_at: float
    timeout: float
    max_in_flight: int
    max_active: int | None
    on_lost_submission: OnLostSubmission
    on_row_failure: OnRowFailure


@dataclass(frozen=True)
class BatchCheckpoint:
    """What an attempt has to know over its deferrals.

    Attributes:
        began_at: Unix seconds.
        resumed: False before its first wait.
        saturated_since: Unix seconds since when AnyFast takes no submission, although nothing is being made.
    """

    began_at: float
    resumed: bool = False
    saturated_since: float | None = None

    @classmethod
    def from_xcom(cls, stored: Mapping[str, Any]) -> BatchCheckpoint:
        """What an earlier segment has pushed; version 0.1.0 called ``saturated_since`` another name."""
        fields = {"saturated_since" if name == "vain_since" else name: value for name, value in stored.items()}
        return cls(**fields)


@dataclass
class BatchRunner:
    """The rows of one segment.

    Args:
        report: called about every ten seconds, and at the end, in the thread of the task.
    """

    plan: BatchOptions
    rows: Sequence[BatchRow]
    client: AnyFastClient
    book: PagedLedger
    manifest: StoredFile
    report: Callable[[BatchRunner], None]
    lines: dict[str, ManifestEntry] = field(default_factory=dict)
    active: dict[str, PaidGeneration] = field(default_factory=dict)
    stopped_by: AnyFastError | None = None
    """What has ended the submissions for good."""
    saturated_by: RateLimitError | None = None
    """Why AnyFast takes no more submissions for now."""
    ended: int = 0
    """Rows that have ended in this segment."""
    halted: bool = False
    """Whether no further row is taken in hand. A signal handler may set it."""
    _failed: int = 0
    _in_flight: int = 0
    _consecutive_failures: int = 0
    _unasked: int = 0
    """Rows that are paid for and could not be asked about."""
    _written: int = -1
    _paid: deque[BatchRow] = field(default_factory=deque)
    _new: deque[BatchRow] = field(default_factory=deque)
    _changed: Condition = field(default_factory=Condition)

    def work(self) -> None:
        """Goes once through all rows that have not ended, as many at a time as is allowed."""
        self._refuse_other_rows()
        self._read_manifest()
        for row in self.rows:
            if row.key not in self.lines:
                (self._new if self.book.get(row.key) is None else self._paid).append(row)
        working: list[Future[None]] = []
        with ThreadPoolExecutor(self.plan.max_in_flight, thread_name_prefix="anyfast") as pool:
            try:
                working.extend(pool.submit(self._work_through) for _ in range(self.plan.max_in_flight))
                self._serve_ledger_writes(working)
            except BaseException:
                self.halted = True
                self._drain(working)
                raise
            finally:
                self.book.close()
        for worker in working:
            worker.result()

    def _refuse_other_rows(self) -> None:
        """A retry must not buy anew what was bought as another request; a clear is the user's word for it."""
        keys = {row.key for row in self.rows}
        orphans = sorted(key for key, value in self.book.items() if key not in keys and record_of(value).is_open)
        left_alone = hashlib.sha256(" ".join(orphans).encode()).hexdigest()
        if self.book.noted("max_tries") != self.plan.max_tries:
            if orphans:
                log.warning(
                    "%d videos that were paid for before the task was cleared belong to none of the rows as they are "
                    "now. They are left alone.",
                    len(orphans),
                )
            try:
                self.book.note(max_tries=self.plan.max_tries, left_alone=left_alone)
            except Exception as error:
                raise LedgerError(
                    f"The ledger could not be written ({error}), so this attempt has submitted nothing. The next one "
                    "tries again."
                ) from error
        elif self.book.noted("left_alone") != left_alone:
            raise InvalidRequestError(
                "The rows, what else the template refers to, or the connection have changed since this task began: "
                f"{len(orphans)} videos that it has paid for belong to none of the rows as they are now. This attempt "
                "has submitted nothing more. Put back what has changed and clear the task, which then goes on with "
                "them; or clear it to run the rows as they are now, and pay for those that differ."
            )

    def _serve_ledger_writes(self, working: Sequence[Future[None]]) -> None:
        """What only the task's own thread does, since the others must not talk to Airflow."""
        told_at = clock.now()
        while not all(worker.done() for worker in working):
            self.book.flush_pending(POLL_SECONDS)
            if clock.now() - told_at >= FLUSH_EVERY:
                told_at = clock.now()
                try:
                    self._report_progress()
                except Exception as error:  # noqa: BLE001 - told again soon; answers that are paid for are under way
                    log.warning("How far the batch is could not be told: %s", error)
        self._report_progress()

    def _drain(self, working: Sequence[Future[None]]) -> None:
        """Notes the answers that are still under way: they are paid for."""
        log.warning("This attempt ends. Submissions whose answers are under way are waited for, and noted.")
        while not all(worker.done() for worker in working):
            self.book.flush_pending(POLL_SECONDS)

    def _report_progress(self) -> None:
        self.flush()
        self.report(self)

    @property
    def unsubmitted(self) -> int:
        """Rows that have neither ended nor been submitted."""
        return len(self.rows) - len(self.lines) - len(self.active)

    @property
    def failures(self) -> list[ManifestEntry]:
        """Rows that have ended badly."""
        return [line for line in self.lines.values() if line.status != SUCCEEDED]

    def deadline_of(self, generation: PaidGeneration) -> float:
        """Unix seconds after which a row is given up in this attempt."""
        return max(generation.submitted_at, self.plan.began_at) + self.plan.timeout

    def progress(self) -> dict[str, int]:
        """How far the batch is, in numbers of rows and tokens."""
        lines = list(self.lines.values())
        ended = {status: sum(line.status == status for line in lines) for status in (SUCCEEDED, FAILED, LOST)}
        return {
            "rows": len(self.rows),
            "succeeded": ended[SUCCEEDED],
            "failed": ended[FAILED],
            "lost": ended[LOST],
            "active": len(self.active) + len(self._paid) + self._unasked,
            "waiting": max(0, self.unsubmitted - len(self._paid) - self._unasked),
            "tokens": sum(line.tokens for line in lines),
        }

    def flush(self) -> None:
        """Writes the manifest if a row has ended since the last time."""
        lines = list(self.lines.values())
        if len(lines) != self._written:
            self.manifest.write_text(to_text(lines))
            self._written = len(lines)

    # Rows

    def _read_manifest(self) -> None:
        """Keeps what is there for good: rows that succeeded, and those that ended in this very attempt."""
        text = self.manifest.read_text()
        by_request = {row.key: row for row in self.rows}
        foreign = 0
        for line in from_text(text or ""):
            row = by_request.get(line.request)
            if line.batch != self.plan.identity:
                foreign += 1
            elif row is not None and self._is_final(line, row):
                self._keep(row, ManifestEntry(**{**line.__dict__, "row": row.number, "input": row.data}))
        if foreign:
            log.warning("%s held %d lines of another batch, which are replaced.", self.manifest.path, foreign)
        if self.lines:
            log.info("%d of %d rows have ended before.", len(self.lines), len(self.rows))

    def _is_final(self, line: ManifestEntry, row: BatchRow) -> bool:
        if line.status != SUCCEEDED:
            return line.attempt == self.plan.attempt
        path, generation_id = line.result.get("path"), str(line.result.get("generation_id"))
        return row.delivery is None or path == row.delivery.path_of(generation_id)

    def _work_through(self) -> None:
        while (row := self._next()) is not None:
            try:
                self._deal_with(row)
            finally:
                with self._changed:
                    self._in_flight -= 1
                    self._changed.notify_all()

    def _next(self) -> BatchRow | None:
        """The next row, those that are paid for first; None when there is nothing more to do in this segment."""
        with self._changed:
            while not self.halted:
                rows = self._paid or (self._new if self._may_submit else None)
                if not rows:
                    return None
                if rows is self._new and self._is_full:
                    if not self._in_flight:
                        return None
                    self._changed.wait(timeout=1.0)  # a row in hand may end, and make room
                    continue
                self._in_flight += 1
                return rows.popleft()
        return None

    @property
    def _may_submit(self) -> bool:
        failed = self.plan.on_row_failure == "fail" and self._failed
        return not (failed or self.saturated_by or self.stopped_by)

    @property
    def _is_full(self) -> bool:
        return self.plan.max_active is not None and len(self.active) + self._in_flight >= self.plan.max_active

    def _deal_with(self, row: BatchRow) -> None:
        ledger = Ledger(self.book.ledger_store(row.key), fingerprint=row.fingerprint, max_tries=self.plan.max_tries)
        is_new = self.book.get(row.key) is None
        generation: PaidGeneration | None = None
        try:
            generation = get_or_submit(
                ledger,
                submit=lambda: self._submit(row, is_new=is_new),
                query=lambda generation_id: self.client.send(endpoints.query_generation(generation_id)),
                on_lost_submission=self.plan.on_lost_submission,
                resubmit_failed=self.plan.first_segment,
            )
            self._settle(row, generation)
        except _InTurnError:
            with self._changed:
                self._new.append(row)
        except RateLimitError as error:
            log.warning("%s Submitting goes on later.", error)
            self.saturated_by = error
        except OF_ONE_ROW as error:
            lost = isinstance(error, LostSubmissionError)
            if generation is not None and isinstance(error, LinkExpiredError):
                ledger.mark_closed(generation.id)
            self._end(row, failure_entry(self._line(row), error, generation.id if generation else "", lost=lost))
            log.warning("Row %d has failed: %s", row.number, error)
            count_failure(error)
            if isinstance(error, StorageError | DownloadError) and not isinstance(error, LinkExpiredError):
                self._count_failure(error)
                return
        except AnyFastError as error:
            with self._changed:
                self._unasked += not is_new
            self._stop(row, error)
            return
        self._consecutive_failures = 0

    def _submit(self, row: BatchRow, *, is_new: bool) -> str:
        if not is_new:
            raise _InTurnError("What was paid for before is no more, so the row waits for its turn like a new one.")
        return submit(self.client, row.request)

    def _stop(self, row: BatchRow, error: AnyFastError) -> None:
        """Ends the submissions; what is paid for comes home as long as AnyFast may be asked for it."""
        if self.stopped_by is None or isinstance(self.stopped_by, QuotaError):
            log.warning("Row %d stops the submissions: %s", row.number, error)
            self.stopped_by = error
        if not isinstance(error, QuotaError):
            self._count_failure(error)

    def _count_failure(self, error: AnyFastError) -> None:
        self._consecutive_failures += 1
        if not error.retryable or self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
            self.stopped_by = self.stopped_by or error
            self.halted = True

    def _settle(self, row: BatchRow, generation: PaidGeneration) -> None:
        task = generation.task
        if not generation.reattached:
            count_obtained(reattached=False)
        if task is None or task.outcome is Outcome.PENDING:
            if generation.reattached and clock.now() >= self.deadline_of(generation):
                raise GenerationTimeoutError(
                    f"Generation {generation.id} was not ready {clock.now() - generation.submitted_at:.0f} s after its "
                    "submission. AnyFast has no cancel: it goes on making the video and bills it. The next attempt "
                    "waits for the same one, and nothing is paid again.",
                    generation_id=generation.id,
                )
            with self._changed:
                self.active[row.key] = generation
            return
        home: SavedVideo | None = None
        if row.delivery is not None:
            home = row.delivery.save(self.client, task, generation.submitted_at)
        line = success_entry(
            self._line(row),
            task,
            prompt=row.request.prompt,
            path=home.path if home else None,
            frame=home.last_frame_path if home else None,
            estimated_tokens=row.request.estimated_tokens(),
            price=self.client.settings.price_per_million_tokens,
        )
        self._end(row, line)
        count_success(task)

    def _line(self, row: BatchRow) -> ManifestEntry:
        return ManifestEntry(row.number, row.key, self.plan.identity, self.plan.attempt, row.data, status="")

    def _end(self, row: BatchRow, line: ManifestEntry) -> None:
        with self._changed:
            self._keep(row, line)
            self.ended += 1

    def _keep(self, row: BatchRow, line: ManifestEntry) -> None:
        self.lines[row.key] = line
        self._failed += line.status != SUCCEEDED

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the task returns."""
        counts = self.progress()
        names = ("rows", "succeeded", "failed", "lost", "tokens")
        return {**{name: counts[name] for name in names}, "manifest_path": self.manifest.path}


class _InTurnError(AnyFastError):
    """Nothing was sent yet: a row that is to be bought again counts like any other of those to be submitted."""
