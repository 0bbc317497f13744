"""URLs of the Videos page of a DAG run, which ``plugins`` serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from airflow.providers.common.compat.sdk import conf

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol, TaskInstanceKey

PREFIX = "/anyfast"
"""The path prefix of everything that this provider serves on Airflow's API server."""


def is_page_on() -> bool:
    """Whether ``[anyfast] videos_page`` is on, which is the default."""
    return bool(conf.getboolean("anyfast", "videos_page", fallback=True))


def page_address(dag_id: str, run_id: str, task_id: str = "", map_index: int = -1) -> str:
    """The page of a run, or of one task in it, on the host of Airflow's UI; empty if the page is off."""
    if not is_page_on():
        return ""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    run = f"{base}{PREFIX}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}/"
    return f"{run}?{urlencode({'task_id': task_id, 'map_index': map_index})}" if task_id else run


def document_address(ti: TaskInstanceKey, path: str | None) -> str:
    """Where the API server serves a report or a manifest of a run; empty if there is none, or the page is off."""
    run = page_address(ti.dag_id, ti.run_id)
    return f"{run}files/{quote(served_as(path))}" if run and path else ""


def served_as(path: str) -> str:
    """A file's path in a URL, such that relative links between files also work between their URLs."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return str(Path(path).expanduser()).lstrip("/")
    bucket, _, key = rest.partition("/")
    return f"{scheme}/{bucket.rpartition('@')[2]}/{key}"


def page_of_task(ti: RuntimeTaskInstanceProtocol) -> str:
    """The page of a task instance, which plays its saved video while the file exists; empty if the page is off."""
    index = -1 if ti.map_index is None else ti.map_index
    return page_address(ti.dag_id, ti.run_id, ti.task_id, index)
