"""Reads a DAG run from Airflow's database: the only module of the page that depends on the Airflow version."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy.orm import Session

from airflow_provider_anyfast.batch.claim import CLAIM_KEY
from airflow_provider_anyfast.links.report import REPORT_KEY
from airflow_provider_anyfast.xcoms import CHECKPOINT_KEY, PROGRESS_KEY, REJECTED_KEY, REVIEW_KEY

try:
    from airflow.models.hitl_history import HITLDetailHistory  # Airflow 3.2 and 3.3
    from airflow.models.taskinstancehistory import TaskInstanceHistory
except ImportError:
    HITLDetailHistory = None  # type: ignore[assignment,misc]  # 3.1 has no history, and 3.4 has it in the table itself

RETURN_VALUE = "return_value"
_VIDEO_XCOMS = ("generation_id", "path", CLAIM_KEY, REVIEW_KEY, REPORT_KEY)
"""XComs that only tasks with videos have. The page reads nothing else of other tasks."""
_OTHER_XCOMS = (RETURN_VALUE, PROGRESS_KEY, CHECKPOINT_KEY, REJECTED_KEY)


@dataclass
class TaskRecord:
    """A task instance that makes, downloads or reviews videos.

    Attributes:
        xcoms: by key.
        rendered: its rendered template fields, if it has not returned a result.
    """

    task_id: str
    map_index: int
    state: str = ""
    xcoms: dict[str, Any] = field(default_factory=dict)
    rendered: dict[str, Any] = field(default_factory=dict)


def run_state(dag_id: str, run_id: str) -> str | None:
    """The state of a DAG run; None if there is no such run."""
    with create_session() as session:
        query = select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        state = session.scalar(query)
        return None if state is None else str(getattr(state, "value", state))


def task_records(dag_id: str, run_id: str) -> list[TaskRecord]:
    """The task instances of a run that have videos, ordered by task id and map index."""
    found: dict[tuple[str, int], TaskRecord] = {}
    with create_session() as session:
        for key in _VIDEO_XCOMS:
            _collect(found, _xcoms(session, dag_id, run_id, key))
        task_ids = {task_id for task_id, _ in found}
        if not task_ids:
            return []
        for key in _OTHER_XCOMS:
            _collect(found, _xcoms(session, dag_id, run_id, key, task_ids), new=False)
        where = (
            TaskInstance.dag_id == dag_id,
            TaskInstance.run_id == run_id,
            TaskInstance.task_id.in_(task_ids),
        )
        query = select(TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state).where(*where)
        for task_id, map_index, state in session.execute(query):
            if record := found.get((task_id, map_index)):
                record.state = str(getattr(state, "value", state) or "")
        if any(RETURN_VALUE not in record.xcoms for record in found.values()):
            for task_id, map_index, rendered in session.execute(_rendered_fields().where(*where)):
                if (record := found.get((task_id, map_index))) and RETURN_VALUE not in record.xcoms:
                    record.rendered = rendered or {}
    return [found[key] for key in sorted(found)]


def earlier_response(dag_id: str, run_id: str, task_id: str, map_index: int) -> dict[str, Any]:
    """The form of the last response to an earlier try of a review; empty if Airflow keeps none."""
    detail: Any
    tries: Any
    if HITLDetailHistory is not None:
        detail, tries = HITLDetailHistory, TaskInstanceHistory
        joined = detail.ti_history_id == tries.task_instance_id
    else:
        detail, tries = HITLDetail, TaskInstance
        joined = detail.ti_id == tries.id
    query = (
        select(detail.params_input)
        .join(tries, joined)
        .where(
            tries.dag_id == dag_id,
            tries.run_id == run_id,
            tries.task_id == task_id,
            tries.map_index == map_index,
            detail.responded_at.is_not(None),
        )
        .order_by(detail.responded_at.desc())
        .limit(1)
        .execution_options(include_all_attempts=True)  # since 3.4, each try has its own row
    )
    with create_session() as session:
        return session.scalar(query) or {}


def _xcoms(
    session: Session, dag_id: str, run_id: str, key: str, task_ids: Collection[str] | None = None
) -> Iterable[Any]:
    query = XComModel.get_many(run_id=run_id, dag_ids=[dag_id], key=key, task_ids=task_ids)
    return session.scalars(query)


def _collect(found: dict[tuple[str, int], TaskRecord], xcoms: Iterable[Any], *, new: bool = True) -> None:
    for xcom in xcoms:
        task = (xcom.task_id, xcom.map_index)
        if new:
            found.setdefault(task, TaskRecord(*task))
        if task in found:
            found[task].xcoms[xcom.key] = XComModel.deserialize_value(xcom)


def _rendered_fields() -> Any:
    fields = select(TaskInstance.task_id, TaskInstance.map_index, RenderedTaskInstanceFields.rendered_fields)
    if hasattr(RenderedTaskInstanceFields, "task_instance_id"):  # Airflow 3.4
        joined = RenderedTaskInstanceFields.task_instance_id == TaskInstance.id
    else:
        joined = (
            (RenderedTaskInstanceFields.dag_id == TaskInstance.dag_id)
            & (RenderedTaskInstanceFields.run_id == TaskInstance.run_id)
            & (RenderedTaskInstanceFields.task_id == TaskInstance.task_id)
            & (RenderedTaskInstanceFields.map_index == TaskInstance.map_index)
        )
    return fields.join(RenderedTaskInstanceFields, joined)
