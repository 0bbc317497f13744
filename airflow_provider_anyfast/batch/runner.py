"""Runs one worker segment of a batch: its threads, its ledger writes, its manifest and its figures.

``row_processor`` has what a thread does with a row.
"""

from __future__ import annotations

import logging
import time
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_anyfast.batch.checkpoint import BatchCheckpoint
from airflow_provider_anyfast.batch.forecast import Forecast
from airflow_provider_anyfast.batch.manifest import failure_entry, new_entry
from airflow_provider_anyfast.batch.queue import BatchState, RowQueue
from airflow_provider_anyfast.batch.row_processor import RowEvents, RowProcessor
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, LostSubmissionError
from airflow_provider_anyfast.client.log import log_about
from airflow_provider_anyfast.ledger.purchase import PaidGeneration
from airflow_provider_anyfast.ledger.record import Stage, record_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_anyfast.batch.options import BatchOptions
    from airflow_provider_anyfast.batch.queue import BatchLifecycle
    from airflow_provider_anyfast.batch.segment import Segment
    from airflow_provider_anyfast.client.transport import AnyFastClient

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
"""Seconds between two checks whether the threads have ended. Their ledger writes are not delayed by it."""
FLUSH_EVERY = 10.0
"""Seconds between two writes of the whole manifest."""
DRAIN_SECONDS = 8.0
"""Seconds that a stopped task waits for the responses to its submissions. Airflow kills it after 60."""


class BatchEvents(RowEvents, Protocol):
    """What happens to rows and, in the task's main thread alone, the progress of the batch."""

    def progress(self, runner: BatchRunner) -> None:
        """Called about every ten seconds, and at the end."""


class BatchRunner:
    """The rows of one segment.

    Args:
        options: the options of the batch.
        segment: the state that it starts from.
        client: sends requests to AnyFast.
        lifecycle: the state of the batch; a signal handler may advance it.
        events: receives the reports.
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
        self._ledger = segment.ledger
        self._events = events
        self._rows = {row.number: row for row in (*segment.recorded, *segment.new)}
        self._located = segment.located
        self._began_at = clock.now()
        self._crashes: list[BaseException] = []
        if segment.closed_by or self.ends_by_failure:
            lifecycle.advance(BatchState.CLOSED, segment.closed_by)
        self._queue = RowQueue(
            lifecycle,
            recorded=segment.recorded,
            new=segment.new,
            active=len(segment.active),
            max_active=options.given.max_active,
        )
        self._processor = RowProcessor(options, segment, client, events, lifecycle=lifecycle, queue=self._queue)
        self._states = self._processor.states

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
            self.manifest.add(failure_entry(new_entry(row, self.options), error, ""))
            try:
                lost = record.model_copy(update={"stage": Stage.LOST})
                self._ledger.put_unless_pending(row.key, lost.to_stored())
            except Exception as problem:  # noqa: BLE001 - the recorded intent also keeps a retry from buying
                log.warning("Could not record the submission of %s as unconfirmed: %s", row.label, problem)

    def _settle_unknown(self) -> None:
        """Handles generations that AnyFast did not find. One such response proves nothing, so each is queried again.

        If AnyFast finds none at all, the key may belong to another account, or a gateway fails, so no row ends.
        """
        if self._states.unknown and not (self._states.confirmed or self.active or self.manifest.tally.ended_now):
            self.lifecycle.advance(BatchState.CLOSED, self._states.unknown[0][1])
            return
        for row, error in self._states.unknown:
            record = record_of(self._ledger.get(row.key))
            if record.stage is Stage.SUBMITTED and row.number not in self._states.doubted:
                self._states.doubted.add(row.number)
                self._states.progressed += 1
                self.active[row.number] = PaidGeneration(record.id, record.at, reattached=True)
            else:
                self._processor.record_failure(row, error, record.id)

    # Progress and results

    @property
    def active(self) -> dict[int, PaidGeneration]:
        """Videos that are rendering, by row number."""
        return self._states.active

    @property
    def progressed(self) -> int:
        """Rows with news in this segment: they ended, or AnyFast did not find their generation."""
        return self._states.progressed

    def progress(self) -> dict[str, int]:
        """The progress of the batch in numbers of rows and tokens."""
        tally, recorded = self.manifest.tally, len(self._states.recorded)
        in_flight = {row.number for row in self._queue.in_flight}
        downloading = len(in_flight & self._states.recorded)
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
            to_save=len(self._states.recorded - set(self.active)),
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
            unanswered=sorted(self._states.recorded - self.active.keys()),
            doubted=sorted(self._states.doubted & self.active.keys()),
            located=[(number, page) for number, page in located.items() if number not in self.manifest],
            manifest=self.manifest.digest,
            tally=self.manifest.tally,
            closed_by=self.lifecycle.error if self.lifecycle.state is BatchState.CLOSED else None,
        )

    @property
    def summary(self) -> dict[str, Any]:
        """The result of the task."""
        counts = self.progress()
        names = ("rows", "succeeded", "failed", "lost", "skipped", "tokens")
        numbers = {name: counts[name] for name in names}
        return {**numbers, "left_out": self.left_out, "manifest_path": self.manifest.path}

    # In the threads of the segment

    def _work(self) -> None:
        try:
            while (row := self._queue.take()) is not None:
                try:
                    with log_about(row.label):
                        self._processor.process(row)
                finally:
                    self._queue.release(row, is_active=row.number in self.active)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._crashes.append(error)
            self.lifecycle.advance(BatchState.ABORTED)
