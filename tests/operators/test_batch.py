"""GenerateVideoBatchOperator under the real task runner against the sandbox."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import Stats

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.s3 import S3
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])
TEMPLATE = {"prompt": "A film about {{ row.name }}", "resolution": "480p", "duration": 4}


def rows_of(number: int) -> list[dict[str, Any]]:
    return [{"name": f"boat {n}"} for n in range(number)]


def batch(folder: Path, **parameters: Any) -> Callable[[], GenerateVideoBatchOperator]:
    given = {
        "task_id": "batch",
        "rows": rows_of(5),
        "template": {**TEMPLATE, "output_path": f"{folder}/{{{{ row.name }}}}.mp4"},
        "manifest_path": f"{folder}/manifest.jsonl",
        "retries": 2,
        "deferrable": True,
        "max_in_flight": 4,
    }
    return partial(GenerateVideoBatchOperator, **{**given, **parameters})


def manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def prompts(sandbox: SandboxHandle) -> list[str]:
    return sorted(str(generation.prompt) for generation in sandbox.account().generations)


def test_another_spelling_of_the_host_bills_no_row_again(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    runner.attempt(batch(tmp_path), run_trigger=False)
    runner.metadata.connections["anyfast_default"].host = sandbox.url.replace("127.0.0.1", "localhost")
    runner.clear()
    assert runner.attempt(batch(tmp_path)).state == "success"
    assert sandbox.billed.generations == 5


@BOTH_WAYS
def test_every_row_becomes_a_file_and_a_manifest_line_and_is_billed_once(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, *, deferrable: bool
) -> None:
    attempt = runner.attempt(batch(tmp_path, deferrable=deferrable))
    assert attempt.state == "success", attempt.log_text
    assert attempt.deferrals == int(deferrable)
    lines = manifest(tmp_path)
    assert [(line["row"], line["input"]["name"], line["status"]) for line in lines] == [
        (number + 1, f"boat {number}", "SUCCESS") for number in range(5)
    ]
    assert all(line["path"] == f"{tmp_path}/{line['input']['name']}.mp4" for line in lines)
    assert {file.name for file in tmp_path.iterdir()} == {"manifest.jsonl", *(f"boat {n}.mp4" for n in range(5))}
    assert attempt.result == {
        "rows": 5,
        "succeeded": 5,
        "failed": 0,
        "lost": 0,
        "skipped": 0,
        "tokens": sum(line["usage"]["total_tokens"] for line in lines),
        "left_out": 0,
        "manifest_path": f"{tmp_path}/manifest.jsonl",
    }
    assert "signature" not in (tmp_path / "manifest.jsonl").read_text().lower()
    assert sandbox.billed.generations == 5


@BOTH_WAYS
def test_only_a_video_of_an_earlier_attempt_is_said_to_be_resumed(
    runner: TaskRunner, tmp_path: Path, *, deferrable: bool
) -> None:
    retried = runner.fresh()
    assert "Resuming" not in runner.attempt(batch(tmp_path / "a", deferrable=deferrable)).log_text
    assert retried.attempt(batch(tmp_path / "b"), run_trigger=False).state == "deferred"
    retried.mark("up_for_retry")
    log = retried.retry(batch(tmp_path / "b", deferrable=deferrable)).log_text
    assert log.count("Resuming generation") == 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "\ufeffname,n\nboat 0,1\nboat 1,2\n"),
        ("rows.json", '[{"name": "boat 0"}, {"name": "boat 1"}]'),
        ("rows.jsonl", '{"name": "boat 0"}\n\n{"name": "boat 1"}\n'),
    ],
)
def test_rows_are_read_from_object_storage_and_everything_is_written_there(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3, tmp_path: Path, name: str, content: str
) -> None:
    rows = s3.put(name, content.encode())
    template = {**TEMPLATE, "output_path": s3.path("out/{{ row.name }}.mp4")}
    make = batch(tmp_path, rows=rows, template=template, manifest_path=s3.path("out/manifest.jsonl"))
    attempt = s3_runner.attempt(make)
    assert attempt.state == "success", attempt.log_text
    assert s3.keys() == ["out/boat 0.mp4", "out/boat 1.mp4", "out/manifest.jsonl", name]
    assert len(s3.get("out/manifest.jsonl").splitlines()) == 2
    assert prompts(sandbox) == ["A film about boat 0", "A film about boat 1"]


def test_without_an_output_path_the_manifest_has_the_links(runner: TaskRunner, tmp_path: Path) -> None:
    runner.attempt(batch(tmp_path, template=TEMPLATE))
    assert all(line["video_url"].startswith("http") and line["path"] is None for line in manifest(tmp_path))


def test_the_template_can_use_airflows_context_and_filters(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    template = {
        **TEMPLATE,
        "prompt": "{{ row.name | upper }} in {{ ti.task_id }}",
        "reference_images": ["https://example.com/{{ row.name | replace(' ', '-') }}.png"],
        "duration": "{{ 4 + row['n'] }}",
    }
    runner.attempt(batch(tmp_path, rows=[{"name": "boat 0", "n": 1}], template=template))
    (generation,) = sandbox.account().generations
    assert generation.prompt == "BOAT 0 in batch"
    assert generation.request["duration"] == 5
    assert generation.request["content"][1]["image_url"]["url"] == "https://example.com/boat-0.png"


def test_what_looks_like_a_template_in_a_row_is_only_text(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([{"name": "{{ conn.anyfast_default.password }}"}]))
    runner.attempt(batch(tmp_path, rows=f"{tmp_path}/rows.json", template=TEMPLATE))
    assert prompts(sandbox) == ["A film about {{ conn.anyfast_default.password }}"]


def test_every_bad_row_is_named_before_the_first_one_is_billed(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = [{"name": "a", "s": 4}, {"name": "b", "s": 99}, {"s": 4}, {"name": "a", "s": 4}]
    template = {
        "prompt": "{{ row.name }}",
        "duration": "{{ row.s }}",
        "output_path": f"{tmp_path}/{{{{ row.name }}}}.mp4",
    }
    attempt = runner.attempt(batch(tmp_path, rows=rows, template=template))
    assert attempt.state == "failed"
    message = str(attempt.error)
    for phrase in (
        "3 of 4 rows",
        "duration=99 is outside 4 to 15 seconds of seedance: row 2 (name b)",
        "prompt: there is no column 'name'; the columns are s: row 3",
        "is also that of row 1 (name a): row 4 (name a)",
    ):
        assert phrase in message
    assert sandbox.requests() == []


@pytest.mark.parametrize(
    ("parameters", "phrase"),
    [
        ({"rows": []}, "rows is empty"),
        ({"rows": ["boat"]}, "row 1 is a str"),
        ({"rows": "nowhere.csv"}, "does not exist"),
        ({"rows": __file__}, "ends in none of"),
        (
            {"template": {"prompt": "{{ row.name | uper }}"}},
            "template['prompt'] is not valid Jinja: No filter named 'uper'",
        ),
        ({"failure_threshold": "{{ 2 }}"}, "failure_threshold='2'"),
        ({"max_in_flight": "{{ 0 }}"}, "max_in_flight='0'"),
        ({"max_active": "{{ -1 }}"}, "max_active='-1'"),
        ({"timeout": "{{ 'soon' }}"}, "timeout='soon'"),
        ({"on_row_failure": "{{ 'shrug' }}"}, "on_row_failure='shrug'"),
        ({"manifest_path": "gs://b/m.jsonl"}, "manifest_path"),
    ],
)
def test_invalid_parameters_are_found_before_anything_is_billed(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, parameters: dict[str, Any], phrase: str
) -> None:
    attempt = runner.attempt(batch(tmp_path, **parameters))
    assert attempt.state == "failed", attempt.log_text
    assert phrase in str(attempt.error)
    assert sandbox.requests() == []


@pytest.mark.parametrize(
    "parameters",
    [
        {"failure_threshold": 2},
        {"max_in_flight": 101},
        {"max_active": "0.5"},
        {"timeout": "soon"},
        {"on_row_failure": "shrug"},
        {"limit": 0},
    ],
)
def test_a_literal_that_can_never_work_is_found_while_the_dag_is_parsed(
    tmp_path: Path, parameters: dict[str, Any]
) -> None:
    (name,) = parameters
    with pytest.raises(InvalidRequestError, match=f"{name}="):
        batch(tmp_path, **parameters)()


@pytest.mark.parametrize(
    ("wrong", "phrase"),
    [
        ({"promt": "x"}, "it has promt, but takes only content, "),
        ({"resolution": "999p"}, "resolution='999p' is not one of"),
        ({"duration": 99}, "duration=99 is outside 4 to 15 seconds"),
        ({"duration": "long", "seed": "{{ row.seed }}"}, "duration='long'"),
        ({"last_frame": "https://x.example/end.png"}, "last_frame is given without first_frame"),
        ({"reference_images": ["{{ row.name }}"], "first_frame": "pier.png"}, "is not an asset id or a public URL"),
        ({"prompt": None}, "prompt is empty"),
    ],
)
def test_values_of_the_template_that_hold_for_every_row_are_checked_while_the_dag_is_parsed(
    tmp_path: Path, wrong: dict[str, Any], phrase: str
) -> None:
    with pytest.raises(InvalidRequestError, match="Correct the DAG file") as caught:
        batch(tmp_path, template={**TEMPLATE, **wrong})()
    assert phrase in caught.value.what


@pytest.mark.parametrize(
    "template",
    [
        {"prompt": "{{ row.name }}", "duration": "{{ row.seconds }}", "resolution": "{% if row.big %}1080p{% endif %}"},
        {"content": [{"type": "text", "text": "{{ row.name }}"}], "seed": None},
        {"prompt": "A boat", "model": "{{ row.model }}", "resolution": "999p"},
    ],
)
def test_values_that_depend_on_a_row_are_checked_when_the_task_runs(tmp_path: Path, template: dict[str, Any]) -> None:
    assert batch(tmp_path, template=template)().template == template


def test_a_row_without_a_required_value_is_found_before_anything_is_paid(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = [{"sku": "A1", "name": "boat"}, {"sku": "A2", "name": ""}]
    make = batch(tmp_path, rows=rows, template={"prompt": "A {{ row.name or 'thing' }}"}, required=["sku", "name"])
    attempt = runner.attempt(make)
    assert attempt.state == "failed"
    assert "column 'name' has no value in row 2 (sku A2)" in str(attempt.error)
    assert sandbox.requests() == []


def test_a_row_whose_path_renders_to_nothing_is_a_bad_row(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = batch(tmp_path, rows=[{"name": "a", "to": ""}], template={**TEMPLATE, "output_path": "{{ row.to }}"})
    attempt = runner.attempt(make)
    assert "output_path: column 'to' has no value: row 1 (name a)" in str(attempt.error)
    assert sandbox.requests() == []


@pytest.mark.parametrize("name", ["x" * 240, "\u4e2d" * 80, "folder"])
def test_a_row_whose_file_could_never_be_written_is_found_before_anything_is_paid(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder.mp4").mkdir()
    rows = [{"name": name}, {"name": "boat"}]
    attempt = runner.attempt(batch(tmp_path, rows=rows))
    assert attempt.state == "failed"
    assert f"{name}" in str(attempt.error)
    assert "cannot be written" in str(attempt.error)
    assert sandbox.requests() == []


# Rows that fail.


def boats_1_and_3(sandbox: SandboxHandle, fault: str, **parameters: Any) -> None:
    for number in (1, 3):
        sandbox.fault(fault, match=f"boat {number}", times=0, **parameters)


MODERATED = {"reason": "it may contain sensitive information", "code": "OutputVideoSensitiveContentDetected"}


def test_a_row_that_fails_does_not_keep_the_others_from_being_saved(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    boats_1_and_3(sandbox, "fail_generation", **MODERATED)
    attempt = runner.attempt(batch(tmp_path))
    assert attempt.state == "failed", "the content policy refuses them again"
    assert isinstance(attempt.error, exceptions.BatchRejectedError)
    assert "Failed rows (2 of 5):" in str(attempt.error)
    lines = manifest(tmp_path)
    assert [line["status"] for line in lines] == ["SUCCESS", "FAILURE", "SUCCESS", "FAILURE", "SUCCESS"]
    assert {line["error_type"] for line in lines} == {None, "ModerationError"}


def test_as_many_rows_may_fail_as_the_threshold_allows(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    boats_1_and_3(sandbox, "fail_generation", **MODERATED)
    attempt = runner.attempt(batch(tmp_path, failure_threshold="{{ 0.4 }}"))
    assert attempt.state == "success", attempt.log_text
    assert (attempt.result["succeeded"], attempt.result["failed"]) == (3, 2)


def test_a_retry_runs_only_the_rows_that_failed(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    sandbox.fault("fail_generation", reason="internal error", code="InternalServiceError", times=2)
    make = batch(tmp_path)
    first = runner.attempt(make)
    assert first.state == "up_for_retry"
    assert isinstance(first.error, exceptions.BatchFailedError)
    assert sum(line["status"] == "SUCCESS" for line in manifest(tmp_path)) == 3
    again = runner.retry(make)
    assert again.state == "success", again.log_text
    assert sorted(line["attempt"] for line in manifest(tmp_path)) == [1, 1, 1, 2, 2]
    assert sandbox.billed.generations == 7
    assert len(sandbox.requests("download")) == 5


def test_on_row_failure_fail_ends_the_batch_and_loses_nothing_that_is_paid_for(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = batch(tmp_path, rows=rows_of(12), on_row_failure="fail", max_in_flight=1)
    sandbox.fault("moderation", times=1)
    first = runner.attempt(make)
    assert first.state == "failed", first.log_text
    billed = sandbox.billed.generations
    assert billed < 12
    runner.clear()
    assert runner.attempt(make).state == "success"
    assert sandbox.billed.generations == 12


def test_without_credit_the_remaining_rows_are_not_tried_and_paid_videos_are_saved(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = batch(tmp_path, rows=rows_of(10), max_in_flight=1)
    sandbox.fault("no_quota", skip=4, times=0)
    attempt = runner.attempt(make)
    assert attempt.state == "failed"
    assert isinstance(attempt.error, exceptions.QuotaError)
    assert "Rows done: 4 of 10." in str(attempt.error)
    assert len(manifest(tmp_path)) == 4
    assert len(sandbox.requests("submit")) < 10


# Money.


def test_a_clear_pays_for_no_finished_row(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    make = batch(tmp_path)
    runner.attempt(make)
    runner.clear()
    assert runner.attempt(make).result["succeeded"] == 5
    assert sandbox.billed.generations == 5
    assert len(sandbox.requests("download")) == 5


def test_a_value_that_is_not_valid_text_is_written_to_the_manifest_all_the_same(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    table = tmp_path / "rows.json"
    table.write_text(r'[{"name": "boat", "note": "a boat \ud83d", "price": NaN}]')
    make = batch(tmp_path, rows=str(table))
    first = runner.attempt(make)
    assert first.state == "success", first.log_text
    assert [found["input"] for found in manifest(tmp_path)] == [
        {"name": "boat", "note": "a boat \ud83d", "price": None}
    ]
    runner.clear()
    assert runner.attempt(make).state == "success"
    assert sandbox.billed.generations == 1


@pytest.mark.state_store  # success removes a ledger in Variables, and then only the manifest is left
def test_a_lost_manifest_is_rebuilt_from_the_ledger_while_the_state_is_kept(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = batch(tmp_path)
    runner.attempt(make)
    (tmp_path / "manifest.jsonl").write_text('{"row": 1}\nnot JSON\n')
    runner.clear(keep_task_state=True)
    again = runner.attempt(make)
    assert again.state == "success", again.log_text
    assert len(manifest(tmp_path)) == 5
    assert sandbox.billed.generations == 5


@pytest.mark.parametrize(("has_manifest", "billed"), [(True, 5), (False, 10)])
def test_a_clear_that_discards_the_state_of_a_finished_batch_relies_on_its_manifest(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, *, has_manifest: bool, billed: int
) -> None:
    make = batch(tmp_path)
    assert runner.attempt(make).state == "success"
    if not has_manifest:
        (tmp_path / "manifest.jsonl").unlink()
    runner.clear(keep_task_state=False)
    assert runner.attempt(make).result["succeeded"] == 5
    assert sandbox.billed.generations == billed


def test_changed_rows_are_billed_and_the_others_are_not_even_if_they_move(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    runner.attempt(batch(tmp_path))
    runner.clear()
    rows = [{"name": "a new boat"}, *reversed(rows_of(5))]
    again = runner.attempt(batch(tmp_path, rows=rows))
    assert again.result["succeeded"] == 6
    assert [line["input"] for line in manifest(tmp_path)] == rows
    assert sandbox.billed.generations == 6


def test_identical_rows_are_separate_videos(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    template = {**TEMPLATE, "prompt": "A boat", "output_path": f"{tmp_path}/{{generation_id}}.mp4"}
    attempt = runner.attempt(batch(tmp_path, template=template))
    assert len({line["generation_id"] for line in manifest(tmp_path)}) == 5
    assert attempt.result["succeeded"] == sandbox.billed.generations == 5


def test_the_manifest_of_another_run_leaves_no_rows_out(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = batch(tmp_path)
    runner.attempt(make)
    other = runner.fresh()
    other.metadata.run_id = "another"
    assert "another batch" in other.attempt(make).log_text
    assert sandbox.billed.generations == 10


def test_the_error_of_a_batch_sends_the_reader_to_the_manifest_for_failed_rows_that_are_billed(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("corrupt_download", times=0)
    make = batch(tmp_path, retries=0)
    failed = runner.run_to_end(make)
    assert isinstance(failed.error, exceptions.BatchFailedError)
    assert "Of a failed row, its error in the manifest says whether it is billed." in str(failed.error)
    assert all("The video is billed." in line["error"] for line in manifest(tmp_path))
    assert "No row whose video can still be saved is paid for again." in str(failed.error)
    sandbox.end_faults()
    runner.clear()
    assert runner.run_to_end(make).state == "success"
    assert sandbox.billed.generations == 5


def test_a_submission_whose_response_is_lost_fails_its_row_and_no_other(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("drop_answer", on="submit", times=1)
    make = batch(tmp_path)
    first = runner.attempt(make)
    assert first.state == "failed", first.log_text
    assert "whether it is billed. 1 row of status LOST may be billed.\nLook for" in str(first.error)
    statuses = [line["status"] for line in manifest(tmp_path)]
    assert (statuses.count("SUCCESS"), statuses.count("LOST")) == (4, 1)
    assert sandbox.billed.generations == 5
    runner.clear()
    assert runner.attempt(make).state == "success"
    assert sandbox.billed.generations == 6, "a clear is the user's word for another one"


def test_the_ledgers_in_variables_are_removed_on_success(runner: TaskRunner, tmp_path: Path) -> None:
    runner.state_store = False
    assert runner.attempt(batch(tmp_path, rows=rows_of(120), template=TEMPLATE)).state == "success"
    assert runner.metadata.variables == {}


# Waiting.


def test_no_more_than_max_active_videos_render_at_a_time(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    attempt = runner.attempt(batch(tmp_path, rows=rows_of(10), max_active=4), run_trigger=False)
    assert len(sandbox.account().generations) == 4
    assert attempt.xcoms["progress"]["waiting"] == 6
    ended = runner.run_to_end(batch(tmp_path, rows=rows_of(10), max_active=4))
    assert ended.result["succeeded"] == 10
    assert sandbox.billed.generations == 10


def test_while_anyfast_accepts_no_more_submissions_the_task_defers(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    make = batch(tmp_path, rows=rows_of(8), max_in_flight=1)
    sandbox.fault("rate_limited", skip=3, times=30)
    attempt = runner.attempt(make)
    assert attempt.state == "success", attempt.log_text
    assert attempt.deferrals > 1
    assert attempt.result["succeeded"] == sandbox.billed.generations == 8


def test_a_video_that_is_not_ready_in_time_fails_its_row_and_a_retry_waits_for_the_same_one(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    boats_1_and_3(sandbox, "stuck")
    make = batch(tmp_path, timeout=600)
    first = runner.attempt(make)
    assert first.state == "up_for_retry", first.log_text
    assert {line["error_type"] for line in manifest(tmp_path)} == {None, "GenerationTimeoutError"}
    second = runner.retry(make)
    assert second.state == "up_for_retry"
    assert sandbox.billed.generations == 5


def test_a_wrong_key_ends_the_batch_at_once(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    sandbox.fault("unauthorized", times=0)
    attempt = runner.attempt(batch(tmp_path, rows=rows_of(50)))
    assert attempt.state == "failed"
    assert isinstance(attempt.error, exceptions.AuthenticationError)
    assert len(sandbox.requests()) <= 8


# What it costs.


def test_a_batch_that_is_over_budget_as_a_whole_is_never_submitted(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    template = {**TEMPLATE, "ratio": "16:9"}
    attempt = runner.attempt(batch(tmp_path, template=template, max_tokens=5 * 40_594 - 1))
    assert attempt.state == "failed"
    assert "5 rows would cost about 202,970 tokens" in str(attempt.error)
    assert sandbox.requests() == []
    just_enough = runner.fresh().attempt(batch(tmp_path, template=template, max_tokens=str(5 * 40_594)))
    assert just_enough.state == "success"
    assert "5 rows will cost about 202,970 tokens.\n" in just_enough.log_text
    assert {line["estimated_tokens"] for line in manifest(tmp_path)} == {40_594}


def test_the_log_states_the_cost_of_rows_that_are_not_paid_for(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("fail_generation", reason="internal error", code="InternalServiceError", times=2)
    make = batch(tmp_path, template={**TEMPLATE, "ratio": "16:9", "output_path": f"{tmp_path}/{{{{ row.name }}}}.mp4"})
    assert "5 rows will cost about" in runner.attempt(make).log_text
    sandbox.fault("cut_download", times=0)
    assert "2 rows will cost about 81,188 tokens.\n" in runner.retry(make).log_text
    sandbox.end_faults()
    assert "will cost" not in runner.retry(make).log_text
    runner.clear()
    assert "will cost" not in runner.attempt(make).log_text
    assert sandbox.billed.generations == 7


def test_every_row_is_counted_once(runner: TaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(Stats, "incr", lambda name, *_given, **_also: seen.append(name))
    make = batch(tmp_path)
    runner.attempt(make)
    runner.clear()
    runner.attempt(make)
    assert (seen.count("anyfast.submitted"), seen.count("anyfast.succeeded")) == (5, 5)
