"""Processes the rows of a batch, one at a time in each thread of a segment: submits them and saves finished videos."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

from airflow_provider_anyfast.batch.manifest import (
    ManifestEntry,
    facts_of,
    failure_entry,
    new_entry,
    skipped_entry,
    success_entry,
)
from airflow_provider_anyfast.batch.queue import BatchState
from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    GenerationNotFoundError,
    GenerationTimeoutError,
    LinkExpiredError,
    LostAnswerError,
    RateLimitError,
    Scope,
)
from airflow_provider_anyfast.client.job_failures import missing_link
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.lookup import Lookup
from airflow_provider_anyfast.ledger.matching import RequestTraits
from airflow_provider_anyfast.ledger.purchase import PaidGeneration, get_or_submit
from airflow_provider_anyfast.ledger.record import record_of
from airflow_provider_anyfast.seedance.submission import submit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyfast.batch.options import BatchOptions
    from airflow_provider_anyfast.batch.queue import BatchLifecycle, RowQueue
    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.batch.segment import Segment
    from airflow_provider_anyfast.client.responses import Generation
    from airflow_provider_anyfast.client.transport import AnyFastClient, Guard
    from airflow_provider_anyfast.ledger.matching import LostSubmission, Verdict
    from airflow_provider_anyfast.ledger.pages import PagedLedger
    from airflow_provider_anyfast.seedance.saved import SavedVideo

log = logging.getLogger(__name__)

MAX_CONSECUTIVE_FAILURES = 10
"""Consecutive rows for which AnyFast, Airflow or the storage failed, after which this attempt tries no more rows."""


class RowEvents(Protocol):
    """What happens to rows. Called in any thread."""

    def submitted(self) -> None:
        """A video was submitted, and is billed."""

    def succeeded(self, generation: Generation) -> None:
        """A video is ready and saved."""

    def failed(self, error: AnyFastError) -> None:
        """A row has failed in this attempt."""


@dataclass
class RowStates:
    """Where the rows of a segment are that have not ended, by row number. All threads of the segment share it.

    They count without a lock, since a lost increment is harmless: the counts are compared with zero, or give an
    estimate.

    Attributes:
        recorded: unfinished rows that have a record of any stage, except those that need a new submission.
        active: videos that are rendering.
        doubted: rows whose generation AnyFast did not find, or returned without its link, at the last query.
        unknown: rows whose generation AnyFast did not find, with the error.
        confirmed: how many rows have a generation that AnyFast found.
        progressed: how many rows have news in this segment: they ended, or AnyFast did not find their generation.
    """

    recorded: set[int]
    active: dict[int, PaidGeneration]
    doubted: set[int]
    unknown: list[tuple[BatchRow, AnyFastError]] = field(default_factory=list)
    confirmed: int = 0
    progressed: int = 0

    @classmethod
    def at_start_of(cls, segment: Segment) -> RowStates:
        """The states in which an earlier segment or attempt has left the rows."""
        recorded = {row.number for row in segment.recorded} | set(segment.active)
        return cls(recorded, dict(segment.active), set(segment.doubted))


class RowProcessor:
    """Processes rows. Several threads may use it at once.

    Args:
        options: the options of the batch.
        segment: the state that it starts from.
        client: sends requests to AnyFast.
        events: receives what happens to the rows.
        lifecycle: the state of the batch, which an error may advance.
        queue: receives the rows that must be processed again in this segment.

    Attributes:
        states: where the rows are.
    """

    def __init__(
        self,
        options: BatchOptions,
        segment: Segment,
        client: AnyFastClient,
        events: RowEvents,
        *,
        lifecycle: BatchLifecycle,
        queue: RowQueue,
    ) -> None:
        self.states = RowStates.at_start_of(segment)
        self._options = options
        self._manifest = segment.manifest
        self._ledger = segment.ledger
        self._known = segment.known
        self._library = segment.library
        self._is_resumed = segment.is_resumed
        self._client = client
        self._lifecycle = lifecycle
        self._queue = queue
        self._events = events
        # Counted without a lock: a failure that is not counted only lets one more row be tried.
        self._consecutive_failures = 0
        self._consecutive_losses = 0 if segment.is_resumed else _losses_since_last_accepted(segment.ledger)
        """Submissions since the last accepted one whose response was lost."""
        self._lookup = Lookup(client, others=self._known_ids, is_stopped=lambda: lifecycle.state is BatchState.ABORTED)

    def process(self, row: BatchRow) -> None:
        """Submits a row or queries its generation, and saves a finished video; an ``AnyFastError`` is handled here."""
        ledger = Ledger(
            self._ledger.ledger_store(row.key),
            fingerprint=row.fingerprint,
            max_tries=self._options.max_tries,
            traits=RequestTraits.of(row.request.body()),
        )
        paid: PaidGeneration | None = None
        try:
            paid = self._obtain(row, ledger)
            self._save_if_ready(row, paid)
        except _NeedsSubmissionError:
            self.states.recorded.discard(row.number)
            self._queue.put_back(row)
        except _AlreadyMadeError as made:
            log.info("%s: %s already exists and is complete, so nothing is submitted.", row.label, made.video.path)
            self._end(row, skipped_entry(new_entry(row, self._options), prompt=row.request.prompt, saved=made.video))
        except _LookLaterError:
            self.states.recorded.add(row.number)
            self._queue.postpone(row)
        except AnyFastError as error:
            self._handle_error(row, ledger, error, paid)
            return
        self._consecutive_failures = 0

    def record_failure(self, row: BatchRow, error: AnyFastError, generation_id: str) -> None:
        """Ends a row with ``error``, and the submissions with it if ``on_row_failure`` says so.

        Args:
            row: that has failed in this attempt.
            error: why; it says what the row has cost.
            generation_id: of the row's generation; empty if there is none.
        """
        log.warning("%s failed: %s", row.label, error)
        self._end(row, failure_entry(new_entry(row, self._options), error, generation_id))
        if self._options.given.on_row_failure == "fail":
            self._lifecycle.advance(BatchState.CLOSED)
        self._events.failed(error)

    def _obtain(self, row: BatchRow, ledger: Ledger) -> PaidGeneration:
        is_recorded = row.number in self.states.recorded
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
            on_lost_submission=self._options.given.on_lost_submission,
            # A video that fails while this attempt waits ends its row; one from an earlier attempt is resubmitted.
            resubmit_failed=not (self._is_resumed and is_recorded),
        )
        self.states.recorded.add(row.number)
        self.states.confirmed += paid.reattached
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
        if self._lifecycle.state >= BatchState.CLOSED:
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
        return recorded | {found.id for found in self.states.active.values()} | self._manifest.generation_ids()

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
        if paid.reattached and clock.now() >= self._options.deadline_of(paid.submitted_at):
            waited = clock.now() - max(paid.submitted_at, self._options.began_at)
            timeout = self._options.given.timeout
            raise GenerationTimeoutError(
                f"Generation {paid.id} was not ready after {waited:.0f} s (timeout={timeout:.0f}).",
                generation_id=paid.id,
            )
        self.states.active[row.number] = paid

    def _wait_for_link(self, row: BatchRow, paid: PaidGeneration) -> None:
        """Waits again for a video that lacks its link, unless the last wait was already for the link."""
        if row.number in self.states.doubted or clock.now() >= self._options.deadline_of(paid.submitted_at):
            raise missing_link(paid.id)
        self.states.doubted.add(row.number)
        self.states.progressed += 1
        self.states.active[row.number] = paid

    def _save(self, row: BatchRow, generation: Generation, submitted_at: float) -> None:
        saved = row.output.save(self._client, generation, submitted_at) if row.output is not None else None
        entry = success_entry(
            new_entry(row, self._options),
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
        is_recorded = row.number in self.states.recorded
        if isinstance(error, RateLimitError) and not is_recorded:
            log.warning("%s: %s Submissions resume later.", row.label, error.what)
            self._lifecycle.advance(BatchState.SATURATED, error)
        elif isinstance(error, GenerationNotFoundError) and is_recorded:
            self.states.unknown.append((row, error))
            self._count_failure(error)
        elif error.scope is Scope.ROW:
            if isinstance(error, LinkExpiredError) and paid is not None:
                ledger.mark_closed(paid.id)
            self.record_failure(row, error, paid.id if paid else "")
            # A ready video that cannot be saved suggests that the storage fails.
            if paid is not None and paid.generation is not None and error.retryable:
                self._count_failure(error)
            else:
                self._consecutive_failures = 0
        else:
            if self._lifecycle.state < BatchState.CLOSED:
                log.warning("No more submissions because of %s: %s", row.label, error)
            self._lifecycle.advance(BatchState.CLOSED, error)
            if is_recorded:
                self._count_failure(error)

    def _count_loss(self, error: LostAnswerError) -> None:
        """Stops the submissions when many in a row get no response: each of them may be billed."""
        self._consecutive_losses += 1
        if self._consecutive_losses >= MAX_CONSECUTIVE_FAILURES and self._lifecycle.state < BatchState.CLOSED:
            what = f"{self._consecutive_losses} submissions in a row were lost, so no more are sent."
            log.warning("%s The last one: %s", what, error.what)
            self._lifecycle.advance(BatchState.CLOSED, error.with_context(what))

    def _count_failure(self, error: AnyFastError) -> None:
        self._consecutive_failures += 1
        if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
            self._lifecycle.advance(BatchState.ABORTED, error)

    def _end(self, row: BatchRow, entry: ManifestEntry) -> None:
        self._manifest.add(entry)
        self.states.recorded.discard(row.number)
        self.states.progressed += 1


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
