"""Removes records: of a task that has succeeded at once, and of tasks that never succeeded after a long time."""

from __future__ import annotations

import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.ledger.stores import VariableStore, batch_store_of, task_store, variable_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

log = logging.getLogger(__name__)

KEPT_SECONDS = 90 * 24 * 3600.0
"""How long the record of a task that never succeeds is kept after its last change. AnyFast keeps a video for 7 days."""
CHECKED_RECORDS = 5
"""Records that each success checks. Reading all of them would be slow while thousands of mapped tasks run."""


def after_success(key: str) -> Callable[[Mapping[str, Any]], None]:
    """The success callback that removes the record ``key``, once Airflow has stored the success.

    The record must not be removed before: after a crash in between, a clear has to find what was paid for.
    """
    return partial(_after_stored_success, remove=partial(_remove_record, key=key))


def after_batch_success(key: str) -> Callable[[Mapping[str, Any]], None]:
    """The success callback that moves a batch's records to the task state or, if Airflow has none, removes them."""
    return partial(_after_stored_success, remove=partial(_retire_batch, key=key))


def after_skip(key: str) -> Callable[[Mapping[str, Any]], None]:
    """The skipped callback that moves the record ``key`` to the task state or, if Airflow has none, removes it.

    Airflow stores a skip only after its callbacks, and perhaps never. The next attempt then continues with the record.
    """
    return partial(_retire_record, key=key)


def _after_stored_success(context: Mapping[str, Any], *, remove: Callable[[Mapping[str, Any]], None]) -> None:
    """Removes records if the task has succeeded in Airflow's database."""
    state = stored_state(context)
    if state != "success":
        log.warning(
            "Airflow has not stored the success of this task: its state is %s. What it has paid for stays on record, "
            "and its next attempt continues with it.",
            state,
        )
        return
    remove(context)
    _remove_some_expired(context["ti"].dag_id)


def stored_state(context: Mapping[str, Any]) -> str | None:
    """The state of the task in Airflow's database, for success callbacks.

    Since 3.3, Airflow calls them even if it has refused to store the success: because somebody cleared the task or
    marked it as failed while it ended, or because it had given up its worker. The task then runs again.
    """
    ti = context["ti"]
    states = ti.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    ).get(ti.run_id, {})
    state: str | None = states.get(ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}")
    return state


def _remove_record(context: Mapping[str, Any], *, key: str) -> None:
    task_store(context, key, doubts_absence=False).delete()


def _retire_record(context: Mapping[str, Any], *, key: str) -> None:
    task_store(context, key, doubts_absence=False).retire()


def _retire_batch(context: Mapping[str, Any], *, key: str) -> None:
    from airflow_provider_anyfast.ledger.pages import PagedLedger  # noqa: PLC0415 - of batches that have succeeded alone

    for store in PagedLedger.stores(batch_store_of(context, key)):
        store.retire()


def _remove_some_expired(dag_id: str) -> None:
    """Deletes expired records of tasks of the DAG. It checks a few at random, so in time it finds all of them."""
    try:
        names = _record_names(dag_id)
        for name in random.sample(names, min(CHECKED_RECORDS, len(names))):
            store = VariableStore(name)
            written_at = store.written_at()
            if written_at is not None and clock.now() - written_at > KEPT_SECONDS:
                store.delete()
                log.info("Deleted the Variable %s of a task that never succeeded.", name)
    except Exception as error:  # noqa: BLE001 - the task has succeeded, and a later success tries again
        log.info("Could not look for expired records: %s", error)


def _record_names(dag_id: str) -> Sequence[str]:
    """The Variables with records of the DAG's tasks; none before Airflow 3.4, where a task cannot list Variables."""
    from airflow.sdk import Variable  # noqa: PLC0415 - workers only

    list_keys = getattr(Variable, "keys", None)
    return [] if list_keys is None else list(list_keys(prefix=variable_prefix(dag_id)))
