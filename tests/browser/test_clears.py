"""A task is cleared with the buttons of Airflow's UI: while its video renders, and after its success."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from scripts.airflow_rest import TaskRef
from scripts.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox

pytestmark = pytest.mark.timeout(900)

DAG_ID = "anyfast_text_to_video"
PROMPT = "A kite that is cleared"


def test_only_a_clear_after_the_success_pays_for_another_video(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path, page: Page, picture: Callable[[Page, str], None]
) -> None:
    anyfast.fault("stuck", on="query", times=0)  # no video ends until the task is cleared
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.rest.trigger(DAG_ID, {"prompt": PROMPT, "output_folder": str(tmp_path)})
    task = TaskRef(DAG_ID, run_id, "video")
    airflow.rest.wait_for_task(task, "deferred", seconds=150)

    clear(page, airflow, task, lambda: picture(page, "clear"))
    anyfast.clear_faults()
    airflow.rest.wait_for_success(DAG_ID, run_id, seconds=300)
    assert len(anyfast.generations(PROMPT)) == 1

    clear(page, airflow, task)
    airflow.rest.wait_for_success(DAG_ID, run_id, seconds=300)
    assert len(anyfast.generations(PROMPT)) == 2


def clear(page: Page, airflow: LocalAirflow, task: TaskRef, look: Callable[[], None] = lambda: None) -> None:
    """Press the buttons, and wait until the task runs again."""
    before = airflow.rest.task(task)
    page.goto(f"{airflow.url}/dags/{task.dag_id}/runs/{task.run_id}/tasks/{task.task_id}")
    page.get_by_role("button", name="Press shift+c to clear").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Confirm")).to_be_enabled()
    look()
    dialog.get_by_role("button", name="Confirm").click()
    wait_until(lambda: airflow.rest.task(task).try_number > before.try_number, "the clear", seconds=90)
