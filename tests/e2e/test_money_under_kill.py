"""Processes are killed and tasks cleared around a billed submission: the video is billed once and saved.

The same accidents happen to a hand-written task, for comparison.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from scripts.airflow_rest import TaskRef
from scripts.processes import wait_until
from tests.e2e.conftest import BEFORE_THE_RESPONSE, IS_CRASHED_BY_LOST_TASKS
from tests.e2e.video_file import describe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.airflow_rest import TaskView
    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox
    from tests.e2e.conftest import Comparison

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DEFERRED = "by_provider_deferred"
IN_WORKER = "by_provider_in_worker"
IMPATIENT = "by_provider_impatient"
ENDING = "by_provider_ending"
BY_HAND = "by_hand"
BY_HTTP_OPERATOR = "by_http_operator"


@dataclass
class Job:
    """One run of one of the DAGs, and what it has cost so far."""

    airflow: LocalAirflow
    anyfast: LocalSandbox
    way: str
    prompt: str
    file: Path
    task: TaskRef

    @property
    def billed(self) -> int:
        return len(self.anyfast.generations(self.prompt))

    def wait_until_billed(self) -> None:
        wait_until(lambda: self.billed, f"the submission of {self.way}", seconds=150)

    def wait_until_generation_is_known(self) -> None:
        self.wait_until_billed()
        if self.way == IN_WORKER:
            wait_until(lambda: self.airflow.rest.xcom(self.task, "generation_id"), "the id in XCom", seconds=90)

    def wait_for_state(self, *states: str, seconds: float = 150) -> TaskView:
        return self.airflow.rest.wait_for_task(self.task, *states, seconds=seconds)

    def expect(self, state: str, *, billed: int) -> None:
        """Expects the task to end in ``state`` with so many billed videos; a success has its whole file."""
        view = self.wait_for_state("success", "failed", seconds=300)
        assert (view.state, self.billed) == (state, billed), self.airflow.rest.log(view)
        if state == "success" and self.way != BY_HTTP_OPERATOR:  # which has no download
            video = describe(self.file)
            assert (video.codec, video.frames) == ("h264", 96)
            assert [found.name for found in self.file.parent.iterdir()] == [self.file.name]


class Jobs:
    """Starts jobs, each with its own prompt and folder."""

    def __init__(self, airflow: LocalAirflow, anyfast: LocalSandbox, folder: Path) -> None:
        self._airflow = airflow
        self._anyfast = anyfast
        self._folder = folder

    def start(self, way: str) -> Job:
        folder = self._folder / way
        folder.mkdir()
        prompt = f"{self._folder.name} {way}"
        self._airflow.wait_for_dag(way)
        run_id = self._airflow.rest.trigger(way, {"prompt": prompt, "folder": str(folder)})
        task = TaskRef(way, run_id, "video")
        return Job(self._airflow, self._anyfast, way, prompt, folder / "video.mp4", task)


@pytest.fixture
def jobs(airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path) -> Iterator[Jobs]:
    yield Jobs(airflow, anyfast, tmp_path)
    anyfast.clear_faults()


@pytest.mark.parametrize(("way", "billed"), [(IN_WORKER, 1), (BY_HAND, 2)])
def test_a_task_killed_after_the_submission(way: str, billed: int, jobs: Jobs, comparison: Comparison) -> None:
    job = jobs.start(way)
    job.wait_until_generation_is_known()
    job.airflow.kill_task(job.task)

    job.expect("success", billed=billed)
    comparison.add("worker killed while it waits", way, billed=job.billed, state="success")


def test_a_worker_that_is_stopped_costs_no_second_video(jobs: Jobs, comparison: Comparison) -> None:
    job = jobs.start(IN_WORKER)
    job.wait_until_generation_is_known()
    job.airflow.kill_task(job.task, signal.SIGTERM)

    job.expect("success", billed=1)
    comparison.add("worker stopped (SIGTERM) while it waits", IN_WORKER, billed=job.billed, state="success")


def test_an_execution_timeout_while_it_waits_costs_no_second_video(jobs: Jobs, comparison: Comparison) -> None:
    job = jobs.start(IMPATIENT)

    job.expect("success", billed=1)
    comparison.add("execution_timeout while it waits", IMPATIENT, billed=job.billed, state="success")


WITHOUT_AN_ANSWER = pytest.mark.parametrize(
    ("way", "state", "billed"),
    [(BY_HAND, "success", 2), (BY_HTTP_OPERATOR, "success", 2)],  # this provider: test_lost_submissions
)


@WITHOUT_AN_ANSWER
def test_a_submission_whose_connection_drops(
    way: str, state: str, billed: int, jobs: Jobs, comparison: Comparison
) -> None:
    jobs._anyfast.fault("drop_answer")
    job = jobs.start(way)

    job.expect(state, billed=billed)
    comparison.add(BEFORE_THE_RESPONSE["dropped"], way, billed=job.billed, state=state)


@WITHOUT_AN_ANSWER
def test_a_task_killed_before_the_response_that_bills_it(
    way: str, state: str, billed: int, jobs: Jobs, comparison: Comparison
) -> None:
    jobs._anyfast.fault("slow_answer", seconds=20)
    job = jobs.start(way)
    job.wait_until_billed()
    job.airflow.kill_task(job.task)

    job.expect(state, billed=billed)
    comparison.add(BEFORE_THE_RESPONSE["killed"], way, billed=job.billed, state=state)


@pytest.mark.parametrize(("way", "billed"), [(DEFERRED, 1), (BY_HAND, 2)])
def test_a_task_killed_during_its_download(way: str, billed: int, jobs: Jobs, comparison: Comparison) -> None:
    before = len(jobs._anyfast.requests("download"))
    jobs._anyfast.fault("stall_download", seconds=30)
    job = jobs.start(way)
    wait_until(lambda: len(job.anyfast.requests("download")) > before, "the download", seconds=150)
    job.airflow.kill_task(job.task)

    job.expect("success", billed=billed)
    comparison.add("worker killed during the download", way, billed=job.billed, state="success")


@pytest.mark.parametrize(("way", "while_it_is", "billed"), [(DEFERRED, "deferred", 1), (BY_HAND, "running", 2)])
def test_a_task_cleared_while_it_waits(
    way: str, while_it_is: str, billed: int, jobs: Jobs, comparison: Comparison
) -> None:
    job = jobs.start(way)
    job.wait_until_billed()
    job.wait_for_state(while_it_is)
    job.airflow.rest.clear(job.task)

    job.expect("success", billed=billed)
    comparison.add("cleared while it waits", way, billed=job.billed, state="success")


@pytest.mark.parametrize("way", [DEFERRED, BY_HAND])
def test_a_task_cleared_after_its_success_makes_a_new_video(way: str, jobs: Jobs, comparison: Comparison) -> None:
    job = jobs.start(way)
    job.expect("success", billed=1)
    job.file.unlink()
    job.airflow.rest.clear(job.task)
    wait_until(lambda: job.airflow.rest.task(job.task).state != "success", "the clear", seconds=90)

    job.expect("success", billed=2)
    comparison.add("cleared after its success (requests another)", way, billed=job.billed, state="success")


@pytest.mark.parametrize(("way", "while_it_is"), [(DEFERRED, "deferred"), (BY_HAND, "running")])
def test_a_task_marked_as_failed_while_it_waits(way: str, while_it_is: str, jobs: Jobs, comparison: Comparison) -> None:
    job = jobs.start(way)
    job.wait_until_billed()
    job.wait_for_state(while_it_is)
    job.airflow.rest.mark(job.task, "failed")

    assert job.airflow.rest.wait_for_run(way, job.task.run_id, seconds=150) == "failed"
    job.expect("failed", billed=1)
    comparison.add("marked as failed while it waits", way, billed=job.billed, state="failed")


def test_a_task_marked_as_failed_while_it_ends_continues_after_a_clear(jobs: Jobs, comparison: Comparison) -> None:
    job = jobs.start(ENDING)
    ending, may_end = job.file.with_name("ending"), job.file.with_name("may_end")
    wait_until(ending.exists, "the end of execute", seconds=150)
    pid = job.wait_for_state("running").pid
    assert pid is not None
    job.airflow.rest.mark(job.task, "failed")
    may_end.touch()
    wait_until(lambda: not psutil.pid_exists(pid), "the end of its process", seconds=60)
    # A clear while the scheduler ends the run would leave the task in a run that has ended.
    assert job.airflow.rest.wait_for_run(ENDING, job.task.run_id, seconds=150) == "failed"

    job.airflow.rest.clear(job.task)
    wait_until(lambda: job.airflow.rest.task(job.task).state != "failed", "the clear", seconds=90)
    job.wait_for_state("success", seconds=300)
    ending.unlink()
    may_end.unlink()
    job.expect("success", billed=1)
    comparison.add("marked as failed while it ends, cleared", ENDING, billed=job.billed, state="success")


def test_a_killed_triggerer_is_replaced(jobs: Jobs, comparison: Comparison) -> None:
    job = jobs.start(DEFERRED)
    job.wait_for_state("deferred")
    job.airflow.replace("triggerer")

    job.expect("success", billed=1)
    comparison.add("triggerer killed, another one started", DEFERRED, billed=job.billed, state="success")


def test_a_hanging_triggerer_is_replaced(jobs: Jobs, comparison: Comparison) -> None:
    jobs._anyfast.fault("stuck", on="query", times=0)  # until another triggerer has it, however long that takes
    job = jobs.start(DEFERRED)
    job.wait_for_state("deferred")
    first = wait_until(lambda: job.airflow.rest.task(job.task).triggerer_id, "a triggerer for it", seconds=60)
    frozen = job.airflow.running("triggerer")[0]
    job.airflow.start("triggerer")
    frozen.freeze()
    wait_until(lambda: job.airflow.rest.task(job.task).triggerer_id not in (None, first), "the hand-over", seconds=180)
    # When it continues, Airflow 3.3 reports that a user killed its trigger.
    frozen.thaw()
    assert job.airflow.rest.task(job.task).state == "deferred"
    jobs._anyfast.clear_faults()

    job.expect("success", billed=1)
    comparison.add("triggerer hangs, another one takes over", DEFERRED, billed=job.billed, state="success")


@pytest.mark.skipif(IS_CRASHED_BY_LOST_TASKS, reason="this version's scheduler crashes when it finds the lost task")
def test_a_scheduler_killed_with_its_task_is_replaced(jobs: Jobs, comparison: Comparison) -> None:
    job = jobs.start(IN_WORKER)
    job.wait_until_generation_is_known()
    job.airflow.replace("scheduler")

    job.expect("success", billed=1)
    comparison.add("scheduler and worker killed while it waits", IN_WORKER, billed=job.billed, state="success")


def test_an_api_server_that_is_killed_costs_no_second_video(jobs: Jobs, comparison: Comparison) -> None:
    waiting = [jobs.start(way) for way in (IN_WORKER, DEFERRED)]
    for job in waiting:
        job.wait_until_generation_is_known()
    waiting[1].wait_for_state("deferred")
    waiting[0].airflow.replace("api-server")
    waiting[0].airflow.wait_healthy("metadatabase")

    for job in waiting:
        if job.wait_for_state("success", "failed", seconds=300).state == "failed":
            job.airflow.rest.clear(job.task)  # No attempt can start without the API server, but each one uses a retry.
        job.expect("success", billed=1)
    comparison.add("API server killed while it waits", IN_WORKER, billed=job.billed, state="success")
