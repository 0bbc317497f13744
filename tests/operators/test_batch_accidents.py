"""What can go wrong around a batch: signals, storage, changed rows, an AnyFast that does not respond."""

from __future__ import annotations

import datetime as dt
import errno
import io
import json
import signal
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout
from airflow.sdk import DAG, Connection

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.batch import runner as batch_run
from airflow_provider_anyfast.batch.row_processor import MAX_CONSECUTIVE_FAILURES
from airflow_provider_anyfast.batch.table_file import read_table
from airflow_provider_anyfast.client.errors import Cost
from airflow_provider_anyfast.files.local_file import LocalFile
from airflow_provider_anyfast.ledger.stores import TaskStore
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.polling.watch import Watch
from tests.support.task_log import captured_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_anyfast.batch.table import Table
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import Attempt, TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

HOUR = 3600.0
TRIES = 6
"""Requests of one call within an attempt, with the connection's defaults."""
TEMPLATE = {"prompt": "A film about {{ row.name }}", "resolution": "480p", "duration": 4}


def rows_of(number: int) -> list[dict[str, Any]]:
    return [{"name": f"boat {n}"} for n in range(number)]


IN_FLIGHT = 3


def batch(folder: Path, **parameters: Any) -> Callable[[], GenerateVideoBatchOperator]:
    given = {
        "task_id": "batch",
        "rows": rows_of(6),
        "template": TEMPLATE,
        "manifest_path": f"{folder}/manifest.jsonl",
        "retries": 2,
        "deferrable": True,
        "max_in_flight": IN_FLIGHT,
    }
    return partial(GenerateVideoBatchOperator, **{**given, **parameters})


def statuses(folder: Path) -> list[str]:
    return [json.loads(line)["status"] for line in (folder / "manifest.jsonl").read_text().split("\n") if line]


def expect_all_saved(attempt: Attempt, sandbox: SandboxHandle, folder: Path, *, rows: int = 6) -> None:
    assert attempt.state == "success", attempt.log_text
    assert statuses(folder) == ["SUCCESS"] * rows
    assert sandbox.billed.generations == rows


@pytest.mark.parametrize("is_index", [True, False])
@pytest.mark.parametrize("text", ["", "null", '{"pa'])
def test_records_that_somebody_emptied_or_cut_are_not_absent(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, text: str, *, is_index: bool
) -> None:
    runner.attempt(batch(tmp_path), run_trigger=False)
    variables = runner.metadata.variables
    name = next(name for name, stored in variables.items() if ('"pages"' in str(stored)) is is_index)
    stored, variables[name] = variables[name], text
    runner.clear()
    error = runner.attempt(batch(tmp_path)).error
    assert isinstance(error, exceptions.LedgerError)
    assert "nothing was submitted" in error.what
    variables[name] = stored
    expect_all_saved(runner.run_to_end(batch(tmp_path)), sandbox, tmp_path)


def test_an_index_that_counts_no_pages_is_not_an_absent_one(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    runner.attempt(batch(tmp_path), run_trigger=False)
    name = next(name for name, stored in runner.metadata.variables.items() if '"pages"' in str(stored))
    runner.metadata.variables[name] = '{"max_tries": 2}'
    runner.clear()
    assert isinstance(runner.attempt(batch(tmp_path)).error, exceptions.LedgerError)
    assert sandbox.billed.generations == 6


# What something between the task and AnyFast responds.


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>x</html>"),
        (200, {"data": None}),
        (400, "<html>x</html>"),
        (404, '{"detail": "no route"}'),
        (405, {"error": {"message": "no"}}),
    ],
)
def test_an_odd_response_to_each_query_ends_no_row(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, status: int, body: Any
) -> None:
    sandbox.fault("status", on="query", status=status, body=body, times=12)
    expect_all_saved(runner.attempt(batch(tmp_path, retries=0)), sandbox, tmp_path)


@pytest.mark.parametrize(
    ("status", "page"), [(400, "<html>x</html>"), (404, '{"detail": "no route"}'), (407, "<html>x</html>")]
)
def test_a_page_in_response_to_a_submission_ends_the_submissions_and_no_row(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, status: int, page: str
) -> None:
    sandbox.fault("status", on="submit", status=status, body=page, times=0, skip=2)
    attempt = runner.attempt(batch(tmp_path))
    assert isinstance(attempt.error, exceptions.ConfigurationError)
    assert statuses(tmp_path) == ["SUCCESS", "SUCCESS"], "what is paid for is saved first"
    sandbox.end_faults()
    runner.clear()
    expect_all_saved(runner.run_to_end(batch(tmp_path)), sandbox, tmp_path)


@pytest.mark.parametrize(
    ("fault", "billed"),
    [({"name": "status", "status": 403, "body": "<html>Blocked</html>"}, 0), ({"name": "bad_gateway_after"}, 1)],
    ids=["a firewall that blocks", "a gateway that accepts"],
)
def test_many_lost_submissions_in_a_row_stop_the_submissions(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fault: dict[str, Any], billed: int
) -> None:
    sandbox.fault(on="submit", times=0, **fault)
    attempt = runner.attempt(batch(tmp_path, rows=rows_of(60)))
    assert attempt.state == "up_for_retry"
    assert isinstance(attempt.error, exceptions.LostAnswerError)
    lost = len(sandbox.requests("submit"))
    assert f"\n{lost} rows of status LOST may be billed.\n" in str(attempt.error)
    assert "before you clear the task, which submits them again" in attempt.error.advice
    assert attempt.error.next_step.startswith("The next attempt looks for the rows of status LOST")
    assert MAX_CONSECUTIVE_FAILURES <= lost <= MAX_CONSECUTIVE_FAILURES + IN_FLIGHT
    assert sandbox.billed.generations == billed * lost
    in_vain = runner.attempt(batch(tmp_path, rows=rows_of(60)))
    assert isinstance(in_vain.error, exceptions.LostAnswerError)
    more = len(sandbox.requests("submit")) - lost
    assert 1 <= more <= IN_FLIGHT, "a retry does not risk as many videos again"
    lost += more
    sandbox.end_faults()
    retried = runner.attempt(batch(tmp_path, rows=rows_of(60), failure_threshold=1))
    assert retried.state == "success", retried.log_text
    assert sandbox.billed.generations == billed * lost + 60 - lost


def test_an_error_that_stops_a_batch_says_which_rows_may_be_billed(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("drop_answer", times=2)
    sandbox.fault("no_quota", skip=2, times=0)
    attempt = runner.attempt(batch(tmp_path, rows=rows_of(6), max_in_flight=1))
    assert isinstance(attempt.error, exceptions.QuotaError)
    assert attempt.error.cost is Cost.MAYBE
    assert "Nothing more was billed. 2 rows of status LOST may be billed." in str(attempt.error)
    assert "Top up the AnyFast account" in str(attempt.error)
    assert "before you clear the task, which submits them again" in str(attempt.error)


# What ends an attempt while responses are pending.


def at_ledger_write(number: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Calls ``act`` once, when the ledgers are written for the ``number``th time."""
    store, left = TaskStore.set, [number]

    def set_(self: TaskStore, value: dict[str, Any]) -> None:
        if "pages" not in value:  # not the index, which counts them
            left[0] -= 1
            if left[0] == 0:
                act()
        store(self, value)

    monkeypatch.setattr(TaskStore, "set", set_)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_execution_timeout_during_a_ledger_write_loses_no_row(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def time_is_up() -> None:
        raise AirflowTaskTimeout

    make = batch(tmp_path, rows=rows_of(12))  # four times as many as are sent together: no write concerns all of them
    at_ledger_write(number, monkeypatch, time_is_up)
    first = runner.attempt(make)
    assert first.state == "up_for_retry", first.log_text
    assert sandbox.billed.generations < 12
    expect_all_saved(runner.retry(make), sandbox, tmp_path, rows=12)


def test_a_stopped_worker_submits_no_more_and_records_what_it_has(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = batch(tmp_path, rows=rows_of(12))
    at_ledger_write(3, monkeypatch, partial(signal.raise_signal, signal.SIGTERM))
    first = runner.attempt(make)
    assert first.state == "up_for_retry", first.log_text
    assert isinstance(first.error, exceptions.WaitInterruptedError)
    assert sandbox.billed.generations < 12
    expect_all_saved(runner.retry(make), sandbox, tmp_path, rows=12)


def during_the_first_wait(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Calls ``act`` once, while a synchronous batch waits, in the thread that a signal would interrupt."""
    take_due, left = Watch.take_due, [1]

    def act_and_take(self: Watch[Any], now: float) -> str | None:
        if left:
            left.clear()
            act()
        return take_due(self, now)

    monkeypatch.setattr(Watch, "take_due", act_and_take)


def test_a_worker_that_is_stopped_while_it_waits_ends_the_wait_and_submits_no_more(
    runner: TaskRunner,
    sandbox: SandboxHandle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fake_clock: FakeClock,
) -> None:
    sandbox.reset(clock=sandbox.clock, completion_seconds=900)
    make = batch(tmp_path, deferrable=False, max_active=2, timeout=3 * HOUR)
    began = fake_clock.now()
    with monkeypatch.context() as patched:
        during_the_first_wait(patched, partial(signal.raise_signal, signal.SIGTERM))
        first = runner.attempt(make)
    assert first.state == "up_for_retry", first.log_text
    assert isinstance(first.error, exceptions.WaitInterruptedError)
    assert "stopped while it waited. Rows done: 0 of 6. Videos still being made: 2." in str(first.error)
    assert fake_clock.now() - began < 900
    assert sandbox.billed.generations == 2
    expect_all_saved(runner.retry(make), sandbox, tmp_path)


def test_a_worker_that_is_stopped_while_it_reads_the_rows_submits_none(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(given: Any, content: bytes | None) -> Table:
        signal.raise_signal(signal.SIGTERM)
        return read_table(given, content)

    with monkeypatch.context() as patched:
        patched.setattr("airflow_provider_anyfast.batch.source.read_table", stopped)
        first = runner.attempt(batch(tmp_path))
    assert first.state == "up_for_retry", first.log_text
    assert isinstance(first.error, exceptions.WaitInterruptedError)
    assert sandbox.requests() == []
    expect_all_saved(runner.retry(batch(tmp_path)), sandbox, tmp_path)


def test_an_execution_timeout_while_the_worker_waits_ends_the_attempt_and_leaves_no_thread(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = batch(tmp_path, deferrable=False, execution_timeout=dt.timedelta(hours=1))
    with monkeypatch.context() as patched:
        during_the_first_wait(patched, partial(signal.raise_signal, signal.SIGALRM))
        first = runner.attempt(make)
    assert first.state == "up_for_retry", first.log_text
    assert isinstance(first.error, AirflowTaskTimeout)
    for thread in threading.enumerate():
        if thread.name.startswith(
            "anyfast-poll"
        ):  # a thread that the signal interrupted while it started is not waited for
            thread.join(timeout=60)
            assert not thread.is_alive()
    expect_all_saved(runner.retry(make), sandbox, tmp_path)


def test_a_stop_before_the_first_row_only_logs_what_continues(tmp_path: Path) -> None:
    log = io.StringIO()
    with captured_log(log):
        batch(tmp_path)().on_kill()
    assert "AnyFast cannot cancel" in log.getvalue()


@pytest.mark.parametrize("broken_for", [1, 10_000])
def test_a_manifest_that_cannot_be_written_for_a_while_loses_no_row(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_for: int
) -> None:
    left = [broken_for]
    write = LocalFile.write_text

    def write_text(self: LocalFile, text: str) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise exceptions.StorageError("The storage is away.")
        write(self, text)

    monkeypatch.setattr(batch_run, "FLUSH_EVERY", 0.0)
    monkeypatch.setattr(LocalFile, "write_text", write_text)
    attempt = runner.attempt(batch(tmp_path))
    if broken_for > 1:
        assert attempt.state == "up_for_retry"
        assert isinstance(attempt.error, exceptions.StorageError)
        left[0] = 0
        attempt = runner.retry(batch(tmp_path))
    expect_all_saved(attempt, sandbox, tmp_path)


def test_a_ledger_that_cannot_be_written_stops_the_submissions_and_nothing_is_billed(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    runner.outages.variable_set = True
    first = runner.attempt(batch(tmp_path, rows=rows_of(50)))
    assert first.state == "up_for_retry"
    assert isinstance(first.error, exceptions.LedgerError)
    assert sandbox.requests("submit") == []
    runner.outages.variable_set = False
    expect_all_saved(runner.retry(batch(tmp_path)), sandbox, tmp_path)


def test_a_batch_that_is_marked_as_failed_while_it_waits_continues_when_it_is_cleared(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    runner.attempt(batch(tmp_path), run_trigger=False)
    runner.mark("failed")
    runner.clear()
    expect_all_saved(runner.attempt(batch(tmp_path)), sandbox, tmp_path)


def test_a_batch_whose_success_airflow_refuses_continues_when_it_is_cleared(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = batch(tmp_path)
    runner.outages.ended_as = "failed"
    assert runner.attempt(make).state == "failed"
    runner.outages.ended_as = None
    assert runner.metadata.variables, "its records are open"
    runner.clear()
    assert runner.attempt(make).state == "success"
    assert sandbox.billed.generations == 6


def test_an_unavailable_storage_is_not_tried_for_every_row(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_atomically(self: LocalFile, make: Callable[[Path], object]) -> None:
        if self.name.endswith(".mp4"):
            tried.append(self.name)
            raise exceptions.StorageError("The storage is away.")
        make(self.local)

    tried: list[str] = []
    template = {**TEMPLATE, "output_path": f"{tmp_path}/{{{{ row.name }}}}.mp4"}
    make = batch(tmp_path, rows=rows_of(40), template=template)
    with monkeypatch.context() as patched:
        patched.setattr(LocalFile, "write_atomically", write_atomically)
        attempt = runner.attempt(make)
    assert attempt.state == "up_for_retry", attempt.log_text
    assert isinstance(attempt.error, exceptions.StorageError)
    assert len(tried) <= MAX_CONSECUTIVE_FAILURES + IN_FLIGHT


# Rows that have changed.


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_template_that_differs_each_time_is_found_before_anything_is_paid(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, *, deferrable: bool
) -> None:
    template = {**TEMPLATE, "prompt": "{{ row.name }} {{ macros.uuid.uuid4() }}"}
    attempt = runner.attempt(batch(tmp_path, template=template, deferrable=deferrable), run_trigger=False)
    assert attempt.state == "failed", attempt.log_text
    assert "renders differently each time" in str(attempt.error)
    assert sandbox.requests() == []


def test_rows_that_change_while_their_videos_render_are_not_billed_until_a_clear(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(rows_of(6)))
    make = batch(tmp_path, rows=str(rows))
    runner.attempt(make, run_trigger=False)
    rows.write_text(json.dumps([*rows_of(5), {"name": "a yacht"}]))
    resumed = runner.resume(make)
    assert resumed.state == "failed", resumed.log_text
    assert "have changed since this task began" in str(resumed.error)
    assert sandbox.billed.generations == 6
    runner.clear()
    again = runner.attempt(make)
    assert again.state == "success", again.log_text
    assert sandbox.billed.generations == 7


def day_in_the_prompt(folder: Path, day: list[str]) -> Callable[[], GenerateVideoBatchOperator]:
    """A batch whose template contains the date, which differs in a retry after midnight."""

    def make() -> GenerateVideoBatchOperator:
        operator = batch(folder, template={**TEMPLATE, "prompt": "{{ row.name }} on {{ today() }}"})()
        DAG("dag", schedule=None, user_defined_macros={"today": lambda: day[0]}).add_task(operator)
        return operator

    return make


def outage_while_videos_render(runner: TaskRunner, sandbox: SandboxHandle, make: Any) -> None:
    runner.attempt(make, run_trigger=False)
    sandbox.fault("server_error", on="query", times=0)
    assert runner.resume(make).state == "up_for_retry"
    sandbox.end_faults()


def test_a_retry_with_changed_rows_pays_for_nothing(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    day = ["25 November"]
    make = day_in_the_prompt(tmp_path, day)
    outage_while_videos_render(runner, sandbox, make)
    day[0] = "26 November"
    retried = runner.attempt(make)
    assert retried.state == "failed", retried.log_text
    assert "no current row asks for 6 videos that it has paid for" in str(retried.error)
    assert sandbox.billed.generations == 6
    day[0] = "25 November"
    runner.clear()
    expect_all_saved(runner.attempt(make), sandbox, tmp_path)


def test_a_clear_runs_changed_rows_and_a_retry_continues_with_them(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    day = ["25 November"]
    make = day_in_the_prompt(tmp_path, day)
    outage_while_videos_render(runner, sandbox, make)
    day[0] = "26 November"
    runner.clear()
    outage_while_videos_render(runner, sandbox, make)
    assert sandbox.billed.generations == 12
    again = runner.attempt(make)
    assert again.state == "success", again.log_text
    assert sandbox.billed.generations == 12


def test_videos_without_a_row_after_a_clear_let_no_later_retry_pay_again(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    day = ["25 November"]
    make = day_in_the_prompt(tmp_path, day)
    outage_while_videos_render(runner, sandbox, make)
    runner.clear()
    sandbox.fault("server_error", on="query", times=0)
    assert runner.attempt(make).state == "up_for_retry"
    sandbox.end_faults()
    day[0] = "26 November"
    assert runner.attempt(make).state == "failed"
    assert sandbox.billed.generations == 6


def test_another_spelling_of_the_connections_host_is_the_same_connection(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    runner.attempt(batch(tmp_path), run_trigger=False)
    host = sandbox.url.replace("http://", "HTTP://") + "/"
    runner.metadata.connections["anyfast_default"] = Connection(
        conn_id="anyfast_default", conn_type="anyfast", host=host, password=sandbox.api_key
    )
    expect_all_saved(runner.resume(batch(tmp_path)), sandbox, tmp_path)


def test_rows_that_are_added_during_the_wait_count_against_the_budget(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(rows_of(2)))
    make = batch(tmp_path, rows=str(rows), max_tokens=100_000)
    runner.attempt(make, run_trigger=False)
    rows.write_text(json.dumps(rows_of(6)))
    resumed = runner.resume(make)
    assert "max_tokens=100,000" in str(resumed.error)
    assert sandbox.billed.generations == 2


def test_a_row_whose_link_has_expired_is_submitted_again_by_a_clear_and_not_by_a_retry(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = batch(tmp_path, template={**TEMPLATE, "output_path": f"{tmp_path}/{{{{ row.name }}}}.mp4"})
    runner.attempt(make, run_trigger=False)
    sandbox.fault("link_expired", times=0, on="download")
    sandbox.advance(25 * 3600)
    assert runner.clock is not None
    runner.clock.advance(25 * 3600)
    expired = runner.resume(make)
    assert isinstance(expired.error, exceptions.BatchRejectedError), expired.log_text
    sandbox.end_faults()
    runner.clear()
    assert runner.attempt(make).state == "success"
    assert sandbox.billed.generations == 12


def test_a_batch_that_resumes_while_its_storage_is_unavailable_is_retried(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = batch(tmp_path, template={**TEMPLATE, "output_path": f"{tmp_path}/videos/{{{{ row.name }}}}.mp4"})
    runner.attempt(make, run_trigger=False)
    with_unwritable(monkeypatch, tmp_path / "videos", lambda: runner.resume(make), state="up_for_retry")
    with_unwritable(monkeypatch, tmp_path / "videos", lambda: runner.attempt(make), state="up_for_retry")
    expect_all_saved(runner.attempt(make), sandbox, tmp_path)


def with_unwritable(
    monkeypatch: pytest.MonkeyPatch, folder: Path, attempt: Callable[[], Attempt], *, state: str
) -> None:
    """Runs an attempt while nothing can be written below ``folder``."""
    mkdir = Path.mkdir

    def stale(path: Path, *args: Any, **options: Any) -> None:
        if folder in (path, *path.parents):
            raise OSError(errno.ESTALE, "Stale file handle")
        mkdir(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", stale)
        ended = attempt()
    assert ended.state == state, ended.log_text


def test_rows_that_disappear_while_their_videos_render_are_reported_as_paid(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(rows_of(6)))
    make = batch(tmp_path, rows=str(rows))
    runner.attempt(make, run_trigger=False)
    rows.unlink()
    resumed = runner.resume(make)
    assert resumed.state == "failed"
    assert "they are paid for" in str(resumed.error)


@pytest.mark.state_store
def test_many_more_rows_than_at_first_keep_each_record_of_the_ledger_small(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    runner.attempt(batch(tmp_path))
    runner.clear()
    many = runner.attempt(batch(tmp_path, rows=rows_of(200), max_in_flight=8))
    expect_all_saved(many, sandbox, tmp_path, rows=200)
    assert max(len(json.dumps(value)) for value in runner.metadata.state_store.values()) < 32_000


@pytest.mark.state_store
def test_a_new_output_path_is_filled_and_nothing_is_billed_again_while_the_state_is_kept(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    runner.attempt(batch(tmp_path))
    runner.clear(keep_task_state=True)
    template = {**TEMPLATE, "output_path": f"{tmp_path}/{{{{ row.name }}}}.mp4"}
    expect_all_saved(runner.attempt(batch(tmp_path, template=template)), sandbox, tmp_path)
    assert len(list(tmp_path.glob("*.mp4"))) == 6


def test_unicode_line_separators_do_not_break_a_manifest_line(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"name": "a\u2028b\u0085c"}, ensure_ascii=False) + "\r\n", encoding="utf-8")
    make = batch(tmp_path, rows=str(rows))
    expect_all_saved(runner.attempt(make), sandbox, tmp_path, rows=1)
    before = len(sandbox.requests("query"))
    runner.clear()
    expect_all_saved(runner.attempt(make), sandbox, tmp_path, rows=1)
    assert len(sandbox.requests("query")) == before, "the manifest is understood"


@pytest.mark.parametrize(
    ("parameters", "phrase"),
    [
        ({"max_active": "{{ 0.5 }}"}, "max_active='0.5': "),
        ({"max_in_flight": "{{ 2.5 }}"}, "max_in_flight='2.5': "),
        ({"max_in_flight": "{{ 101 }}"}, "max_in_flight='101': it should be less than or equal to 100"),
        ({"poll_interval": "{{ 'soon' }}"}, "poll_interval='soon'"),
        ({"failure_threshold": "{{ 'few' }}"}, "failure_threshold='few'"),
        ({"manifest_path": "{folder}/rows.json"}, "is also the path of the rows"),
        ({"template": {**TEMPLATE, "output_path": "{folder}/manifest.jsonl"}, "rows": rows_of(1)}, "also the path of"),
    ],
)
def test_what_would_fail_later_is_found_before_anything_is_billed(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, parameters: dict[str, Any], phrase: str
) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(rows_of(2)))
    given = {"rows": f"{tmp_path}/rows.json", **parameters}
    given = json.loads(json.dumps(given).replace("{folder}", str(tmp_path)))
    attempt = runner.attempt(batch(tmp_path, **given), run_trigger=False)
    assert attempt.state == "failed", attempt.log_text
    assert phrase in str(attempt.error)
    assert sandbox.requests() == []


# Limits.


def waits_of(runner: TaskRunner, make: Callable[[], GenerateVideoBatchOperator]) -> list[dict[str, int]]:
    """What was in progress at each deferral."""
    attempt, found = runner.attempt(make, run_trigger=False), []
    while attempt.state == "deferred":
        found.append(attempt.xcoms["progress"])
        attempt = runner.resume(make, run_trigger=False)
    assert attempt.state == "success", attempt.log_text
    return found


def test_as_many_videos_render_at_a_time_as_max_active_allows(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.reset(clock=sandbox.clock, completion_spread=1, completion_seconds=100)
    found = waits_of(runner, batch(tmp_path, rows=rows_of(20), max_active=6, max_in_flight=6))
    assert len(found) > 2
    assert {wait["active"] for wait in found if wait["waiting"]} == {6}
    assert sandbox.billed.generations == 20


def test_a_retry_of_rows_that_failed_keeps_to_the_limit_too(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("fail_generation", times=6)
    assert runner.attempt(batch(tmp_path)).state == "up_for_retry"
    found = waits_of(runner, batch(tmp_path, max_active=2))
    assert {wait["active"] for wait in found} == {2}
    assert statuses(tmp_path) == ["SUCCESS"] * 6


def test_a_batch_does_not_wait_forever_if_anyfast_accepts_no_submission(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("rate_limited", times=0, retry_after=1)
    attempt = runner.attempt(batch(tmp_path, timeout=600))
    assert attempt.state == "up_for_retry"
    assert isinstance(attempt.error, exceptions.RateLimitError)
    assert 3 < attempt.deferrals < 10


def test_an_unreachable_anyfast_is_not_tried_for_every_row(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = batch(tmp_path, rows=rows_of(60))
    runner.attempt(make, run_trigger=False)
    sandbox.fault("server_error", on="query", times=0)
    attempt = runner.resume(make, event={"ended": 60, "reason": ""})
    assert attempt.state == "up_for_retry"
    assert isinstance(attempt.error, exceptions.ServerError)
    assert len(sandbox.requests("query")) <= 6 * (MAX_CONSECUTIVE_FAILURES + IN_FLIGHT)


def test_a_site_under_maintenance_costs_a_batch_a_retry_and_no_second_video(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = batch(tmp_path)
    runner.attempt(make, run_trigger=False)
    sandbox.fault("status", on="query", status=302, body="", times=6 * TRIES)
    attempt = runner.resume(make, event={"ended": 6, "reason": ""})
    assert attempt.state == "up_for_retry"
    assert isinstance(attempt.error, exceptions.NoAnswerError)
    expect_all_saved(runner.retry(make), sandbox, tmp_path)


def test_one_video_that_gets_no_response_does_not_keep_others_from_being_saved(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = batch(tmp_path, max_in_flight=1)
    runner.attempt(make, run_trigger=False)
    sandbox.advance(60)
    unlucky = sandbox.account().generations[0].id
    sandbox.fault("server_error", on="query", times=0, match=unlucky)
    attempt = runner.resume(make, event={"ended": 6, "reason": ""})
    assert attempt.state == "up_for_retry"
    assert statuses(tmp_path) == ["SUCCESS"] * 5


def test_one_video_that_anyfast_has_forgotten_does_not_end_the_wait_for_the_others(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.reset(clock=sandbox.clock, completion_seconds=900)
    make = batch(tmp_path, retries=0, failure_threshold=0.5, max_in_flight=1)
    runner.attempt(make, run_trigger=False)
    forgotten = sandbox.account().generations[0].id
    sandbox.fault("not_found_yet", on="query", times=0, match=forgotten)
    attempt = runner.run_to_end(make)
    assert attempt.state == "success", attempt.log_text
    assert statuses(tmp_path) == ["FAILURE", *["SUCCESS"] * 5]
    assert sandbox.billed.generations == 6


def test_a_trigger_that_fails_at_once_is_not_retried_forever(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.reset(clock=sandbox.clock, completion_seconds=900)
    make = batch(tmp_path)
    runner.attempt(make, run_trigger=False)
    attempt = runner.resume(make, event={"reason": "no connection"}, run_trigger=False)
    assert attempt.state == "up_for_retry"
    assert "no connection" in str(attempt.error)


# Two batches of one run.


def two_batches(folder: Path, task_id: str, *manifests: str) -> Callable[[], Any]:
    """One of two tasks in one DAG that name these manifests."""

    def make() -> Any:
        dag = DAG("dag", schedule=None)
        for name, manifest in zip(("a", "b"), manifests, strict=True):
            dag.add_task(batch(folder, task_id=name, manifest_path=manifest)())
        return dag.get_task(task_id)

    return make


def test_two_batches_of_a_run_that_write_one_manifest_are_refused_before_the_second_one_pays(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    manifests = (f"{tmp_path}/manifest.jsonl", f"{tmp_path}/./manifest.jsonl")
    assert runner.attempt(two_batches(tmp_path, "a", *manifests), run_trigger=False).state == "deferred"
    second = runner.attempt(two_batches(tmp_path, "b", *manifests))
    assert second.state == "failed", second.log_text
    assert "is also the manifest of 'dag " in str(second.error)
    assert sandbox.billed.generations == 6


def test_two_batches_of_a_run_with_separate_manifests_do_not_interfere(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    manifests = (f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl")
    for task_id in ("a", "b"):
        assert runner.attempt(two_batches(tmp_path, task_id, *manifests)).state == "success"
    assert sandbox.billed.generations == 12


@pytest.mark.parametrize(
    "paths",
    [
        ["{folder}/boat.mp4", "{folder}/./boat.mp4"],
        ["{folder}/boat.mp4", "{folder}//boat.mp4"],
        ["{folder}/boat.mp4", "file://{folder}/boat.mp4"],
    ],
)
def test_two_rows_with_the_same_output_file_are_refused_in_any_spelling_of_its_path(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, paths: list[str]
) -> None:
    rows = [{"name": f"boat {n}", "to": path.replace("{folder}", str(tmp_path))} for n, path in enumerate(paths)]
    attempt = runner.attempt(batch(tmp_path, rows=rows, template={**TEMPLATE, "output_path": "{{ row.to }}"}))
    assert attempt.state == "failed", attempt.log_text
    assert "row 1" in str(attempt.error)
    assert sandbox.requests() == []
