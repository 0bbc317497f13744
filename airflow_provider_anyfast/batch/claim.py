"""Detects two batches of one run that write the same manifest, before anything is billed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_anyfast.files.base import StoredFile

CLAIM_KEY = "manifest"
"""The XCom that names this batch's manifest, for the other batches of the run and for the page that shows the run."""


def claim_manifest(ti: Any, manifest: StoredFile, batch: str, task_ids: Iterable[str]) -> None:
    """Publishes this batch's claim before it reads the others' claims, so one of two batches always finds the other.

    Args:
        ti: the task instance; all tasks of the run can read its XComs.
        manifest: the manifest that this batch writes.
        batch: name of the task instance.
        task_ids: the batch tasks of the DAG, including this one.

    Raises:
        InvalidRequestError: another batch writes the same manifest, so each would overwrite the other's lines.
    """
    ti.xcom_push(CLAIM_KEY, {"manifest": manifest.identity, "batch": batch, "path": manifest.path})
    for task_id in task_ids:
        found = ti.xcom_pull(task_ids=task_id, key=CLAIM_KEY)
        for other in found if isinstance(found, list) else [found]:  # a mapped task has one claim per instance
            if other and other["manifest"] == manifest.identity and other["batch"] != batch:
                ti.xcom_push(CLAIM_KEY, {})  # otherwise the other batch would be refused when cleared
                raise InvalidRequestError(
                    f"manifest_path={manifest.path!r} is also the manifest of {other['batch']!r}. Each would "
                    f"overwrite the other's lines.",
                    advice="Give each batch its own manifest, for example with {{ task.task_id }} or "
                    "{{ ti.map_index }} in its name, and clear the task.",
                )
