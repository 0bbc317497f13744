"""Two batches of one run that write one manifest are found before anything is paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_anyfast.files.stored_file import StoredFile

CLAIM_KEY = "manifest"
"""Of the XCom that tells the other batches of a run, and the page that shows the run, where this one writes."""


def claim_manifest(ti: Any, manifest: StoredFile, batch: str, task_ids: Iterable[str]) -> None:
    """Says where this batch writes, and only then looks at what the others say, so one of two always finds the other.

    Args:
        ti: the task instance, whose XComs all tasks of the run can read.
        manifest: where this batch writes.
        batch: names the task instance.
        task_ids: of the batches in the DAG, this one included.

    Raises:
        InvalidRequestError: another one writes there too, so each would replace the other's lines.
    """
    ti.xcom_push(CLAIM_KEY, {"manifest": manifest.identity, "batch": batch, "path": manifest.path})
    for task_id in task_ids:
        found = ti.xcom_pull(task_ids=task_id, key=CLAIM_KEY)
        for other in found if isinstance(found, list) else [found]:  # of a mapped task, the claim of each instance
            if other and other["manifest"] == manifest.identity and other["batch"] != batch:
                ti.xcom_push(CLAIM_KEY, {})  # or the other one would be refused when it is cleared
                raise InvalidRequestError(
                    f"manifest_path={manifest.path!r} is also the manifest of {other['batch']!r}. Each would "
                    f"overwrite the other's lines.",
                    advice="Give each batch its own manifest, for example with {{ task.task_id }} or "
                    "{{ ti.map_index }} in its name, and clear the task.",
                )
