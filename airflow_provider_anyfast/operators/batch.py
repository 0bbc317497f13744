"""Generating one video for each row of a table, in one task instance."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf

from airflow_provider_anyfast.assets import GROUP_KEY
from airflow_provider_anyfast.batch.checkpoint import BatchCheckpoint, RowIndex
from airflow_provider_anyfast.batch.claim import claim_manifest
from airflow_provider_anyfast.batch.ending import conclude, how_far, is_over, raise_early_end, saturated_since
from airflow_provider_anyfast.batch.options import BatchOptions, BatchParameters, DuplicateRows, IfExists, OnRowFailure
from airflow_provider_anyfast.batch.queue import BatchState, Intake
from airflow_provider_anyfast.batch.report_file import LiveReport, ReportFile
from airflow_provider_anyfast.batch.runner import BatchRunner
from airflow_provider_anyfast.batch.segment import SegmentStart
from airflow_provider_anyfast.batch.source import RowSource, identity_of_rows
from airflow_provider_anyfast.client import billing_pages, clock
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    WaitInterruptedError,
)
from airflow_provider_anyfast.deferral import DeferrableJobMixin
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.files.storage import stored_file
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.ledger.stores import after_batch_success, after_success, batch_store_of
from airflow_provider_anyfast.links.report import REPORT_KEY, AnyFastManifestLink, AnyFastReportLink
from airflow_provider_anyfast.metrics import count_failure, count_obtained, count_success
from airflow_provider_anyfast.parameters import check_literals, read
from airflow_provider_anyfast.polling.event import JobsEvent
from airflow_provider_anyfast.xcoms import own_xcom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.client.responses import Generation
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.files.storage import Place, StoredFile
    from airflow_provider_anyfast.ledger.purchase import OnLostSubmission
    from airflow_provider_anyfast.parameters import Duration, Templated, TemplatedText

LEDGER_KEY = "anyfast_batch"
CHECKPOINT_KEY, INDEX_KEY = "course", "row_index"
"""Keys of the XComs that carry state across deferrals, but not to the next attempt."""
MAX_DEFERRAL = 600.0
"""Seconds of waiting after which the worker saves the rows that have ended, so that the manifest grows."""
REFILL_FRACTION = 4
"""While rows wait to be submitted, the worker resumes when one in this many active videos has ended."""
SATURATION_PAUSE = 120.0
"""Seconds until a batch with no active videos submits again after AnyFast accepted no submissions."""


class GenerateVideoBatchOperator(DeferrableJobMixin):
    """Makes one video for each row, in one task instance, and never pays for a row twice. Billed once per row.

    Every row is rendered and checked before the first payment. Each row has its own ledger, so no video is lost or
    billed twice after a crash at any moment. A retry or a clear runs only the rows that have not succeeded.

    Args:
        rows: a list of objects, or a CSV, JSON or JSON Lines file, local or in object storage
            (``s3://conn@bucket/rows.csv``). Up to 10,000.
        template: parameters of ``GenerateVideoOperator`` that describe the video (``prompt``, ``model``, …,
            ``output_path``), rendered with Jinja for each row: ``{"prompt": "A film about {{ row.name }}"}``. Airflow's
            context is available too. A column that does not exist is an error.
        manifest_path: JSON Lines file, local or in object storage, with one line for each row that has ended: ``row``
            (its number), ``input``, ``status``, ``generation_id``, ``path``, ``usage``, ``error``, and more. It is
            replaced as a whole every few seconds, so it can be read at any time. Put ``{{ run_id }}``
            into its path.
        on_row_failure: ``continue`` with the other rows, or ``fail`` at the first failure. Videos already submitted are
            still billed, and a retry downloads them.
        failure_threshold: share of the rows, 0 to 1, that may fail without failing the task.
        max_in_flight: submissions, polls and downloads at the same time, at most 100.
        max_active: videos rendering at the same time; None submits all, or as many as AnyFast accepts.
        max_tokens: refuses the whole batch if the estimates of all rows add up to more, before anything is billed; see
            ``GenerateVideoOperator``.
        deferrable: waits in the triggerer, without holding a worker; one trigger for all rows.
        poll_interval: seconds between polls of one video; None adapts to how long such videos take.
        timeout: seconds from a row's submission after which the row fails, and how long AnyFast may accept no
            submission while nothing is rendering. A retry resumes the row.
        on_lost_submission: for rows whose submission got no response: ``fail`` the row, or ``resubmit`` and perhaps pay
            twice.
        key_column: the column whose value names a row in messages and logs; None takes the first one.
        duplicate_rows: for a row that makes the same request as an earlier one: ``keep`` makes and bills both, ``skip``
            leaves it out, ``fail`` refuses the batch.
        required: columns that must exist and have a value in every row.
        if_exists: for a row whose complete video is already at its ``output_path``: ``overwrite`` makes and bills a new
            one, ``skip`` submits nothing, so that a nightly run pays only for new rows. Each ``output_path`` must then
            identify its row, without ``{generation_id}``.
        asset_group: name or id of the group in which files that the template names as references become assets. Each
            distinct content becomes one asset, which is billed once, whichever rows, runs or DAGs use it. A group that
            does not exist is created, which is billed too.
        limit: how many rows this run makes, from the top of the table; all rows are checked. With ``if_exists="skip"``
            the next run continues with the rest.
        report_path: HTML file, local or in object storage, that shows the rows as they end and plays their videos, with
            a CSV file of the same name next to it.
        save_poster: saves the first picture of each video next to it, as ``….poster.jpg``, for the report and the
            Videos page. Needs the extra ``media``.
        anyfast_conn_id: the connection.

    Returns:
        ``{"rows", "succeeded", "failed", "lost", "skipped", "tokens", "left_out", "manifest_path"}``. While it runs,
        the XCom ``progress`` has these counts and the state of the remaining rows.

    Raises:
        InvalidRequestError: naming every row that AnyFast would refuse; nothing was billed.
        BatchFailedError: more rows failed than ``failure_threshold`` allows; a retry runs the unfinished rows.
        QuotaError and other errors that affect every row: videos already paid for were downloaded first, as far as
            possible.
    """

    template_fields: Sequence[str] = (
        "rows",
        "manifest_path",
        "failure_threshold",
        "max_in_flight",
        "max_active",
        "max_tokens",
        "poll_interval",
        "timeout",
        "on_row_failure",
        "on_lost_submission",
        "key_column",
        "duplicate_rows",
        "required",
        "if_exists",
        "limit",
        "asset_group",
        "report_path",
        "anyfast_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"rows": "json"}
    operator_extra_links = (AnyFastReportLink(), AnyFastManifestLink())
    ui_color = "#e8f0ff"
    _intake: Intake | None = None
    """Of the current segment, for ``on_kill``."""
    _saved_index: RowIndex | None = None

    def __init__(
        self,
        *,
        rows: Templated[Sequence[dict[str, Any]]],
        template: dict[str, Any],
        manifest_path: Place | TemplatedText,
        on_row_failure: OnRowFailure = "continue",
        failure_threshold: Templated[float] = 0.0,
        max_in_flight: Templated[int] = 16,
        max_active: Templated[int] | None = None,
        max_tokens: Templated[int] | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: Duration | None = None,
        timeout: Duration = 3600.0,
        on_lost_submission: OnLostSubmission = "fail",
        key_column: TemplatedText | None = None,
        duplicate_rows: DuplicateRows = "keep",
        required: Templated[Sequence[str]] = (),
        if_exists: IfExists = "overwrite",
        limit: Templated[int] | None = None,
        asset_group: TemplatedText | None = None,
        report_path: Place | TemplatedText | None = None,
        save_poster: bool = False,
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rows = rows
        self.template = template
        self.manifest_path = manifest_path
        self.on_row_failure = on_row_failure
        self.failure_threshold = failure_threshold
        self.max_in_flight = max_in_flight
        self.max_active = max_active
        self.max_tokens = max_tokens
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.on_lost_submission = on_lost_submission
        self.key_column = key_column
        self.duplicate_rows = duplicate_rows
        self.required = required
        self.if_exists = if_exists
        self.limit = limit
        self.asset_group = asset_group
        self.report_path = report_path
        self.save_poster = save_poster
        self.anyfast_conn_id = anyfast_conn_id
        self.on_success_callback = [*(self.on_success_callback or ()), after_batch_success(LEDGER_KEY)]
        if asset_group is not None:
            self.on_success_callback.append(after_success(GROUP_KEY))
        check_literals(self, BatchParameters)

    def execute(self, context: Context) -> dict[str, Any]:
        """Checks every row, and submits them or continues with those that an earlier attempt submitted."""
        return self._run(context, BatchCheckpoint(began_at=clock.now()), JobsEvent())

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Resumes after a deferral: saves the videos that have ended, and submits the remaining rows."""
        stored = own_xcom(context, CHECKPOINT_KEY)
        checkpoint = (
            BatchCheckpoint.from_xcom(stored) if stored else BatchCheckpoint(began_at=clock.now(), resumed=True)
        )
        return self._run(context, checkpoint, JobsEvent.parse(event))

    def on_kill(self) -> None:
        """Starts no more rows. AnyFast cannot cancel generations, so this logs what becomes of them."""
        super().on_kill()
        if self._intake is not None:
            self._intake.advance(BatchState.ABORTED)
        self.log.warning(
            "This task was stopped. AnyFast cannot cancel: videos that were submitted will finish and be billed. A "
            "retry or a clear of this task continues with them."
        )

    def _run(self, context: Context, checkpoint: BatchCheckpoint, event: JobsEvent) -> dict[str, Any]:
        self._intake = intake = Intake(checkpoint.closed_by)
        with fail_fast(context, self.anyfast_conn_id), closing(LiveReport(self._report(context))) as live:
            options = self._options(context, checkpoint)
            with self.hook.get_conn() as client:
                start = self._start(context, client, live.report, is_resumed=checkpoint.resumed)
                while True:
                    segment = start.segment(checkpoint, event.ended, options)
                    if segment.new and not segment.is_resumed and intake.state is BatchState.OPEN:
                        self._log_balance(client)
                    runner = BatchRunner(options, segment, client, intake, _Events(self, context, live))
                    live.follow(runner.manifest, runner.total)
                    runner.run()
                    since = saturated_since(runner, checkpoint)
                    raise_early_end(runner, event.reason, since)
                    if is_over(runner):
                        return conclude(runner)
                    checkpoint = runner.checkpoint(since)
                    event = JobsEvent(ended=frozenset())
                    if not runner.has_room:
                        self._save_checkpoint(context, checkpoint, start.index)
                        event = self._wait(client, runner, start.kind)
                    intake.forget_saturation()

    def _log_balance(self, client: AnyFastClient) -> None:
        usage = billing_pages.usage_of(client)
        if usage is not None:
            self.log.info("Before the first submission: %s", usage)

    def _start(
        self, context: Context, client: AnyFastClient, report: ReportFile | None, *, is_resumed: bool
    ) -> SegmentStart:
        from airflow_provider_anyfast.assets.references import library_for  # noqa: PLC0415 - not while a DAG is parsed

        given = self._parameters
        stored = own_xcom(context, INDEX_KEY) if is_resumed else None
        self._saved_index = RowIndex.from_xcom(stored) if stored else None
        return SegmentStart(
            source=RowSource(
                rows=self.rows,
                template=self.template,
                environment=self.get_template_env(),
                context=dict(context),
                billed_to=self.anyfast_conn_id,
                formerly_billed_to=f"{self.anyfast_conn_id} {client.settings.base_url}",
                key_column=given.key_column,
                duplicate_rows=given.duplicate_rows,
                required=given.required,
                max_tokens=given.max_tokens,
                overwrite=given.if_exists == "overwrite",
                asset_group=given.asset_group,
                save_poster=given.save_poster,
            ),
            store_of=batch_store_of(context, LEDGER_KEY),
            manifest=stored_file(given.manifest_path, "manifest_path"),
            claim=partial(self._claim_files, context, report),
            index=self._saved_index,
            library=library_for(
                context, client, given.asset_group, self.anyfast_conn_id, max_in_flight=given.max_in_flight
            ),
        )

    def _save_checkpoint(self, context: Context, checkpoint: BatchCheckpoint, index: RowIndex | None) -> None:
        """Stores the state for the worker that resumes the task; not needed if this one waits itself."""
        if not self.deferrable:
            return
        if index is not None and self._saved_index is not index:
            self._saved_index = index
            context["ti"].xcom_push(INDEX_KEY, index.to_xcom())
        context["ti"].xcom_push(CHECKPOINT_KEY, checkpoint.to_xcom())

    def _claim_files(self, context: Context, report: ReportFile | None, manifest: StoredFile) -> None:
        """Claims the manifest for this task instance, checks the report, and publishes the report's link."""
        self._claim_manifest(context, manifest)
        if report is not None:
            report.check({manifest.identity, *identity_of_rows(self.rows)})
            context["ti"].xcom_push(REPORT_KEY, report.path)

    def _claim_manifest(self, context: Context, manifest: StoredFile) -> None:
        classes = {task.task_id: getattr(task, "operator_class", type(task)) for task in self.dag.tasks}
        batches = [task_id for task_id, kind in classes.items() if issubclass(kind, GenerateVideoBatchOperator)]
        claim_manifest(context["ti"], manifest, _identity_of(context), batches)

    def _report(self, context: Context) -> ReportFile | None:
        if (path := self._parameters.report_path) is None:
            return None
        ti, key_column = context["ti"], self._parameters.key_column
        subtitle = f"Run {ti.run_id} · task {ti.task_id}"
        return ReportFile(path, ti.dag_id, subtitle, log_of=lambda _: str(ti.log_url), key_column=key_column)

    def _options(self, context: Context, checkpoint: BatchCheckpoint) -> BatchOptions:
        ti = context["ti"]
        return BatchOptions(
            given=self._parameters,
            identity=_identity_of(context),
            attempt=ti.try_number,
            max_tries=ti.max_tries,
            began_at=checkpoint.began_at,
        )

    @cached_property
    def _parameters(self) -> BatchParameters:
        return read(self, BatchParameters)

    def report_progress(self, context: Context, runner: BatchRunner) -> None:
        """Pushes the XCom ``progress``, and logs the same numbers."""
        progress, left = runner.progress(), runner.seconds_left()
        if left is not None:
            progress["seconds_left"] = round(left)
        context["ti"].xcom_push("progress", progress)
        self.log.info(  # positional, since Airflow 3.1.0 cannot log a mapping
            "%d of %d rows have succeeded, %d were skipped, %d failed, %d are unconfirmed. %d videos are rendering, %d "
            "are being downloaded, %d are polled or downloaded next, %d rows are being submitted, %d are waiting to "
            "be submitted.%s",
            *(
                progress[name]
                for name in ("succeeded", "rows", "skipped", "failed", "lost", "rendering", "downloading")
            ),
            max(0, progress["active"] - progress["rendering"] - progress["downloading"]),
            progress["submitting"],
            progress["waiting"] - progress["submitting"],
            f" About {left:,.0f} s are left." if left is not None else "",
        )

    def _wait(self, client: AnyFastClient, runner: BatchRunner, kind: str) -> JobsEvent:
        """Defers until there is something to do; without ``deferrable``, waits on the worker in the same way."""
        from airflow_provider_anyfast.triggers.video import VideosTrigger  # noqa: PLC0415 - not while a DAG is parsed

        more = runner.progress()["waiting"] and runner.intake.state < BatchState.CLOSED
        trigger = VideosTrigger(
            jobs=[
                (paid.id, int(paid.submitted_at), math.ceil(runner.deadline_of(paid)))
                for paid in runner.active.values()
            ],
            anyfast_conn_id=self.anyfast_conn_id,
            kind=kind,
            poll_interval=self._parameters.poll_interval,
            min_finished=max(1, len(runner.active) // REFILL_FRACTION) if more else None,
            resume_at=clock.now() + (MAX_DEFERRAL if runner.active else SATURATION_PAUSE),
        )
        try:
            return self.wait_for_some(client, trigger)
        except WaitInterruptedError as error:
            raise error.with_context(how_far(runner)) from error


@dataclass(frozen=True)
class _Events:
    """Passes on what a runner reports: to the metrics, the task log and the report."""

    operator: GenerateVideoBatchOperator
    context: Context
    report: LiveReport

    def progress(self, runner: BatchRunner) -> None:
        self.operator.report_progress(self.context, runner)
        self.report.follow(runner.manifest, runner.total)

    def submitted(self) -> None:
        count_obtained(reattached=False)

    def succeeded(self, generation: Generation) -> None:
        count_success(generation)

    def failed(self, error: AnyFastError) -> None:
        count_failure(error)


def _identity_of(context: Context) -> str:
    ti = context["ti"]
    return f"{ti.dag_id} {ti.run_id} {ti.task_id} {ti.map_index}"
