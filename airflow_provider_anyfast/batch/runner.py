"""One worker segment of a batch: submits what may be submitted, saves what has ended, and keeps the manifest."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, field
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, Protocol

from airflow_provider_anyfast.batch.history import final_entries
from airflow_provider_anyfast.batch.manifest import (
    FAILED,
    LOST,
    SUCCEEDED,
    ManifestEntry,
    facts_of,
    failure_entry,
    success_entry,
)
from airflow_provider_anyfast.batch.queue import BatchState, RowQueue
from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    GenerationNotFoundError,
    GenerationTimeoutError,
    InvalidRequestError,
    LedgerError,
    LinkExpiredError,
    LostSubmissionError,
    RateLimitError,
    Scope,
)
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.ledger.purchase import OnLostSubmission, PaidGeneration, get_or_submit
from airflow_provider_anyfast.ledger.record import Ledger, Stage, record_of
from airflow_provider_anyfast.seedance.submission import submit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_anyfast.batch.manifest import Manifest
    from airflow_provider_anyfast.batch.queue import Intake
    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.client.responses import Generation
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.ledger.pages import PagedLedger

log = logging.getLogger(__name__)

OnRowFailure = Literal["continue", "fail"]

POLL_SECONDS = 0.05
"""Seconds after which the end of the threads is noticed; what they want written to the ledger is, at once."""
FLUSH_EVERY = 10.0
"""Seconds between two writes of the manifest, which replace it as a whole."""
MAX_CONSECUTIVE_FAILURES = 10
"""Rows in a row for which AnyFast, Airflow or the storage did not answer, after which this attempt tries no other."""
DRAIN_SECONDS = 8.0
"""Seconds for which a task that has to end waits for the answers to its submissions. Airflow kills it after 60."""


@dataclass(frozen=True)
class BatchOptions:
    """The parameters of a batch, checked.

    Attributes:
        identity: names the task instance, in the manifest.
        attempt: the try of the task.
        max_tries: Airflow's number, which tells a clear from a retry.
        first_segment: False after a deferral, where what has failed is not submitted again.
        began_at: Unix seconds of the attempt.
        timeout: seconds from a row's submission, or from ``began_at`` if that is later.
        max_in_flight: submissions, questions and downloads at a time.
        max_active: videos that may render at the same time; None sets no limit.
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


class BatchEvents(Protocol):
    """What a runner reports, in whichever thread it happens but for ``progress``, which is the task's own."""

    def progress(self, runner: BatchRunner) -> None:
        """About every ten seconds, and at the end."""

    def obtained(self, *, reattached: bool) -> None:
        """A video was submitted, or one that is paid for was found."""

    def succeeded(self, generation: Generation) -> None:
        """A video is ready and saved."""

    def failed(self, error: AnyFastError) -> None:
        """A row has failed in this attempt."""


@dataclass
class BatchRunner:
    """The rows of one segment.

    Args:
        intake: the state of the batch, which a signal handler may move on.
        manifest: holds the entries of rows that ended before this segment, once ``run`` has begun.
    """

    options: BatchOptions
    rows: Sequence[BatchRow]
    client: AnyFastClient
    ledger: PagedLedger
    manifest: Manifest
    intake: Intake
    events: BatchEvents
    active: dict[str, PaidGeneration] = field(default_factory=dict)
    """Videos that are rendering, by the key of their row."""
    ended: int = 0
    """Rows that have ended in this segment."""
    _queue: RowQueue = field(init=False)
    _paid: set[str] = field(default_factory=set)
    """Keys of rows that are paid for and have not ended."""
    _unknown: list[tuple[BatchRow, AnyFastError]] = field(default_factory=list)
    """Rows whose generation AnyFast does not know at the moment."""
    _answered: int = 0
    """Rows that AnyFast has answered about."""
    _consecutive_failures: int = 0
    _crashes: list[BaseException] = field(default_factory=list)

    def run(self) -> None:
        """Goes once through all rows that have not ended, as many at a time as is allowed."""
        self._refuse_changed_rows()
        self._recall()
        threads = [
            Thread(target=self._work, name=f"anyfast_{number}", daemon=True)
            for number in range(self.options.max_in_flight)
        ]
        try:
            for thread in threads:
                thread.start()
            self._serve_ledger_writes(threads)
        except BaseException:
            self.intake.advance(BatchState.ABORTED)
            self._drain(threads)
            raise
        finally:
            self.ledger.close()
        if self._crashes:
            raise self._crashes[0]
        self._settle_unknown()
        self._report_progress()

    def _refuse_changed_rows(self) -> None:
        """Refuses rows that a retry would pay for as other requests. Only a clear asks for these."""
        keys = {row.key for row in self.rows}
        orphans = sorted(key for key, value in self.ledger.items() if key not in keys and record_of(value).is_open)
        digest = hashlib.sha256(" ".join(orphans).encode()).hexdigest()
        if self.ledger.noted("max_tries") != self.options.max_tries:
            if orphans:
                log.warning(
                    "%d videos that were paid for before the task was cleared belong to none of the rows as they are "
                    "now. They are left alone.",
                    len(orphans),
                )
            try:
                self.ledger.note(max_tries=self.options.max_tries, left_alone=digest)
            except Exception as error:
                raise LedgerError(
                    f"The ledger could not be written ({error}), so this attempt has submitted nothing."
                ) from error
        elif self.ledger.noted("left_alone") != digest:
            raise InvalidRequestError(
                "The rows, what else the template refers to, or the connection have changed since this task began: "
                f"{len(orphans)} videos that it has paid for belong to none of the rows as they are now. This attempt "
                "has submitted nothing more.",
                advice="Put back what has changed and clear the task, which then goes on with them; or clear it to run "
                "the rows as they are now, and pay for those that differ.",
            )

    def _recall(self) -> None:
        """Takes up what earlier attempts and segments left, and queues the rest."""
        for entry in final_entries(self.rows, self.ledger, self.manifest, self.options):
            self.manifest.add(entry)
        if len(self.manifest):
            log.info("%d of %d rows have ended before.", len(self.manifest), len(self.rows))
        open_rows = [row for row in self.rows if row.key not in self.manifest]
        self._paid = {row.key for row in open_rows if self.ledger.get(row.key) is not None}
        self._queue = RowQueue(
            self.intake,
            paid=[row for row in open_rows if row.key in self._paid],
            new=[row for row in open_rows if row.key not in self._paid],
            max_active=self.options.max_active,
        )
        if self.options.on_row_failure == "fail" and self.manifest.failures:
            self.intake.advance(BatchState.CLOSED)

    # The task's own thread, which alone may talk to Airflow

    def _serve_ledger_writes(self, threads: Sequence[Thread]) -> None:
        reported_at = clock.now()
        while any(thread.is_alive() for thread in threads):
            self.ledger.flush_pending(POLL_SECONDS)
            if clock.now() - reported_at >= FLUSH_EVERY:
                reported_at = clock.now()
                try:
                    self._report_progress()
                except Exception as error:  # noqa: BLE001 - reported again soon; answers that are paid for are under way
                    log.warning("Could not report progress: %s", error)

    def _report_progress(self) -> None:
        self.manifest.write()
        self.events.progress(self)

    def _drain(self, threads: Sequence[Thread]) -> None:
        """Writes down the answers that still come, for some seconds: they are paid for."""
        log.warning(
            "This attempt ends. It waits up to %.0f s for the answers to submissions that are under way.", DRAIN_SECONDS
        )
        give_up_at = time.monotonic() + DRAIN_SECONDS  # also where a test holds the clock, which then never moves on
        while any(thread.is_alive() for thread in threads) and time.monotonic() < give_up_at:
            self.ledger.flush_pending(POLL_SECONDS)
        self._mark_unanswered()
        try:
            self.manifest.write()
        except AnyFastError as error:
            log.warning("Could not write the manifest: %s", error)

    def _mark_unanswered(self) -> None:
        """Records as unconfirmed what was submitted and has no answer yet."""
        for row in self._queue.in_flight:
            value = self.ledger.get(row.key)
            record = None if value is None else record_of(value)
            if record is None or record.stage is not Stage.INTENT:
                continue
            error = LostSubmissionError("The task had to end before AnyFast answered the submission.")
            log.error("%s: %s", label_of(row), error)
            self.manifest.add(failure_entry(self._entry(row), error, ""))
            try:
                self.ledger.put(row.key, record.model_copy(update={"stage": Stage.LOST}).model_dump(mode="json"))
            except Exception as problem:  # noqa: BLE001 - the intent says the same: a later attempt buys nothing
                log.warning("Could not record the submission of %s as unconfirmed: %s", label_of(row), problem)

    def _settle_unknown(self) -> None:
        """Judges generations that AnyFast does not know: if it knows none at all, something else is wrong.

        The key may be another account's, or a gateway may fail, so nothing is concluded about any row.
        """
        if self._unknown and not self._answered and not self.manifest.ended_in(self.options.attempt):
            self.intake.advance(BatchState.CLOSED, self._unknown[0][1])
            return
        for row, error in self._unknown:
            self._end_badly(row, error, error.generation_id)

    # What it has come to

    def progress(self) -> dict[str, int]:
        """How far the batch is, in numbers of rows and tokens."""
        counts = self.manifest.counts()
        paid = len(self._paid)
        return {
            "rows": len(self.rows),
            "succeeded": counts[SUCCEEDED],
            "failed": counts[FAILED],
            "lost": counts[LOST],
            "active": paid,
            "waiting": max(0, len(self.rows) - len(self.manifest) - paid),
            "tokens": counts["tokens"],
        }

    def seconds_left(self) -> float | None:
        """An estimate, from the rows that ended in this attempt; None while there is nothing to go by."""
        ended = self.manifest.ended_in(self.options.attempt)
        left = len(self.rows) - len(self.manifest)
        elapsed = clock.now() - self.options.began_at
        return elapsed / ended * left if ended and left else None

    def deadline_of(self, generation: PaidGeneration) -> float:
        """Unix seconds after which a row is given up in this attempt."""
        return max(generation.submitted_at, self.options.began_at) + self.options.timeout

    @property
    def summary(self) -> dict[str, Any]:
        """What the task returns."""
        counts = self.progress()
        names = ("rows", "succeeded", "failed", "lost", "tokens")
        return {**{name: counts[name] for name in names}, "manifest_path": self.manifest.path}

    # Rows, in threads of their own

    def _work(self) -> None:
        try:
            while (row := self._queue.take()) is not None:
                try:
                    self._process(row)
                finally:
                    self._queue.release(row, is_active=row.key in self.active)
        except BaseException as error:  # noqa: BLE001 - raised again in the task's own thread
            self._crashes.append(error)
            self.intake.advance(BatchState.ABORTED)

    def _process(self, row: BatchRow) -> None:
        ledger = Ledger(
            self.ledger.ledger_store(row.key), fingerprint=row.fingerprint, max_tries=self.options.max_tries
        )
        generation: PaidGeneration | None = None
        try:
            generation = self._obtain(row, ledger)
            self._save_if_ready(row, generation)
        except _NeedsSubmissionError:
            self._paid.discard(row.key)
            self._queue.put_back(row)
        except AnyFastError as error:
            self._judge(row, ledger, error, generation)
            return
        self._consecutive_failures = 0

    def _obtain(self, row: BatchRow, ledger: Ledger) -> PaidGeneration:
        is_paid = row.key in self._paid

        def send() -> str:
            if is_paid:
                raise _NeedsSubmissionError("What was paid for is of no more use: the row is submitted in its turn.")
            return submit(self.client, row.request)

        generation = get_or_submit(
            ledger,
            submit=send,
            query=lambda generation_id: self.client.send(endpoints.query_generation(generation_id)),
            on_lost_submission=self.options.on_lost_submission,
            resubmit_failed=self.options.first_segment,
        )
        self._paid.add(row.key)
        self._answered += generation.reattached
        if not generation.reattached:
            self.events.obtained(reattached=False)
        return generation

    def _save_if_ready(self, row: BatchRow, generation: PaidGeneration) -> None:
        task = generation.task
        if task is not None and task.outcome is not Outcome.PENDING:
            self._save(row, task, generation.submitted_at)
            return
        if generation.reattached and clock.now() >= self.deadline_of(generation):
            waited = clock.now() - max(generation.submitted_at, self.options.began_at)
            raise GenerationTimeoutError(
                f"Generation {generation.id} was not ready after {waited:.0f} s (timeout={self.options.timeout:.0f}).",
                generation_id=generation.id,
            )
        self.active[row.key] = generation

    def _save(self, row: BatchRow, task: Generation, submitted_at: float) -> None:
        saved = row.delivery.save(self.client, task, submitted_at) if row.delivery is not None else None
        entry = success_entry(
            self._entry(row),
            task,
            prompt=row.request.prompt,
            path=saved.path if saved else None,
            frame=saved.last_frame_path if saved else None,
            estimated_tokens=row.request.estimated_tokens(),
            price=self.client.settings.price_per_million_tokens,
        )
        try:
            self.ledger.annotate(row.key, saved=facts_of(entry))
        except Exception as error:  # noqa: BLE001 - the manifest says so too, and the video is there
            log.warning("Could not note in the ledger that %s has succeeded: %s", label_of(row), error)
        self._end(row, entry)
        self.events.succeeded(task)

    def _judge(self, row: BatchRow, ledger: Ledger, error: AnyFastError, generation: PaidGeneration | None) -> None:
        """Decides what an error means: for its row, for the submissions, or for the whole attempt."""
        is_paid = row.key in self._paid
        if isinstance(error, RateLimitError) and not is_paid:
            log.warning("%s: %s Submitting goes on later.", label_of(row), error.what)
            self.intake.advance(BatchState.SATURATED, error)
        elif isinstance(error, GenerationNotFoundError) and is_paid:
            self._unknown.append((row, error))
            self._count_failure(error)
        elif error.scope is Scope.ROW:
            if isinstance(error, LinkExpiredError) and generation is not None:
                ledger.mark_closed(generation.id)
            self._end_badly(row, error, generation.id if generation else "")
            # A video that is ready and cannot be saved says something about the storage.
            if generation is not None and generation.task is not None and error.retryable:
                self._count_failure(error)
            else:
                self._consecutive_failures = 0
        else:
            if self.intake.state < BatchState.CLOSED:
                log.warning("%s stops the submissions: %s", label_of(row), error)
            self.intake.advance(BatchState.CLOSED, error)
            if is_paid:
                self._count_failure(error)

    def _count_failure(self, error: AnyFastError) -> None:
        self._consecutive_failures += 1
        if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
            self.intake.advance(BatchState.ABORTED, error)

    def _entry(self, row: BatchRow) -> ManifestEntry:
        return ManifestEntry(row.number, row.key, self.options.identity, self.options.attempt, row.data, status="")

    def _end_badly(self, row: BatchRow, error: AnyFastError, generation_id: str) -> None:
        log.warning("%s failed: %s", label_of(row), error)
        self._end(row, failure_entry(self._entry(row), error, generation_id))
        if self.options.on_row_failure == "fail":
            self.intake.advance(BatchState.CLOSED)
        self.events.failed(error)

    def _end(self, row: BatchRow, entry: ManifestEntry) -> None:
        self.manifest.add(entry)
        self._paid.discard(row.key)
        self.ended += 1


class _NeedsSubmissionError(AnyFastError):
    """Nothing was sent: a row that is to be bought again takes its turn like any other that is to be submitted."""


def label_of(row: BatchRow) -> str:
    """How logs name a row: by its number and the value of its first column."""
    value = next(iter(row.data.values()), "")
    return f"Row {row.number} ({str(value)[:60]!r})"
