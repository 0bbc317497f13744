"""A batch whose worker is killed at every externally visible step: nothing is billed twice."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from tests.support.installed_airflow import LEDGER_PLACES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = [pytest.mark.usefixtures("fake_clock"), pytest.mark.timeout(600)]


def batch(folder: Path) -> Callable[[], GenerateVideoBatchOperator]:
    return partial(
        GenerateVideoBatchOperator,
        task_id="batch",
        rows=[{"name": "boat 0"}, {"name": "boat 1"}],
        template={"prompt": "A film about {{ row.name }}", "resolution": "480p", "duration": 4},
        manifest_path=f"{folder}/manifest.jsonl",
        retries=2,
        deferrable=True,
        max_in_flight=1,
    )


def manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("state_store", LEDGER_PLACES)
def test_a_worker_that_is_killed_at_any_step_bills_nothing_twice(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fake_clock: FakeClock, *, state_store: bool
) -> None:
    def fresh(name: str) -> tuple[TaskRunner, Any]:
        sandbox.reset(clock=fake_clock.now)
        tried = runner.fresh()
        tried.state_store = state_store
        return tried, batch(tmp_path / name)

    clean, make = fresh("clean")
    steps = ("variable", "http POST") if not state_store else ("",)  # the run with the state store covers the others
    points = [
        point for point in clean.attempt(make).crash_points if point.side == "after" and point.name.startswith(steps)
    ]
    in_doubt = []
    for number, point in enumerate(points):
        tried, make = fresh(str(number))
        tried.attempt(make, crash_at=point)
        end = tried.run_to_end(make)
        billed = sandbox.billed.generations
        assert billed <= 2, point
        if end.state == "success":
            assert billed == len(manifest(tmp_path / str(number))) == 2, point
        else:
            statuses = [line["status"] for line in manifest(tmp_path / str(number))]
            assert statuses.count("LOST") == 1, (point, end.log_text)
            assert statuses.count("SUCCESS") == 1, point
            in_doubt.append(point.name)
    # Between the record of the intent and that of the response, it is unknown whether the row was billed: after the
    # intent was stored, after the response, and after the page was read that receives the id.
    assert len(in_doubt) == 2 * 3, in_doubt
