"""The progress of a batch: its numbers while it runs, and log lines that name their row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

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
