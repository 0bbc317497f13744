"""The record of a task that never succeeds is deleted long after it is of use, where Airflow lists Variables (3.4)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.operators.test_batch_only_new import counts, nightly
from tests.operators.test_never_pay_twice import video
from tests.support.installed_airflow import LISTS_VARIABLES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

DAY = 24 * 3600.0


def later_run(runner: TaskRunner) -> TaskRunner:
    """Another run of the DAG, which finds the Variables of this one."""
    later = runner.fresh()
    later.metadata.run_id = "later"
    later.metadata.variables = runner.metadata.variables
    return later


def fail_while_its_video_renders(runner: TaskRunner) -> str:
    """Returns the name of the Variable that the task leaves."""
    assert runner.attempt(video(deferrable=True), run_trigger=False).state == "deferred"
    runner.mark("failed")
    (name,) = runner.metadata.variables
    return name


def test_a_success_deletes_what_a_task_of_its_dag_has_left_months_ago(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock
) -> None:
    left = fail_while_its_video_renders(runner)
    fake_clock.advance(91 * DAY)
    clean = later_run(runner).attempt(video(task_id="of_any_name", prompt="A kite"))
    assert list(runner.metadata.variables) == ([] if LISTS_VARIABLES else [left])
    assert (f"Deleted the Variable {left} of a task that never succeeded." in clean.log_text) is LISTS_VARIABLES
    runner.clear()
    assert runner.attempt(video()).state == "success"


def test_a_record_that_may_be_of_use_stays_and_is_used(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock
) -> None:
    left = fail_while_its_video_renders(runner)
    fake_clock.advance(DAY / 2)
    for _ in range(3):
        later_run(runner).attempt(video(prompt="A kite"))
    assert list(runner.metadata.variables) == [left]
    runner.clear()
    assert runner.attempt(video()).state == "success"
    assert sandbox.billed.generations == 4, "three kites and one boat"


def test_in_time_every_old_record_is_found(runner: TaskRunner, fake_clock: FakeClock) -> None:
    left = fail_while_its_video_renders(runner)
    stored = runner.metadata.variables[left]
    runner.metadata.variables |= {f"{left}{number}": stored for number in range(20)}
    fake_clock.advance(91 * DAY)
    for _ in range(5):
        later_run(runner).attempt(video(prompt="A kite"))
    assert runner.metadata.variables == {} or not LISTS_VARIABLES


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("anyfast_ledger_dag_video_1", '{"stage": "submitted", "id": "a", "at": 1.0}'),
        ("anyfast_ledger_dag_video_2", "no record"),
        ("anyfast_ledger_other_dag_video_3", '{"_written_at": 1}'),
        ("of_the_user", '{"_written_at": 1}'),
    ],
    ids=["of version 0.1.0", "not parseable", "of another DAG", "of the user"],
)
def test_a_variable_that_is_not_known_to_be_an_old_record_of_the_dag_stays(
    runner: TaskRunner, name: str, text: str
) -> None:
    runner.metadata.variables[name] = text
    assert runner.attempt(video()).state == "success"
    assert runner.metadata.variables == {name: text}


def test_the_pages_of_a_failed_batch_are_deleted_too(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fake_clock: FakeClock
) -> None:
    make = nightly(tmp_path, rows=2)
    runner.attempt(make, run_trigger=False)
    runner.mark("failed")
    assert len(runner.metadata.variables) == 2
    fake_clock.advance(91 * DAY)
    assert counts(later_run(runner).attempt(make).result) == (2, 2, 0, 0)
    assert len(runner.metadata.variables) == (0 if LISTS_VARIABLES else 2)
    assert sandbox.billed.generations == 4, "links of the first two have expired long ago"


def test_a_task_succeeds_although_airflow_does_not_list_variables(runner: TaskRunner, fake_clock: FakeClock) -> None:
    left = fail_while_its_video_renders(runner)
    fake_clock.advance(91 * DAY)
    later = later_run(runner)
    later.outages.variable_keys = True
    attempt = later.attempt(video(prompt="A kite"))
    assert attempt.state == "success"
    assert list(runner.metadata.variables) == [left]
    assert ("Could not look for expired records" in attempt.log_text) is LISTS_VARIABLES


def test_every_record_says_when_it_was_written(runner: TaskRunner, fake_clock: FakeClock) -> None:
    left = fail_while_its_video_renders(runner)
    assert json.loads(runner.metadata.variables[left] or "")["_written_at"] == int(fake_clock.now())
