"""Responses to submissions are lost on a real scheduler: if AnyFast's billing log has them, no person is needed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from scripts.airflow_rest import TASK_END_STATES, TaskRef
from scripts.local_sandbox import local_sandbox
from scripts.processes import wait_until
from tests.e2e.conftest import BEFORE_THE_RESPONSE
from tests.e2e.dags.lost_submissions import ACCIDENTS, IN_A_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox
    from tests.e2e.conftest import Comparison

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

BILLING_PAGES = {"read": ("--billing-pages", "on", "--billing-log-ids"), "off": ()}
IMPATIENT = {"submit_timeout": 5}


@pytest.fixture(scope="module")
def gateways(airflow: LocalAirflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LocalSandbox]]:
    """A sandbox whose key reads its billing log and one whose key cannot, with Airflow's connections to them."""
    folder = tmp_path_factory.mktemp("gateways")
    with (
        local_sandbox(folder / "read.log", "--completion-seconds", "10", *BILLING_PAGES["read"]) as read,
        local_sandbox(folder / "off.log", "--completion-seconds", "10", *BILLING_PAGES["off"]) as off,
    ):
        gateways = {"read": read, "off": off}
        for log, sandbox in gateways.items():
            airflow.rest.add_connection(f"anyfast_log_{log}", sandbox.connection)
            impatient = {**sandbox.connection, "extra": json.dumps(IMPATIENT)}
            airflow.rest.add_connection(f"anyfast_log_{log}_impatient", impatient)
        yield gateways


def test_a_lost_response_that_the_billing_log_has_needs_neither_a_second_video_nor_a_person(
    airflow: LocalAirflow, gateways: dict[str, LocalSandbox], tmp_path: Path, comparison: Comparison
) -> None:
    runs = {log: Run(log, airflow, sandbox) for log, sandbox in gateways.items()}
    for run in runs.values():
        run.start(tmp_path)
    for run in runs.values():
        run.kill_before_its_response()

    assert runs["read"].failed() == set()
    assert runs["off"].failed() == {*ACCIDENTS, "batch"}
    for run in runs.values():
        assert run.billed() == dict.fromkeys(run.prompts, 1)
        for accident in ACCIDENTS:
            state = "failed" if accident in run.failed() else "success"
            event = BEFORE_THE_RESPONSE[accident] + (", with log" if run.log == "read" else "")
            comparison.add(event, run.dag_id, billed=1, state=state)


@dataclass
class Run:
    """A run of the DAG of one gateway."""

    log: str
    airflow: LocalAirflow
    sandbox: LocalSandbox
    run_id: str = ""

    @property
    def dag_id(self) -> str:
        return f"lost_submissions_log_{self.log}"

    @property
    def prompts(self) -> list[str]:
        rows = (f"batch {accident}" for accident in IN_A_BATCH)
        return [f"{self.log} {name}" for name in (*ACCIDENTS, *rows)]

    def start(self, folder: Path) -> None:
        for place in (f"{self.log} ", f"{self.log} batch "):
            self.sandbox.fault("drop_answer", match=f"{place}dropped")
            self.sandbox.fault("bad_gateway_after", match=f"{place}bad_gateway")
        for accident in ("timed_out", "killed"):
            self.sandbox.fault("slow_answer", match=f"{self.log} {accident}", seconds=60)
        self.airflow.wait_for_dag(self.dag_id)
        self.run_id = self.airflow.rest.trigger(self.dag_id, conf={"folder": str(folder)})

    def kill_before_its_response(self) -> None:
        wait_until(lambda: self.sandbox.generations(f"{self.log} killed"), "the submission", seconds=240)
        self.airflow.kill_task(TaskRef(self.dag_id, self.run_id, "killed"))

    def failed(self) -> set[str]:
        """The tasks that need a person, once all have ended."""
        refs = [TaskRef(self.dag_id, self.run_id, name) for name in (*ACCIDENTS, "batch")]
        ended = [self.airflow.rest.wait_for_task(ref, *TASK_END_STATES, seconds=400) for ref in refs]
        return {view.ref.task_id for view in ended if view.state != "success"}

    def billed(self) -> dict[str, int]:
        return {prompt: len(self.sandbox.generations(prompt)) for prompt in self.prompts}
