"""Runs one task as Airflow would: tries, retries, deferrals, clears and killed processes, without a database.

runner = TaskRunner(connections=[Connection(conn_id="anyfast_default", conn_type="anyfast", password="key")])
clean = runner.attempt(make)  # make: a function that returns the operator
assert clean.state == "success"

for point in clean.crash_points:
    runner = runner.fresh()
    runner.attempt(make, crash_at=point)
    assert runner.run_to_end(make).state == "success"
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import io
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, cast

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.api.client import ServerResponseError
from airflow.sdk.api.datamodels._generated import TaskInstance
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR, TriggerFailureReason
from airflow.sdk.exceptions import AirflowRuntimeError

from airflow_provider_anyfast.client import billing_pages
from tests.support import installed_airflow, supervisor
from tests.support.execution_api import ExecutionApi, Outages
from tests.support.killed_process import last_words_of
from tests.support.metadata import Deferral, Metadata, OutletReport, TaskInstanceRow, TaskKey, XComKey
from tests.support.steps import CrashPoint, Process, Step, StepRecorder
from tests.support.task_log import captured_log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.sdk import Connection
    from airflow.sdk.definitions.mappedoperator import MappedOperator
    from pydantic import JsonValue

    from tests.support.clock import FakeClock

    MakeTask = Callable[[], BaseOperator | MappedOperator]

FINAL_STATES = frozenset({"success", "failed", "skipped"})
RETURN_VALUE = "return_value"


class _NoEvent:
    """No event was injected: the real trigger runs."""


@dataclass(frozen=True)
class Attempt:
    """One try (or the rest of one), and the task in Airflow's database after it."""

    state: str
    """success, failed, up_for_retry, deferred, up_for_reschedule or skipped."""
    try_number: int
    max_tries: int
    error: BaseException | None
    """What the task raised in its last worker segment."""
    log_text: str
    deferrals: int
    """How often this try deferred."""
    deferral: Deferral | None
    """The trigger that the task is waiting for."""
    events: list[Any]
    """Payloads of the triggers that fired."""
    xcoms: dict[str, Any]
    """By name, as a downstream task would read them; extra links are in ``links``."""
    links: dict[str, str]
    """Extra links by their XCom name in Airflow, for example ``_link_AnyFastVideoLink``."""
    rendered_fields: dict[str, JsonValue]
    """Template fields as the UI shows them."""
    task: BaseOperator | None
    """The operator of the last worker segment, rendered; None after a crash."""
    outlet_report: OutletReport | None
    """Asset events reported by this try."""
    steps: list[Step] = field(repr=False)
    """Observable steps of this try, in order."""
    crashed: Process | None = None
    """The component whose process was killed."""

    @property
    def result(self) -> Any:
        """The ``return_value`` XCom."""
        return self.xcoms.get(RETURN_VALUE)

    @property
    def crash_points(self) -> list[CrashPoint]:
        """Both sides of every step."""
        return [CrashPoint(step.number, side, step.name) for step in self.steps for side in ("before", "after")]


@dataclass
class TaskRunner:
    """Runs the tries of one task in one DAG run.

    Args:
        connections: what worker and triggerer find by conn_id.
        variables: Airflow Variables at the start.
        run_conf: configuration of the DAG run; overrides ``params``.
        params: of the DAG to which an operator without one is added.
        logical_date: None as in a run that a user triggered.
        state_store: False removes the task state store, which Airflow 3.1 and 3.2 lack. Default: as installed.
        clock: if given, decides whether a deferral timed out, and moves ahead while a sensor is rescheduled.
    """

    connections: Sequence[Connection] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    run_conf: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    logical_date: dt.datetime | None = None
    state_store: bool = installed_airflow.HAS_STATE_STORE
    clock: FakeClock | None = None

    metadata: Metadata = field(init=False)
    """Airflow's database, which a test may read and change."""
    outages: Outages = field(init=False)
    """Calls of the Execution API that fail."""

    def __post_init__(self) -> None:
        self.outages = Outages()
        self.metadata = Metadata(
            logical_date=self.logical_date,
            run_conf=dict(self.run_conf),
            variables=dict(self.variables),
            connections={connection.conn_id: connection for connection in self.connections},
        )

    def fresh(self) -> TaskRunner:
        """A runner with the same settings and an empty database."""
        return dataclasses.replace(self)

    # What Airflow does

    def attempt(
        self,
        make: MakeTask,
        *,
        map_index: int = -1,
        run_trigger: bool = True,
        crash_at: CrashPoint | None = None,
    ) -> Attempt:
        """Run the next try: the first one, a retry, the one after a clear, or the next poke of a rescheduled sensor.

        Args:
            make: builds the operator (or ``Operator.partial(...).expand(...)``); called for every worker segment.
            map_index: which of the mapped task instances.
            run_trigger: False stops where the task defers; continue with `resume`.
            crash_at: kill the worker or the triggerer there with SIGKILL. The try runs in a forked process.
        """
        task = self._task(make)
        key = TaskKey(task.task_id, map_index)
        retries = task.retries or 0
        row = self.metadata.task_instances.setdefault(key, TaskInstanceRow(key, retries=retries, max_tries=retries))
        row.retries = retries
        row.schedule()
        return self._run(make, key, run_trigger=run_trigger, crash_at=crash_at)

    def retry(self, make: MakeTask, *, map_index: int = -1, run_trigger: bool = True) -> Attempt:
        """Run `attempt`, which must be a retry."""
        self._expect_state("up_for_retry", map_index)
        return self.attempt(make, map_index=map_index, run_trigger=run_trigger)

    def resume(
        self,
        make: MakeTask,
        *,
        event: object = _NoEvent,
        timed_out: bool = False,
        map_index: int = -1,
        run_trigger: bool = True,
        crash_at: CrashPoint | None = None,
    ) -> Attempt:
        """Continue a deferred task: run its trigger, or simulate its event or a timeout.

        Args:
            make: see `attempt`.
            event: payload of an event to resume with, instead of running the trigger.
            timed_out: resume as Airflow does after ``defer(timeout=)``.
            map_index: see `attempt`.
            run_trigger: applies to a further deferral; this one's trigger runs.
            crash_at: see `attempt`.
        """
        if self._row(map_index).state == "scheduled":  # with an answer
            return self._run(make, self._row(map_index).key, run_trigger=run_trigger, crash_at=crash_at)
        row = self._expect_state("deferred", map_index)
        deferral = cast("Deferral", row.deferral)
        if timed_out:
            row.resume(*_failure(TriggerFailureReason.TRIGGER_TIMEOUT))
        elif event is not _NoEvent:
            row.resume(deferral.next_method, supervisor.event_kwargs(deferral, event))
        return self._run(
            make, row.key, run_trigger=run_trigger, crash_at=crash_at, first_trigger=row.state == "deferred"
        )

    def run_to_end(self, make: MakeTask, *, map_index: int = -1, most: int = 50) -> Attempt:
        """Resume and retry until the task is success, failed or skipped; at most ``most`` times."""
        task_id = self._task(make).task_id
        key = TaskKey(task_id, map_index)
        last: Attempt | None = None
        for _ in range(most):
            row = self.metadata.task_instances.get(key)
            if row and row.state in FINAL_STATES:
                return last or self._report(key, _Progress(StepRecorder()))
            if row and row.state == "deferred":
                last = self.resume(make, map_index=map_index)
            else:
                self._wait_for_reschedule(row)
                last = self.attempt(make, map_index=map_index)
        raise AssertionError(f"{key} has not ended after {most} attempts: {last}")

    # What a user does

    def clear(self, *, map_index: int = -1, keep_task_state: bool = not installed_airflow.CLEAR_DISCARDS_STATE) -> None:
        """Clear the task: its next `attempt` is a new first try.

        Args:
            map_index: which of the mapped task instances.
            keep_task_state: False empties its state store, as a clear of task instances in the UI does since Airflow
                3.4; True keeps it, as on 3.3, on the command line, and for a clear of the whole DAG run. Default: as
                in the UI of the installed Airflow.
        """
        row = self._row(map_index)
        row.clear()
        if not keep_task_state:
            self.metadata.discard_state(row.key)

    def answer(self, option: str, **fields: object) -> None:
        """Answer the one question of the run with the form's fields, as a user does in the UI."""
        (row,) = (row for row in self.metadata.task_instances.values() if row.question)
        row.answer = {
            "chosen_options": [option],
            "params_input": fields,
            "responded_at": dt.datetime.now(dt.timezone.utc),
            "responded_by_user": {"id": "1", "name": "reviewer"},
        }
        if row.state == "awaiting_input":
            row.take_answer()

    def mark(self, state: str, *, map_index: int = -1) -> None:
        """Mark the task as ``success`` or ``failed``."""
        self._row(map_index).end_try(state)

    def push_xcom(self, task_id: str, value: object, *, name: str = RETURN_VALUE, map_index: int = -1) -> None:
        """Store an upstream task's XCom."""
        self.metadata.xcoms[XComKey(TaskKey(task_id, map_index), name)] = installed_airflow.stored_xcom(value)

    # Inside

    def _run(
        self,
        make: MakeTask,
        key: TaskKey,
        *,
        run_trigger: bool,
        crash_at: CrashPoint | None,
        first_trigger: bool = False,
    ) -> Attempt:
        if crash_at is None:
            progress = _Progress(StepRecorder())
            self._play(make, key, progress, run_trigger=run_trigger, first_trigger=first_trigger)
            return self._report(key, progress)

        def until_killed(die: Callable[[_LastWords], NoReturn]) -> None:
            def crash() -> NoReturn:
                die(_LastWords(self.metadata, recorder.steps, recorder.process, progress.log.getvalue()))

            recorder = StepRecorder(crash_at, crash)
            progress = _Progress(recorder)
            self._play(make, key, progress, run_trigger=run_trigger, first_trigger=first_trigger)
            raise AssertionError(f"There was no {crash_at}; the steps were: {', '.join(map(str, recorder.steps))}")

        words = last_words_of(until_killed)
        self.metadata = words.metadata
        if words.process == "worker":
            self._row(key.map_index).kill()
        progress = _Progress(StepRecorder())
        progress.recorder.steps = words.steps
        progress.log.write(words.log_text)
        return dataclasses.replace(self._report(key, progress), crashed=words.process)

    def _play(
        self, make: MakeTask, key: TaskKey, progress: _Progress, *, run_trigger: bool, first_trigger: bool
    ) -> None:
        """Alternate between worker segments and triggers until the try ends."""
        row = self.metadata.task_instances[key]
        api = ExecutionApi(self.metadata, progress.recorder, self.outages)
        with captured_log(progress.log), progress.recorder.watching():
            while True:
                if row.state == "deferred":
                    if not (run_trigger or first_trigger):
                        return
                    self._play_trigger(row, api, progress)
                    first_trigger = False
                if row.state == "scheduled":
                    row.schedule()
                billing_pages._pages.clear()  # a worker is a process of its own
                try:
                    progress.result = supervisor.run_task(
                        self._identity(row), self._task(make), api, with_state_store=self.state_store
                    )
                except (AirflowRuntimeError, ServerResponseError):
                    if self.outages.ended_as is None:
                        raise
                    return  # the process ends because of the refusal, before 3.3 without callbacks
                if row.state == "scheduled":  # with an answer that existed before the task waited for it
                    continue
                if row.state != "deferred":
                    return
                progress.deferrals += 1
                row.deferred_at = self.clock.now() if self.clock else None

    def _play_trigger(self, row: TaskInstanceRow, api: ExecutionApi, progress: _Progress) -> None:
        deferral = cast("Deferral", row.deferral)
        progress.recorder.process = "triggerer"
        end = supervisor.run_trigger(self._identity(row), deferral, api)
        progress.recorder.process = "worker"
        if self._too_late(row):
            row.resume(*_failure(TriggerFailureReason.TRIGGER_TIMEOUT))
        elif end.fired:
            progress.events.append(end.payload)
            row.resume(deferral.next_method, supervisor.event_kwargs(deferral, end.payload))
        else:
            row.resume(*_failure(TriggerFailureReason.TRIGGER_FAILURE, traceback=end.failure))

    def _too_late(self, row: TaskInstanceRow) -> bool:
        timeout = cast("Deferral", row.deferral).timeout
        if self.clock is None or row.deferred_at is None or timeout is None:
            return False
        return self.clock.now() - row.deferred_at > timeout.total_seconds()

    def _wait_for_reschedule(self, row: TaskInstanceRow | None) -> None:
        if self.clock and row and row.state == "up_for_reschedule" and row.reschedule_date:
            wait = row.reschedule_date - dt.datetime.now(dt.timezone.utc)
            self.clock.advance(max(0.0, wait.total_seconds()))

    def _task(self, make: MakeTask) -> BaseOperator | MappedOperator:
        task = make()
        if not task.has_dag():
            DAG(self.metadata.dag_id, schedule=None, params=copy.deepcopy(dict(self.params))).add_task(task)
        self.metadata.dag_id = task.dag_id
        return task

    def _identity(self, row: TaskInstanceRow) -> TaskInstance:
        return TaskInstance(
            id=row.id,
            dag_id=self.metadata.dag_id,
            run_id=self.metadata.run_id,
            task_id=row.key.task_id,
            map_index=row.key.map_index,
            try_number=row.try_number,
            dag_version_id=uuid.UUID(int=0),
        )

    def _report(self, key: TaskKey, progress: _Progress) -> Attempt:
        row = self.metadata.task_instances[key]
        xcoms = self.metadata.xcoms_of(key)
        links = {name: value for name, value in xcoms.items() if name.startswith("_link_")}
        task = progress.result.ti.task if progress.result else None
        reports = self.metadata.outlet_reports
        return Attempt(
            state=str(row.state),
            try_number=row.try_number,
            max_tries=row.max_tries,
            error=progress.result.error if progress.result else None,
            log_text=progress.log.getvalue(),
            deferrals=progress.deferrals,
            deferral=row.deferral,
            events=progress.events,
            xcoms={name: installed_airflow.read_xcom(value) for name, value in xcoms.items() if name not in links},
            links={name: str(installed_airflow.read_xcom(value)) for name, value in links.items()},
            rendered_fields=copy.deepcopy(row.rendered_fields),
            task=task,
            outlet_report=reports[-1] if reports and row.state == "success" else None,
            steps=progress.recorder.steps,
        )

    def _row(self, map_index: int) -> TaskInstanceRow:
        rows = [row for key, row in self.metadata.task_instances.items() if key.map_index == map_index]
        if len(rows) != 1:
            raise AssertionError(f"{len(rows)} tasks have run with map index {map_index}; one is expected")
        return rows[0]

    def _expect_state(self, state: str, map_index: int) -> TaskInstanceRow:
        row = self._row(map_index)
        if row.state != state:
            raise AssertionError(f"{row.key} is {row.state}, not {state}")
        return row


def _failure(reason: TriggerFailureReason, **facts: Any) -> tuple[str, dict[str, Any]]:
    """The method and the stored arguments that resume a task whose trigger sent no event."""
    return TRIGGER_FAIL_REPR, installed_airflow.stored_kwargs({"error": reason.value, **facts})


@dataclass
class _Progress:
    """The state of a try while it runs."""

    recorder: StepRecorder
    log: io.StringIO = field(default_factory=io.StringIO)
    result: Any = None
    events: list[Any] = field(default_factory=list)
    deferrals: int = 0


@dataclass(frozen=True)
class _LastWords:
    """What a killed process leaves in Airflow's database and in the test's records."""

    metadata: Metadata
    steps: list[Step]
    process: Process
    log_text: str
