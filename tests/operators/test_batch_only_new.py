"""A batch that runs every night pays only for rows without a video, and for no more than its limit."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.s3 import S3
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")


def nightly(folder: Path | str, rows: int = 5, **parameters: Any) -> partial[GenerateVideoBatchOperator]:
    given = {
        "task_id": "batch",
        "rows": [{"name": f"boat {number}"} for number in range(1, rows + 1)],
        "template": {
            "prompt": "A film about {{ row.name }}",
            "resolution": "480p",
            "duration": 4,
            "output_path": f"{folder}/{{{{ row.name }}}}.mp4",
        },
        "manifest_path": f"{folder}/manifest.jsonl",
        "if_exists": "skip",
        "retries": 2,
        "deferrable": True,
        "max_in_flight": 4,
    }
    return partial(GenerateVideoBatchOperator, **{**given, **parameters})


def next_run(runner: TaskRunner) -> TaskRunner:
    """Another run of the DAG, which shares only the files with the one before."""
    night = runner.fresh()
    night.metadata.run_id = f"scheduled__{uuid4()}"
    return night


def statuses(folder: Path) -> list[str]:
    return [json.loads(line)["status"] for line in (folder / "manifest.jsonl").read_text().splitlines()]


def counts(result: Any) -> tuple[int, ...]:
    return tuple(result[name] for name in ("rows", "succeeded", "skipped", "left_out"))


def test_the_next_run_pays_only_for_new_rows_and_reports_the_existing_ones(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    assert counts(runner.attempt(nightly(tmp_path, rows=3)).result) == (3, 3, 0, 0)
    night = next_run(runner).attempt(nightly(tmp_path, rows=5))
    assert counts(night.result) == (5, 2, 3, 0)
    assert statuses(tmp_path) == ["SKIPPED"] * 3 + ["SUCCESS"] * 2
    line = json.loads((tmp_path / "manifest.jsonl").read_text().splitlines()[0])
    assert (line["path"], line["generation_id"]) == (f"{tmp_path}/boat 1.mp4", None)
    assert sandbox.billed.generations == 5


def test_a_run_without_new_rows_costs_nothing_in_object_storage_either(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3
) -> None:
    make = nightly(s3.path("out"), rows=3)
    s3_runner.attempt(make)
    assert counts(next_run(s3_runner).attempt(make).result) == (3, 0, 3, 0)
    assert sandbox.billed.generations == 3


def test_a_file_that_is_not_a_complete_video_is_made_again(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = nightly(tmp_path, rows=2)
    runner.attempt(make)
    (tmp_path / "boat 1.mp4").write_bytes((tmp_path / "boat 1.mp4").read_bytes()[:-1])
    assert counts(next_run(runner).attempt(make).result) == (2, 1, 1, 0)
    assert sandbox.billed.generations == 3


def test_a_retry_does_not_report_videos_of_its_own_run_as_skipped(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("moderation", match="boat 2", times=1)
    make = nightly(tmp_path, rows=3)
    runner.attempt(make)
    runner.clear()
    assert counts(runner.attempt(make).result) == (3, 3, 0, 0)
    assert sandbox.billed.generations == 3


@pytest.mark.parametrize("output_path", [None, "{folder}/{{generation_id}}.mp4"], ids=["none", "by its id"])
def test_an_output_path_that_does_not_identify_its_row_is_refused(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, output_path: str | None
) -> None:
    template = {"prompt": "{{ row.name }}"}
    if output_path:
        template["output_path"] = output_path.format(folder=tmp_path)
    with pytest.raises(InvalidRequestError, match="needs an output_path that identifies the row"):
        nightly(tmp_path, template=template)()
    attempt = runner.attempt(nightly(tmp_path, template=template, if_exists="{{ 'skip' }}"))
    assert "needs an output_path that identifies the row" in str(attempt.error)
    assert sandbox.billed.generations == 0


def test_the_budget_counts_what_would_be_billed(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    runner.attempt(nightly(tmp_path, rows=3))
    one_row = next_run(runner).attempt(nightly(tmp_path, rows=4, max_tokens=50_000))
    assert counts(one_row.result) == (4, 1, 3, 0)
    assert "max_tokens" in str(next_run(runner).attempt(nightly(tmp_path, rows=9, max_tokens=50_000)).error)
    assert sandbox.billed.generations == 4


def test_a_limit_makes_the_first_rows_and_the_next_run_continues_with_the_rest(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    assert counts(runner.attempt(nightly(tmp_path, limit=2)).result) == (2, 2, 0, 3)
    assert statuses(tmp_path) == ["SUCCESS"] * 2
    assert counts(next_run(runner).attempt(nightly(tmp_path, limit=2)).result) == (4, 2, 2, 1)
    assert counts(next_run(runner).attempt(nightly(tmp_path)).result) == (5, 1, 4, 0)
    assert sandbox.billed.generations == 5


def test_a_retry_of_a_limited_run_makes_the_same_rows(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("moderation", match="boat 1", times=1)
    make = nightly(tmp_path, limit=2)
    runner.attempt(make)
    runner.clear()
    assert counts(runner.attempt(make).result) == (2, 2, 0, 3)
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["boat 1.mp4", "boat 2.mp4"]


def test_a_clear_without_the_limit_makes_the_rest_and_pays_for_no_row_again(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    runner.attempt(nightly(tmp_path, limit=2, if_exists="overwrite"))
    runner.clear()
    assert counts(runner.attempt(nightly(tmp_path, if_exists="overwrite")).result) == (5, 5, 0, 0)
    assert sandbox.billed.generations == 5


def test_rows_beyond_the_limit_are_checked_too(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    rows = [{"name": "boat", "sku": 1}, {"name": "", "sku": 2}]
    attempt = runner.attempt(partial(nightly(tmp_path, limit=1), rows=rows))
    assert "has no value" in str(attempt.error)
    assert sandbox.billed.generations == 0
