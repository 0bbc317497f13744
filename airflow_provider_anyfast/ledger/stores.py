"""Where a task instance keeps its ledger: the one place that depends on the Airflow version.

==================  =========================================  ==================================
Airflow             kept in                                    removed
==================  =========================================  ==================================
3.3 and newer       the task instance's state store            with the DAG run
3.1 and 3.2         a Variable named ``anyfast_ledger_…``      when the task instance has succeeded
==================  =========================================  ==================================
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import Variable

from airflow_provider_anyfast.client.errors import LedgerError
from airflow_provider_anyfast.ledger.pages import PagedLedger
from airflow_provider_anyfast.ledger.record import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_anyfast.ledger.record import Store

RETENTION = timedelta(days=30)
"""How long Airflow keeps a record that nothing removes; AnyFast itself knows a generation for 7 days."""


def store_for(context: Mapping[str, Any], key: str, *, durable: bool = True) -> Store:
    """The store of this task instance; ``durable=False`` gives one that forgets with the process."""
    if not durable:
        return MemoryStore()
    task_state = context.get("task_state_store")
    if task_state is not None:
        return TaskStateStore(task_state, key)
    return VariableStore(_variable_name(context, key))


def after_success(key: str, id_xcom: str) -> Callable[[Mapping[str, Any]], None]:
    """The callback that closes the books, which Airflow calls when it has stored the success, and not before.

    Args:
        key: of the ledger.
        id_xcom: under which the task pushes the id of what it paid for.
    """
    return partial(_close_books, key=key, id_xcom=id_xcom)


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
        """Forgets it."""
        self.value = None


@dataclass
class TaskStateStore:
    """The state store of the task instance (Airflow 3.3), which survives retries; per map index by itself."""

    accessor: Any
    key: str

    def get(self) -> Any:
        """The stored value, or None."""
        return self.accessor.get(self.key)

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value`` for the attempts to come."""
        self.accessor.set(self.key, value, retention=RETENTION)

    def delete(self) -> None:
        """Forgets it."""
        self.accessor.delete(self.key)


@dataclass
class VariableStore:
    """A Variable of its own for each task instance."""

    name: str

    def get(self) -> Any:
        """The stored value, or None.

        ``Variable.get`` takes an API server that fails for a Variable that is absent, so the question is put directly.
        """
        from airflow.sdk.exceptions import ErrorType  # noqa: PLC0415 - see the next line
        from airflow.sdk.execution_time.comms import GetVariable, VariableResult  # noqa: PLC0415 - workers only
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS  # noqa: PLC0415 - set by the task runner

        answer = SUPERVISOR_COMMS.send(GetVariable(key=self.name))
        if isinstance(answer, VariableResult):
            return json.loads(answer.value) if answer.value else None
        if getattr(answer, "error", None) == ErrorType.VARIABLE_NOT_FOUND:
            return None
        raise LedgerError(f"Airflow answered {answer!r} when it was asked for the Variable {self.name}.")

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value`` for the attempts to come."""
        Variable.set(self.name, json.dumps(value), description="What a task has paid for at AnyFast")

    def delete(self) -> None:
        """Forgets it."""
        Variable.delete(self.name)


def batch_store_of(context: Mapping[str, Any], key: str) -> Callable[[str], Store]:
    """The stores of a batch's ledgers, by the names that its ``PagedLedger`` gives them."""
    return lambda name: store_for(context, f"{key}_{name}")


def after_batch_success(key: str) -> Callable[[Mapping[str, Any]], None]:
    """The callback that takes a batch's Variables away; a state store goes with the DAG run."""
    return partial(_clear_books, key=key)


def _clear_books(context: Mapping[str, Any], *, key: str) -> None:
    if context.get("task_state_store") is None:
        for store in PagedLedger.stores(batch_store_of(context, key)):
            store.delete()


def _close_books(context: Mapping[str, Any], *, key: str, id_xcom: str) -> None:
    store = store_for(context, key)
    if isinstance(store, VariableStore):
        store.delete()
        return
    ti = context["ti"]
    id_ = ti.xcom_pull(task_ids=ti.task_id, key=id_xcom, map_indexes=ti.map_index)
    Ledger(store, fingerprint="", max_tries=ti.max_tries).mark_finished(str(id_ or ""))


def _variable_name(context: Mapping[str, Any], key: str) -> str:
    """Readable, and short enough for Airflow's 250 characters whatever the names are."""
    ti = context["ti"]
    identity = (ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index), key)
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:16]
    return f"anyfast_ledger_{ti.dag_id}_{ti.task_id}"[:200] + f"_{digest}"
