"""The quickstart DAG on a real Airflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from scripts.airflow_rest import TaskRef
from scripts.processes import wait_until
from tests.e2e.video_file import describe

if TYPE_CHECKING:
    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DAG_ID = "anyfast_quickstart"
PROMPT = "The lamp of the end-to-end test looks around."


def test_the_quickstart_makes_one_video_and_links_to_it(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path
) -> None:
    airflow.wait_for_dag(DAG_ID)
    anyfast.fault("stuck", on="query", times=0)  # until the wait has begun, however long a task takes to start
    run_id = airflow.rest.trigger(DAG_ID, {"prompt": PROMPT, "output_folder": str(tmp_path)})
    submit, wait, download = (TaskRef(DAG_ID, run_id, task_id) for task_id in ("submit", "wait", "download"))

    airflow.rest.wait_for_task(wait, "deferred", seconds=180)
    links_while_waiting = [_link(airflow, task) for task in (submit, wait)]
    anyfast.clear_faults()
    last = airflow.rest.wait_for_task(download, "success", "up_for_retry", "upstream_failed", seconds=240)

    assert last.state == "success", airflow.rest.log(last)
    airflow.rest.wait_for_success(DAG_ID, run_id, seconds=90)
    [generation] = anyfast.generations(PROMPT)
    assert all(link.startswith(anyfast.url) for link in links_while_waiting)
    page = f"/anyfast/dags/{DAG_ID}/runs/{quote(run_id, safe='')}/?task_id=download&map_index=-1"
    assert airflow.rest.links(download)["Open video"] == page
    result = airflow.rest.xcom(download)
    assert (result["generation_id"], result["status"]) == (generation["id"], "SUCCESS")
    video = describe(Path(result["path"]))
    assert (video.codec, video.frames) == ("h264", 4 * 24)
    assert anyfast.account()["billed"]["asset_groups"] == 1
    assert anyfast.account()["billed"]["assets"] == 1


def test_a_second_run_pays_for_its_video_and_for_nothing_else(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path
) -> None:
    before = anyfast.account()["billed"]
    run_id = airflow.rest.trigger(DAG_ID, {"prompt": PROMPT + " Again.", "output_folder": str(tmp_path)})

    airflow.rest.wait_for_success(DAG_ID, run_id, seconds=300)
    after = anyfast.account()["billed"]
    assert after["generations"] == before["generations"] + 1
    assert (after["asset_groups"], after["assets"]) == (1, 1)


def _link(airflow: LocalAirflow, task: TaskRef) -> str:
    """Wait for the link: Airflow stores it a moment after the state."""
    return wait_until(lambda: airflow.rest.links(task)["Open video"], f"the link of {task}", seconds=60)
