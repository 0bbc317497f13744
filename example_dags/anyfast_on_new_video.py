"""### Runs when new videos have been saved.

In the example `anyfast_batch_from_table`, the task that makes the videos has the Airflow asset `anyfast_videos` as an
outlet. Each saved video emits an event with the file's URI and the fields of the result (`generation_id`, `model`,
`usage` and more), but no signed link. These events schedule this DAG. It writes the fields as JSON next to each video,
where a catalogue or a search index can find them.

One run can handle several videos. When many tasks finish at nearly the same time, Airflow can hand the last events to
the next run only, so a run also notes every other video in the same folder that has no note yet. Its facts follow with
its own event.

This DAG does not call AnyFast, so it does not need the connection `anyfast_default`.
"""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import unquote

from airflow.sdk import DAG, Asset, ObjectStoragePath, Param, get_current_context, task

log = logging.getLogger(__name__)

NEW_VIDEOS = Asset("anyfast_videos")


@task
def note() -> list[str]:
    """Writes a note next to each new video, with the fields of its event if that has arrived."""
    context = get_current_context()
    events = context["triggering_asset_events"]
    facts: dict[str, dict[str, Any]] = {}
    for event in events[NEW_VIDEOS] if events else ():  # a manual run has none
        uri = event.extra["uri"]
        path = unquote(uri) if uri.startswith("file:") else uri
        facts[path] = {**event.extra, "dag_id": event.source_dag_id, "run_id": event.source_run_id}
    folders = {str(ObjectStoragePath(path).parent) for path in facts}
    found = {str(video) for folder in folders for video in ObjectStoragePath(folder).glob("*.mp4")}
    noted = []
    for path in sorted(facts.keys() | found):
        file = ObjectStoragePath(f"{path}.json")
        if path in facts or not file.exists():
            log.info("New: %s, %s", path, facts.get(path, "whose event is still to come"))
            noted.append(path)
            if context["params"]["write_files"]:
                file.write_text(json.dumps(facts.get(path, {"uri": path}), indent=2))
    return noted


with DAG(
    "anyfast_on_new_video",
    schedule=[NEW_VIDEOS],
    params={"write_files": Param(default=True, type="boolean", description="Whether the facts go into a file too")},
    default_args={"retries": 2},
    doc_md=__doc__,
    tags=["anyfast", "example"],
):
    note()
