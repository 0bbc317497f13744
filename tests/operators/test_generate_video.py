"""GenerateVideoOperator under the real task runner against the sandbox."""

from __future__ import annotations

import dataclasses
import datetime as dt
import errno
import json
import pathlib
import re
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import av
import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout, Stats
from airflow.sdk import DAG, Connection

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client import clock, errors
from airflow_provider_anyfast.client.consistency import LINK_APPEARS
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.metrics import count_stored_success, count_success
from airflow_provider_anyfast.operators.asset import CreateAssetGroupOperator, CreateAssetOperator, CreateAssetsOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator
from airflow_provider_anyfast.polling.schedule import SANDBOX
from airflow_provider_anyfast.seedance.result import video_result
from airflow_provider_anyfast.triggers.video import VideoTrigger
from airflow_provider_anyfast.xcoms import FAILURE_KEY
from tests.support import installed_airflow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import Attempt, TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])


def video(**parameters: Any) -> Callable[[], GenerateVideoOperator]:
    given = {"task_id": "video", "prompt": "A paper boat", "resolution": "480p", "duration": 4, "retries": 2}
    return partial(GenerateVideoOperator, **{**given, **parameters})


def failed_without_retry(attempt: Attempt, kind: type[Exception], *phrases: str) -> None:
    assert isinstance(attempt.error, kind), attempt.error
    assert attempt.state == "failed", "a retry would have been wasted"
    for phrase in phrases:
        assert phrase in str(attempt.error)


@BOTH_WAYS
def test_a_prompt_becomes_a_playable_file_for_one_payment(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, *, deferrable: bool
) -> None:
    make = video(deferrable=deferrable, ratio="16:9", output_path=str(tmp_path / "new" / "{generation_id}.mp4"))
    attempt = runner.attempt(make)
    assert attempt.state == "success", attempt.log_text
    result = attempt.result
    assert sandbox.billed.generations == 1
    assert result["path"] == str(tmp_path / "new" / f"{result['generation_id']}.mp4")
    with av.open(result["path"]) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 864, 496)
        assert stream.frames == 4 * 24
    assert [file.name for file in (tmp_path / "new").iterdir()] == [f"{result['generation_id']}.mp4"]
    assert attempt.deferrals == int(deferrable)


def test_both_ways_of_waiting_give_the_same_result(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    def facts(*, deferrable: bool) -> dict[str, Any]:
        fresh = runner.fresh()
        sandbox.reset(clock=sandbox.clock)
        result = fresh.attempt(video(deferrable=deferrable, seed=7)).result
        varying = ("generation_id", "video_url", "submitted_at", "finished_at", "expires_at")
        assert all(result[name] for name in varying)
        return {name: value for name, value in result.items() if name not in varying}

    on_the_worker = facts(deferrable=False)
    assert on_the_worker == facts(deferrable=True)
    assert list(on_the_worker) == [
        *("status", "model", "prompt", "parameters", "last_frame_url", "path", "last_frame_path", "poster_path"),
        *("width", "height", "seconds", "frame_rate", "has_sound", "warnings"),
        *("duration", "resolution", "ratio", "seed", "usage", "estimated_tokens", "estimated_cost", "cost"),
    ]
    assert on_the_worker["usage"]["total_tokens"] > 0


def test_the_generation_id_and_the_link_exist_before_the_wait_starts(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    attempt = runner.attempt(video(deferrable=True), run_trigger=False)
    assert attempt.state == "deferred"
    generation = sandbox.account().generations[0]
    assert attempt.xcoms["generation_id"] == generation.id
    assert attempt.links["_link_AnyFastVideoLink"] == f"{sandbox.url}/console/task#{generation.id}"
    ended = runner.resume(video(deferrable=True))
    assert ended.links["_link_AnyFastVideoLink"] == ended.result["video_url"]


def without_link() -> dict[str, Any]:
    """A change to the response to a query: there is no link to the video."""
    return {"data": {"result_url": None, "fail_reason": None, "data": {"content": {"video_url": None}}}}


@BOTH_WAYS
def test_a_success_without_a_link_is_polled_until_the_link_is_there(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, *, deferrable: bool
) -> None:
    sandbox.fault("patch", on="query", body=without_link(), times=40)
    make = video(deferrable=deferrable, output_path=str(tmp_path / "video.mp4"), retries=0)
    attempt = runner.attempt(make)
    assert attempt.state == "success", attempt.log_text
    assert (tmp_path / "video.mp4").exists()
    assert sandbox.billed.generations == 1


@BOTH_WAYS
def test_a_link_that_stays_missing_ends_the_attempt_after_minutes_and_a_retry_asks_again(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, tmp_path: Path, *, deferrable: bool
) -> None:
    sandbox.fault("patch", on="query", body=without_link(), times=0)
    make = video(deferrable=deferrable, output_path=str(tmp_path / "video.mp4"), timeout=7200)
    began = fake_clock.now()
    failed = runner.attempt(make)
    assert isinstance(failed.error, exceptions.LinkMissingError)
    assert failed.state == "up_for_retry"
    assert failed.error.cost is exceptions.Cost.PAID
    assert LINK_APPEARS <= fake_clock.now() - began < LINK_APPEARS + 120
    assert list(tmp_path.iterdir()) == []
    sandbox.end_faults()
    assert runner.attempt(make).state == "success"
    assert sandbox.billed.generations == 1


def test_a_link_that_is_missing_after_the_deferral_is_waited_for_again(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock
) -> None:
    make = video(deferrable=True, retries=0)
    runner.attempt(make, run_trigger=False)
    fake_clock.advance(60)
    sandbox.fault("patch", on="query", body=without_link(), skip=1, times=3)  # the trigger's poll has the link
    ended = runner.resume(make)
    assert ended.state == "success", ended.log_text
    assert ended.deferrals == 1
    assert sandbox.billed.generations == 1


def test_the_timeout_ends_the_wait_for_a_link_that_is_missing(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock
) -> None:
    sandbox.fault("patch", on="query", body=without_link(), times=0)
    began = fake_clock.now()
    failed = runner.attempt(video(timeout=60, retries=0))
    assert isinstance(failed.error, exceptions.LinkMissingError)
    assert fake_clock.now() - began <= 61


def test_without_waiting_the_result_names_the_generation_and_nothing_more(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    result = runner.attempt(video(wait_for_completion=False)).result
    assert result["generation_id"] == sandbox.account().generations[0].id
    assert result["video_url"] is None
    assert result["submitted_at"]


def test_strings_from_a_template_become_what_anyfast_expects(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    make = video(
        duration="{{ 2 * 3 }}",
        seed="{{ 42 }}",
        generate_audio="{{ False }}",
        watermark="",
        resolution="{{ none }}",
        extra_body='{"service_tier": "default"}',
        wait_for_completion=False,
    )
    assert runner.attempt(make).state == "success"
    request = sandbox.account().generations[0].request
    assert (request["duration"], request["seed"], request["generate_audio"]) == (6, 42, False)
    assert request["service_tier"] == "default"
    assert "watermark" not in request
    assert "resolution" not in request


def test_the_link_of_a_saved_video_leads_to_the_page_that_plays_it_and_holds_no_signature(
    runner: TaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = video(output_path=str(tmp_path / "a.mp4"))
    attempt = runner.attempt(make)
    run = f"/anyfast/dags/{runner.metadata.dag_id}/runs/{quote(runner.metadata.run_id, safe='')}"
    page = f"{run}/?task_id=video&map_index=-1"
    assert attempt.links["_link_AnyFastVideoLink"] == page

    monkeypatch.setenv("AIRFLOW__ANYFAST__VIDEOS_PAGE", "False")
    without_page = runner.fresh().attempt(make)
    assert without_page.links["_link_AnyFastVideoLink"] == without_page.result["video_url"]


def test_a_draft_and_its_final_pass_through_content_and_extra_body(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    draft = runner.attempt(video(model="seedance-2.5", seed=11, extra_body={"draft": True})).result
    named = [{"type": "draft_task", "draft_task": {"id": draft["generation_id"]}}]
    shape = {"prompt": None, "duration": None, "resolution": "1080p"}
    final = runner.fresh().attempt(video(model="seedance-2.5", content=named, **shape)).result
    assert [(result["seed"], result["resolution"]) for result in (draft, final)] == [(11, "480p"), (11, "1080p")]
    assert sandbox.billed.generations == 2


def test_every_parameter_that_varies_is_a_template_field() -> None:
    operator = video()()
    assert {*GenerateVideoOperator.request_fields, "output_path", "anyfast_conn_id"} <= set(operator.template_fields)


BAD_INPUT = pytest.mark.parametrize(
    ("parameters", "phrases"),
    [
        ({"duration": 40}, ("duration=40", "4 to 15 seconds", "Nothing was billed")),
        ({"duration": "long"}, ("duration='long'",)),
        ({"ratio": "5:4"}, ("ratio='5:4'", "16:9")),
        ({"resolution": "8k"}, ("resolution='8k'", "1080p")),
        ({"model": "seedance-2.0-ultra", "resolution": None}, ("resolution is required",)),
        ({"last_frame": "asset-x"}, ("last_frame is given without first_frame",)),
        ({"first_frame": "asset-x", "reference_images": ["asset-y"]}, ("cannot be mixed",)),
        ({"reference_images": [f"asset-{n}" for n in range(10)]}, ("has 10 items", "at most 9")),
        ({"reference_audios": ["asset-a"]}, ("needs at least one reference image or video",)),
        ({"reference_videos": ["data:video/mp4;base64,AAAA"]}, ("not accept a data URI for a video",)),
        ({"first_frame": "lamp.png"}, ("first_frame='lamp.png'", "CreateAssetOperator")),
        ({"web_search": True, "first_frame": "asset-x"}, ("web_search",)),
        ({"duration": 40, "ratio": "5:4"}, ("duration=40", "ratio='5:4'")),
        ({"on_lost_submission": "perhaps"}, ("on_lost_submission='perhaps'",)),
        ({"timeout": "soon"}, ("timeout='soon'",)),
        ({"timeout": "inf"}, ("timeout='inf'",)),
        ({"poll_interval": -1}, ("poll_interval=", "-1")),
        ({"max_tokens": "many"}, ("max_tokens='many'",)),
        ({"timeout": 0, "seed": "x", "ratio": "5:4"}, ("timeout=", "seed='x'", "ratio='5:4'")),
    ],
)


def as_template(value: Any) -> Any:
    """A template that renders to ``value``."""
    return [as_template(item) for item in value] if isinstance(value, list) else f"{{{{ {value!r} }}}}"


@BAD_INPUT
def test_bad_input_is_refused_while_the_dag_is_parsed(parameters: dict[str, Any], phrases: tuple[str, ...]) -> None:
    with pytest.raises(errors.InvalidRequestError) as raised:
        video(**parameters)()
    assert all(phrase in str(raised.value) for phrase in phrases), raised.value


@BAD_INPUT
def test_bad_input_of_a_template_fails_before_anything_is_sent(
    runner: TaskRunner, sandbox: SandboxHandle, parameters: dict[str, Any], phrases: tuple[str, ...]
) -> None:
    rendered = {name: as_template(value) for name, value in parameters.items() if value is not None}
    rendered |= {name: "" for name, value in parameters.items() if value is None}
    failed_without_retry(runner.attempt(video(**rendered)), exceptions.InvalidRequestError, *phrases)
    assert sandbox.requests() == []


def test_a_prompt_that_renders_to_nothing_fails_before_anything_is_sent(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    failed_without_retry(runner.attempt(video(prompt="{{ none }}")), exceptions.InvalidRequestError, "prompt is empty")
    assert sandbox.requests() == []


def test_a_video_of_the_sandbox_is_polled_within_two_seconds(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    attempt = runner.attempt(video(deferrable=True), run_trigger=False)
    assert attempt.deferral is not None
    trigger = VideoTrigger(**installed_airflow.read_kwargs(attempt.deferral.trigger_kwargs))
    assert trigger.deferred_at is not None
    assert trigger.poller().first_wait(trigger.deferred_at) < 2.0


def test_an_attempt_that_continues_with_a_video_of_the_sandbox_polls_it_as_soon(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    make = video(deferrable=True)
    runner.attempt(make, run_trigger=False)
    runner.clear(keep_task_state=True)
    attempt = runner.attempt(make, run_trigger=False)
    assert attempt.deferral is not None
    assert sandbox.billed.generations == 1
    assert installed_airflow.read_kwargs(attempt.deferral.trigger_kwargs)["kind"] == SANDBOX


@pytest.mark.parametrize("timeout", [dt.timedelta(minutes=10), "600", "00:10:00", "{{ 600 }}", 600])
def test_a_duration_is_a_number_a_text_or_a_timedelta(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, timeout: Any
) -> None:
    attempt = runner.attempt(video(timeout=timeout, deferrable=True), run_trigger=False)
    assert attempt.deferral is not None
    kwargs = installed_airflow.read_kwargs(attempt.deferral.trigger_kwargs)
    assert kwargs["deadline"] == pytest.approx(fake_clock.now() + 600, abs=30)


def test_an_output_path_that_cannot_be_written_is_found_before_the_payment(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "x.mp4", tmp_path):
        failed_without_retry(
            runner.fresh().attempt(video(output_path=str(path))), exceptions.InvalidRequestError, str(path)
        )
    assert sandbox.requests() == []


def test_a_model_that_is_not_in_the_table_is_sent_unchecked(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    attempt = runner.attempt(video(model="seedance-9", duration=90))
    failed_without_retry(attempt, exceptions.AnyFastError)
    assert len(sandbox.requests("submit")) == 1
    assert sandbox.billed.generations == 0


@pytest.mark.parametrize(
    ("fault", "kind", "phrase"),
    [
        ("unauthorized", exceptions.AuthenticationError, "Invalid token"),
        ("forbidden", exceptions.PermissionDeniedError, "403"),
        ("no_quota", exceptions.QuotaError, "insufficient_user_quota"),
        ("model_not_found", exceptions.ModelUnavailableError, "model_not_found"),
        ("endpoint_not_available", exceptions.ModelUnavailableError, "endpoint not available"),
        ("moderation", exceptions.ModerationError, "Sensitive"),
        ("bad_request", exceptions.BadRequestError, "400"),
    ],
)
def test_a_refusal_that_a_retry_cannot_fix_fails_the_task_at_once(
    runner: TaskRunner, sandbox: SandboxHandle, fault: str, kind: type[Exception], phrase: str
) -> None:
    sandbox.fault(fault, on="submit", times=0)
    failed_without_retry(runner.attempt(video()), kind, phrase)
    assert len(sandbox.requests("submit")) == 1
    assert sandbox.billed.generations == 0
    assert not runner.metadata.variables, "a refused submission leaves no intent behind"


@pytest.mark.parametrize(
    "fault",
    [
        {"name": "rate_limited"},
        {"name": "rate_limited", "retry_after": 7},
        {"name": "rate_limited", "empty": True},
        {"name": "asset_copy_not_ready"},
        {"name": "asset_processing"},
        {"name": "invalid_url_scheme"},
    ],
    ids=str,
)
def test_a_temporary_refusal_is_waited_out_within_the_attempt(
    runner: TaskRunner, sandbox: SandboxHandle, fault: dict[str, Any]
) -> None:
    sandbox.fault(**fault, on="submit", times=2)
    assert runner.attempt(video()).state == "success"
    assert len(sandbox.requests("submit")) == 3
    assert sandbox.billed.generations == 1


def test_a_server_that_cannot_be_reached_costs_nothing_and_a_retry_submits(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    connection = runner.metadata.connections["anyfast_default"]
    reachable = connection.host
    connection.host = "http://127.0.0.1:1"
    attempt = runner.attempt(video())
    assert isinstance(attempt.error, exceptions.ConnectionFailedError)
    assert "Nothing was billed" in str(attempt.error)
    assert attempt.state == "up_for_retry"
    connection.host = reachable
    assert runner.retry(video()).state == "success"
    assert sandbox.billed.generations == 1


def test_moderation_after_rendering_is_final_and_says_that_it_is_refunded(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    attempt = runner.attempt(video(prompt="[sandbox:output-moderation]", deferrable=True))
    generation = sandbox.account().generations[0].id
    failed_without_retry(attempt, exceptions.ModerationError, generation, "refunded", "Change the prompt")
    assert sandbox.billed.refunded_generations == 1


def test_a_retry_submits_again_after_a_failed_rendering(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    sandbox.fault("fail_generation", reason="internal error", code="InternalServiceError")
    first = runner.attempt(video())
    assert isinstance(first.error, exceptions.GenerationFailedError)
    assert first.state == "up_for_retry"
    assert runner.retry(video()).state == "success"
    assert (sandbox.billed.generations, sandbox.billed.refunded_generations) == (2, 1)


def test_a_single_unknown_status_is_waited_out(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    sandbox.fault("unknown_status", on="query", times=1)
    assert runner.attempt(video()).state == "success"


@pytest.mark.parametrize(
    "fault", ["empty_answer", "html_answer", "odd_json", "server_error", "bad_gateway", "drop_request"]
)
@BOTH_WAYS
def test_a_few_bad_responses_while_waiting_are_tolerated(
    runner: TaskRunner, sandbox: SandboxHandle, fault: str, *, deferrable: bool
) -> None:
    sandbox.fault(fault, on="query", times=3)
    assert runner.attempt(video(deferrable=deferrable)).state == "success"
    assert sandbox.billed.generations == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [(302, ""), (403, "<html>Attention required</html>"), (404, "default backend - 404")],
    ids=["maintenance", "a firewall", "an ingress"],
)
@pytest.mark.parametrize("polls", [{"times": 3}, {"times": 1, "skip": 1}], ids=["while waiting", "at the end"])
@BOTH_WAYS
def test_a_response_of_an_intermediary_to_a_poll_ends_no_task(
    runner: TaskRunner,
    sandbox: SandboxHandle,
    status: int,
    body: str,
    polls: dict[str, int],
    *,
    deferrable: bool,
) -> None:
    sandbox.fault("status", on="query", status=status, body=body, **polls)
    assert runner.attempt(video(deferrable=deferrable)).state == "success"
    assert sandbox.billed.generations == 1


@BOTH_WAYS
def test_lasting_responses_of_an_intermediary_cost_a_retry_and_no_second_video(
    runner: TaskRunner, sandbox: SandboxHandle, *, deferrable: bool
) -> None:
    sandbox.fault("status", on="query", status=302, body="", times=14)
    first = runner.attempt(video(deferrable=deferrable))
    assert isinstance(first.error, exceptions.NoAnswerError)
    assert "What was submitted will finish and be billed." in str(first.error)
    assert first.state == "up_for_retry"
    assert runner.run_to_end(video(deferrable=deferrable)).state == "success"
    assert sandbox.billed.generations == 1


@pytest.mark.parametrize("fault", ["unauthorized", "forbidden"])
@BOTH_WAYS
def test_a_key_that_is_revoked_while_waiting_fails_the_task_and_the_error_names_what_is_paid_for(
    runner: TaskRunner, sandbox: SandboxHandle, fault: str, *, deferrable: bool
) -> None:
    sandbox.fault(fault, on="query", times=0)
    attempt = runner.attempt(video(deferrable=deferrable))
    assert attempt.state == "failed"
    assert sandbox.account().generations[0].id in str(attempt.error)
    assert "What was submitted will finish and be billed." in str(attempt.error)


def test_a_video_that_is_not_ready_in_time_is_named_and_a_retry_waits_for_the_same_one(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock
) -> None:
    sandbox.reset(clock=fake_clock.now, completion_seconds=500)
    make = video(timeout=300)
    attempt = runner.attempt(make)
    assert isinstance(attempt.error, exceptions.GenerationTimeoutError)
    assert sandbox.account().generations[0].id in str(attempt.error)
    assert "by the deadline, 300 s after the submission (timeout)" in str(attempt.error)
    assert "the video will finish and be billed" in str(attempt.error)
    assert attempt.state == "up_for_retry"
    assert runner.retry(make).state == "success"
    assert sandbox.billed.generations == 1


def test_a_video_that_finishes_after_the_trigger_timeout_is_saved(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock
) -> None:
    make = video(deferrable=True)
    runner.attempt(make, run_trigger=False)
    fake_clock.advance(10_000)
    assert runner.resume(make, timed_out=True).state == "success"
    assert sandbox.billed.generations == 1


def test_a_link_that_is_refused_for_a_while_is_retried_in_the_same_attempt(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("link_refused", times=4)
    assert runner.attempt(video(output_path=str(tmp_path / "x.mp4"))).state == "success"
    assert sandbox.billed.generations == 1


def test_after_a_late_trigger_the_time_of_the_submission_is_still_known(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, tmp_path: Path
) -> None:
    make = video(output_path=str(tmp_path / "x.mp4"), deferrable=True)
    runner.attempt(make, run_trigger=False)
    fake_clock.advance(3000)
    attempt = runner.resume(make, timed_out=True)
    assert attempt.state == "success", attempt.log_text
    took = re.search(r"took (-?\d+) s", attempt.log_text)
    assert took is not None
    assert 0 < int(took[1]) < 3000
    assert sandbox.billed.generations == 1


def test_the_fields_that_other_tasks_use_are_separate_xcoms(runner: TaskRunner, tmp_path: Path) -> None:
    make = video(output_path=str(tmp_path / "x.mp4"), return_last_frame=True, deferrable=True)
    attempt = runner.attempt(make)
    for name in ("generation_id", "path", "video_url", "seed", "last_frame_path"):
        assert attempt.xcoms[name] == attempt.result[name] is not None


def test_the_files_of_mapped_videos_are_passed_to_the_next_tasks_together_and_one_by_one(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    group = runner.fresh().attempt(partial(CreateAssetGroupOperator, task_id="group", name="g")).result

    def task(name: str) -> Any:
        with DAG("chain", schedule=None):
            videos = GenerateVideoOperator.partial(
                task_id="videos", resolution="480p", duration=4, output_path=f"{tmp_path}/{{generation_id}}.mp4"
            ).expand(prompt=["A boat", "A pier"])
            each = CreateAssetOperator.partial(task_id="each", group_id=group)
            return {
                "videos": videos,
                "each": each.expand(file=videos.output.map(lambda video: video["path"])),
                "together": CreateAssetsOperator(task_id="together", group_id=group, files=videos.output["path"]),  # type: ignore[index]  # Airflow's annotations are too narrow
            }[name]

    for index in (0, 1):
        assert runner.attempt(partial(task, "videos"), map_index=index).state == "success"
    assets = [runner.attempt(partial(task, "each"), map_index=index).result for index in (0, 1)]
    together = runner.attempt(partial(task, "together"))
    assert together.result == assets
    assert sandbox.billed.assets == 2


@pytest.mark.parametrize("fault", ["truncate_download", "corrupt_download"])
def test_an_interrupted_download_leaves_no_file_and_is_repeated_by_a_retry(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fault: str
) -> None:
    sandbox.fault(fault, times=4)
    make = video(output_path=str(tmp_path / "x.mp4"))
    attempt = runner.attempt(make)
    assert isinstance(attempt.error, exceptions.DownloadError)
    assert "without a new submission" in str(attempt.error)
    assert list(tmp_path.iterdir()) == []
    sandbox.fault(fault, times=3)
    assert runner.retry(make).state == "success"
    assert sandbox.billed.generations == 1


def test_an_expired_link_is_final_until_the_task_is_cleared(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, tmp_path: Path
) -> None:
    make = video(output_path=str(tmp_path / "x.mp4"), deferrable=True)
    runner.attempt(make, run_trigger=False)
    fake_clock.advance(25 * 3600)
    failed_without_retry(runner.resume(make), exceptions.LinkExpiredError, "24 hours", "Clear the task")
    runner.clear()
    assert runner.attempt(make).state == "success"
    assert sandbox.billed.generations == 2


def test_a_link_without_a_known_expiry_is_tried_for_a_day_after_the_submission(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, tmp_path: Path
) -> None:
    make = video(output_path=str(tmp_path / "x.mp4"), deferrable=True, retries=1)
    generation_id = runner.attempt(make, run_trigger=False).xcoms["generation_id"]
    fake_clock.advance(400)
    url = sandbox.account().generations[0].video_url
    answer = {"id": generation_id, "status": "succeeded", "content": {"video_url": url}}
    sandbox.fault("status", on="query", status=200, body=answer, times=0)
    sandbox.fault("status", on="download", status=404, body="NoSuchKey", times=1)
    assert runner.resume(make).state == "success"
    assert sandbox.billed.generations == 1


def test_a_video_that_an_earlier_attempt_saved_does_not_need_its_link(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = video(output_path=str(tmp_path / "{generation_id}.mp4"), return_last_frame=True, retries=0)
    with monkeypatch.context() as patch:
        patch.setattr(
            "airflow_provider_anyfast.tasks.video.emit_asset_events", fail_with(RuntimeError("API server away"))
        )
        assert runner.attempt(make).state == "failed"
    fake_clock.advance(25 * 3600)
    runner.clear()
    again = runner.attempt(make)
    assert again.state == "success", again.log_text
    assert {again.result["path"], again.result["last_frame_path"]} == set(map(str, tmp_path.iterdir()))
    assert sandbox.billed.generations == 1


def test_a_storage_that_fails_in_a_retry_costs_no_further_retry(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = video(output_path=str(tmp_path / "{generation_id}.mp4"), deferrable=True)
    runner.attempt(make, run_trigger=False)
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "mkdir", fail_with(OSError(errno.ESTALE, "Stale file handle")))
        assert runner.resume(make).state == "up_for_retry"
        assert runner.attempt(make).state == "up_for_retry"
    assert runner.attempt(make).state == "success"
    assert sandbox.billed.generations == 1


def fail_with(error: Exception) -> Callable[..., None]:
    def fail(*_args: Any, **_options: Any) -> None:
        raise error

    return fail


def test_the_file_host_never_sees_the_key(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    assert runner.attempt(video(output_path=f"file://{tmp_path}/x.mp4")).state == "success"
    (download,) = sandbox.requests("download")
    assert not download.authorized
    assert (tmp_path / "x.mp4").exists()


def test_a_submission_waits_for_an_asset_that_has_just_become_active(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock
) -> None:
    group = runner.attempt(partial(CreateAssetGroupOperator, task_id="group", name="g")).result
    url = "https://example.com/cat.png"
    asset = runner.attempt(partial(CreateAssetOperator, task_id="asset", group_id=group, url=url)).result
    sandbox.fault("asset_not_found", on="submit", times=3)
    assert runner.attempt(video(first_frame=asset)).state == "success"
    sandbox.fault("asset_not_found", on="submit", times=0)
    fake_clock.advance(3600)
    failed_without_retry(runner.fresh().attempt(video(first_frame=asset)), exceptions.AssetNotFoundError, "Nothing was")


def test_a_stop_names_the_video_and_says_that_anyfast_cannot_cancel_it(
    runner: TaskRunner, sandbox: SandboxHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt = runner.attempt(video())
    assert attempt.task is not None
    attempt.task.on_kill()
    output = capsys.readouterr().out
    assert "AnyFast cannot cancel it" in output
    assert sandbox.account().generations[0].id in output


# What it costs.


def test_the_result_has_the_estimate_and_what_was_billed(runner: TaskRunner) -> None:
    attempt = runner.attempt(video(ratio="16:9"))
    result = attempt.result
    assert result["estimated_tokens"] == result["usage"]["total_tokens"] == 864 * 496 * (4 * 24 + 1) // 1024
    assert f"about {result['estimated_tokens']:,} tokens" in attempt.log_text
    assert (result["estimated_cost"], result["cost"]) == (None, None)


def test_with_a_price_on_the_connection_tokens_are_shown_as_money(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    extra = json.dumps({"price_per_million_tokens": 46})
    connection = Connection(
        conn_id="anyfast_default", conn_type="anyfast", host=sandbox.url, password=sandbox.api_key, extra=extra
    )
    attempt = dataclasses.replace(runner, connections=[connection]).attempt(video(ratio="16:9", deferrable=True))
    tokens = attempt.result["usage"]["total_tokens"]
    assert attempt.result["cost"] == attempt.result["estimated_cost"] == f"{tokens * 46 / 1e6:.4f}"
    assert f"which is {attempt.result['cost']}" in attempt.log_text


@pytest.mark.parametrize(
    ("parameters", "phrases"),
    [
        ({"max_tokens": 40_593, "ratio": "16:9"}, ("about 40,594 tokens", "max_tokens=40,593")),
        ({"max_tokens": "{{ 10 }}", "resolution": None}, ("about 87,850 tokens",)),
        ({"max_tokens": 10**9, "model": "seedance-9", "resolution": "16k"}, ("an unknown number of tokens",)),
        ({"max_tokens": "{{ 'few' }}"}, ("max_tokens='few'",)),
    ],
)
def test_a_video_that_is_over_budget_is_never_submitted(
    runner: TaskRunner, sandbox: SandboxHandle, parameters: dict[str, Any], phrases: tuple[str, ...]
) -> None:
    failed_without_retry(runner.attempt(video(**parameters)), exceptions.InvalidRequestError, *phrases)
    assert sandbox.requests() == []


def test_a_video_that_is_exactly_within_budget_is_submitted(runner: TaskRunner) -> None:
    assert runner.attempt(video(max_tokens="40594", ratio="16:9")).state == "success"


# Metrics.


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What was sent to Airflow's Stats."""
    seen: list[tuple[str, Any]] = []
    monkeypatch.setattr(Stats, "incr", lambda name, count=1, tags=None: seen.append((name, tags or count)))
    monkeypatch.setattr(Stats, "timing", lambda name, dt, **_tags: seen.append((name, dt)))
    return seen


@BOTH_WAYS
def test_a_video_is_counted_once_whatever_happens_before_its_end(
    runner: TaskRunner, sandbox: SandboxHandle, counted: list[tuple[str, Any]], tmp_path: Path, *, deferrable: bool
) -> None:
    sandbox.fault("corrupt_download", times=4)
    make = video(deferrable=deferrable, output_path=str(tmp_path / "x.mp4"))
    assert runner.attempt(make).state == "up_for_retry"
    assert runner.retry(make).state == "success"
    ours = [(name, value) for name, value in counted if name.startswith("anyfast.")]
    assert [name for name, _ in ours] == [
        *("anyfast.submitted", "anyfast.reattached", "anyfast.succeeded", "anyfast.tokens"),
        "anyfast.seconds_to_completion",
    ]
    assert dict(ours)["anyfast.tokens"] > 0
    assert dict(ours)["anyfast.seconds_to_completion"].total_seconds() > 0


def test_a_video_whose_success_airflow_refuses_is_counted_once(
    runner: TaskRunner, counted: list[tuple[str, Any]]
) -> None:
    runner.outages.ended_as = "up_for_retry"
    runner.attempt(video())
    runner.outages.ended_as = None
    assert runner.retry(video()).state == "success"
    names = [name for name, _ in counted]
    assert (names.count("anyfast.succeeded"), names.count("anyfast.tokens")) == (1, 1)


def test_upscaling_tokens_are_counted(runner: TaskRunner, counted: list[tuple[str, Any]]) -> None:
    attempt = runner.attempt(video(model="seedance-2.0-ultra", resolution="1080p", ratio="16:9"))
    usage = attempt.result["usage"]
    assert usage["super_resolution_tokens"] > 0
    assert dict(counted)["anyfast.tokens"] == usage["total_tokens"] + usage["super_resolution_tokens"]


@pytest.mark.parametrize("known", [{}, {"submitted_at": 1.78e9}, {"finished_at": 1.78e9}])
def test_the_time_of_a_video_is_reported_only_if_both_times_are_known(
    counted: list[tuple[str, Any]], known: dict[str, Any]
) -> None:
    task = Generation("asyntask_1", "SUCCESS", Outcome.SUCCEEDED, **known)
    count_success(task)
    ti = SimpleNamespace(
        dag_id="dag",
        run_id="run",
        task_id="video",
        map_index=-1,
        get_task_states=lambda **_which: {"run": {"video": "success"}},
        xcom_pull=lambda **_which: video_result(task),
    )
    count_stored_success({"ti": ti})
    assert "anyfast.seconds_to_completion" not in dict(counted)


def test_a_failure_is_counted_with_its_cause(
    runner: TaskRunner, sandbox: SandboxHandle, counted: list[tuple[str, Any]]
) -> None:
    sandbox.fault("moderation")
    runner.attempt(video())
    assert ("anyfast.failed", {"cause": "ModerationError"}) in counted
    assert "anyfast.submitted" not in dict(counted)


def pushed_failure(runner: TaskRunner) -> Any:
    (failure,) = [value for key, value in runner.metadata.xcoms.items() if key.name == FAILURE_KEY]
    return json.loads(failure) if isinstance(failure, str) else failure


def test_a_failure_leaves_its_reason_for_the_report(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    sandbox.fault("moderation")
    attempt = runner.attempt(video(prompt="a fox"))
    assert pushed_failure(runner) == {
        "status": "FAILURE",
        "error_type": "ModerationError",
        "error": str(attempt.error),
        "prompt": "a fox",
    }


def test_a_timeout_leaves_its_reason_for_the_report(runner: TaskRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_is_up(_: float) -> None:
        raise AirflowTaskTimeout

    monkeypatch.setattr(clock, "sleep", time_is_up)
    runner.attempt(video(poll_interval=1))
    assert pushed_failure(runner)["error_type"] == "AirflowTaskTimeout"


def test_a_deferral_is_no_failure(runner: TaskRunner) -> None:
    assert runner.attempt(video(deferrable=True), run_trigger=False).state == "deferred"
    assert not [key for key in runner.metadata.xcoms if key.name == FAILURE_KEY]


@pytest.mark.parametrize("path", ["{{ '' }}", "{{ none }}"])
def test_an_output_path_that_renders_to_nothing_is_refused_before_anything_is_billed(
    runner: TaskRunner, sandbox: SandboxHandle, path: str
) -> None:
    failed_without_retry(runner.attempt(video(output_path=path)), exceptions.InvalidRequestError, "output_path")
    assert sandbox.requests() == []
