"""Thousands of videos in one task instance: rows times one template."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf

from airflow_provider_anyfast.assets.creation import check_choice
from airflow_provider_anyfast.batch.checkpoint import BatchCheckpoint
from airflow_provider_anyfast.batch.manifest import Manifest
from airflow_provider_anyfast.batch.queue import BatchState, Intake
from airflow_provider_anyfast.batch.rows import PARAMETERS, BatchRow, prepare, read_rows
from airflow_provider_anyfast.batch.runner import BatchOptions, BatchRunner, OnRowFailure
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    BatchFailedError,
    BatchRejectedError,
    InvalidRequestError,
    WaitInterruptedError,
)
from airflow_provider_anyfast.deferral import DeferrableJobMixin
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.files.storage import stored_file
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.ledger.pages import PagedLedger
from airflow_provider_anyfast.ledger.purchase import OnLostSubmission
from airflow_provider_anyfast.ledger.stores import after_batch_success, batch_store_of
from airflow_provider_anyfast.metrics import count_failure, count_obtained, count_success
from airflow_provider_anyfast.triggers.video import VideosTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.client.responses import Generation
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.files.storage import StoredFile

LEDGER_KEY = "anyfast_batch"
COURSE_KEY = "course"
"""Of the XCom that lasts from one deferral to the next, and not to the next attempt."""
MAX_DEFERRAL = 600.0
"""Seconds of waiting after which rows that have ended are brought home, so that the manifest grows meanwhile."""
REFILL_FRACTION = 4
"""While rows wait to be submitted, the worker comes back when one in so many active videos has ended."""
SATURATION_PAUSE = 120.0
"""Seconds until a batch with nothing under way tries again where AnyFast took no submissions."""
MOST_IN_FLIGHT = 100
"""So many connections httpx has in its pool."""
_TOLD = 5
_SAMPLE = 20
"""Rows that are rendered twice, to see whether they come out the same."""


class GenerateVideoBatchOperator(DeferrableJobMixin):
    """Makes one video for each row, with one task instance, and never pays for a row twice. Billed once a row.

    Every row is rendered and checked before the first payment. Each has a ledger of its own, so a crash at any moment
    loses and doubles nothing. A retry or a clear runs what is not done: rows that have succeeded are never made again.

    Args:
        rows: a list of objects, or a CSV, JSON or JSON Lines file, local or in object storage
            (``s3://conn@bucket/rows.csv``). Up to 10,000.
        template: parameters of ``GenerateVideoOperator`` that describe the video (``prompt``, ``model``, …,
            ``output_path``), rendered with Jinja for each row: ``{"prompt": "A film about {{ row.name }}"}``. Airflow's
            context is there too. A column that does not exist is an error.
        manifest_path: JSON Lines file, local or in object storage, with one line for each row that has ended: ``row``
            (its number), ``input``, ``status``, ``generation_id``, ``path``, ``usage``, ``error``, and more. It is
            replaced as a whole every few seconds, so it can be read at any time. Name the run in it: ``{{ run_id }}``.
        on_row_failure: ``continue`` with the other rows, or ``fail`` at the first one; what is submitted then is made
            and billed all the same, and a retry brings it home.
        failure_threshold: part of the rows, 0 to 1, that may fail without failing the task.
        max_in_flight: submissions, questions and downloads at the same time, 100 at most.
        max_active: videos being made at the same time; None submits all, or as many as AnyFast takes.
        max_tokens: refuses the whole batch if the estimates of all rows are above this together, before anything is
            paid; see ``GenerateVideoOperator``.
        deferrable: waits in the triggerer, without holding a worker; one trigger for all rows.
        poll_interval: seconds between polls of one video; None follows the video.
        timeout: seconds from a row's submission after which the row fails, and for which AnyFast may take no
            submission while nothing is being made. A retry goes on with it.
        on_lost_submission: for rows whose submission has no answer: ``fail`` the row, or ``resubmit`` and maybe pay
            twice.
        anyfast_conn_id: the connection.

    Returns:
        ``{"rows", "succeeded", "failed", "lost", "tokens", "manifest_path"}``. While it runs, the XCom ``progress``
        holds the like.

    Raises:
        InvalidRequestError: naming every row that AnyFast would refuse; nothing was spent.
        BatchFailedError: more rows failed than may; a retry runs what is not done.
        QuotaError and others that concern all rows: what was paid for came home first.
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
        "anyfast_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"rows": "json"}
    ui_color = "#e8f0ff"
    _intake: Intake | None = None
    """Of the batch that runs now; ``on_kill`` reaches it."""

    def __init__(
        self,
        *,
        rows: str | Sequence[dict[str, Any]],
        template: dict[str, Any],
        manifest_path: str,
        on_row_failure: OnRowFailure = "continue",
        failure_threshold: float | str = 0.0,
        max_in_flight: int | str = 16,
        max_active: int | str | None = None,
        max_tokens: int | str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | str | None = None,
        timeout: float | str = 3600.0,
        on_lost_submission: OnLostSubmission = "fail",
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
        self.anyfast_conn_id = anyfast_conn_id
        self.on_success_callback = [*(self.on_success_callback or ()), after_batch_success(LEDGER_KEY)]

    def execute(self, context: Context) -> dict[str, Any]:
        """Checks every row, and submits them or goes on with those that an earlier attempt submitted."""
        return self._run(context, BatchCheckpoint(began_at=clock.now()))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Goes on after a deferral: brings home what has ended, and submits what is left."""
        ti = context["ti"]
        course = ti.xcom_pull(task_ids=self.task_id, key=COURSE_KEY, map_indexes=ti.map_index)
        course = BatchCheckpoint.from_xcom(course) if course else BatchCheckpoint(began_at=clock.now(), resumed=True)
        return self._run(context, course, (event or {}).get("reason", ""))

    def on_kill(self) -> None:
        """Takes no further row in hand. AnyFast has no cancel, so nothing else can be done but say what goes on."""
        super().on_kill()
        if self._intake is not None:
            self._intake.advance(BatchState.ABORTED)
        self.log.warning(
            "This task was stopped. AnyFast cannot cancel: videos that were submitted will finish and be billed. A "
            "retry or a clear of this task goes on with them."
        )

    def _run(self, context: Context, course: BatchCheckpoint, reason: str = "") -> dict[str, Any]:
        self._intake = intake = Intake()
        with fail_fast(context, self.anyfast_conn_id):
            options = self._plan(context, course)
            hook = AnyFastHook(self.anyfast_conn_id)
            rows = self._rows(context, f"{self.anyfast_conn_id} {hook.settings.base_url}", course)
            file = stored_file(self.manifest_path, "manifest_path")
            if not course.resumed:
                self._check_places(rows, file)
            with hook.get_conn() as client:
                while True:
                    ledger = PagedLedger(batch_store_of(context, LEDGER_KEY))
                    events = _Events(self, context)
                    run = BatchRunner(options, rows, client, ledger, Manifest(file), intake, events)
                    run.run()
                    if self._is_over(run, reason):
                        return self._conclude(run)
                    course = self._next_checkpoint(run, course)
                    if run.active or intake.state is BatchState.SATURATED:
                        context["ti"].xcom_push(COURSE_KEY, asdict(course))
                        self._wait(run, client)
                    intake.forget_saturation()
                    options, reason = self._plan(context, course), ""

    def _rows(self, context: Context, billed_to: str, course: BatchCheckpoint) -> list[BatchRow]:
        from airflow_provider_anyfast.batch.template import RowTemplate  # noqa: PLC0415 - Jinja, on workers only

        unknown = sorted(self.template.keys() - PARAMETERS)
        if unknown:
            raise InvalidRequestError(
                f"template has {', '.join(unknown)}, and takes {', '.join(sorted(PARAMETERS))}. Nothing was spent."
            )
        template = RowTemplate(self.template, self.get_template_env())
        try:
            given = read_rows(self.rows)
            rows = prepare(given, template, dict(context), billed_to)
        except InvalidRequestError as error:
            if not course.resumed:
                raise
            raise error.with_context(_PAID_BEFORE) from error
        self._refuse_if_over_budget(rows, tell=not course.resumed)
        again = prepare(given[:_SAMPLE], template, dict(context), billed_to)
        if _digest(again) != _digest(rows[:_SAMPLE]):
            raise InvalidRequestError(
                "template makes another request each time that it is rendered, by the time or at random, so nobody "
                "could tell which rows are paid for. Put what differs into the rows. This attempt has submitted "
                "nothing."
            )
        return rows

    def _refuse_if_over_budget(self, rows: Sequence[BatchRow], *, tell: bool) -> None:
        estimates = [row.request.estimated_tokens() for row in rows]
        tokens = sum(estimate or 0 for estimate in estimates)
        unknown = sum(estimate is None for estimate in estimates)
        if tell:
            told = "%d rows cost about %s tokens; of %d it is not known here."
            self.log.info(told, len(rows), f"{tokens:,}", unknown)
        if self.max_tokens in (None, "", "None"):
            return
        most = _number("max_tokens", self.max_tokens)
        if tokens > most or unknown:
            raise InvalidRequestError(
                f"{len(rows)} rows would cost about {tokens:,} tokens, of {unknown} of them it is not known here, and "
                f"max_tokens={most:,.0f}. This attempt has submitted nothing."
            )

    def _check_places(self, rows: Sequence[BatchRow], manifest: StoredFile) -> None:
        """Once for each folder whether it can be written, and then every name in it, before anything is paid."""
        outputs = {str(row.delivery.output_path): row.delivery for row in rows if row.delivery is not None}
        taken = {*outputs, stored_file(self.rows, "rows").path if isinstance(self.rows, str) else ""}
        if {manifest.path, self.manifest_path} & taken:
            raise InvalidRequestError(
                f"manifest_path={self.manifest_path!r} is that of the rows or of a video too. Nothing was submitted."
            )
        manifest.check_writable()
        for delivery in {path.rpartition("/")[0]: delivery for path, delivery in outputs.items()}.values():
            delivery.check()
        for delivery in outputs.values():
            delivery.check_name()

    def _plan(self, context: Context, course: BatchCheckpoint) -> BatchOptions:
        check_choice("on_row_failure", self.on_row_failure, OnRowFailure)
        check_choice("on_lost_submission", self.on_lost_submission, OnLostSubmission)
        _share("failure_threshold", self.failure_threshold)
        self._interval()
        max_in_flight = _whole("max_in_flight", self.max_in_flight)
        if max_in_flight > MOST_IN_FLIGHT:
            raise InvalidRequestError(
                f"max_in_flight={max_in_flight} is above {MOST_IN_FLIGHT}. Nothing was submitted."
            )
        ti = context["ti"]
        return BatchOptions(
            identity=f"{ti.dag_id} {ti.run_id} {ti.task_id} {ti.map_index}",
            attempt=ti.try_number,
            max_tries=ti.max_tries,
            first_segment=not course.resumed,
            began_at=course.began_at,
            timeout=_number("timeout", self.timeout),
            max_in_flight=max_in_flight,
            max_active=None if self.max_active in _NO_NUMBER else _whole("max_active", self.max_active),
            on_lost_submission=self.on_lost_submission,
            on_row_failure=self.on_row_failure,
        )

    def _interval(self) -> float | None:
        return None if self.poll_interval in _NO_NUMBER else _number("poll_interval", self.poll_interval)

    def report_progress(self, context: Context, run: BatchRunner) -> None:
        """Pushes the XCom ``progress``, and says the same in the log."""
        progress = run.progress()
        context["ti"].xcom_push("progress", progress)
        left = run.seconds_left()
        self.log.info(  # one by one: Airflow 3.1.0 logs no mapping
            "%d of %d rows have succeeded, %d failed, %d are unconfirmed. %d videos are rendering or being downloaded, "
            "%d rows are not submitted yet.%s",
            *(progress[name] for name in ("succeeded", "rows", "failed", "lost", "active", "waiting")),
            f" About {left:,.0f} s are left." if left is not None else "",
        )

    def _is_over(self, run: BatchRunner, reason: str) -> bool:
        """Whether nothing more can come of this attempt.

        Raises:
            AnyFastError: it has ended before its rows, and what is paid for is saved as far as that is possible.
        """
        state, error = run.intake.state, run.intake.error
        if state is BatchState.ABORTED:
            raise error.with_context(self._state(run)) if error else self._stopped(run)
        if self.on_row_failure == "fail" and run.manifest.failures:
            return True
        if reason and run.active and not run.ended:
            raise WaitInterruptedError(f"Waiting for the videos was interrupted: {reason} {self._state(run)}")
        if run.active:
            return False
        if state is BatchState.CLOSED and error is not None:
            raise error.with_context(self._state(run))
        return len(run.manifest) == len(run.rows)

    def _stopped(self, run: BatchRunner) -> AnyFastError:
        return WaitInterruptedError(f"This task was told to stop. {self._state(run)}")

    def _next_checkpoint(self, run: BatchRunner, course: BatchCheckpoint) -> BatchCheckpoint:
        """The checkpoint of what follows.

        Raises:
            RateLimitError: AnyFast has taken no submission for too long.
        """
        saturated_since = None
        error = run.intake.error
        if run.intake.state is BatchState.SATURATED and error is not None and not run.active:
            saturated_since = course.saturated_since or clock.now()
            if clock.now() - saturated_since >= run.options.timeout:
                raise error.with_context(self._state(run))
        return replace(course, resumed=True, saturated_since=saturated_since)

    def _wait(self, run: BatchRunner, client: AnyFastClient) -> None:
        """Leaves the worker until something is to be done; without ``deferrable`` the same wait takes place here."""
        now = clock.now()
        more = run.progress()["waiting"] and run.intake.state < BatchState.CLOSED
        trigger = VideosTrigger(
            jobs=[
                (generation.id, int(generation.submitted_at), math.ceil(run.deadline_of(generation)))
                for generation in run.active.values()
            ],
            anyfast_conn_id=self.anyfast_conn_id,
            kind=_kind_of(run.rows),
            poll_interval=self._interval(),
            min_finished=max(1, len(run.active) // REFILL_FRACTION) if more else None,
            resume_at=now + (MAX_DEFERRAL if run.active else SATURATION_PAUSE),
        )
        try:
            self.wait_for_some(client, trigger)
        except WaitInterruptedError as error:
            raise error.with_context(self._state(run)) from error

    def _conclude(self, run: BatchRunner) -> dict[str, Any]:
        failures = run.manifest.failures
        allowed = _share("failure_threshold", self.failure_threshold) * len(run.rows)
        if (self.on_row_failure == "fail" and failures) or len(failures) > allowed:
            kind = BatchFailedError if any(line.retryable for line in failures) else BatchRejectedError
            told = " ".join(f"Row {line.row}: {line.error}" for line in failures[:_TOLD])
            raise kind(f"{len(failures)} of {len(run.rows)} rows failed. {told} {self._state(run)}")
        return run.summary

    def _state(self, run: BatchRunner) -> str:
        done = run.progress()
        return (
            f"{done['succeeded']} of {done['rows']} rows are done and {done['active']} videos are still being made; "
            f"all of these are paid for, and a retry or a clear pays for none of them again. See {run.manifest.path}."
        )


@dataclass(frozen=True)
class _Events:
    """What a runner reports, as metrics and in the log of the task."""

    operator: GenerateVideoBatchOperator
    context: Context

    def progress(self, runner: BatchRunner) -> None:
        self.operator.report_progress(self.context, runner)

    def obtained(self, *, reattached: bool) -> None:
        count_obtained(reattached=reattached)

    def succeeded(self, generation: Generation) -> None:
        count_success(generation)

    def failed(self, error: AnyFastError) -> None:
        count_failure(error)


def _kind_of(rows: Sequence[BatchRow]) -> str:
    """What all rows have in common that says how long a video takes; empty if they differ."""
    kinds = {f"{row.request.model} {row.request.resolution or ''} {row.request.duration or ''}" for row in rows}
    return kinds.pop() if len(kinds) == 1 else ""


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < math.inf:
        raise InvalidRequestError(f"{name}={value!r} is not a number above 0. Nothing was submitted.")
    return number


def _whole(name: str, value: Any) -> int:
    number = _number(name, value)
    if not number.is_integer():
        raise InvalidRequestError(f"{name}={value!r} is not a whole number. Nothing was submitted.")
    return int(number)


def _share(name: str, value: Any) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share <= 1:
        raise InvalidRequestError(f"{name}={value!r} is not a number from 0 to 1. Nothing was submitted.")
    return share


def _digest(rows: Sequence[BatchRow]) -> str:
    return hashlib.sha256(" ".join(row.key for row in rows).encode()).hexdigest()


_NO_NUMBER = (None, "", "None")
_PAID_BEFORE = "This attempt has submitted rows already: they are paid for, and a clear of the task goes on with them."
