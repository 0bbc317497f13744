"""### Runs when new videos have been saved.

In the example `anyfast_batch_from_table`, the task that makes the videos has the Airflow asset `anyfast_videos` as an
outlet. Each saved video emits an event with the file's URI and the fields of the result (`generation_id`, `model`,
`usage` and more), but no signed link. These events schedule this DAG. It writes the fields as JSON next to each video,
where a catalogue or a search index can find them.

One run can handle several videos: Airflow passes it all events since the last run.

This DAG does not call AnyFast, so it does not need the connection `anyfast_default`.
"""

from __future__ import annotations

import json
import logging
from urllib.parse import urlsplit
from urllib.request import url2pathname

from airflow.sdk import DAG, Asset, Param, get_current_context, task

from airflow_provider_anyfast.files.storage import stored_file

log = logging.getLogger(__name__)

NEW_VIDEOS = Asset("anyfast_videos")


@task
def note() -> list[str]:
    """Logs the fields of each event, and writes them to a file next to the video."""
    context = get_current_context()
    events = context["triggering_asset_events"]
    videos = []
    for event in events[NEW_VIDEOS] if events else ():  # a manual run has none
        facts = {**event.extra, "dag_id": event.source_dag_id, "run_id": event.source_run_id}
        log.info("%(uri)s was made by %(dag_id)s, run %(run_id)s, for %(usage)s.", facts)
        parts = urlsplit(facts["uri"])
        video = stored_file(url2pathname(parts.path) if parts.scheme == "file" else facts["uri"])
        if context["params"]["write_files"]:
            video.sibling(f"{video.name}.json").write_text(json.dumps(facts, indent=2))
        videos.append(video.path)
    return videos


with DAG(
    "anyfast_on_new_video",
    schedule=[NEW_VIDEOS],
    params={"write_files": Param(default=True, type="boolean", description="Whether the facts go into a file too")},
    default_args={"retries": 2},
    doc_md=__doc__,
    tags=["anyfast", "example"],
):
    note()
