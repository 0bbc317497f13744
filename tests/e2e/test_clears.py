"""Tasks with billed but unfinished work are cleared in every way that Airflow offers: nothing is billed again.

Since Airflow 3.4 a clear of task instances also discards their state, unless the user asks to keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from scripts.airflow_rest import RUN_END_STATES, TaskRef
from scripts.local_sandbox import local_sandbox
from scripts.processes import wait_until
from tests.support.installed_airflow import CLEAR_DISCARDS_STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scripts.airflow_rest import TaskView
    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox
    from tests.e2e.conftest import Comparison

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

WAYS = ["task_instances", "one_by_one", "dag_run", "command_line"] + ["keeping_their_state"] * CLEAR_DISCARDS_STATE
"""The ways of clearing; each has its own DAG, since the command line clears every run of a DAG."""
COMPLETION_SECONDS = 3600
"""Seconds that a video takes: far more than the tests, until a test moves the sandbox's clock."""
WHILE_PAID_FOR = {
    "deferred": "deferred",
    "on_the_worker": "running",
    "marked_as_failed": "failed",
    "out_of_time": "failed",
    "mapped": "deferred",
    "batch": "deferred",
    "asset": "deferred",
    "group": "success",
}
"""The state in which each task is cleared: all except ``group`` are waiting, or have stopped waiting."""


@dataclass
class Run:
    """The run of one way's DAG, and what it has cost so far."""

    airflow: LocalAirflow
    anyfast: LocalSandbox
    way: str
    run_id: str

    @property
    def dag_id(self) -> str:
        return f"cleared_by_{self.way}"

    @property
    def videos(self) -> dict[str, int]:
        """The number of billed videos by prompt."""
        prompts = [str(found["prompt"]) for found in self.anyfast.account()["generations"]]
        return {prompt: prompts.count(prompt) for prompt in prompts if prompt.startswith(f"{self.dag_id} ")}

    @property
    def assets(self) -> int:
        """The number of billed groups and assets of all runs."""
        billed = self.anyfast.account()["billed"]
        return int(billed["asset_groups"] + billed["assets"])

    def ref(self, task_id: str) -> TaskRef:
        return TaskRef(self.dag_id, self.run_id, task_id)

    def views(self) -> list[TaskView]:
        return self.airflow.rest.tasks(self.dag_id, self.run_id)

    def wait_until_all_is_paid_for(self) -> None:
        self.airflow.rest.wait_for_task(self.ref("marked_as_failed"), "deferred", seconds=240)
        self.airflow.rest.mark(self.ref("marked_as_failed"), "failed")
        wait_until(lambda: len(self.videos) == 8, f"the submissions of {self.dag_id}", seconds=240)
        self._wait_for(lambda view: view.state == WHILE_PAID_FOR[view.ref.task_id])

    def wait_until_tried_again(self, *task_ids: str) -> None:
        """Waits until the cleared tasks run again, and are waiting or have succeeded."""
        again = ("deferred", "running", "success")
        self._wait_for(lambda view: view.ref.task_id not in task_ids or (view.try_number > 1 and view.state in again))

    def expect_success(self) -> None:
        """Finishes everything in flight, however late it was submitted, and expects the run to succeed."""

        def ended() -> bool:
            self.anyfast.advance(COMPLETION_SECONDS)
            return self.airflow.rest.run_state(self.dag_id, self.run_id) in RUN_END_STATES

        wait_until(ended, f"the end of {self.dag_id}", seconds=400, pause=15)
        state = self.airflow.rest.run_state(self.dag_id, self.run_id)
        failed = [view for view in self.views() if view.state != "success"]
        assert (state, failed) == ("success", []), "\n".join(map(self.airflow.rest.log, failed))

    def clear(self, *task_ids: str) -> None:
        """Clear all tasks or one of them; a clear of the DAG run clears all."""
        rest = self.airflow.rest
        refs = list(map(self.ref, task_ids))
        if self.way == "task_instances":
            rest.clear(*refs)
        elif self.way == "keeping_their_state":
            rest.clear(*refs, keep_task_state=True)
        elif self.way == "one_by_one":
            # What Airflow's UI sends for one task instance; upstream and downstream are switches of its dialog.
            options = {"include_upstream": False, "include_downstream": False, "run_on_latest_version": False}
            for view in [view for view in self.views() if view.ref.task_id in task_ids]:
                rest.clear(view.ref, **options)
        elif self.way == "dag_run":
            rest.clear_run(self.dag_id, self.run_id)
        else:
            chosen = () if len(task_ids) > 1 else ("--task-regex", *task_ids)
            self.airflow.command("tasks", "clear", "--yes", self.dag_id, *chosen)

    def _wait_for(self, condition: Callable[[TaskView], bool]) -> None:
        def there() -> bool:
            self.airflow.expect_running()
            missing[:] = [view for view in self.views() if not condition(view)]
            return not missing

        missing: list[TaskView] = []
        try:
            wait_until(there, f"the tasks of {self.dag_id}", seconds=300, pause=0.5)
        except TimeoutError as error:
            raise AssertionError(f"{self.dag_id} still has {missing}") from error


@pytest.fixture(scope="module")
def slow_anyfast(airflow: LocalAirflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSandbox]:
    """A sandbox in which nothing finishes before its clock is moved, and Airflow's connection to it."""
    log = tmp_path_factory.mktemp("slow_sandbox") / "sandbox.log"
    seconds = str(COMPLETION_SECONDS)
    with local_sandbox(log, "--completion-seconds", seconds, "--asset-seconds", seconds) as sandbox:
        airflow.rest.add_connection("anyfast_clears", sandbox.connection)
        yield sandbox


@pytest.mark.parametrize("way", WAYS)
def test_a_clear_pays_for_nothing_again_before_the_success_and_for_a_new_video_after_it(
    way: str, airflow: LocalAirflow, slow_anyfast: LocalSandbox, tmp_path: Path, comparison: Comparison
) -> None:
    assets_before = int(sum(slow_anyfast.account()["billed"][kind] for kind in ("asset_groups", "assets")))
    airflow.wait_for_dag(f"cleared_by_{way}")
    run = Run(airflow, slow_anyfast, way, airflow.rest.trigger(f"cleared_by_{way}", {"folder": str(tmp_path)}))
    run.wait_until_all_is_paid_for()
    run.clear(*WHILE_PAID_FOR)
    run.wait_until_tried_again(*WHILE_PAID_FOR)
    run.expect_success()

    assert set(run.videos.values()) == {1}
    assert run.assets - assets_before == 2
    comparison.add(f"cleared by {way} while paid for", run.dag_id, billed=sum(run.videos.values()), state="success")

    run.clear("deferred")
    wait_until(lambda: run.videos[f"{run.dag_id} deferred"] == 2, "a new video", seconds=240)
    run.expect_success()
    assert run.assets - assets_before == 2
    comparison.add(f"cleared by {way} after success", run.dag_id, billed=sum(run.videos.values()), state="success")
