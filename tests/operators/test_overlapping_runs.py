"""Two runs of a batch at the same time, each of which looks for rows without a video: no row is paid for twice."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import LedgerError
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from tests.operators.test_batch_only_new import counts, nightly

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")


def overlapping(runner: TaskRunner, run_id: str) -> TaskRunner:
    """Another run of the DAG at the same time: both see each other's tasks and the same Variables."""
    other = runner.fresh()
    other.metadata.run_id = run_id
    other.metadata.variables = runner.metadata.variables
    runner.metadata.other_runs.append(other.metadata)
    other.metadata.other_runs.append(runner.metadata)
    return other


@pytest.mark.parametrize("run_id", ["a run", "z run"], ids=["sorts first", "sorts last"])
def test_a_run_waits_until_the_other_one_has_made_its_rows_and_skips_them(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, run_id: str
) -> None:
    make, later = nightly(tmp_path, rows=3), overlapping(runner, run_id)
    assert runner.attempt(make, run_trigger=False).state == "deferred"
    waiting = later.attempt(nightly(tmp_path, rows=4), run_trigger=False)
    assert waiting.state == "deferred"
    assert f"Run {runner.metadata.run_id} is making rows that have no video yet." in waiting.log_text
    assert later.resume(nightly(tmp_path, rows=4), run_trigger=False).state == "deferred"
    assert sandbox.billed.generations == 3
    assert counts(runner.run_to_end(make).result) == (3, 3, 0, 0)
    assert counts(later.run_to_end(nightly(tmp_path, rows=4)).result) == (4, 1, 3, 0)
    assert sandbox.billed.generations == 4
    assert runner.metadata.variables == {}


def test_a_run_that_does_not_defer_waits_on_its_worker(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, later = nightly(tmp_path, rows=2), overlapping(runner, "z run")
    runner.attempt(make, run_trigger=False)

    def end_the_other_run(seconds: float) -> None:
        fake_clock.sleep(seconds)
        for row in runner.metadata.task_instances.values():
            row.end_try("failed")

    monkeypatch.setattr(clock, "sleep", end_the_other_run)
    ended = later.attempt(partial(make, deferrable=False))
    assert counts(ended.result) == (2, 2, 0, 0)
    assert "This run waits until that task has ended" in ended.log_text
    assert sandbox.billed.generations == 2


def test_a_retry_goes_on_with_its_own_rows_while_another_run_waits(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make, other = nightly(tmp_path, rows=3), overlapping(runner, "a run that sorts first")
    runner.attempt(make, run_trigger=False)
    runner.mark("up_for_retry")
    assert other.attempt(make, run_trigger=False).state == "deferred"
    assert counts(runner.attempt(make).result) == (3, 3, 0, 0)
    assert counts(other.run_to_end(make).result) == (3, 0, 3, 0)
    assert sandbox.billed.generations == 3


def test_a_task_that_is_cleared_after_its_failure_waits_for_the_run_that_came_in_between(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make, later = nightly(tmp_path, rows=3, limit=1), overlapping(runner, "z run")
    sandbox.fault("moderation", match="boat 1", times=1)
    assert runner.run_to_end(partial(make, retries=0)).state == "failed"
    later.attempt(make, run_trigger=False)
    runner.clear()
    assert runner.attempt(make, run_trigger=False).state == "deferred"
    assert sandbox.billed.generations == 1
    assert counts(later.run_to_end(make).result) == (1, 1, 0, 2)
    assert counts(runner.run_to_end(make).result) == (2, 1, 1, 1)
    assert sandbox.billed.generations == 2


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_run_ends_its_wait_if_the_other_one_may_need_its_slot(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, *, deferrable: bool
) -> None:
    make, later = nightly(tmp_path, rows=1, deferrable=True), overlapping(runner, "z run")
    runner.attempt(make, run_trigger=False)
    runner.mark("scheduled")
    waiting = later.attempt(partial(make, deferrable=deferrable))
    assert waiting.state == "up_for_retry"
    assert type(waiting.error) is exceptions.WaitInterruptedError
    assert "has waited for a slot of its pool for 600 s" in str(waiting.error)
    assert "Nothing was billed." in str(waiting.error)
    assert counts(runner.attempt(make).result) == (1, 1, 0, 0)
    assert counts(later.attempt(make).result) == (1, 0, 1, 0)
    assert sandbox.billed.generations == 1


def test_a_run_waits_as_long_as_it_takes_for_another_one_that_has_a_slot(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make, later = nightly(tmp_path, rows=1), overlapping(runner, "z run")
    runner.attempt(make, run_trigger=False)
    assert later.attempt(make, run_trigger=False).state == "deferred"
    for state in 8 * ("scheduled", "running"):
        runner.mark(state)
        for _ in range(5):
            assert later.resume(make, run_trigger=False).state == "deferred"
    assert sandbox.billed.generations == 1


def test_a_run_that_is_stopped_while_it_waits_says_that_it_has_submitted_nothing(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fake_clock: FakeClock
) -> None:
    make, later = nightly(tmp_path, rows=2), overlapping(runner, "z run")
    runner.attempt(make, run_trigger=False)
    fake_clock.stop_task_at(fake_clock.now() + 20)
    stopped = later.attempt(partial(make, deferrable=False))
    assert "had submitted nothing in this attempt" in str(stopped.error)
    assert sandbox.billed.generations == 2


def test_nothing_is_submitted_while_airflow_does_not_say_what_other_runs_do(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    runner.outages.task_states = True
    attempt = runner.attempt(nightly(tmp_path, rows=2))
    assert type(attempt.error) is LedgerError
    assert attempt.state == "up_for_retry"
    assert sandbox.billed.generations == 0


def test_a_batch_that_makes_all_of_its_rows_waits_for_no_other_run(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = nightly(tmp_path, rows=2, if_exists="overwrite")
    other = overlapping(runner, "a run")
    runner.attempt(make, run_trigger=False)
    assert counts(other.attempt(make).result) == (2, 2, 0, 0)
    assert sandbox.billed.generations == 4


def test_mapped_batches_of_one_run_do_not_wait_for_each_other_but_for_those_of_another_run(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    given: dict[str, Any] = {**nightly(tmp_path).keywords, "manifest_path": f"{tmp_path}/{{{{ ti.map_index }}}}.jsonl"}
    rows = [given.pop("rows")[:1], [{"name": "car"}]]

    def make() -> Any:
        return GenerateVideoBatchOperator.partial(**given).expand(rows=rows)

    later = overlapping(runner, "z run")
    for index in (0, 1):
        runner.attempt(make, map_index=index, run_trigger=False)
    assert sandbox.billed.generations == 2
    later.attempt(make, map_index=1, run_trigger=False)
    runner.resume(make, map_index=1)
    assert later.resume(make, map_index=1, run_trigger=False).state == "deferred"
    runner.resume(make, map_index=0)
    assert counts(later.run_to_end(make, map_index=1).result) == (1, 0, 1, 0)
    assert sandbox.billed.generations == 2
