"""Airflow's database for one DAG run, and how a task instance changes its state.

Pure data: it can be copied to another process at any moment. The rules follow Airflow 3.3 and 3.4:
`prepare_db_for_next_try` and `clear_task_instances` (airflow/models/taskinstance.py), `DagRun.schedule_tis`, `ti_run`
and `ti_update_state` (airflow/api_fastapi/execution_api/routes/task_instances.py), and `_discard_task_state_store`
(airflow/api_fastapi/core_api/services/public/task_instances.py).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.installed_airflow import QUESTION_OUTLIVES_RETRY, read_kwargs, stored_kwargs

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from airflow.sdk import Connection
    from pydantic import JsonValue


@dataclass(frozen=True)
class TaskKey:
    """Identifies a task instance over all its tries."""

    task_id: str
    map_index: int = -1


@dataclass(frozen=True)
class Deferral:
    """A trigger that a task waits for, as Airflow stores it: plain JSON."""

    classpath: str
    trigger_kwargs: dict[str, Any]
    next_method: str
    next_kwargs: dict[str, Any]
    timeout: dt.timedelta | None


@dataclass
class TaskInstanceRow:
    """One row of Airflow's task_instance table. Each try has a new ``id``."""

    key: TaskKey
    retries: int
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    try_number: int = 0
    max_tries: int = 0
    state: str | None = None
    next_method: str | None = None
    next_kwargs: dict[str, Any] | None = None
    deferral: Deferral | None = None
    deferred_at: float | None = None
    reschedule_date: dt.datetime | None = None
    first_poke: dt.datetime | None = None
    reschedules: int = 0
    rendered_fields: dict[str, JsonValue] = field(default_factory=dict)
    rendered_map_index: str | None = None
    question: dict[str, Any] | None = None
    """The question to a person."""
    answer: dict[str, Any] | None = None
    """A person's answer."""

    @property
    def may_retry(self) -> bool:
        """Whether a failure now leads to another try, as Airflow reports it to the worker when the try starts."""
        return self.max_tries != 0 and self.try_number <= self.max_tries

    def schedule(self) -> None:
        """Queue the next try; a rescheduled sensor or a resumed task continues its current one."""
        if self.state in (None, "up_for_retry"):
            self.try_number += 1
            self.next_method = self.next_kwargs = None
        elif self.state not in ("up_for_reschedule", "scheduled"):
            raise AssertionError(f"{self.key} is {self.state}: Airflow would not run it again without a clear")
        self.state = "queued"

    def start_next_try(self) -> None:
        """Start the next try in this row: only the id changes."""
        self.id = uuid.uuid4()
        if not QUESTION_OUTLIVES_RETRY:
            self.question = self.answer = None
        self.reschedules = 0
        self.first_poke = None

    def end_try(self, state: str) -> None:
        """Store how a try ended."""
        self.state = state
        self.next_method = self.next_kwargs = self.deferral = None
        if state == "up_for_retry":
            self.start_next_try()

    def kill(self) -> None:
        """Do what the supervisor does after its task process was killed: nothing, if the try had reported its end."""
        if self.state in ("queued", "running"):
            self.end_try("up_for_retry" if self.may_retry else "failed")

    def defer(self, deferral: Deferral) -> None:
        """Wait for a trigger."""
        self.state = "deferred"
        self.deferral = deferral
        self.next_method = deferral.next_method
        self.next_kwargs = deferral.next_kwargs

    def await_input(self, next_method: str, next_kwargs: dict[str, Any]) -> None:
        """Wait for a person, or continue at once with an existing answer."""
        self.state = "awaiting_input"
        self.next_method, self.next_kwargs = next_method, next_kwargs
        if self.answer:
            self.take_answer()

    def take_answer(self) -> None:
        """Resume on a worker with the answer."""
        kwargs = read_kwargs(self.next_kwargs or {})
        self.resume(str(self.next_method), stored_kwargs({**kwargs, "event": self.answer}))

    def resume(self, next_method: str, next_kwargs: dict[str, Any]) -> None:
        """The trigger has ended: resume on a worker with ``next_method``."""
        self.state = "scheduled"
        self.deferral = None
        self.next_method = next_method
        self.next_kwargs = next_kwargs

    def clear(self) -> None:
        """Clear as a user does in the UI. XComs are deleted when the next try starts."""
        self.start_next_try()
        self.max_tries = self.try_number + self.retries
        self.state = None
        self.next_method = self.next_kwargs = self.deferral = None


@dataclass(frozen=True)
class XComKey:
    """The key of a stored XCom."""

    task: TaskKey
    name: str


@dataclass(frozen=True)
class OutletReport:
    """What a successful task reported about its assets."""

    outlets: list[dict[str, Any]]
    events: list[dict[str, Any]]


@dataclass
class Metadata:
    """Everything about one run of one DAG."""

    dag_id: str = "dag"
    run_id: str = "manual__2026-01-01T00:00:00+00:00"
    logical_date: dt.datetime | None = None
    run_conf: dict[str, Any] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)
    task_instances: dict[TaskKey, TaskInstanceRow] = field(default_factory=dict)
    xcoms: dict[XComKey, JsonValue] = field(default_factory=dict)
    state_store: dict[tuple[TaskKey, str], JsonValue] = field(default_factory=dict)
    outlet_reports: list[OutletReport] = field(default_factory=list)
    other_runs: list[Metadata] = field(default_factory=list)
    """Runs of the same DAG at the same time."""
    iteration: int | None = None
    """Of the loop that the tasks are in (3.4)."""

    def start_iteration(self) -> None:
        """Start the loop, or its next iteration, with new task instances."""
        self.iteration = 0 if self.iteration is None else self.iteration + 1
        self.task_instances.clear()
        self.state_store.clear()  # that of an iteration is its own

    def discard_state(self, task: TaskKey) -> None:
        """Empty the state store of one task instance."""
        for key in [key for key in self.state_store if key[0] == task]:
            del self.state_store[key]

    def row_of(self, ti_id: str) -> TaskInstanceRow | None:
        """The task instance whose running try has this id; None after a clear or a retry replaced it."""
        return next((row for row in self.task_instances.values() if str(row.id) == ti_id), None)

    def xcom_names(self, task: TaskKey) -> Iterator[str]:
        """Names of the XComs that Airflow clears before a new try of ``task``."""
        for key in self.xcoms:
            if key.task.task_id == task.task_id and (task.map_index < 0 or key.task.map_index == task.map_index):
                yield key.name

    def xcoms_of(self, task: TaskKey) -> dict[str, JsonValue]:
        """XComs of one task instance by name."""
        return {key.name: value for key, value in self.xcoms.items() if key.task == task}
