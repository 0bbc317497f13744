"""The report of GenerateVideoBatchOperator: written while rows end, whatever ends the task."""

from __future__ import annotations

import csv
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.batch import report_file
from airflow_provider_anyfast.batch.manifest import from_text
from airflow_provider_anyfast.batch.report_file import LiveReport
from airflow_provider_anyfast.client.errors import StorageError
from airflow_provider_anyfast.links.report import AnyFastManifestLink, AnyFastReportLink
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.clock import FakeClock
    from tests.support.s3 import S3
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

ROWS = [{"sku": f"B-{number}"} for number in range(3)]


def batch(folder: Path | str, **parameters: Any) -> Callable[[], GenerateVideoBatchOperator]:
    given = {
        "task_id": "batch",
        "rows": ROWS,
        "template": {
            "prompt": "A film about {{ row.sku }}",
            "resolution": "480p",
            "duration": 4,
            "output_path": f"{folder}/{{{{ row.sku }}}}.mp4",
        },
        "manifest_path": f"{folder}/manifest.jsonl",
        "report_path": f"{folder}/report.html",
        "retries": 2,
        "deferrable": True,
    }
    return partial(GenerateVideoBatchOperator, **{**given, **parameters})


def statuses(folder: Path) -> list[tuple[str, str]]:
    with (folder / "report.csv").open(newline="") as file:
        return [(row["input_sku"], row["status"]) for row in csv.DictReader(file)]


def test_a_row_that_failed_is_ready_in_the_report_of_a_successful_retry(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("moderation", match="B-1")
    assert runner.attempt(batch(tmp_path)).state == "failed"
    assert statuses(tmp_path) == [("B-0", "SUCCESS"), ("B-1", "FAILURE"), ("B-2", "SUCCESS")]
    assert "2 of 3 videos ready · 1 failed" in (tmp_path / "report.html").read_text()
    runner.clear()
    assert runner.attempt(batch(tmp_path)).state == "success"
    assert statuses(tmp_path) == [(row["sku"], "SUCCESS") for row in ROWS]
    page = (tmp_path / "report.html").read_text()
    assert 'data-src="B-1.mp4"' in page
    assert "/tasks/batch" in page, "a link to the log of the task"


def test_a_card_and_a_manifest_line_name_the_key_column_of_the_latest_attempt(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = [{"name": "Boat", **row} for row in ROWS]
    sandbox.fault("moderation", match="B-1")
    assert runner.attempt(batch(tmp_path, rows=rows)).state == "failed"
    runner.clear()
    assert runner.attempt(batch(tmp_path, rows=rows, key_column="sku")).state == "success"
    assert [entry.key_column for entry in from_text((tmp_path / "manifest.jsonl").read_text())] == ["sku"] * 3
    page = (tmp_path / "report.html").read_text()
    assert all(f">{row['sku']}<" in page for row in ROWS)


def test_the_report_is_written_to_object_storage_too(s3_runner: TaskRunner, s3: S3) -> None:
    attempt = s3_runner.attempt(batch(s3.path("out")))
    assert attempt.state == "success", attempt.log_text
    assert {"out/report.html", "out/report.csv"} <= set(s3.keys())


@pytest.mark.parametrize(
    ("path", "reason"),
    [("rows.html", "is also the path of another file of this task"), ("/proc/r.html", "")],
)
def test_a_report_that_cannot_be_written_is_found_before_anything_is_billed(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, path: str, reason: str
) -> None:
    (tmp_path / "rows.csv").write_text("sku\nB-0\n")
    attempt = runner.attempt(batch(tmp_path, rows=f"{tmp_path}/rows.csv", report_path=str(tmp_path / path)))
    assert attempt.state != "success"
    assert reason in str(attempt.error)
    assert sandbox.billed.generations == 0
    assert (tmp_path / "rows.csv").read_text() == "sku\nB-0\n"


def test_the_links_of_the_task_lead_to_the_report_and_to_the_manifest() -> None:
    task = batch("s3://conn@films/run 1")()
    key: Any = SimpleNamespace(dag_id="d", run_id="r", task_id="batch", map_index=-1)
    assert AnyFastReportLink().get_link(task, ti_key=key).endswith("/dags/d/runs/r/files/s3/films/run%201/report.html")
    assert AnyFastManifestLink().get_link(task, ti_key=key).endswith("/files/s3/films/run%201/manifest.jsonl")
    assert AnyFastReportLink().get_link(batch("/out", report_path=None)(), ti_key=key) == ""


def test_a_live_report_is_written_regularly_and_an_error_is_only_a_warning(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[int] = []

    class Entries(list[Any]):
        def entries(self) -> list[Any]:
            return self

    manifest: Any = Entries()
    report: Any = SimpleNamespace(write=lambda found, total: written.append(len(found)))
    live = LiveReport(report)
    for _ in range(4):
        manifest.append(object())
        live.follow(manifest, 10)
        fake_clock.advance(report_file.WRITE_EVERY / 2)
    assert written == [3]
    live.close()
    live.close()
    assert written == [3, 4], "what is there already is not written again"

    for problem in (StorageError("The bucket is gone."), KeyError("a fault of the page")):

        def fail(found: Any, total: int, problem: Exception = problem) -> None:
            raise problem

        report.write = fail
        manifest.append(object())
        live.close()
        assert f"Could not write the report: {problem}" in caplog.text
