"""Where a task instance keeps its ledger. Only this module and ``removal`` depend on the version of Airflow.

While something is paid for and not delivered, its record is an Airflow Variable named ``anyfast_ledger_…``, on every
version of Airflow. Nothing else that a task can write survives a clear on all versions: since 3.4, clearing a task
instance in the UI empties its task state. ``removal`` deletes the Variable when Airflow has stored the task's success.

===============================  ==============================================================
Record                           Kept in
===============================  ==============================================================
open, or its end not cleared     a Variable
success of a single task         nowhere: a clear finds nothing, and makes a new video
success of a batch               the task state, where Airflow has it (3.3): a clear sees
                                 which rows are done, and it is deleted with the DAG run
rows that a successful batch     a Variable for all runs of the task, if they skip existing
paid for and did not save        videos: see ``batch.unsaved_rows``
===============================  ==============================================================

A record is read from the Variable first, and then from the task state, where version 0.1.0 kept it on Airflow 3.3.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import LedgerError
from airflow_provider_anyfast.ledger.fingerprint import short_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_anyfast.ledger.record import Store

GENERATION_KEY, BATCH_KEY, ASSET_KEY = "anyfast_generation", "anyfast_batch", "anyfast_asset"
"""Keys of the records of a video, of a batch, and of an asset or a group. Keys are parts of stored names: they must not
change."""
GROUP_KEY = "anyfast_asset_group"
"""Key of the record of a group that a task creates for the files of its videos."""
UNSAVED_ROWS_KEY = "anyfast_unsaved_rows"
"""Key of the record of what the successful runs of a batch task have paid for and not saved."""
ANSWER_KEY = "anyfast_review"
"""Key of the record of a reviewer's answer."""
POKES_KEY = "anyfast_sensor"
"""Key of the record of a sensor's failed pokes. An XCom would not do: Airflow clears XComs at every poke."""
STATE_RETENTION = timedelta(days=30)
"""How long Airflow keeps the task state of a batch that has succeeded."""
_PREFIX_LENGTH = 200
"""Characters of a Variable's name before its digest; Airflow allows 250 in all."""
_WRITTEN_AT = "_written_at"
"""The field of a Variable with the Unix time at which it was stored."""


def store_for(context: Mapping[str, Any], key: str, *, durable: bool = True, pays: bool = True) -> Store:
    """The store of this task instance.

    Args:
        context: Airflow's task context.
        key: the name of the record.
        durable: False returns a store that is lost when the process ends.
        pays: whether money depends on the record. If an earlier run of the task may have written one, the store then
            verifies that it is absent.
    """
    if not durable:
        return MemoryStore()
    has_run_before = context["ti"].try_number > 1 or context.get("task_reschedule_count", 0) > 0
    return task_store(context, key, doubts_absence=pays and has_run_before)


def batch_store_of(context: Mapping[str, Any], key: str) -> Callable[[str], TaskStore]:
    """Returns the stores of a batch, by the names that its ``PagedLedger`` uses."""
    return lambda name: task_store(context, f"{key}_{name}", doubts_absence=True)


def batch_store_of_run(context: Mapping[str, Any], key: str, *, run_id: str, map_index: int) -> Callable[[str], Store]:
    """Returns the stores of the same task in another run, while it is unfinished. They are only to be read.

    Args:
        context: of this task instance.
        key: the name of the batch's records.
        run_id: of the other run.
        map_index: of the task instance in that run; -1 if the task is not mapped.
    """
    return lambda name: VariableStore(_variable_name(context, f"{key}_{name}", run_id=run_id, map_index=map_index))


def store_of_all_runs(context: Mapping[str, Any], key: str) -> VariableStore:
    """A store that all runs of this task share, by its map index."""
    return VariableStore(_variable_name(context, key, run_id=None, map_index=context["ti"].map_index))


@dataclass
class MemoryStore:
    """A store in this process, which does not survive the attempt."""

    value: dict[str, Any] | None = None

    def get(self) -> Any:
        """The stored value, or None."""
        return self.value

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value`` in this process."""
        self.value = value

    def delete(self) -> None:
        """Deletes the value."""
        self.value = None


@dataclass
class TaskStore:
    """The record of a task instance, by the rules of this module.

    Attributes:
        variable: where it is written.
        task_state: where an older record may be; None if Airflow has no task state.
        doubts_absence: whether an earlier attempt may have written a record, so that its absence is verified.
    """

    variable: VariableStore
    task_state: TaskStateStore | None
    doubts_absence: bool

    def get(self) -> Any:
        """The stored value, or None.

        Raises:
            LedgerError: there is no record, and Airflow's API server does not find what it has just stored either.
        """
        value = self._look()
        if value is None and self.doubts_absence:
            self.variable.prove_readable()
            value = self._look()
        return value

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value`` for later attempts."""
        self.variable.set(value)

    def delete(self) -> None:
        """Deletes the value from both places."""
        if self.task_state is not None:
            self.task_state.delete()  # first, since the Variable takes precedence
        self.variable.delete()

    def retire(self) -> None:
        """Moves the value to the task state, which is deleted with the DAG run, or deletes it."""
        value = self._look()
        if self.task_state is not None and value is not None:
            self.task_state.set(value)
        self.variable.delete()

    def _look(self) -> Any:
        value = self.variable.get()
        return self.task_state.get() if value is None and self.task_state is not None else value


@dataclass
class TaskStateStore:
    """The task state of the task instance (Airflow 3.3)."""

    accessor: Any
    key: str

    def get(self) -> Any:
        """The stored value, or None."""
        return self.accessor.get(self.key)

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value``."""
        self.accessor.set(self.key, value, retention=STATE_RETENTION)

    def delete(self) -> None:
        """Deletes the value."""
        self.accessor.delete(self.key)


@dataclass
class VariableStore:
    """A separate Variable for each record of each task instance.

    This calls Airflow's supervisor directly: ``Variable.get`` treats an error of the API server as an absent Variable,
    and ``Variable.set`` first queries every secrets backend of the worker.
    """

    name: str

    def get(self) -> Any:
        """The stored value, or None."""
        value = self._read()
        return value and {name: field for name, field in value.items() if name != _WRITTEN_AT}

    def written_at(self) -> float | None:
        """When the value was stored, in Unix seconds; None if there is none, or version 0.1.0 stored it."""
        return (self._read() or {}).get(_WRITTEN_AT)

    def _read(self) -> dict[str, Any] | None:
        from airflow.sdk.exceptions import ErrorType  # noqa: PLC0415 - workers only
        from airflow.sdk.execution_time.comms import GetVariable, VariableResult  # noqa: PLC0415 - workers only

        response = _send_to_supervisor(GetVariable(key=self.name))
        if isinstance(response, VariableResult):
            return self._record_in(response.value)
        if getattr(response, "error", None) == ErrorType.VARIABLE_NOT_FOUND:
            return None
        raise LedgerError(f"Airflow responded {response!r} to a request for the Variable {self.name}.")

    def _record_in(self, text: str | None) -> dict[str, Any]:
        with suppress(ValueError):
            if isinstance(value := json.loads(text or ""), dict):
                return value
        raise LedgerError(
            f"The Variable {self.name} contains no record of what was paid for: somebody has emptied or changed it. A "
            "video may be paid for already, so nothing was submitted.",
            advice="Restore the Variable and clear the task, or delete it to submit and pay for a new video.",
        )

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value`` for later attempts."""
        from airflow.sdk.execution_time.comms import PutVariable  # noqa: PLC0415 - workers only

        text = json.dumps({**value, _WRITTEN_AT: int(clock.now())})
        response = _send_to_supervisor(
            PutVariable(key=self.name, value=text, description="What a task has paid for at AnyFast")
        )
        if getattr(response, "error", None):
            raise LedgerError(f"Airflow responded {response!r} to a request to store the Variable {self.name}.")

    def delete(self) -> None:
        """Deletes the Variable."""
        from airflow.sdk.execution_time.comms import DeleteVariable  # noqa: PLC0415 - workers only

        _send_to_supervisor(DeleteVariable(key=self.name))

    def prove_readable(self) -> None:
        """Stores a Variable and reads it back.

        A worker cannot distinguish an API server without this Variable from an ingress that always returns 404.

        Raises:
            LedgerError: it was not found, so a missing Variable means nothing.
        """
        probe = VariableStore(f"{self.name}_probe")
        probe.set({})
        found = probe.get()
        probe.delete()
        if found is None:
            raise LedgerError(
                "Airflow's API server does not find a Variable that it has just stored, so it is unknown whether a "
                "video is paid for already. Nothing was submitted."
            )


def variable_prefix(dag_id: str) -> str:
    """How the names of all Variables of a DAG's tasks begin. Those of other DAGs may begin like this, too."""
    return f"anyfast_ledger_{dag_id}_"[:_PREFIX_LENGTH]


def _send_to_supervisor(message: Any) -> Any:
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS  # noqa: PLC0415 - set by the task runner

    return SUPERVISOR_COMMS.send(message)


def task_store(context: Mapping[str, Any], key: str, *, doubts_absence: bool) -> TaskStore:
    """The store of this task instance that outlives the attempt."""
    accessor = context.get("task_state_store")
    task_state = None if accessor is None else TaskStateStore(accessor, key)
    ti = context["ti"]
    name = _variable_name(context, key, run_id=ti.run_id, map_index=ti.map_index)
    return TaskStore(VariableStore(name), task_state, doubts_absence)


def _variable_name(context: Mapping[str, Any], key: str, *, run_id: str | None, map_index: int) -> str:
    """Readable, and within Airflow's limit of 250 characters however long the names are.

    Args:
        context: of this task instance. The iteration of its loop (Airflow 3.4) is part of the name: each iteration is
            a task instance of its own, and makes its own video even if the one before has left a record.
        key: the name of the record.
        run_id: of the run; None for all runs and all iterations.
        map_index: of the task instance in that run; -1 if the task is not mapped.
    """
    ti = context["ti"]
    loop = context.get("loop")
    iteration = [] if loop is None or run_id is None else [str(loop.index)]
    digest = short_digest("\0".join((ti.dag_id, run_id or "", ti.task_id, str(map_index), key, *iteration)))
    return f"{variable_prefix(ti.dag_id)}{ti.task_id}"[:_PREFIX_LENGTH] + f"_{digest}"
