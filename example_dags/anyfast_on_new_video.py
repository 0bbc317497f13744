"""### Runs whenever a video has come home.

The example `anyfast_batch_from_table` has the asset `anyfast_videos` among the outlets of its generating task, so
each of its videos ends with an event that tells the file's URI and its facts: `generation_id`, `model`, `usage` and
more, but no signed link. This DAG is scheduled by these events. It writes the facts as JSON beside each video, where
a catalogue or a search index finds them.

One run may stand for several videos: Airflow hands over all that arrived since the last one.

Asks nothing of AnyFast, so it does without the connection `anyfast_default`.
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
    """Logs what the events say, and writes it beside the videos."""
    context = get_current_context()
    events = context["triggering_asset_events"]
    videos = []
    for event in events[NEW_VIDEOS] if events else ():  # a run that a user starts has none
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
