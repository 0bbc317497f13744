"""What ``GenerateVideoBatchOperator`` does on a worker."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.assets.references import library_for
from airflow_provider_anyfast.batch.checkpoint import BatchCheckpoint, RowIndex
from airflow_provider_anyfast.batch.claim import claim_manifest
from airflow_provider_anyfast.batch.ending import conclude, describe_progress, is_over, raise_early_end, saturated_since
from airflow_provider_anyfast.batch.options import BatchOptions
from airflow_provider_anyfast.batch.other_runs import OtherRuns
from airflow_provider_anyfast.batch.queue import BatchLifecycle, BatchState
from airflow_provider_anyfast.batch.report_file import LiveReport, ReportFile
from airflow_provider_anyfast.batch.run_lock import HeldByAnotherRunError, OtherRun, RunLock
from airflow_provider_anyfast.batch.runner import BatchRunner
from airflow_provider_anyfast.batch.segment import SegmentStart
from airflow_provider_anyfast.batch.source import RowSource, identity_of_rows
from airflow_provider_anyfast.batch.unsaved_rows import UnsavedRows
from airflow_provider_anyfast.client import billing_pages, clock
from airflow_provider_anyfast.client.errors import AnyFastError, Cost, WaitInterruptedError
from airflow_provider_anyfast.files.paths import stored_file
from airflow_provider_anyfast.ledger.fingerprint import formerly_billed_to
from airflow_provider_anyfast.ledger.pages import PagedLedger
from airflow_provider_anyfast.ledger.stores import (
    BATCH_KEY,
    UNSAVED_ROWS_KEY,
    batch_store_of,
    batch_store_of_run,
    store_of_all_runs,
)
from airflow_provider_anyfast.links.report import REPORT_KEY
from airflow_provider_anyfast.metrics import count_failure, count_obtained, count_success
from airflow_provider_anyfast.polling.event import JobsEvent
from airflow_provider_anyfast.tasks.waiting import JobWait
from airflow_provider_anyfast.triggers.video import VideosTrigger
from airflow_provider_anyfast.wording import counted
from airflow_provider_anyfast.xcoms import CHECKPOINT_KEY, INDEX_KEY, PROGRESS_KEY, own_xcom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow.sdk import Context

    from airflow_provider_anyfast.client.responses import Generation
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.files.base import StoredFile
    from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator

MAX_DEFERRAL = 600.0
"""Seconds of waiting after which the worker saves the rows that have ended, so that the manifest grows."""
REFILL_FRACTION = 4
"""While rows wait to be submitted, the worker resumes when one in this many active videos has ended."""
SATURATION_PAUSE = 120.0
"""Seconds until a batch with no active videos submits again after AnyFast accepted no submissions."""
LOCK_PAUSE = 60.0
"""Seconds until a batch that waits for another run asks again whether that has ended."""
SLOT_PATIENCE = 600.0
"""Seconds for which a batch waits for another run that needs a slot of its pool. It may need the one of this batch."""
_NEEDS_SLOT = frozenset({"scheduled", "queued"})
_UNFINISHED = frozenset(
    {"scheduled", "queued", "running", "restarting", "deferred", "up_for_retry", "up_for_reschedule"}
)
"""States of a task instance that goes on by itself."""
_WITHOUT_RECORDS = frozenset({"success", "skipped"})
"""States of a task instance whose records are not read: thousands may be there, and hardly any has a record. In another
state, also in none after a clear, it may have paid for rows."""


class BatchTask:
    """One attempt of a ``GenerateVideoBatchOperator``, or one part of it between two deferrals.

    Args:
        operator: with rendered parameters.
        context: Airflow's context.
    """

    def __init__(self, operator: GenerateVideoBatchOperator, context: Context) -> None:
        self._operator = operator
        self._context = context
        self._given = operator.parameters
        self._saved_index: RowIndex | None = None

    def run(self) -> dict[str, Any]:
        """Checks every row, and submits them or continues with those that an earlier attempt submitted."""
        return self._run(BatchCheckpoint(began_at=clock.now()), JobsEvent())

    def resume(self, event: Mapping[str, Any] | None) -> dict[str, Any]:
        """Continues after a deferral: saves the videos that have ended, and submits the remaining rows."""
        stored = own_xcom(self._context, CHECKPOINT_KEY)
        checkpoint = (
            BatchCheckpoint.from_xcom(stored) if stored else BatchCheckpoint(began_at=clock.now(), resumed=True)
        )
        return self._run(checkpoint, JobsEvent.parse(event))

    @property
    def _identity(self) -> str:
        ti = self._context["ti"]
        return f"{ti.dag_id} {ti.run_id} {ti.task_id} {ti.map_index}"

    def _run(self, checkpoint: BatchCheckpoint, event: JobsEvent) -> dict[str, Any]:
        self._operator.lifecycle = lifecycle = BatchLifecycle(checkpoint.closed_by)
        with closing(LiveReport(self._report())) as live:
            options = self._options(checkpoint)
            with self._operator.hook.get_conn() as client:
                start = self._start(client, live.report, is_resumed=checkpoint.resumed)
                while True:
                    try:
                        segment = start.segment(checkpoint, event.ended, options)
                    except HeldByAnotherRunError as held:
                        checkpoint = self._wait_for_run(client, held.run, checkpoint)
                        continue
                    if segment.new and not segment.is_resumed and lifecycle.state is BatchState.OPEN:
                        self._log_balance(client)
                    runner = BatchRunner(options, segment, client, lifecycle, _Events(self, live))
                    live.follow(runner.manifest, runner.total)
                    runner.run()
                    since = saturated_since(runner, checkpoint)
                    raise_early_end(runner, event.reason, since)
                    if is_over(runner):
                        return self._conclude(runner, start)
                    checkpoint = runner.checkpoint(since)
                    event = JobsEvent(ended=frozenset())
                    if not runner.has_room:
                        self._save_checkpoint(checkpoint, start.index)
                        event = self._wait(client, runner, start.kind)
                    lifecycle.forget_saturation()

    def _conclude(self, runner: BatchRunner, start: SegmentStart) -> dict[str, Any]:
        """The result of the task, once later runs can find what failed rows have paid for."""
        result = conclude(runner)
        if start.other_runs is not None:
            has_failures = runner.manifest.tally.failures > 0
            start.other_runs.unsaved_rows.note(PagedLedger(start.store_of).items() if has_failures else ())
        return result

    def _log_balance(self, client: AnyFastClient) -> None:
        usage = billing_pages.usage_of(client)
        if usage is not None:
            self._operator.log.info("Before the first submission: %s", usage)

    def _start(self, client: AnyFastClient, report: ReportFile | None, *, is_resumed: bool) -> SegmentStart:
        given = self._given
        stored = own_xcom(self._context, INDEX_KEY) if is_resumed else None
        self._saved_index = RowIndex.from_xcom(stored) if stored else None
        return SegmentStart(
            source=RowSource(
                rows=self._operator.rows,
                given=given,
                environment=self._operator.get_template_env(),
                context=dict(self._context),
                billed_to=self._operator.anyfast_conn_id,
                formerly_billed_to=formerly_billed_to(self._operator.anyfast_conn_id, client.settings.base_url),
                price=client.settings.price_per_million_tokens,
            ),
            store_of=batch_store_of(self._context, BATCH_KEY),
            manifest=stored_file(given.manifest_path, "manifest_path"),
            claim=partial(self._claim_files, report),
            index=self._saved_index,
            library=library_for(
                self._context,
                client,
                given.asset_group,
                self._operator.anyfast_conn_id,
                is_stopped=lambda: self._operator.stopped,
                max_in_flight=given.max_in_flight,
            ),
            other_runs=self._other_runs() if given.if_exists == "skip" else None,
        )

    def _other_runs(self) -> OtherRuns:
        return OtherRuns(
            lock=RunLock(
                run_id=self._context["ti"].run_id,
                others=partial(self._instances_in_other_runs, _UNFINISHED.__contains__),
                is_stopped=lambda: self._operator.stopped,
            ),
            unsuccessful=partial(self._instances_in_other_runs, lambda state: state not in _WITHOUT_RECORDS),
            unsaved_rows=UnsavedRows(store_of_all_runs(self._context, UNSAVED_ROWS_KEY), self._context["ti"].run_id),
        )

    def _instances_in_other_runs(self, is_wanted: Callable[[str | None], bool]) -> Iterator[OtherRun]:
        """The instances of this task in other runs, mapped ones included, in the states that are wanted."""
        ti, task_id = self._context["ti"], self._operator.task_id
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[task_id])
        for run_id, by_instance in states.items():
            for name, state in by_instance.items():
                if run_id != ti.run_id and is_wanted(state):
                    map_index = int(name[len(task_id) + 1 :] or -1)
                    store_of = batch_store_of_run(self._context, BATCH_KEY, run_id=run_id, map_index=map_index)
                    yield OtherRun(run_id, store_of, state)

    def _wait_for_run(self, client: AnyFastClient, run: OtherRun, checkpoint: BatchCheckpoint) -> BatchCheckpoint:
        """Waits for some time, or defers, until it is worth asking again whether the other run has ended."""
        since = (checkpoint.slot_needed_since or clock.now()) if run.state in _NEEDS_SLOT else None
        if since is not None and clock.now() - since >= SLOT_PATIENCE:
            raise _no_slot(run, clock.now() - since)
        checkpoint = replace(checkpoint, slot_needed_since=since)
        self._operator.log.info(
            "Run %s is making rows that have no video yet. This run waits until that task has ended, so that no row is "
            "paid for twice, and then skips the videos that exist.",
            run.run_id,
        )
        self._save_checkpoint(checkpoint, None)
        trigger = VideosTrigger(
            jobs=[], anyfast_conn_id=self._operator.anyfast_conn_id, resume_at=clock.now() + LOCK_PAUSE
        )
        try:
            JobWait(self._operator).wait_for_some(client, trigger)
        except WaitInterruptedError as error:
            what = f"It was waiting for the run {run.run_id}, and had submitted nothing in this attempt."
            raise error.with_context(what, cost=Cost.NOTHING) from error
        return checkpoint

    def _save_checkpoint(self, checkpoint: BatchCheckpoint, index: RowIndex | None) -> None:
        """Stores the state for the worker that resumes the task; not needed if this one waits itself."""
        if not self._operator.deferrable:
            return
        if index is not None and self._saved_index is not index:
            self._saved_index = index
            self._context["ti"].xcom_push(INDEX_KEY, index.to_xcom())
        self._context["ti"].xcom_push(CHECKPOINT_KEY, checkpoint.to_xcom())

    def _claim_files(self, report: ReportFile | None, manifest: StoredFile) -> None:
        """Claims the manifest for this task instance, checks the report, and publishes the report's link."""
        claim_manifest(self._context["ti"], manifest, self._identity, self._operator.batches_of_dag())
        if report is not None:
            report.check({manifest.identity, *identity_of_rows(self._operator.rows)})
            self._context["ti"].xcom_push(REPORT_KEY, report.path)

    def _report(self) -> ReportFile | None:
        if (path := self._given.report_path) is None:
            return None
        ti = self._context["ti"]
        subtitle = f"Run {ti.run_id} · task {ti.task_id}"
        return ReportFile(path, ti.dag_id, subtitle, log_of=lambda _: str(ti.log_url))

    def _options(self, checkpoint: BatchCheckpoint) -> BatchOptions:
        ti = self._context["ti"]
        return BatchOptions(
            given=self._given,
            identity=self._identity,
            attempt=ti.try_number,
            max_tries=ti.max_tries,
            began_at=checkpoint.began_at,
        )

    def report_progress(self, runner: BatchRunner) -> None:
        """Pushes the XCom ``progress``, and logs the same numbers."""
        progress, left = runner.progress(), runner.seconds_left()
        if left is not None:
            progress["seconds_left"] = round(left)
        self._context["ti"].xcom_push(PROGRESS_KEY, progress)
        self._operator.log.info("%s", progress_sentence(progress))

    def _wait(self, client: AnyFastClient, runner: BatchRunner, kind: str) -> JobsEvent:
        """Defers until there is work to do; without ``deferrable``, waits on the worker in the same way."""
        more = runner.progress()["waiting"] and runner.lifecycle.state < BatchState.CLOSED
        trigger = VideosTrigger(
            jobs=[
                (paid.id, int(paid.submitted_at), math.ceil(runner.options.deadline_of(paid.submitted_at)))
                for paid in runner.active.values()
            ],
            anyfast_conn_id=self._operator.anyfast_conn_id,
            kind=kind,
            poll_interval=self._given.poll_interval,
            min_finished=max(1, len(runner.active) // REFILL_FRACTION) if more else None,
            resume_at=clock.now() + (MAX_DEFERRAL if runner.active else SATURATION_PAUSE),
        )
        try:
            return JobWait(self._operator).wait_for_some(client, trigger)
        except WaitInterruptedError as error:
            raise error.with_context(describe_progress(runner)) from error


def _no_slot(run: OtherRun, seconds: float) -> AnyFastError:
    error = WaitInterruptedError(
        f"The run {run.run_id} is making rows that have no video yet, and has waited for a slot of its pool for "
        f"{seconds:.0f} s, perhaps for the slot of this run. This attempt ends, so that the other run can continue.",
        cost=Cost.NOTHING,
        advice="Clear the task when the other run has ended. To keep runs from taking each other's slots, set "
        "deferrable=True or max_active_runs=1, or give the pool more slots.",
    )
    error.next_attempt = "The next attempt waits for the other run if it has not ended by then."
    return error


@dataclass(frozen=True)
class _Events:
    """Passes on what a runner reports: to the metrics, the task log and the report."""

    task: BatchTask
    report: LiveReport

    def progress(self, runner: BatchRunner) -> None:
        self.task.report_progress(runner)
        self.report.follow(runner.manifest, runner.total)

    def submitted(self) -> None:
        count_obtained(reattached=False)

    def succeeded(self, generation: Generation) -> None:
        count_success(generation)

    def failed(self, error: AnyFastError) -> None:
        count_failure(error)


def progress_sentence(progress: Mapping[str, int]) -> str:
    """The numbers of the XCom ``progress`` that are not 0, as a log line.

    Args:
        progress: what the XCom contains.
    """
    next_up = progress["active"] - progress["rendering"] - progress["downloading"]
    parts = {
        "skipped": progress["skipped"],
        "failed": progress["failed"],
        "unconfirmed": progress["lost"],
        "rendering": progress["rendering"],
        "being downloaded": progress["downloading"],
        "to be polled or downloaded next": max(0, next_up),
        "being submitted": progress["submitting"],
        "waiting to be submitted": progress["waiting"] - progress["submitting"],
    }
    others = "".join(f", {count:,} {state}" for state, count in parts.items() if count)
    left = f" About {progress['seconds_left']:,} s are left." if "seconds_left" in progress else ""
    return f"{progress['succeeded']:,} of {counted(progress['rows'], 'row')} succeeded{others}.{left}"
