"""The progress of a batch: its numbers while it runs, and log lines that name their row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from airflow_provider_anyfast.tasks.batch import progress_sentence
from tests.operators.test_batch import batch, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")


def test_each_log_line_about_one_row_names_the_row(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    sandbox.fault("moderation", match="boat 1")
    sandbox.fault("rate_limited", times=2)
    sandbox.fault("fail_generation", match="boat 3")
    text = runner.attempt(batch(tmp_path, deferrable=False)).log_text
    about_one = [line for line in text.splitlines() if re.search("asyntask_|Trying again|Sensitive", line)]
    assert [line for line in about_one if not re.search(r"row \d \(name boat \d\)", line)] == []
    for number in (0, 2, 4):
        its = "\n".join(line for line in about_one if f"row {number + 1} (name boat {number}): " in line)
        assert re.search(r"AnyFast accepted it as (asyntask_\w+).*\n.*Saved generation \1", its, re.DOTALL), text


@pytest.mark.parametrize(
    ("counts", "others"),
    [
        ({}, "."),
        ({"skipped": 1, "failed": 2, "lost": 3}, ", 1 skipped, 2 failed, 3 unconfirmed."),
        ({"waiting": 1200, "submitting": 200}, ", 200 being submitted, 1,000 waiting to be submitted."),
        (
            {"active": 9, "rendering": 5, "downloading": 3, "seconds_left": 61},
            ", 5 rendering, 3 being downloaded, 1 to be polled or downloaded next. About 61 s are left.",
        ),
    ],
)
def test_the_log_names_what_there_is(counts: dict[str, int], others: str) -> None:
    names = ("succeeded", "failed", "lost", "skipped", "active", "rendering", "downloading", "submitting", "waiting")
    progress = {**dict.fromkeys(names, 0), "rows": 3000, "succeeded": 7, **counts}
    assert progress_sentence(progress) == f"7 of 3,000 rows succeeded{others}"


def test_progress_estimates_the_remaining_time_of_waiting_rows_and_rendering_videos(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.reset(clock=sandbox.clock, completion_spread=0, completion_seconds=100)
    make = batch(tmp_path, rows=rows_of(12), max_active=4, max_in_flight=4)
    found, attempt = [], runner.attempt(make, run_trigger=False)
    while attempt.state == "deferred":
        found.append((sandbox.clock(), attempt.xcoms["progress"]))
        attempt = runner.resume(make, run_trigger=False)
    assert "seconds_left" not in found[0][1], "no video has ended, so nobody knows"
    ended_at = sandbox.clock()
    for at, progress in found[1:]:
        assert progress["seconds_left"] == pytest.approx(ended_at - at, rel=0.35)
        assert progress["rendering"] == 4
