"""Generating one video for each row of a table, in one task instance."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf

from airflow_provider_anyfast.batch.options import BatchParameters, DuplicateRows, IfExists, OnRowFailure
from airflow_provider_anyfast.deferral import DeferrableJobMixin
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.ledger.removal import after_batch_success, after_success
from airflow_provider_anyfast.ledger.stores import BATCH_KEY, GROUP_KEY
from airflow_provider_anyfast.links.report import AnyFastManifestLink, AnyFastReportLink
from airflow_provider_anyfast.parameters import check_literals, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.batch.queue import BatchLifecycle
    from airflow_provider_anyfast.files.paths import Place
    from airflow_provider_anyfast.tasks.batch import BatchTask
    from airflow_provider_anyfast.values import Duration, OnLostSubmission, Templated, TemplatedText


class GenerateVideoBatchOperator(DeferrableJobMixin):
    """Makes one video for each row, in one task instance, and never pays for a row twice. Billed once per row.

    Every row is rendered and checked before the first payment. Each row has its own ledger, so no video is lost or
    billed twice after a crash at any moment. A retry or a clear runs only the rows that have not succeeded.

    Args:
        rows: a list of objects, or a CSV, Excel, JSON or JSON Lines file, local or in object storage
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
        key_column: the column whose value names a row in messages, logs, the report, reviews and the Videos page; None
            takes the first one.
        duplicate_rows: for a row that makes the same request as an earlier one: ``keep`` makes and bills both, ``skip``
            leaves it out, ``fail`` refuses the batch.
        required: columns that must exist and have a value in every row.
        if_exists: for a row whose complete video is already at its ``output_path``: ``overwrite`` makes and bills a new
            one, ``skip`` submits nothing, so that a nightly run pays only for new rows. Each ``output_path`` must then
            identify its row, without ``{generation_id}``. Runs of the task then take turns: one that starts while the
            task of another run is unfinished waits for it.
        asset_group: name or id of the group in which files that the template names as references become assets. Each
            distinct content becomes one asset, which is billed once, whichever rows, runs or DAGs use it. A group that
            does not exist is created, which is billed too.
        limit: how many rows this run makes, from the top of the table; all rows are checked. With ``if_exists="skip"``
            the next run continues with the rest.
        report_path: HTML file, local or in object storage, that shows the rows as they end and plays their videos, with
            a CSV file of the same name next to it.
        save_poster: saves the first frame of each video next to it, as ``….poster.jpg``, for the report and the
            Videos page. Needs the extra ``media``.
        anyfast_conn_id: the connection.

    Returns:
        ``{"rows", "succeeded", "failed", "lost", "skipped", "tokens", "left_out", "manifest_path"}``. While it runs,
        the XCom ``progress`` has these counts and the state of the remaining rows.

    Raises:
        InvalidRequestError: naming every row that AnyFast would refuse; nothing was billed.
        BatchFailedError: more rows failed than ``failure_threshold`` allows; a retry runs the unfinished rows.
        BatchRejectedError: the same, but no row failed for a temporary reason, so Airflow does not retry the task.
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
    lifecycle: BatchLifecycle | None = None
    """Of the current segment, for ``on_kill``."""

    def __init__(
        self,
        *,
        rows: Templated[Sequence[dict[str, Any]]],
        template: dict[str, Any],
        manifest_path: Place | TemplatedText,
        on_row_failure: Templated[OnRowFailure] = "continue",
        failure_threshold: Templated[float] = 0.0,
        max_in_flight: Templated[int] = 16,
        max_active: Templated[int] | None = None,
        max_tokens: Templated[int] | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: Duration | None = None,
        timeout: Duration = 3600.0,
        on_lost_submission: Templated[OnLostSubmission] = "fail",
        key_column: TemplatedText | None = None,
        duplicate_rows: Templated[DuplicateRows] = "keep",
        required: Templated[Sequence[str]] = (),
        if_exists: Templated[IfExists] = "overwrite",
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
        self.on_success_callback = [*(self.on_success_callback or ()), after_batch_success(BATCH_KEY)]
        if asset_group is not None:
            self.on_success_callback.append(after_success(GROUP_KEY))
        from airflow_provider_anyfast.batch.template import template_problems  # noqa: PLC0415 - only if there is a batch

        check_literals(self, BatchParameters, more=template_problems(self))

    def execute(self, context: Context) -> dict[str, Any]:
        """Checks every row, and submits them or continues with those that an earlier attempt submitted."""
        with fail_fast(context, self.anyfast_conn_id):
            return self._task(context).run()

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Resumes after a deferral: saves the videos that have ended, and submits the remaining rows."""
        with fail_fast(context, self.anyfast_conn_id):
            return self._task(context).resume(event)

    def _task(self, context: Context) -> BatchTask:
        from airflow_provider_anyfast.tasks.batch import BatchTask  # noqa: PLC0415 - not while a DAG is parsed

        return BatchTask(self, context)

    def on_kill(self) -> None:
        """Starts no more rows. AnyFast cannot cancel generations, so this logs what becomes of them."""
        super().on_kill()
        if self.lifecycle is not None:
            self.lifecycle.abort()
        self.log.warning(
            "This task was stopped. AnyFast cannot cancel: videos that were submitted will finish and be billed. A "
            "retry or a clear of this task continues with them."
        )

    def batches_of_dag(self) -> list[str]:
        """The task ids of all batches in this DAG, this one included."""
        classes = {task.task_id: getattr(task, "operator_class", type(task)) for task in self.dag.tasks}
        return [task_id for task_id, kind in classes.items() if issubclass(kind, GenerateVideoBatchOperator)]

    @cached_property
    def parameters(self) -> BatchParameters:
        """The rendered parameters.

        Raises:
            InvalidRequestError: they cannot be used; every problem is named.
        """
        return read(self, BatchParameters)
