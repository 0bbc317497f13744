"""A batch on several machines, two of which go away: every video is paid for once, and every file is there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from scripts.processes import wait_until
from tests.distributed.conftest import SLOTS
from tests.e2e.video_file import describe

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.airflow_rest import AirflowRest, TaskView
    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox

DAG_ID = "thirty_videos"
VIDEOS = 30


@dataclass(frozen=True)
class Batch:
    """The one run of the DAG."""

    rest: AirflowRest
    run_id: str

    def tasks(self, state: str | None = None) -> list[TaskView]:
        return [task for task in self.rest.tasks(DAG_ID, self.run_id) if state in (None, task.state)]

    def triggerers(self) -> Counter[str | None]:
        """How many waits each one holds; None holds those that nobody has taken yet."""
        return Counter(task.triggerer_host for task in self.tasks("deferred"))


@pytest.mark.timeout(1200)
def test_a_triggerer_and_a_worker_die_under_a_batch_of_thirty(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    airflow.wait_for_dag(DAG_ID)
    anyfast.fault("stuck", on="query", times=0)
    batch = Batch(airflow.rest, airflow.rest.trigger(DAG_ID, {"folder": str(folder)}))

    # Every video is paid for and no answer is on its way: who dies from here on must cost nothing.
    wait_until(lambda: len(batch.tasks("deferred")) == VIDEOS, "every video to be submitted", seconds=400)
    wait_until(lambda: None not in batch.triggerers(), "every video to be waited for", seconds=90)
    triggerer = _busiest(batch.triggerers())
    airflow.kill(triggerer)
    wait_until(lambda: not {None, triggerer} & set(batch.triggerers()), "the hand-over", seconds=180)
    assert len(batch.tasks("deferred")) == VIDEOS

    anyfast.clear_faults()
    anyfast.fault("stall_download", seconds=40, times=0)
    wait_until(lambda: len(anyfast.requests("download")) >= 2 * SLOTS, "a download in every slot", seconds=240)
    running = batch.tasks("running")
    worker = _busiest(Counter(task.host for task in running))
    airflow.kill(worker)
    anyfast.clear_faults()

    state = batch.rest.wait_for_run(DAG_ID, batch.run_id, seconds=500)
    tasks = batch.tasks()

    unlucky = [task for task in tasks if task.state != "success"]
    assert (state, unlucky) == ("success", []), "\n\n".join(batch.rest.log(task) for task in unlucky)
    orphans = {task.ref for task in running if task.host == worker}
    assert {task.ref for task in tasks if task.try_number > 1} == orphans
    assert anyfast.account()["billed"]["generations"] == len(anyfast.requests("submit")) == VIDEOS
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{number}.mp4" for number in range(VIDEOS))
    assert {describe(path).frames for path in folder.iterdir()} == {4 * 24}


def _busiest(hosts: Counter[str | None]) -> str:
    (host, _), *_ = hosts.most_common()
    assert host
    return host
