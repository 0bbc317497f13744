"""Later segments of a batch: what they read, render and query, and how they handle changes in the meantime."""

from __future__ import annotations

import json
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.batch import runner as runner_module
from airflow_provider_anyfast.batch.checkpoint import active_in
from airflow_provider_anyfast.batch.queue import BatchLifecycle, BatchState
from airflow_provider_anyfast.batch.table import Row
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import (
    AuthenticationError,
    GenerationNotFoundError,
    InvalidRequestError,
    LostSubmissionError,
    PermissionDeniedError,
    QuotaError,
)
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.files.video_output import VideoOutput
from airflow_provider_anyfast.ledger.pages import PagedLedger
from airflow_provider_anyfast.ledger.record import record_of
from airflow_provider_anyfast.seedance.saved import SavedVideo, VideoFacts
from tests.batch.stub_batch import StubBatch, StubClient, _Kept, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_anyfast.client.endpoints import Call
    from airflow_provider_anyfast.client.transport import Guard
    from tests.support.clock import FakeClock


def batch_of(folder: Path, rows: int, **given: Any) -> StubBatch:
    return StubBatch(folder, rows_of(rows), **given)


def test_a_later_segment_renders_and_queries_only_rows_that_have_ended_or_are_submitted(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, 400, max_active=100)
    batch.segment()
    batch.rendered, reads, writes = 0, sum(batch.shelf.reads.values()), sum(batch.shelf.writes.values())
    batch.client.asked.clear()
    ended = batch.client.finish(25)
    runner = batch.segment(ended)
    assert sorted(batch.client.asked) == sorted(ended)
    assert batch.rendered == 25 + 25, "those that have ended, and those that took their place"
    pages_read = sum(batch.shelf.reads.values()) - reads - (sum(batch.shelf.writes.values()) - writes)
    assert pages_read <= 3, "the index, the page of those that ended, the last page; and each page before its writes"
    assert runner.progress() == {
        "rows": 400, "succeeded": 25, "failed": 0, "lost": 0, "skipped": 0, "active": 100, "waiting": 275,
        "rendering": 100, "downloading": 0, "submitting": 0, "tokens": 175,
    }  # fmt: skip


@pytest.mark.parametrize("max_active", [None, 7, 100])
def test_every_row_is_submitted_once_over_many_segments(tmp_path: Path, max_active: int | None) -> None:
    batch = batch_of(tmp_path, 300, max_active=max_active)
    batch.segment()
    while len(batch.entries()) < 300:
        batch.segment(batch.client.finish(40))
    assert batch.client.calls["POST"] == 300
    assert [entry["row"] for entry in batch.entries()] == list(range(1, 301))
    assert {entry["status"] for entry in batch.entries()} == {"SUCCESS"}


def test_after_an_event_with_only_a_count_every_video_is_queried(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, 20)
    batch.segment()
    batch.client.finish(5)
    batch.client.asked.clear()
    assert batch.segment(None).progressed == 5
    assert len(batch.client.asked) == 20


@pytest.mark.parametrize("text", [None, "", '{"row": 1}\n'], ids=["gone", "empty", "overwritten"])
@pytest.mark.parametrize("resume", [True, False], ids=["in the next segment", "in a retry"])
def test_a_changed_manifest_is_rewritten_and_nothing_is_submitted_or_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, *, resume: bool
) -> None:
    fetched: list[str] = []

    def save(output: VideoOutput, _client: Any, task: Generation, _submitted_at: float) -> SavedVideo:
        fetched.append(task.generation_id)
        path = output.path_of(task.generation_id)
        facts = VideoFacts(496, 864, 2.5, 24.0, has_sound=False)
        frame, poster = (path.replace(".mp4", ending) for ending in (".last_frame.png", ".poster.jpg"))
        return SavedVideo(path, f"file://{path}", frame, poster, facts)

    monkeypatch.setattr(VideoOutput, "save", save)
    path = f"{tmp_path}/{{{{ row.name }}}}.mp4"
    template = {"prompt": "{{ row.name }}", "output_path": path, "resolution": "480p", "ratio": "16:9", "duration": 4}
    batch = batch_of(tmp_path, 10, template=template)
    batch.segment()
    batch.segment(batch.client.finish(6))
    written = batch.entries()
    assert {len(entry["warnings"]) for entry in written} == {2}
    Path(batch.manifest).unlink()
    if text is not None:
        Path(batch.manifest).write_text(text)
    batch.client.asked.clear()
    if not resume:
        batch.retry()
    batch.segment([])
    assert batch.entries() == written
    assert len(written) == len(fetched) == 6
    assert batch.client.calls["POST"] == 10
    assert not set(fetched) & set(batch.client.asked)


def test_a_clear_after_the_manifest_was_deleted_submits_nothing(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, 4)
    batch.segment()
    batch.segment(batch.client.finish(4))
    Path(batch.manifest).unlink()
    batch.clear()
    batch.segment()
    assert len(batch.entries()) == 4
    assert batch.client.calls["POST"] == 4


def test_changed_rows_are_detected_before_any_request(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, 5)
    batch.segment()
    batch.rows = [*rows_of(4), {"name": "a yacht"}]
    batch.client.asked.clear()
    with pytest.raises(InvalidRequestError, match="have changed since this task began"):
        batch.segment(batch.client.finish(5))
    assert batch.client.asked == []


def test_a_row_that_renders_differently_in_a_later_segment_is_not_submitted(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, 5, max_active=2)
    batch.segment()
    stored = json.loads(batch.index)
    keys = stored["keys"].split()
    keys[2] = f"3:{'0' * 32}-0"
    batch.index = json.dumps({**stored, "keys": " ".join(keys)})
    ended = batch.client.finish(2)
    with pytest.raises(InvalidRequestError, match="row 3 renders a different request"):
        batch.segment(ended)
    assert batch.client.calls["POST"] == 2


# What stops submissions, and what does not.


def only_submissions(error: Exception, after: int) -> StubClient:
    def answer(call: Call[Any]) -> None:
        if call.method == "POST" and len(client.generations) >= after:
            raise error

    client = StubClient(answer)
    return client


@pytest.mark.parametrize("kind", [PermissionDeniedError, QuotaError, AuthenticationError])
def test_an_error_that_stops_submissions_never_stops_the_download_of_paid_videos(
    tmp_path: Path, kind: type[PermissionDeniedError]
) -> None:
    batch = batch_of(tmp_path, 30, client=only_submissions(kind("用户额度不足", status=403), after=8), max_in_flight=1)
    lifecycle = BatchLifecycle()
    runner = batch.segment(lifecycle=lifecycle)
    assert (lifecycle.state, type(lifecycle.error)) == (BatchState.CLOSED, kind)
    assert len(runner.active) == 8
    assert batch.client.calls["POST"] == 9
    batch.segment(batch.client.finish(8), lifecycle=lifecycle)
    assert [entry["status"] for entry in batch.entries()] == ["SUCCESS"] * 8
    assert batch.client.calls["POST"] == 9


def test_submissions_stay_stopped_after_a_deferral(tmp_path: Path) -> None:
    refusal = QuotaError("用户额度不足", status=403, code="insufficient_user_quota")
    batch = batch_of(tmp_path, 30, client=only_submissions(refusal, after=8), max_in_flight=1)
    batch.segment()
    generations = batch.client.generations
    batch.client = StubClient()
    batch.client.generations = generations
    lifecycle = batch.segment(batch.client.finish(3)).lifecycle
    assert (lifecycle.state, str(lifecycle.error)) == (BatchState.CLOSED, str(refusal))
    assert isinstance(lifecycle.error, QuotaError)
    assert (lifecycle.error.status, lifecycle.error.code) == (403, "insufficient_user_quota")
    assert batch.client.calls["POST"] == 0
    batch.retry()
    batch.segment()
    assert batch.client.calls["POST"] == 22


def test_an_id_that_could_not_be_recorded_is_recorded_after_a_deferral(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_intents_are_recorded = threading.Barrier(2)

    class Slow(StubClient):
        def send(self, call: Call[Any], guard: Guard = nullcontext) -> Any:
            if call.method != "POST":
                return super().send(call, guard)
            with guard():
                both_intents_are_recorded.wait(timeout=20)
                return super().send(call)

    batch = batch_of(tmp_path, 2, client=Slow())

    def refuse_ids(page: _Kept, value: dict[str, Any]) -> None:
        if "asyntask" in json.dumps(value):
            raise OSError("Airflow's API server is away.")
        write(page, value)

    write = _Kept.set
    with monkeypatch.context() as patched:
        patched.setattr(_Kept, "set", refuse_ids)
        runner = batch.segment()
    assert len(runner.active) == 2
    assert "asyntask" not in str(batch.shelf.kept)
    batch.segment(batch.client.finish(1))
    assert batch.segment(batch.client.finish(1)).progress()["succeeded"] == 2
    assert batch.client.calls["POST"] == 2


def test_a_lost_submission_ends_its_row_and_no_other(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, 10, max_in_flight=1)
    lost = [3]

    def answer(call: Call[Any]) -> None:
        if call.method == "POST" and len(batch.client.generations) == 3 and lost:
            lost.clear()
            raise LostSubmissionError("The connection was closed.")

    batch.client = StubClient(answer)
    lifecycle = BatchLifecycle()
    runner = batch.segment(lifecycle=lifecycle)
    assert lifecycle.state is BatchState.OPEN
    assert runner.progress()["lost"] == 1
    assert len(runner.active) == 9


def unknown(*ids: str) -> StubClient:
    def answer(call: Call[Any]) -> None:
        id_ = call.path.rpartition("/")[2]
        if call.method == "GET" and (not ids or id_ in ids):
            raise GenerationNotFoundError("AnyFast answered task_not_exist.", generation_id=id_)

    return StubClient(answer)


def test_a_paid_generation_that_is_not_found_once_does_not_end_its_row(tmp_path: Path, fake_clock: FakeClock) -> None:
    batch = batch_of(tmp_path, 6)
    batch.segment()
    fake_clock.advance(60)
    generations = batch.client.generations
    (first, *others) = batch.client.finish(6)
    batch.client = unknown(first)
    batch.client.generations = generations
    runner = batch.segment([first, *others])
    assert len(batch.entries()) == 5
    assert [generation.id for generation in runner.active.values()] == [first]
    batch.client = StubClient()
    batch.client.generations = generations
    batch.segment([first])
    assert len(batch.entries()) == 6


def test_a_generation_that_is_not_found_again_ends_its_row(tmp_path: Path, fake_clock: FakeClock) -> None:
    batch = batch_of(tmp_path, 3, max_in_flight=1)
    batch.segment()
    fake_clock.advance(60)
    generations = batch.client.generations
    (first, *others) = batch.client.finish(3)
    batch.client = unknown(first)
    batch.client.generations = generations
    batch.segment([first, *others])
    batch.segment([first])
    assert sorted(entry["status"] for entry in batch.entries()) == ["FAILURE", "SUCCESS", "SUCCESS"]


@pytest.mark.parametrize("is_filled", [True, False])
def test_a_video_without_its_link_is_waited_for_once_more(tmp_path: Path, *, is_filled: bool) -> None:
    batch = batch_of(tmp_path, 3)
    batch.segment()
    first, *others = batch.client.finish(3)
    generations = batch.client.generations
    batch.client = StubClient(
        lambda call: Generation(first, "SUCCESS") if call.path.endswith(first) else None  # a success without a link
    )
    batch.client.generations = generations
    runner = batch.segment([first, *others])
    assert [generation.id for generation in runner.active.values()] == [first]
    if is_filled:
        batch.client = StubClient()
        batch.client.generations = generations
    batch.segment([first])
    expected = "SUCCESS" if is_filled else "FAILURE"
    assert sorted(entry["status"] for entry in batch.entries()) == sorted([expected, "SUCCESS", "SUCCESS"])
    if not is_filled:
        (failed,) = (entry for entry in batch.entries() if entry["status"] == "FAILURE")
        assert (failed["error_type"], failed["generation_id"]) == ("LinkMissingError", first)


@pytest.mark.parametrize("rows", [5, 40])
def test_a_batch_none_of_whose_generations_are_found_stops_and_submits_nothing(
    tmp_path: Path, fake_clock: FakeClock, rows: int
) -> None:
    batch = batch_of(tmp_path, rows)
    batch.segment()
    fake_clock.advance(60)
    generations = batch.client.generations
    ended = batch.client.finish(rows)
    batch.client = unknown()
    batch.client.generations = generations
    lifecycle = BatchLifecycle()
    batch.segment(ended, lifecycle=lifecycle)
    assert lifecycle.state >= BatchState.CLOSED
    assert isinstance(lifecycle.error, GenerationNotFoundError)
    assert batch.entries() == []
    batch.retry()
    batch.client = StubClient()
    batch.client.generations = generations
    batch.segment()
    assert [entry["status"] for entry in batch.entries()] == ["SUCCESS"] * rows
    assert batch.client.calls["POST"] == 0


def test_a_later_segment_with_nothing_to_submit_or_download_does_not_parse_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("name\n" + "".join(f"{row['name']}\n" for row in rows_of(6)))
    batch = StubBatch(tmp_path, str(table))  # type: ignore[arg-type]  # a path is one way to give rows
    batch.segment()
    with monkeypatch.context() as patched:
        patched.setattr("airflow_provider_anyfast.batch.table_file.parse_table", None)
        assert len(batch.segment([]).active) == 6
    table.write_text(table.read_text().replace("boat 5", "yacht 5"))
    with pytest.raises(InvalidRequestError, match="have changed since this task began"):
        batch.segment([])


def test_a_later_segment_creates_only_the_rows_that_it_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("name\n" + "".join(f"{row['name']}\n" for row in rows_of(20)))
    batch = StubBatch(tmp_path, str(table), max_active=4)  # type: ignore[arg-type]  # a path is one way to give rows
    active = batch.segment().active
    made: list[int] = []

    class CountedRow(Row):
        def __init__(self, values: Mapping[str, Any], number: int = 0, line: int | None = None) -> None:
            made.append(number)
            super().__init__(values, number, line)

    with monkeypatch.context() as patched:
        patched.setattr("airflow_provider_anyfast.batch.table_file.Row", CountedRow)
        batch.segment([active[1].id, active[2].id])
    assert sorted(made) == [1, 2, 5, 6]


# Records of version 0.1.0, and of versions that stored lists as lists.


def test_a_checkpoint_with_lists_is_read_like_one_with_texts(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, 6)
    batch.segment()
    stored = json.loads(batch.course)
    as_lists = {name: json.loads(stored[name]) for name in ("active", "unanswered", "doubted", "located")}
    assert as_lists["active"] == list(active_in(stored))
    assert sorted(row for row, *_ in active_in(stored)) == [1, 2, 3, 4, 5, 6]
    batch.course = json.dumps({**stored, **as_lists})
    batch.rendered = 0
    batch.segment(batch.client.finish(2))
    assert batch.rendered == len(batch.entries()) == 2


def test_after_a_checkpoint_of_version_010_every_row_is_checked_again(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, 6)
    batch.segment()
    batch.course = json.dumps({"began_at": batch.began_at, "resumed": True, "vain_since": None})
    batch.index = ""
    batch.client.finish(6)
    batch.segment(None)
    assert [entry["status"] for entry in batch.entries()] == ["SUCCESS"] * 6
    assert batch.client.calls["POST"] == 6


def test_a_success_that_only_a_manifest_of_version_010_lists_is_accepted(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, 3)
    batch.segment()
    batch.segment(batch.client.finish(3))
    for name, text in list(batch.shelf.kept.items()):  # as 0.1.0 wrote its pages
        page = json.loads(text)
        if name != "pages":
            page = {key: {k: v for k, v in record.items() if k != "saved"} for key, record in page.items()}
        batch.shelf.kept[name] = json.dumps(page)
    batch.client.asked.clear()
    batch.clear()
    batch.segment()
    assert len(batch.entries()) == 3
    assert batch.client.asked == []
    assert batch.client.calls["POST"] == 3


def as_version_010(batch: StubBatch) -> StubBatch:
    """Makes ``batch`` identify its rows as 0.1.0 did: by AnyFast's address too."""
    batch.billed_to = "anyfast_default https://host"
    return batch


def upgraded(batch: StubBatch) -> None:
    """Reduces the stored records to the fields of 0.1.0."""
    batch.billed_to = "anyfast_default"
    for name, text in list(batch.shelf.kept.items()):
        if name != "pages":
            page = json.loads(text)
            fields = ("stage", "fingerprint", "max_tries", "at", "id")
            batch.shelf.kept[name] = json.dumps(
                {key: {field: record[field] for field in fields} for key, record in page.items()}
            )


@pytest.mark.parametrize("cleared", [False, True], ids=["retry", "clear"])
def test_rows_that_version_010_paid_for_are_continued_over_all_segments(tmp_path: Path, *, cleared: bool) -> None:
    batch = as_version_010(batch_of(tmp_path, 6, max_active=3))
    batch.segment()
    upgraded(batch)
    if cleared:
        batch.clear()
    else:
        batch.retry()
    batch.segment()
    assert batch.client.calls["POST"] == 3
    while len(batch.entries()) < 6:
        batch.segment(batch.client.finish(2))
    assert batch.client.calls["POST"] == 6
    assert {entry["status"] for entry in batch.entries()} == {"SUCCESS"}


def test_successes_in_a_manifest_of_version_010_are_accepted_if_its_variables_are_gone(
    tmp_path: Path,
) -> None:
    batch = as_version_010(batch_of(tmp_path, 3))
    batch.segment()
    batch.segment(batch.client.finish(3))
    batch.shelf.kept.clear()
    upgraded(batch)
    batch.clear()
    batch.segment()
    assert [entry["status"] for entry in batch.entries()] == ["SUCCESS"] * 3
    assert batch.client.calls["POST"] == 3


# Size.


@pytest.mark.timeout(300)
def test_ten_thousand_rows_take_little_memory_and_bounded_work(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, 10_000, max_active=2_000, max_in_flight=100)
    batch.segment()
    while len(batch.client.generations) < 10_000 or Outcome.PENDING in batch.client.generations.values():
        batch.segment(batch.client.finish(2_000))
    assert len(batch.entries()) == 10_000
    assert batch.client.calls == {"POST": 10_000, "GET": 10_000}
    assert batch.rendered <= 10_000 * 3 + 20
    assert max(map(len, batch.shelf.kept.values())) < 64_000
    reads_before_writes = sum(batch.shelf.writes.values())
    assert sum(batch.shelf.reads.values()) - reads_before_writes < 3 * len(batch.shelf.kept)


# A stopped task.


class TimeIsUpError(BaseException):
    """Raised like Airflow's exception in the main thread of the task."""


def test_a_stopped_task_waits_only_seconds_for_a_response_and_records_that_none_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner_module, "DRAIN_SECONDS", 1.0)
    sent, never = threading.Event(), threading.Event()

    class Silent(StubClient):
        def send(self, call: Call[Any], guard: Guard = nullcontext) -> Any:
            if call.method != "POST" or "boat 1" not in str(call.json):
                return super().send(call, guard)
            with guard():
                sent.set()
                never.wait(timeout=60)
                return super().send(call)

    batch = batch_of(tmp_path, 2, client=Silent())
    flush = PagedLedger.flush_pending

    def flush_until_both_are_under_way(ledger: PagedLedger, seconds: float) -> None:
        flush(ledger, seconds)
        if batch.client.generations and sent.is_set() and not over:
            over.append(True)
            raise TimeIsUpError

    over: list[bool] = []
    monkeypatch.setattr(PagedLedger, "flush_pending", flush_until_both_are_under_way)
    began = time.monotonic()
    with pytest.raises(TimeIsUpError):
        batch.segment()
    assert time.monotonic() - began < 30
    assert [(entry["row"], entry["status"]) for entry in batch.entries()] == [(2, "LOST")]
    assert "had to end before AnyFast responded" in caplog.text
    (lost,) = [record_of(value) for _, value in PagedLedger(batch.shelf).items() if value["stage"] == "lost"]
    assert f"the submission of {clock.iso(lost.at)} (request {lost.fingerprint[:12]})." in batch.entries()[0]["error"]
    never.set()
    batch.client = StubClient()
    batch.client.generations = {f"asyntask_{0:032d}": Outcome.SUCCEEDED}
    batch.retry()
    batch.segment()
    assert [entry["status"] for entry in batch.entries()] == ["SUCCESS", "LOST"]
    assert batch.client.calls["POST"] == 0
    batch.clear()
    batch.segment()
    assert batch.client.calls["POST"] == 1, "a clear is an answer to what was said to be lost"


def test_a_submission_that_is_still_waiting_when_the_task_ends_is_neither_sent_nor_lost(tmp_path: Path) -> None:
    turn = threading.Event()
    lifecycle = BatchLifecycle()

    class Throttled(StubClient):
        def send(self, call: Call[Any], guard: Guard = nullcontext) -> Any:
            if "boat 1" in str(call.json):
                lifecycle.advance(BatchState.ABORTED)
                turn.wait(timeout=60)
            return super().send(call, guard)

    batch = batch_of(tmp_path, 2, client=Throttled(), max_in_flight=1)
    flush = PagedLedger.flush_pending

    def flush_and_open(ledger: PagedLedger, seconds: float) -> None:
        flush(ledger, seconds)
        if lifecycle.state is BatchState.ABORTED:
            turn.set()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PagedLedger, "flush_pending", flush_and_open)
        runner = batch.segment(lifecycle=lifecycle)
    assert batch.client.calls["POST"] == 1
    assert runner.progress() == {
        "rows": 2, "succeeded": 0, "failed": 0, "lost": 0, "skipped": 0, "active": 1, "waiting": 1,
        "rendering": 1, "downloading": 0, "submitting": 0, "tokens": 0,
    }  # fmt: skip
    batch.retry()
    batch.segment()
    assert batch.client.calls["POST"] == 2
