"""Runs one worker segment of a batch: submits rows, saves finished videos, and updates the manifest."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_anyfast.batch.checkpoint import BatchCheckpoint
from airflow_provider_anyfast.batch.forecast import Forecast
from airflow_provider_anyfast.batch.manifest import (
    ManifestEntry,
    facts_of,
    failure_entry,
    new_entry,
    skipped_entry,
    success_entry,
)
from airflow_provider_anyfast.batch.queue import BatchState, RowQueue
from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    GenerationNotFoundError,
    GenerationTimeoutError,
    LinkExpiredError,
    LostAnswerError,
    LostSubmissionError,
    RateLimitError,
    Scope,
)
from airflow_provider_anyfast.client.job_failures import missing_link
from airflow_provider_anyfast.client.log import log_about
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.lookup import Lookup
from airflow_provider_anyfast.ledger.matching import RequestTraits
from airflow_provider_anyfast.ledger.purchase import PaidGeneration, get_or_submit
from airflow_provider_anyfast.ledger.record import Stage, record_of
from airflow_provider_anyfast.seedance.submission import submit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_anyfast.batch.options import BatchOptions
    from airflow_provider_anyfast.batch.queue import BatchLifecycle
    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.batch.segment import Segment
    from airflow_provider_anyfast.client.responses import Generation
    from airflow_provider_anyfast.client.transport import AnyFastClient, Guard
    from airflow_provider_anyfast.ledger.matching import LostSubmission, Verdict
    from airflow_provider_anyfast.ledger.pages import PagedLedger
    from airflow_provider_anyfast.seedance.saved import SavedVideo

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
"""Seconds between two checks whether the threads have ended. Their ledger writes are not delayed by it."""
FLUSH_EVERY = 10.0
"""Seconds between two writes of the whole manifest."""
MAX_CONSECUTIVE_FAILURES = 10
"""Consecutive rows for which AnyFast, Airflow or the storage failed, after which this attempt tries no more rows."""
DRAIN_SECONDS = 8.0
"""Seconds that a stopped task waits for the responses to its submissions. Airflow kills it after 60."""


class BatchEvents(Protocol):
    """The events that a runner reports: ``progress`` in the task's main thread, the others in any thread."""

    def progress(self, runner: BatchRunner) -> None:
        """Called about every ten seconds, and at the end."""

    def submitted(self) -> None:
        """A video was submitted, and is billed."""

    def succeeded(self, generation: Generation) -> None:
        """A video is ready and saved."""

    def failed(self, error: AnyFastError) -> None:
        """A row has failed in this attempt."""


class BatchRunner:
    """The rows of one segment.

    Args:
        options: the options of the batch.
        segment: the state that it starts from.
        client: sends requests to AnyFast.
        lifecycle: the state of the batch; a signal handler may advance it.
        events: receives the reports.

    Attributes:
        active: videos that are rendering, by row number.
        doubted: rows whose generation AnyFast did not find, or returned without its link, at the last query.
        progressed: rows with news in this segment: they ended, or AnyFast did not find their generation.
    """

    def __init__(
        self,
        options: BatchOptions,
        segment: Segment,
        client: AnyFastClient,
        lifecycle: BatchLifecycle,
        events: BatchEvents,
    ) -> None:
        self.options = options
        self.total = segment.total
        self.left_out = segment.left_out
        self.manifest = segment.manifest
        self.lifecycle = lifecycle
        self.active = dict(segment.active)
        self.doubted = set(segment.doubted)
        self.progressed = 0
        self._client = client
        self._ledger = segment.ledger
        self._events = events
        self._rows = {row.number: row for row in (*segment.recorded, *segment.new)}
        self._located = segment.located
        self._known = segment.known
        self._library = segment.library
        self._is_resumed = segment.is_resumed
        self._recorded = {row.number for row in segment.recorded} | set(segment.active)
        """Unfinished rows that have a record of any stage, except those that need a new submission."""
        self._unknown: list[tuple[BatchRow, AnyFastError]] = []
        """Rows whose generation AnyFast did not find."""
        # Threads count without a lock, since a lost increment is harmless: ``_confirmed`` and ``progressed`` are only
        # compared with zero, and an uncounted failure only lets one more row be tried.
        self._confirmed = 0
        """Rows whose generation AnyFast found."""
        self._consecutive_failures = 0
        self._consecutive_losses = 0 if segment.is_resumed else _losses_since_last_accepted(segment.ledger)
        """Submissions since the last accepted one whose response was lost."""
        self._began_at = clock.now()
        self._crashes: list[BaseException] = []
        self._lookup = Lookup(
            client, others=self._known_ids, is_stopped=lambda: self.lifecycle.state is BatchState.ABORTED
        )
        if segment.closed_by or self.ends_by_failure:
            lifecycle.advance(BatchState.CLOSED, segment.closed_by)
        self._queue = RowQueue(
            lifecycle,
            recorded=segment.recorded,
            new=segment.new,
            active=len(segment.active),
            max_active=options.given.max_active,
        )

    def run(self) -> None:
        """Processes each row of the segment once, up to ``max_in_flight`` at a time."""
        threads = [
            Thread(target=self._work, name=f"anyfast_{number}", daemon=True)
            for number in range(min(self.options.given.max_in_flight, len(self._rows)))
        ]
        try:
            for thread in threads:
                thread.start()
            self._serve_ledger_writes(threads)
        except BaseException:
            self.lifecycle.advance(BatchState.ABORTED)
            self._drain(threads)
            raise
        finally:
            self._ledger.close()
        if self._crashes:
            raise self._crashes[0]
        self._settle_unknown()
        self._report_progress()

    # In the main thread of the task: only this thread may call Airflow

    def _serve_ledger_writes(self, threads: Sequence[Thread]) -> None:
        reported_at = clock.now()
        while any(thread.is_alive() for thread in threads):
            self._ledger.flush_pending(POLL_SECONDS)
            if clock.now() - reported_at >= FLUSH_EVERY:
                reported_at = clock.now()
                try:
                    self._report_progress()
                except Exception as error:  # noqa: BLE001 - reported again soon; submissions are in flight
                    log.warning("Could not report progress: %s", error)

    def _report_progress(self) -> None:
        self.manifest.write()
        self._events.progress(self)

    def _drain(self, threads: Sequence[Thread]) -> None:
        """Records the responses that arrive within ``DRAIN_SECONDS``, since their videos are billed."""
        log.warning("Ending this attempt. Waiting up to %.0f s for responses to submissions in flight.", DRAIN_SECONDS)
        give_up_at = time.monotonic() + DRAIN_SECONDS  # not ``clock``, which a test may have stopped
        while any(thread.is_alive() for thread in threads) and time.monotonic() < give_up_at:
            self._ledger.flush_pending(POLL_SECONDS)
        self._mark_unconfirmed()
        try:
            self.manifest.write()
        except AnyFastError as error:
            log.warning("Could not write the manifest: %s", error)

    def _mark_unconfirmed(self) -> None:
        """Records submissions without a response as unconfirmed."""
        for row in (*self._queue.in_flight, *self._queue.postponed):
            record = self._ledger.record(row.key)
            if record is None or record.stage is not Stage.INTENT:
                continue
            error = LostSubmissionError(
                f"The task had to end before AnyFast responded to the submission of {clock.iso(record.at)} "
                f"(request {record.fingerprint[:12]})."
            )
            log.error("%s: %s", row.label, error)
            self.manifest.add(failure_entry(self._entry(row), error, ""))
            try:
                lost = record.model_copy(update={"stage": Stage.LOST})
                self._ledger.put_unless_pending(row.key, lost.to_stored())
            except Exception as problem:  # noqa: BLE001 - the recorded intent also keeps a retry from buying
                log.warning("Could not record the submission of %s as unconfirmed: %s", row.label, problem)

    def _settle_unknown(self) -> None:
        """Handles generations that AnyFast did not find. One such response proves nothing, so each is queried again.

        If AnyFast finds none at all, the key may belong to another account, or a gateway fails, so no row ends.
        """
        if self._unknown and not (self._confirmed or self.active or self.manifest.tally.ended_now):
            self.lifecycle.advance(BatchState.CLOSED, self._unknown[0][1])
            return
        for row, error in self._unknown:
            record = record_of(self._ledger.get(row.key))
            if record.stage is Stage.SUBMITTED and row.number not in self.doubted:
                self.doubted.add(row.number)
                self.progressed += 1
                self.active[row.number] = PaidGeneration(record.id, record.at, reattached=True)
            else:
                self._record_failure(row, error, record.id)

    # Progress and results

    def progress(self) -> dict[str, int]:
        """The progress of the batch in numbers of rows and tokens."""
        tally, recorded = self.manifest.tally, len(self._recorded)
        in_flight = {row.number for row in self._queue.in_flight}
        downloading = len(in_flight & self._recorded)
        return {
            "rows": self.total,
            "succeeded": tally.succeeded,
            "failed": tally.failed,
            "lost": tally.lost,
            "skipped": tally.skipped,
            "active": recorded,
            "rendering": len(self.active),
            "downloading": downloading,
            "submitting": len(in_flight) - downloading,
            "waiting": max(0, self.total - len(self.manifest) - recorded),
            "tokens": tally.tokens,
        }

    @property
    def ends_by_failure(self) -> bool:
        """Whether a row has failed and ``on_row_failure="fail"`` therefore ends the batch."""
        return self.options.given.on_row_failure == "fail" and self.manifest.tally.failures > 0

    @property
    def has_room(self) -> bool:
        """Whether waiting rows could be submitted now."""
        limit = self.options.given.max_active
        is_open = self.lifecycle.state is BatchState.OPEN and (limit is None or len(self.active) < limit)
        return is_open and self.progress()["waiting"] > 0

    def seconds_left(self) -> float | None:
        """An estimate from the rows that have ended; None if there is no basis for one."""
        tally, now = self.manifest.tally, clock.now()
        forecast = Forecast(
            rendering=[paid.submitted_at for paid in list(self.active.values())],
            waiting=self.progress()["waiting"] if self.lifecycle.state < BatchState.CLOSED else 0,
            max_active=self.options.given.max_active,
            mean=tally.render_seconds / tally.rendered if tally.rendered else 0.0,
            slowest=tally.slowest,
            to_save=len(self._recorded - set(self.active)),
            saving=(now - self._began_at) / self.progressed if self.progressed else None,
        )
        return forecast.seconds_left(now)

    def checkpoint(self, saturated_since: float | None) -> BatchCheckpoint:
        """The state that the next segment of this attempt needs."""
        pages = {number: self._ledger.page_number(row.key) for number, row in self._rows.items()}
        located = {**self._located, **{number: page for number, page in pages.items() if page is not None}}
        return BatchCheckpoint(
            began_at=self.options.began_at,
            resumed=True,
            saturated_since=saturated_since,
            active=[(number, paid.id, paid.submitted_at) for number, paid in self.active.items()],
            unanswered=sorted(self._recorded - self.active.keys()),
            doubted=sorted(self.doubted & self.active.keys()),
            located=[(number, page) for number, page in located.items() if number not in self.manifest],
            manifest=self.manifest.digest,
            tally=self.manifest.tally,
            closed_by=self.lifecycle.error if self.lifecycle.state is BatchState.CLOSED else None,
        )

    def deadline_of(self, paid: PaidGeneration) -> float:
        """Unix seconds after which this attempt gives up the row."""
        return max(paid.submitted_at, self.options.began_at) + self.options.given.timeout

    @property
    def summary(self) -> dict[str, Any]:
        """The result of the task."""
        counts = self.progress()
        names = ("rows", "succeeded", "failed", "lost", "skipped", "tokens")
        numbers = {name: counts[name] for name in names}
        return {**numbers, "left_out": self.left_out, "manifest_path": self.manifest.path}

    # In worker threads: one row at a time

    def _work(self) -> None:
        try:
            while (row := self._queue.take()) is not None:
                try:
                    with log_about(row.label):
                        self._process(row)
                finally:
                    self._queue.release(row, is_active=row.number in self.active)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._crashes.append(error)
            self.lifecycle.advance(BatchState.ABORTED)

    def _process(self, row: BatchRow) -> None:
        ledger = Ledger(
            self._ledger.ledger_store(row.key),
            fingerprint=row.fingerprint,
            max_tries=self.options.max_tries,
            traits=RequestTraits.of(row.request.body()),
        )
        paid: PaidGeneration | None = None
        try:
            paid = self._obtain(row, ledger)
            self._save_if_ready(row, paid)
        except _NeedsSubmissionError:
            self._recorded.discard(row.number)
            self._queue.put_back(row)
        except _AlreadyMadeError as made:
            log.info("%s: %s already exists and is complete, so nothing is submitted.", row.label, made.video.path)
            self._end(row, skipped_entry(self._entry(row), prompt=row.request.prompt, saved=made.video))
        except _LookLaterError:
            self._recorded.add(row.number)
            self._queue.postpone(row)
        except AnyFastError as error:
            self._handle_error(row, ledger, error, paid)
            return
        self._consecutive_failures = 0

    def _obtain(self, row: BatchRow, ledger: Ledger) -> PaidGeneration:
        is_recorded = row.number in self._recorded
        self._record_known_id(row, ledger)

        def send(guard: Guard) -> str:
            if is_recorded:
                if video := row.output and row.output.existing_video():
                    raise _AlreadyMadeError(video)
                raise _NeedsSubmissionError(
                    "What was paid for can no longer be used: the row is submitted again in its turn."
                )
            request = self._library.put_into(row.request) if self._library is not None else row.request
            try:
                id_ = submit(self._client, request, partial(self._while_open, guard))
            except LostAnswerError as error:
                self._count_loss(error)
                raise
            self._consecutive_losses = 0
            return id_

        paid = get_or_submit(
            ledger,
            ledger.plan(),
            submit=send,
            query=lambda generation_id: self._client.send(endpoints.query_generation(generation_id)),
            look_up=partial(self._look_up, row),
            on_lost_submission=self.options.given.on_lost_submission,
            # A video that fails while this attempt waits ends its row; one from an earlier attempt is resubmitted.
            resubmit_failed=not (self._is_resumed and is_recorded),
        )
        self._recorded.add(row.number)
        self._confirmed += paid.reattached
        if not paid.reattached:
            self._events.submitted()
        elif row.number not in self._known:  # those of this attempt were announced when they were submitted
            paid.log_resumption()
        return paid

    @contextmanager
    def _while_open(self, guard: Guard) -> Iterator[None]:
        """Enters ``guard``, unless submissions stopped while this one waited for the rate limit or for its record."""
        self._refuse_if_closed()
        with guard():
            self._refuse_if_closed()
            yield

    def _refuse_if_closed(self) -> None:
        if self.lifecycle.state >= BatchState.CLOSED:
            raise _NeedsSubmissionError("Submissions have stopped, so this one was not sent.")

    def _look_up(self, row: BatchRow, lost: LostSubmission) -> Verdict:
        """The outcome of a row's lost submission. Such rows are processed last, so that one lookup serves all."""
        key = f"{row.key} {lost.sent_at}"
        if self._lookup.expect(key, lost):
            raise _LookLaterError(
                "The response to the submission was lost. Its video is looked for after all other rows."
            )
        return self._lookup.verdict(key)

    def _known_ids(self) -> set[str]:
        """The ids of the generations of all rows, as far as this segment knows them."""
        recorded = {record_of(value).id for _, value in self._ledger.items()}
        return recorded | {found.id for found in self.active.values()} | self.manifest.generation_ids()

    def _record_known_id(self, row: BatchRow, ledger: Ledger) -> None:
        """Records the id that an earlier segment of this attempt received and could not record."""
        known, record = self._known.get(row.number), self._ledger.record(row.key)
        if known is not None and record is not None and not record.id:
            ledger.record_submitted(known.id)

    def _save_if_ready(self, row: BatchRow, paid: PaidGeneration) -> None:
        generation = paid.generation
        if generation is not None and generation.outcome is not Outcome.PENDING:
            self._save(row, generation, paid.submitted_at)
            return
        if generation is not None and generation.lacks_link:
            self._wait_for_link(row, paid)
            return
        if paid.reattached and clock.now() >= self.deadline_of(paid):
            waited = clock.now() - max(paid.submitted_at, self.options.began_at)
            timeout = self.options.given.timeout
            raise GenerationTimeoutError(
                f"Generation {paid.id} was not ready after {waited:.0f} s (timeout={timeout:.0f}).",
                generation_id=paid.id,
            )
        self.active[row.number] = paid

    def _wait_for_link(self, row: BatchRow, paid: PaidGeneration) -> None:
        """Waits again for a video that lacks its link, unless the last wait was already for the link."""
        if row.number in self.doubted or clock.now() >= self.deadline_of(paid):
            raise missing_link(paid.id)
        self.doubted.add(row.number)
        self.progressed += 1
        self.active[row.number] = paid

    def _save(self, row: BatchRow, generation: Generation, submitted_at: float) -> None:
        saved = row.output.save(self._client, generation, submitted_at) if row.output is not None else None
        entry = success_entry(
            self._entry(row),
            generation,
            prompt=row.request.prompt,
            saved=saved,
            estimated_tokens=row.request.estimated_tokens(),
            price=self._client.settings.price_per_million_tokens,
        )
        try:
            self._ledger.update(row.key, {"saved": facts_of(entry)})
        except Exception as error:  # noqa: BLE001 - the manifest records it too, and the video is saved
            log.warning("Could not record in the ledger that %s has succeeded: %s", row.label, error)
        for warning in entry.result["warnings"]:
            log.warning("%s: %s", row.label, warning)
        self._end(row, entry)
        self._events.succeeded(generation)

    def _handle_error(self, row: BatchRow, ledger: Ledger, error: AnyFastError, paid: PaidGeneration | None) -> None:
        """Applies an error to its row, to the submissions, or to the whole attempt."""
        is_recorded = row.number in self._recorded
        if isinstance(error, RateLimitError) and not is_recorded:
            log.warning("%s: %s Submissions resume later.", row.label, error.what)
            self.lifecycle.advance(BatchState.SATURATED, error)
        elif isinstance(error, GenerationNotFoundError) and is_recorded:
            self._unknown.append((row, error))
            self._count_failure(error)
        elif error.scope is Scope.ROW:
            if isinstance(error, LinkExpiredError) and paid is not None:
                ledger.mark_closed(paid.id)
            self._record_failure(row, error, paid.id if paid else "")
            # A ready video that cannot be saved suggests that the storage fails.
            if paid is not None and paid.generation is not None and error.retryable:
                self._count_failure(error)
            else:
                self._consecutive_failures = 0
        else:
            if self.lifecycle.state < BatchState.CLOSED:
                log.warning("No more submissions because of %s: %s", row.label, error)
            self.lifecycle.advance(BatchState.CLOSED, error)
            if is_recorded:
                self._count_failure(error)

    def _count_loss(self, error: LostAnswerError) -> None:
        """Stops the submissions when many in a row get no response: each of them may be billed."""
        self._consecutive_losses += 1
        if self._consecutive_losses >= MAX_CONSECUTIVE_FAILURES and self.lifecycle.state < BatchState.CLOSED:
            what = f"{self._consecutive_losses} submissions in a row were lost, so no more are sent."
            log.warning("%s The last one: %s", what, error.what)
            self.lifecycle.advance(BatchState.CLOSED, error.with_context(what))

    def _count_failure(self, error: AnyFastError) -> None:
        self._consecutive_failures += 1
        if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
            self.lifecycle.advance(BatchState.ABORTED, error)

    def _entry(self, row: BatchRow) -> ManifestEntry:
        return new_entry(row, self.options)

    def _record_failure(self, row: BatchRow, error: AnyFastError, generation_id: str) -> None:
        log.warning("%s failed: %s", row.label, error)
        self._end(row, failure_entry(self._entry(row), error, generation_id))
        if self.ends_by_failure:
            self.lifecycle.advance(BatchState.CLOSED)
        self._events.failed(error)

    def _end(self, row: BatchRow, entry: ManifestEntry) -> None:
        self.manifest.add(entry)
        self._recorded.discard(row.number)
        self.progressed += 1


def _losses_since_last_accepted(ledger: PagedLedger) -> int:
    """What earlier attempts have lost, so that each retry in a broken network does not risk as many videos again."""
    records = [record_of(value) for _, value in ledger.items()]
    accepted_at = max((record.at for record in records if record.id), default=0.0)
    return sum(not record.id and record.at >= accepted_at for record in records)


class _LookLaterError(AnyFastError):
    """The response to a row's submission was lost: its video is looked up after all other rows."""


class _AlreadyMadeError(AnyFastError):
    """What was paid for can no longer be used, but another run has made the row since."""

    def __init__(self, video: SavedVideo) -> None:
        super().__init__("Another run has made this row.")
        self.video = video


class _NeedsSubmissionError(AnyFastError):
    """Nothing was sent: the row returns to the queue and still has to be submitted.

    It must be an AnyFastError: any other error within the guard of a submission leaves the intent in the ledger, and an
    intent counts as a submission that may have been billed.
    """
