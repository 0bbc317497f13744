"""Processes of a batch are killed: every row is billed at most once, and every billed video is saved."""

from __future__ import annotations

import json
import signal
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from scripts.airflow_rest import TaskRef
from scripts.processes import wait_until
from tests.e2e.video_file import describe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox
    from tests.e2e.conftest import Comparison

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DAG_ID = "batch"
ROWS = 20
IN_FLIGHT = 4
"""Of the DAG."""


@dataclass
class Batch:
    """One run of the DAG, and what it has cost so far."""

    airflow: LocalAirflow
    anyfast: LocalSandbox
    folder: Path
    task: TaskRef

    @property
    def billed(self) -> int:
        prompts = [str(found["prompt"]) for found in self.anyfast.account()["generations"]]
        return sum(prompt.startswith(f"{self.folder.name} ") for prompt in prompts)

    def wait_until_billed(self, rows: int) -> None:
        wait_until(lambda: self.billed >= rows, f"{rows} rows to be submitted", seconds=150, pause=0.05)

    def wait_until_waited_for(self) -> None:
        self.airflow.rest.wait_for_task(self.task, "deferred", seconds=150)
        wait_until(lambda: self.airflow.rest.task(self.task).triggerer_id, "a triggerer", seconds=90)

    def end(self) -> Counter[str]:
        """The number of rows by status, after the task has ended."""
        self.airflow.rest.wait_for_run(DAG_ID, self.task.run_id, seconds=300)
        lines = (self.folder / "manifest.jsonl").read_text().split("\n")
        return Counter(str(json.loads(line)["status"]) for line in lines if line)

    def expect_all_saved(self) -> None:
        assert self.end() == {"SUCCESS": ROWS}, self.airflow.rest.log(self.airflow.rest.task(self.task))
        assert self.billed == ROWS
        names = {"rows.csv", "manifest.jsonl", *(f"{number}.mp4" for number in range(ROWS))}
        assert {file.name for file in self.folder.iterdir()} == names
        assert {describe(file).frames for file in self.folder.glob("*.mp4")} == {4 * 24}


def start(airflow: LocalAirflow, anyfast: LocalSandbox, folder: Path, **conf: str) -> Batch:
    rows = folder / "rows.csv"
    rows.write_text("number,prompt\n" + "".join(f"{n},{folder.name} shot {n}\n" for n in range(ROWS)))
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.rest.trigger(DAG_ID, {"rows": str(rows), "folder": str(folder), **conf})
    return Batch(airflow, anyfast, folder, TaskRef(DAG_ID, run_id, "videos"))


@pytest.fixture
def batch(airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path) -> Iterator[Batch]:
    yield start(airflow, anyfast, tmp_path)
    anyfast.clear_faults()


@pytest.fixture
def slow_responses(anyfast: LocalSandbox) -> None:
    """Submissions are billed two seconds before their response. List it before ``batch`` in a test."""
    anyfast.fault("slow_answer", seconds=2, times=0)


def test_a_worker_and_a_triggerer_killed_while_videos_are_made_and_fetched(
    batch: Batch, comparison: Comparison
) -> None:
    batch.wait_until_waited_for()
    batch.airflow.replace("triggerer")
    before = len(batch.anyfast.requests("download"))
    batch.anyfast.fault("stall_download", seconds=30, times=IN_FLIGHT)
    wait_until(lambda: len(batch.anyfast.requests("download")) >= before + IN_FLIGHT, "downloads", seconds=180)
    batch.airflow.kill_task(batch.task)

    batch.expect_all_saved()
    comparison.add("triggerer and worker killed, a batch of 20", DAG_ID, billed=batch.billed, state="success")


@pytest.mark.usefixtures("slow_responses")
def test_a_worker_killed_while_it_submits_pays_for_no_row_twice(batch: Batch, comparison: Comparison) -> None:
    batch.wait_until_billed(ROWS // 2)
    batch.airflow.kill_task(batch.task)
    batch.anyfast.clear_faults()

    ended = batch.end()
    assert 1 <= ended["LOST"] <= IN_FLIGHT, "those whose responses were pending"
    assert ended["SUCCESS"] == ROWS - ended["LOST"]
    assert batch.billed <= ROWS
    comparison.add("worker killed while it submits a batch of 20", DAG_ID, billed=batch.billed, state="failed")


@pytest.mark.usefixtures("slow_responses")
def test_a_worker_that_is_stopped_while_it_submits_loses_no_row(batch: Batch, comparison: Comparison) -> None:
    batch.wait_until_billed(ROWS // 2)
    batch.airflow.kill_task(batch.task, signal.SIGTERM)
    wait_until(lambda: batch.airflow.rest.task(batch.task).try_number > 1, "the retry", seconds=150)
    batch.anyfast.clear_faults()

    batch.expect_all_saved()
    comparison.add("worker stopped while it submits", DAG_ID, billed=batch.billed, state="success")


def test_of_two_runs_that_start_together_one_waits_and_then_skips_every_row(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path, comparison: Comparison
) -> None:
    runs = [start(airflow, anyfast, tmp_path, if_exists="skip") for _ in range(2)]
    for run in runs:
        run.end()
    results = [airflow.rest.xcom(run.task) for run in runs]
    assert sorted((result["succeeded"], result["skipped"]) for result in results) == [(0, ROWS), (ROWS, 0)]
    assert runs[0].billed == ROWS
    comparison.add("two runs at once, a batch of 20", DAG_ID, billed=runs[0].billed, state="success")
