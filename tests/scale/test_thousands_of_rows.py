"""Thousands of rows in one task, with the worker and the triggerer killed on the way: the figures of ``make scale``."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from scripts.airflow_rest import TaskRef
from scripts.processes import wait_until
from tests.scale.meter import MIB, Meter

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox

ROWS = int(os.environ.get("ROWS", "10000"))
MAX_ACTIVE = int(os.environ.get("MAX_ACTIVE", "500"))
DAG_ID = "thousands"


@pytest.mark.timeout(3600)
def test_every_row_is_billed_once_and_has_its_line(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("number,prompt\n" + "".join(f"{n},Shot {n} of a long film\n" for n in range(ROWS)))
    manifest = tmp_path / "manifest.jsonl"
    airflow.wait_for_dag(DAG_ID)
    pids: list[int] = []

    def task_pids() -> list[int]:
        view = airflow.rest.task(task)
        if view.state != "running" or view.pid is None:
            return []
        if view.pid not in pids:
            pids.append(view.pid)
        return [view.pid]

    run_id = airflow.rest.trigger(DAG_ID, {"rows": str(rows), "folder": str(tmp_path), "max_active": MAX_ACTIVE})
    task = TaskRef(DAG_ID, run_id, "videos")
    began = time.monotonic()
    marks: dict[str, float] = {}

    def mark(what: str) -> None:
        marks[what] = time.monotonic() - began

    def progress(name: str) -> int:
        return int((airflow.rest.xcom(task, "progress") or {}).get(name, 0))

    def kill_task() -> bool:
        try:
            airflow.kill_task(task)
        except (AssertionError, ProcessLookupError):
            return False  # between two segments
        return True

    groups = {
        "task": task_pids,
        "scheduler, with the workers": lambda: [process.pid for process in airflow.running("scheduler")],
        "triggerer": lambda: [process.pid for process in airflow.running("triggerer")],
        "API server": lambda: [process.pid for process in airflow.running("api-server")],
        "sandbox": lambda: [anyfast.pid],
    }
    with Meter(groups) as meter:
        wait_until(lambda: airflow.rest.task(task).state == "deferred", "the first submissions", seconds=900)
        mark("the first rows are submitted")
        wait_until(lambda: airflow.rest.task(task).triggerer_id, "a triggerer", seconds=60)
        airflow.replace("triggerer")
        mark("the triggerer is killed")
        wait_until(lambda: progress("succeeded") > ROWS / 4, "videos to end", seconds=1200)
        wait_until(kill_task, "a worker to kill", seconds=300)
        mark("the task is killed")
        state = airflow.rest.wait_for_run(DAG_ID, run_id, seconds=2400)
        mark("the end")

    view = airflow.rest.task(task)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    billed = anyfast.account()["billed"]["generations"]
    statuses = Counter(line["status"] for line in lines)
    table = [
        f"{ROWS} rows, max_active={MAX_ACTIVE}: {billed} billed, {len(lines)} lines, {dict(statuses)}, {state}",
        f"{len(pids)} worker segments, {view.try_number} tries",
        "",
        f"{'moment':<40}{'seconds':>10}",
        *(f"{what:<40}{at:>10.0f}" for what, at in marks.items()),
        "",
        f"{'process':<40}{'CPU s':>10}{'peak MiB':>10}",
        *(f"{name:<40}{usage.cpu_seconds:>10.1f}{usage.peak / MIB:>10.0f}" for name, usage in meter.usage.items()),
        "",
        f"requests: {dict(Counter(request['call'] for request in anyfast.requests()))} (of the last 10,000)",
        f"MiB of the task, every ten seconds: {[found // MIB for found in meter.usage['task'].memory[::20]]}",
    ]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(table) + "\n")
    assert state == "success", airflow.rest.log(view)
    assert billed == len(lines) == statuses["SUCCESS"] == ROWS
