"""A table becomes videos on a real Airflow: checked, limited by a pool, reported and repaired; events start a DAG."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

from scripts.airflow_rest import TaskRef
from scripts.processes import wait_until
from tests.e2e.conftest import POOL_SLOTS
from tests.e2e.video_file import describe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DAG_ID = "anyfast_batch_from_table"
LISTENER = "anyfast_on_new_video"


@pytest.fixture(autouse=True)
def _no_faults_left(anyfast: LocalSandbox) -> Iterator[None]:
    yield
    anyfast.clear_faults()


def start(airflow: LocalAirflow, folder: Path, rows: str) -> str:
    table = folder / "rows.csv"
    table.write_text(rows)
    airflow.wait_for_dag(DAG_ID)
    conf = {"rows": str(table), "prompt": f"{folder.name} {{{{ row.id }}}}", "output_folder": str(folder)}
    return airflow.rest.trigger(DAG_ID, conf)


def made(anyfast: LocalSandbox, folder: Path) -> list[dict[str, Any]]:
    """Every billed submission for the table in ``folder``."""
    return [found for found in anyfast.account()["generations"] if found["prompt"].startswith(f"{folder.name} ")]


def test_one_bad_row_stops_the_table_before_anything_is_billed(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path
) -> None:
    run_id = start(airflow, tmp_path, "id,ratio\na,16:9\nb,17:9\n")

    assert airflow.rest.wait_for_run(DAG_ID, run_id, seconds=300) == "failed"
    check = airflow.rest.task(TaskRef(DAG_ID, run_id, "check"))
    assert (check.state, check.try_number) == ("failed", 1)
    assert "ratio='17:9' is not one of" in airflow.rest.log(check)
    assert made(anyfast, tmp_path) == []


def test_a_failed_row_is_reported_and_made_by_clearing_it_while_each_video_starts_the_other_dag(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path
) -> None:
    anyfast.fault("moderation", match=f"{tmp_path.name} bad")
    run_id = start(airflow, tmp_path, "id\na\nbad\nb\n")
    folder = tmp_path / run_id

    assert airflow.rest.wait_for_run(DAG_ID, run_id, seconds=300) == "failed"
    assert {view.ref.map_index: view.state for view in videos(airflow, run_id)} == {
        0: "success",
        1: "failed",
        2: "success",
    }
    assert [row["status"] for row in report(folder)] == ["SUCCESS", "FAILURE", "SUCCESS"]
    assert "sensitive" in report(folder)[1]["error"].lower()
    before = {found["id"] for found in made(anyfast, tmp_path)}
    assert len(before) == 2

    airflow.rest.clear_failed(DAG_ID, run_id)
    wait_until(lambda: airflow.rest.run_state(DAG_ID, run_id) != "failed", "the clear", seconds=90)
    airflow.rest.wait_for_success(DAG_ID, run_id, seconds=300)

    assert [row["status"] for row in report(folder)] == ["SUCCESS"] * 3
    after = {found["id"] for found in made(anyfast, tmp_path)}
    assert before < after
    assert len(after) == 3
    for name in ("a", "bad", "b"):
        assert describe(folder / f"{name}.mp4").frames == 4 * 24
    assert (folder / "report.html").read_text().count("data-src=") == 3

    noted = [folder / f"{name}.mp4.json" for name in ("a", "bad", "b")]
    wait_until(lambda: all(map(has_facts, noted)), "the second DAG's notes", seconds=180)
    facts = [json.loads(file.read_text()) for file in noted]
    assert {fact["generation_id"] for fact in facts} == after
    assert all((fact["dag_id"], fact["run_id"]) == (DAG_ID, run_id) for fact in facts)
    assert all(fact["usage"]["total_tokens"] > 0 for fact in facts)
    wait_until(lambda: set(airflow.rest.runs(LISTENER).values()) == {"success"}, "the second DAG's end", seconds=150)


def test_the_pool_limits_the_videos_that_render_at_a_time(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path
) -> None:
    run_id = start(airflow, tmp_path, "id\na\nb\nc\nd\n")

    airflow.rest.wait_for_success(DAG_ID, run_id, seconds=400)
    lives = [(found["submitted_at"], found["finished_at"]) for found in made(anyfast, tmp_path)]
    assert len(lives) == 4
    at_work = [sum(begin <= moment < end for begin, end in lives) for moment, _ in lives]
    assert max(at_work) == POOL_SLOTS


def has_facts(note: Path) -> bool:
    """A video that is found before its event arrives has a note without facts."""
    return note.exists() and "generation_id" in note.read_text()


def videos(airflow: LocalAirflow, run_id: str) -> list[Any]:
    return [view for view in airflow.rest.tasks(DAG_ID, run_id) if view.ref.task_id == "video"]


def report(folder: Path) -> list[dict[str, str]]:
    with (folder / "report.csv").open(newline="") as file:
        return list(csv.DictReader(file))
