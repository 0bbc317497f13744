"""Where the page "Videos" of a DAG run is, which ``plugins`` serves."""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

from airflow.providers.common.compat.sdk import conf

PREFIX = "/anyfast"
"""Of everything that this provider serves on Airflow's API server."""


def is_page_on() -> bool:
    """Whether ``[anyfast] videos_page`` is on, as it is without a setting."""
    return bool(conf.getboolean("anyfast", "videos_page", fallback=True))


def page_address(dag_id: str, run_id: str, task_id: str = "", map_index: int = -1) -> str:
    """The page of a run, or of one task in it, on the host of Airflow's UI; empty where it is switched off."""
    if not is_page_on():
        return ""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    run = f"{base}{PREFIX}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}/"
    return f"{run}?{urlencode({'task_id': task_id, 'map_index': map_index})}" if task_id else run
