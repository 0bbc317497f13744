"""A run of a batch continues with what other runs of its task have, or may have, paid for and not saved."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.batch.other_runs import OtherRuns, continue_other_runs
from airflow_provider_anyfast.batch.run_lock import OtherRun
from airflow_provider_anyfast.batch.unsaved_rows import UnsavedRows
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import LedgerError
from airflow_provider_anyfast.ledger.pages import PagedLedger
from airflow_provider_anyfast.ledger.record import Record, Stage
from airflow_provider_anyfast.ledger.stores import MemoryStore
from tests.operators.test_batch_only_new import counts, nightly, statuses
from tests.operators.test_never_pay_twice import SUBMIT
from tests.operators.test_overlapping_runs import overlapping
from tests.support.installed_airflow import LEDGER_PLACES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.steps import CrashPoint
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")


def fail_while_videos_render(runner: TaskRunner, make: Callable[[], GenerateVideoBatchOperator]) -> None:
    assert runner.attempt(make, run_trigger=False).state == "deferred"
    runner.mark("failed")


def memory_stores() -> Callable[[str], MemoryStore]:
    stores = defaultdict[str, MemoryStore](MemoryStore)
    return lambda name: stores[name]


def failed_run_with(record: Record) -> OtherRun:
    stores = memory_stores()
    PagedLedger(stores).put_all({"f-1": record.to_stored()})
    return OtherRun("failed run", stores)


def is_after_submission(point: CrashPoint) -> bool:
    return point.side == "after" and point.name == SUBMIT


def test_a_run_saves_what_a_failed_one_has_paid_for(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    failed = nightly(tmp_path, rows=3, template={**nightly(tmp_path).keywords["template"], "seed": 1})
    later = overlapping(runner, "z run")
    fail_while_videos_render(runner, failed)
    made = later.attempt(partial(failed, rows=[*failed.keywords["rows"], {"name": "a new one"}]))
    assert "Continuing with 3 videos that other runs of this task have paid for." in made.log_text
    assert counts(made.result) == (4, 4, 0, 0)
    assert sandbox.billed.generations == 4
    runner.clear()
    assert counts(runner.attempt(failed).result) == (3, 3, 0, 0)
    assert sandbox.billed.generations == 4


def test_a_submission_that_a_failed_run_has_lost_is_not_repeated_by_the_next_run_but_by_its_clear(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make, later = nightly(tmp_path, rows=2), overlapping(runner, "z run")
    sandbox.fault("drop_answer", match="boat 1", times=1)
    assert runner.run_to_end(make).state == "failed"
    assert sandbox.billed.generations == 2
    night = later.run_to_end(partial(make, rows=[*make.keywords["rows"], {"name": "a new one"}]))
    assert "Other runs of this task may have paid for 1 video" in night.log_text
    assert "row 1 (name boat 1)" in str(night.error)
    assert type(night.error) is exceptions.BatchRejectedError
    assert statuses(tmp_path) == ["LOST", "SKIPPED", "SUCCESS"]
    assert sandbox.billed.generations == 3
    later.clear()
    assert counts(later.attempt(make).result) == (2, 1, 1, 0)
    assert sandbox.billed.generations == 4
    runner.clear()
    assert counts(runner.attempt(make).result) == (2, 1, 1, 0)
    assert sandbox.billed.generations == 4


def test_a_submission_that_was_killed_with_its_worker_is_not_repeated_by_the_next_run(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rehearsal = runner.attempt(nightly(tmp_path / "rehearsal", rows=1))
    killed, billed, make = runner.fresh(), sandbox.billed.generations, nightly(tmp_path, rows=1)
    killed.attempt(make, crash_at=next(point for point in rehearsal.crash_points if is_after_submission(point)))
    killed.mark("failed")
    later = overlapping(killed, "z run")
    assert later.run_to_end(make).state == "failed"
    assert statuses(tmp_path) == ["LOST"]
    assert sandbox.billed.generations == billed + 1


@pytest.mark.parametrize("state", ["upstream_failed", "removed", None], ids=["upstream_failed", "removed", "cleared"])
def test_a_run_that_airflow_has_not_scheduled_again_since_its_clear_is_continued_like_a_failed_one(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, state: str | None
) -> None:
    make, later = nightly(tmp_path, rows=2), overlapping(runner, "z run")
    fail_while_videos_render(runner, make)
    runner.clear()
    if state is not None:
        runner.mark(state)
    assert counts(later.attempt(make).result) == (2, 2, 0, 0)
    assert sandbox.billed.generations == 2


def test_a_video_that_failed_and_was_made_again_by_the_next_run_is_not_paid_for_a_third_time(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make, second = nightly(tmp_path, rows=1), overlapping(runner, "second run")
    sandbox.fault("fail_generation", times=1)
    fail_while_videos_render(runner, make)
    assert counts(second.run_to_end(make).result) == (1, 1, 0, 0)
    third = overlapping(runner, "third run")
    third.metadata.other_runs.append(second.metadata)
    assert counts(third.run_to_end(make).result) == (1, 0, 1, 0)
    runner.clear()
    cleared = runner.run_to_end(make)
    assert counts(cleared.result) == (1, 0, 1, 0)
    assert "boat 1.mp4 already exists and is complete, so nothing is submitted." in cleared.log_text
    assert sandbox.billed.generations == 2


def test_videos_that_another_run_has_saved_do_not_count_towards_the_limit(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make, second = nightly(tmp_path, rows=3, limit=2), overlapping(runner, "second run")
    fail_while_videos_render(runner, make)
    assert counts(second.run_to_end(make).result) == (2, 2, 0, 1)
    third = overlapping(runner, "third run")
    third.metadata.other_runs.append(second.metadata)
    assert counts(third.run_to_end(make).result) == (3, 1, 2, 0)
    assert sandbox.billed.generations == 3


@pytest.mark.parametrize(("days", "billed"), [(6, 1), (8, 2)])
def test_a_lost_submission_is_remembered_for_as_long_as_anyfast_would_keep_its_video(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fake_clock: FakeClock, days: int, billed: int
) -> None:
    make, later = nightly(tmp_path, rows=1), overlapping(runner, "z run")
    sandbox.fault("drop_answer", times=1)
    runner.run_to_end(make)
    fake_clock.advance(days * 24 * 3600)
    later.run_to_end(make)
    assert sandbox.billed.generations == billed


def test_of_several_failed_runs_the_newest_record_of_a_row_counts(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make, second = nightly(tmp_path, rows=1), overlapping(runner, "second run")
    sandbox.fault("drop_answer", times=1)
    runner.run_to_end(make)
    second.run_to_end(make)
    second.clear()
    fail_while_videos_render(second, make)
    assert sandbox.billed.generations == 2
    third = overlapping(runner, "third run")
    third.metadata.other_runs.append(second.metadata)
    made = third.attempt(make)
    assert "Continuing with 1 video that other runs of this task have paid for." in made.log_text
    assert counts(made.result) == (1, 1, 0, 0)
    assert sandbox.billed.generations == 2


@pytest.fixture(params=LEDGER_PLACES)
def runner_of_each_airflow(runner: TaskRunner, request: pytest.FixtureRequest) -> TaskRunner:
    """With and without the task state, which keeps the records of a batch that has succeeded."""
    return replace(runner, state_store=request.param)


def test_a_submission_that_a_successful_run_has_lost_is_not_repeated_by_later_runs_but_by_its_clear(
    runner_of_each_airflow: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fake_clock: FakeClock
) -> None:
    first = runner_of_each_airflow
    make = nightly(tmp_path, rows=3, failure_threshold=0.5)
    second, third = overlapping(first, "second run"), overlapping(first, "third run")
    sandbox.fault("drop_answer", match="boat 1", times=1)
    assert first.attempt(make).result["lost"] == 1
    for later in (second, third):
        fake_clock.advance(24 * 3600)
        assert later.attempt(make).result["lost"] == 1
    assert sandbox.billed.generations == 3
    first.clear()
    assert first.attempt(make).result["lost"] == 0
    assert sandbox.billed.generations == 4
    third.clear()
    assert counts(third.attempt(make).result) == (3, 0, 3, 0)
    assert sandbox.billed.generations == 4


def test_a_lost_submission_of_a_successful_run_is_repeated_once_anyfast_no_longer_keeps_its_video(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fake_clock: FakeClock
) -> None:
    make, later = nightly(tmp_path, rows=2, failure_threshold=0.5), overlapping(runner, "z run")
    sandbox.fault("drop_answer", match="boat 1", times=1)
    runner.attempt(make)
    assert runner.metadata.variables
    fake_clock.advance(7 * 24 * 3600)
    assert counts(later.attempt(make).result) == (2, 1, 1, 0)
    assert sandbox.billed.generations == 3
    assert not runner.metadata.variables, "nothing is left to find"


def test_a_video_that_was_late_for_a_successful_run_is_saved_by_the_next_one(
    runner_of_each_airflow: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fake_clock: FakeClock
) -> None:
    sandbox.reset(clock=sandbox.clock, completion_seconds=900)
    first = runner_of_each_airflow
    make, later = nightly(tmp_path, rows=2, failure_threshold=1, timeout=60), overlapping(first, "z run")
    assert first.attempt(make).result["failed"] == 2
    fake_clock.advance(900)
    assert counts(later.attempt(make).result) == (2, 2, 0, 0)
    assert sandbox.billed.generations == 2


def test_nothing_is_submitted_while_the_record_of_what_successful_runs_left_cannot_be_read(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make, later = nightly(tmp_path, rows=2, failure_threshold=0.5), overlapping(runner, "z run")
    sandbox.fault("drop_answer", match="boat 1", times=1)
    runner.attempt(make)
    (name,) = runner.metadata.variables
    later.metadata.variables[name] = '{"rows": {"of another": {}}}'
    assert type(later.attempt(make).error) is LedgerError
    assert sandbox.billed.generations == 2


@pytest.mark.parametrize("is_found_first", [True, False])
def test_a_submission_that_one_failed_run_lost_and_another_one_found_is_continued(*, is_found_first: bool) -> None:
    lost = Record(stage=Stage.LOST, fingerprint="f", max_tries=0, at=clock.now())
    found = lost.model_copy(update={"stage": Stage.SUBMITTED, "id": "asyntask_1"})
    records = [found, lost] if is_found_first else [lost, found]
    row: Any = SimpleNamespace(key="f-1", number=1, output=None)
    options: Any = SimpleNamespace(max_tries=0, given=SimpleNamespace(max_in_flight=1))
    ledger = PagedLedger(memory_stores())
    lock: Any = None
    runs = [failed_run_with(record) for record in records]
    others = OtherRuns(lock, unsuccessful=lambda: runs, unsaved_rows=UnsavedRows(MemoryStore(), "this run"))
    continue_other_runs([row], ledger, others, options)
    assert ledger.record(row.key) == found


def test_a_failed_run_whose_links_have_expired_is_not_continued(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fake_clock: FakeClock
) -> None:
    make, later = nightly(tmp_path, rows=2), overlapping(runner, "z run")
    fail_while_videos_render(runner, make)
    fake_clock.advance(24 * 3600)
    assert counts(later.attempt(make).result) == (2, 2, 0, 0)
    assert sandbox.billed.generations == 4


def test_a_changed_row_is_made_although_a_failed_run_has_paid_for_the_old_one(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make, later = nightly(tmp_path, rows=1), overlapping(runner, "z run")
    fail_while_videos_render(runner, make)
    changed = {**make.keywords["template"], "prompt": "A photograph of {{ row.name }}"}
    later.attempt(partial(make, template=changed))
    assert sandbox.billed.generations == 2


def test_nothing_is_submitted_while_the_records_of_a_failed_run_cannot_be_read(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make, later = nightly(tmp_path, rows=2), overlapping(runner, "z run")
    fail_while_videos_render(runner, make)
    runner.metadata.variables.update(dict.fromkeys(runner.metadata.variables, ""))
    attempt = later.attempt(make)
    assert type(attempt.error) is LedgerError
    assert "Restore the Variable" in str(attempt.error)
    assert sandbox.billed.generations == 2
