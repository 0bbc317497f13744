"""Where a task instance keeps its ledger: the one place that depends on the Airflow version.

While something is paid for and not delivered, its record is an Airflow Variable named ``anyfast_ledger_…``, on every
version of Airflow. Nothing else that a task can write survives a clear on all of them: since 3.4, clearing a task
instance in the UI empties its task state. When Airflow has stored the task's success, the Variable is removed.

===============================  ==============================================================
Record                           Kept in
===============================  ==============================================================
open, or its end not cleared     a Variable
success of a single task         nowhere: a clear finds nothing, and makes a new one
success of a batch               the task state, where Airflow has it (3.3); it tells a clear
                                 which rows are done, and goes with the DAG run
===============================  ==============================================================

A record is looked for in the Variable first and then in the task state, where version 0.1.0 kept it on 3.3.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_anyfast.ledger.record import Store

STATE_RETENTION = timedelta(days=30)
"""How long Airflow keeps the task state of a batch that has succeeded."""


def store_for(context: Mapping[str, Any], key: str, *, durable: bool = True, pays: bool = True) -> Store:
    """The store of this task instance.

    Args:
        context: Airflow's.
        key: names the record.
        durable: False gives a store that forgets with the process.
        pays: whether money depends on the record. Where an earlier run of the task may have written one, an answer
            "there is none" is then proven.
    """
    if not durable:
        return MemoryStore()
    has_run_before = context["ti"].try_number > 1 or context.get("task_reschedule_count", 0) > 0
    return _task_store(context, key, doubts_absence=pays and has_run_before)


def after_success(key: str) -> Callable[[Mapping[str, Any]], None]:
    """The callback that removes the record ``key``, which Airflow calls when it has stored the success.

    It must not be removed before: after a crash in between, a clear has to find what was paid for.
    """
    return partial(_remove_record, key=key)


def batch_store_of(context: Mapping[str, Any], key: str) -> Callable[[str], Store]:
    """The stores of a batch's ledgers, by the names that its ``PagedLedger`` gives them."""
    return lambda name: _task_store(context, f"{key}_{name}", doubts_absence=True)


def after_batch_success(key: str) -> Callable[[Mapping[str, Any]], None]:
    """The callback that moves a batch's records to the task state or, where Airflow has none, removes them."""
    return partial(_retire_batch, key=key)


@dataclass
class MemoryStore:
    """For ``durable=False``: nothing survives the attempt."""

    value: dict[str, Any] | None = None

    def get(self) -> Any:
        """The stored value, or None."""
        return self.value

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value`` in this process."""
        self.value = value

    def delete(self) -> None:
        """Removes it."""
        self.value = None


@dataclass
class TaskStore:
    """The record of a task instance, by the rules of this module.

    Attributes:
        variable: where it is written.
        task_state: where an older one may be; None where Airflow has no task state.
        doubts_absence: whether an earlier attempt may have written a record. An answer "there is none" is then proven
            before it is believed.
    """

    variable: VariableStore
    task_state: TaskStateStore | None
    doubts_absence: bool

    def get(self) -> Any:
        """The stored value, or None.

        Raises:
            LedgerError: nothing was found, and Airflow's API server does not find what it has certainly stored either.
        """
        value = self._look()
        if value is None and self.doubts_absence:
            self.variable.prove_readable()
            value = self._look()
        return value

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value`` for the attempts to come."""
        self.variable.set(value)

    def delete(self) -> None:
        """Removes it, from wherever it is."""
        if self.task_state is not None:
            self.task_state.delete()  # first: what the Variable still holds counts more
        self.variable.delete()

    def retire(self) -> None:
        """Keeps it only where it goes with the DAG run."""
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
        """Removes it."""
        self.accessor.delete(self.key)


@dataclass
class VariableStore:
    """A Variable of its own for each record of each task instance.

    Airflow's supervisor is asked directly: ``Variable.get`` takes an API server that fails for a Variable that is
    absent, and ``Variable.set`` first asks every secrets backend of the worker.
    """

    name: str

    def get(self) -> Any:
        """The stored value, or None."""
        from airflow.sdk.exceptions import ErrorType  # noqa: PLC0415 - workers only
        from airflow.sdk.execution_time.comms import GetVariable, VariableResult  # noqa: PLC0415 - workers only

        answer = _ask_supervisor(GetVariable(key=self.name))
        if isinstance(answer, VariableResult):
            return json.loads(answer.value) if answer.value else None
        if getattr(answer, "error", None) == ErrorType.VARIABLE_NOT_FOUND:
            return None
        raise LedgerError(f"Airflow answered {answer!r} to a request for the Variable {self.name}.")

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value`` for the attempts to come."""
        from airflow.sdk.execution_time.comms import PutVariable  # noqa: PLC0415 - workers only

        answer = _ask_supervisor(
            PutVariable(key=self.name, value=json.dumps(value), description="What a task has paid for at AnyFast")
        )
        if getattr(answer, "error", None):
            raise LedgerError(f"Airflow answered {answer!r} to a request to store the Variable {self.name}.")

    def delete(self) -> None:
        """Removes it."""
        from airflow.sdk.execution_time.comms import DeleteVariable  # noqa: PLC0415 - workers only

        _ask_supervisor(DeleteVariable(key=self.name))

    def prove_readable(self) -> None:
        """Stores a Variable and reads it back.

        A worker cannot tell an API server that has no such Variable from an ingress that answers 404 to everything.

        Raises:
            LedgerError: it was not found, so an answer "there is none" means nothing.
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


def _ask_supervisor(question: Any) -> Any:
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS  # noqa: PLC0415 - set by the task runner

    return SUPERVISOR_COMMS.send(question)


def _task_store(context: Mapping[str, Any], key: str, *, doubts_absence: bool) -> TaskStore:
    accessor = context.get("task_state_store")
    task_state = None if accessor is None else TaskStateStore(accessor, key)
    return TaskStore(VariableStore(_variable_name(context, key)), task_state, doubts_absence)


def _remove_record(context: Mapping[str, Any], *, key: str) -> None:
    store_for(context, key).delete()


def _retire_batch(context: Mapping[str, Any], *, key: str) -> None:
    from airflow_provider_anyfast.ledger.pages import PagedLedger  # noqa: PLC0415 - of batches that have succeeded alone

    for store in PagedLedger.stores(lambda name: _task_store(context, f"{key}_{name}", doubts_absence=False)):
        store.retire()


def _variable_name(context: Mapping[str, Any], key: str) -> str:
    """Readable, and short enough for Airflow's 250 characters whatever the names are."""
    ti = context["ti"]
    identity = (ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index), key)
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:16]
    return f"anyfast_ledger_{ti.dag_id}_{ti.task_id}"[:200] + f"_{digest}"
