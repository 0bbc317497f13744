"""A generation is read from every known response format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import UnexpectedAnswerError
from airflow_provider_anyfast.client.responses import Generation, Outcome, parse_generation
from airflow_provider_anyfast.seedance.result import video_result

ID = "asyntask_h81efT0qwtLnzyt6VENmCZ6VXSfNxE2E"
LINK = "https://ark-acg-cn-beijing.tos-cn-beijing.volces.com/x.mp4?X-Tos-Signature=1"
OTHER_LINK = "https://oss.example.com/y.mp4"
FRAME = "https://host.example.com/last.png"

UPSTREAM = {
    "content": {"video_url": OTHER_LINK, "last_frame_url": FRAME},
    "created_at": 1777288506,
    "draft": False,
    "duration": 5,
    "framespersecond": 24,
    "generate_audio": True,
    "id": "cgt-20260427191505-9j2q7",
    "model": "doubao-seedance-2-0-260128",
    "ratio": "16:9",
    "resolution": "720p",
    "seed": 4304,
    "service_tier": "default",
    "status": "succeeded",
    "updated_at": 1777288796,
    "usage": {"completion_tokens": 108900, "total_tokens": 108900, "super_resolution_tokens": 245025},
}


def wrapped(**task: Any) -> dict[str, Any]:
    return {"code": "success", "message": "", "data": {"task_id": ID, "action": "generate", **task}}


def parsed(body: Any) -> Generation:
    return parse_generation(body, ID)


def failed(**task: Any) -> Generation:
    return parsed(wrapped(status="FAILURE", **task))


def test_every_field_of_a_finished_generation_is_read() -> None:
    body = wrapped(
        status="SUCCESS",
        result_url=LINK,
        original_result_url=OTHER_LINK,
        fail_reason="",
        submit_time=1777288506,
        start_time=1777288508,
        finish_time=1777288800,
        progress="100%",
        request_id="20260427111505260254000NBdvZFoP",
        data=UPSTREAM,
    )
    task = parsed(body)
    assert task.usage.model_dump() == {
        "completion_tokens": 108900,
        "total_tokens": 108900,
        "super_resolution_tokens": 245025,
    }
    assert task == Generation(
        generation_id=ID,
        status="SUCCESS",
        outcome=Outcome.SUCCEEDED,
        progress=100,
        model="doubao-seedance-2-0-260128",
        video_url=LINK,
        original_video_url=OTHER_LINK,
        last_frame_url=FRAME,
        duration=5,
        resolution="720p",
        ratio="16:9",
        seed=4304,
        usage=task.usage,
        submitted_at=1777288506.0,
        finished_at=1777288800.0,
        request_id="20260427111505260254000NBdvZFoP",
    )


@pytest.mark.parametrize(
    "body",
    [
        {"id": "gen-abc123", "model": "m", "status": "completed", "video_url": LINK, "created_at": 1777288506},
        {"id": "x", "status": "succeeded", "content": {"video_url": LINK}, "created_at": 1777288506},
        wrapped(status="SUCCESS", submit_time=1777288506, data={"output": {"video_url": LINK}, "usage": {"SR": "720"}}),
        wrapped(status="SUCCESS", submit_time=1777288506, data={"video_url": LINK}),
        wrapped(status="SUCCESS", submit_time=1777288506, video_url=LINK, data=None),
        wrapped(status="SUCCESS", submit_time=1777288506, fail_reason=LINK),
        {"status": "SUCCESS", "data": {"content": {"video_url": LINK}, "status": "SUCCESS", "created_at": 1777288506}},
    ],
    ids=["old flat", "upstream", "alibaba", "inner link", "outer link", "link in the reason", "inner status"],
)
def test_the_link_is_found_in_any_shape(body: dict[str, Any]) -> None:
    task = parsed(body)
    assert (task.outcome, task.video_url) == (Outcome.SUCCEEDED, LINK)
    assert task.submitted_at == 1777288506.0


def test_the_gateways_link_comes_before_the_upstreams() -> None:
    assert parsed(wrapped(status="SUCCESS", result_url=LINK, fail_reason=OTHER_LINK, data=UPSTREAM)).video_url == LINK


@pytest.mark.parametrize("no_link", ["", None, "asset://x", "file:///etc/passwd", "javascript:1", 5, "done", ["x"]])
def test_only_an_http_link_is_a_link(no_link: Any) -> None:
    task = parsed(wrapped(status="SUCCESS", result_url=no_link, original_result_url=no_link, data=UPSTREAM))
    assert task.video_url == OTHER_LINK
    assert task.original_video_url is None


@pytest.mark.parametrize("no_link", [None, "", "  ", "pending", "ftp://host/video.mp4", "https://a host/x", "https://"])
def test_a_success_without_a_link_is_still_pending(no_link: Any) -> None:
    task = parsed(wrapped(status="SUCCESS", result_url=no_link, fail_reason=no_link, data=None))
    assert (task.outcome, task.lacks_link, task.failure_message) == (Outcome.PENDING, True, "")
    assert not parsed(wrapped(status="SUCCESS", result_url=LINK)).lacks_link
    assert not parsed(wrapped(status="IN_PROGRESS")).lacks_link
    assert not parsed(wrapped(status="FAILURE")).lacks_link


@pytest.mark.parametrize("status", ["SUCCESS", "SUCCEEDED", "COMPLETED", "success", "succeeded", " completed "])
def test_every_spelling_of_success_is_success(status: str) -> None:
    assert parsed(wrapped(status=status, result_url=LINK)).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("status", ["FAILURE", "FAILED", "ERROR", "CANCELLED", "CANCELED", "EXPIRED", "failed"])
def test_every_spelling_of_failure_is_failure(status: str) -> None:
    assert parsed(wrapped(status=status)).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "status",
    [
        "NOT_START",
        "SUBMITTED",
        "QUEUED",
        "IN_PROGRESS",
        "UNKNOWN",
        "RUNNING",
        "PENDING",
        "PROCESSING",
        "QUEUING",
        "",
        "processing",
        "something new",
    ],
)
def test_every_other_status_is_pending(status: str) -> None:
    task = parsed(wrapped(status=status, result_url=LINK, fail_reason="not yet", data=None))
    assert task.outcome is Outcome.PENDING
    assert (task.video_url, task.last_frame_url, task.failure_message) == (None, None, "")
    assert task.status == status


@pytest.mark.parametrize(
    "inner", ["queued", "running", "succeeded", "failed", "cancelled", "canceled", "expired", "EXPIRED", "", None, 5]
)
def test_the_gateway_decides_and_not_the_upstream(inner: Any) -> None:
    assert parsed(wrapped(status="IN_PROGRESS", data={"status": inner})).outcome is Outcome.PENDING


@pytest.mark.parametrize("inner", ["cancelled", "expired", "running"])
def test_the_gateways_success_stands_whatever_the_upstream_says(inner: str) -> None:
    assert parsed(wrapped(status="SUCCESS", result_url=LINK, data={"status": inner})).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("task", "code", "message"),
    [
        ({"fail_reason": "The output video may contain sensitive information."}, "", "The output video may contain"),
        (
            {
                "fail_reason": "It was refused",
                "data": {"error": {"code": "OutputVideoSensitiveContentDetected", "message": "inner"}},
            },
            "OutputVideoSensitiveContentDetected",
            "It was refused",
        ),
        ({"data": {"error": {"code": "InternalError", "message": "inner"}}}, "InternalError", "inner"),
        (
            {"fail_reason": json.dumps({"error": {"code": "InvalidParameter", "message": "too short"}})},
            "InvalidParameter",
            "too short",
        ),
        ({"fail_reason": json.dumps({"code": "c", "message": "m"})}, "c", "m"),
        (
            {"fail_reason": {"error": {"code": "InvalidParameter", "message": "too short"}}},
            "InvalidParameter",
            "too short",
        ),
        ({"fail_reason": '["odd"]'}, "", '["odd"]'),
        ({"result_url": "任务超时（1440分钟）"}, "", "任务超时（1440分钟）"),
        ({"result_url": "", "fail_reason": None, "data": {"status": "failed"}}, "", "failed"),
        ({"fail_reason": LINK, "data": {"error": "broken"}}, "", "broken"),
        ({"fail_reason": LINK, "result_url": LINK, "data": {"error": {"code": "X"}, "status": ""}}, "X", ""),
        ({"fail_reason": " ", "data": None}, "", "FAILURE"),
        ({"fail_reason": 5, "data": {"status": 7}}, "", ""),
    ],
    ids=[
        "text",
        "text and inner code",
        "inner error alone",
        "JSON text",
        "flat JSON text",
        "JSON",
        "a list as text",
        "in result_url",
        "inner status alone",
        "a link is no reason",
        "a code alone",
        "nothing",
        "numbers",
    ],
)
def test_the_reason_of_a_failure_is_found_in_any_field(task: dict[str, Any], code: str, message: str) -> None:
    result = failed(**task)
    assert result.outcome is Outcome.FAILED
    assert result.failure_code == code
    assert result.failure_message.startswith(message)
    assert bool(result.failure_message) == bool(message)


def test_a_failure_has_no_link_even_if_the_response_contains_one() -> None:
    task = failed(result_url=LINK, original_result_url=LINK, data=UPSTREAM)
    assert (task.video_url, task.original_video_url, task.last_frame_url) == (None, None, None)


@pytest.mark.parametrize(
    ("progress", "percent"),
    [("50%", 50), (50, 50), ("0%", 0), (0, 0), (" 100% ", 100), ("", None), (None, None), ("half", None), ([], None)],
)
def test_progress_is_percent(progress: Any, percent: int | None) -> None:
    assert parsed(wrapped(status="IN_PROGRESS", progress=progress)).progress == percent


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1777288506, 1777288506.0),
        ("1777288506", 1777288506.0),
        (1777288506.5, 1777288506.5),
        ("2026-04-27T11:15:06Z", 1777288506.0),
        ("2026-04-27T19:15:06+08:00", 1777288506.0),
        (0, None),
        ("0", None),
        ("", None),
        (None, None),
        ("soon", None),
        ("P1D", None),
        ("²", None),
        ([], None),
        ({}, None),
    ],
)
def test_times_are_unix_seconds_or_missing(value: Any, seconds: float | None) -> None:
    task = parsed(wrapped(status="SUCCESS", submit_time=value, finish_time=value))
    assert (task.submitted_at, task.finished_at) == (seconds, seconds)


@pytest.mark.parametrize(
    "strange", [1e999, -1e999, float("nan"), 10**400, 10**29, 1e300, 1777288506000, -(10**15), "9" * 30, "1" * 400]
)
def test_a_number_out_of_range_is_ignored(strange: Any) -> None:
    task = parsed(
        wrapped(
            status="SUCCESS",
            result_url=LINK,
            submit_time=strange,
            finish_time=strange,
            progress=strange,
            data={"duration": strange, "seed": strange, "usage": {"total_tokens": strange}},
        )
    )
    result = video_result(task)
    assert result["video_url"] == LINK
    numbers = (task.progress, result["duration"], result["seed"], result["usage"].get("total_tokens"))
    assert all(abs(number or 0) < 2**63 for number in numbers), "Airflow stores no larger number as an XCom"
    assert task.submitted_at is None or clock.iso(task.submitted_at)


def test_the_creation_time_replaces_a_missing_submission_time() -> None:
    assert parsed(wrapped(status="QUEUED", created_at=1777288506)).submitted_at == 1777288506.0
    assert parsed(wrapped(status="QUEUED", data={"created_at": 1777288507})).submitted_at == 1777288507.0
    assert parsed(wrapped(status="SUCCESS", completed_at=1777288508)).finished_at == 1777288508.0


def test_missing_facts_of_a_generation_are_none() -> None:
    task = parsed({"status": ""})
    assert task == Generation(ID, status="", outcome=Outcome.PENDING)


@pytest.mark.parametrize("usage", [None, [], "many", {"total_tokens": "many"}, {"total_tokens": []}])
def test_an_unreadable_usage_is_none(usage: Any) -> None:
    assert parsed(wrapped(status="SUCCESS", data={"usage": usage})).usage.total_tokens is None


def test_new_facts_about_the_usage_are_kept() -> None:
    usage = parsed(wrapped(status="SUCCESS", data={"usage": {"SR": "720", "video_count": 1}})).usage
    assert usage.model_dump(exclude_none=True) == {"SR": "720", "video_count": 1}


def test_text_in_place_of_a_number_is_none() -> None:
    task = parsed(wrapped(status="SUCCESS", data={"duration": "five", "seed": None, "model": "", "ratio": 1}))
    assert (task.duration, task.seed, task.model, task.ratio) == (None, None, None, "1")


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "x",
        5,
        {},
        {"data": None},
        {"data": {}},
        {"status": None},
        {"status": 1},
        {"data": {"status": None}},
        {"code": "task_not_exist", "message": "task_not_exist", "data": None},
    ],
)
def test_a_response_without_a_status_is_an_error(body: Any) -> None:
    with pytest.raises(UnexpectedAnswerError, match=ID):
        parsed(body)


def test_the_error_names_the_fields_but_not_their_values() -> None:
    with pytest.raises(UnexpectedAnswerError, match=r"it has the fields link, token\)") as caught:
        parsed({"link": LINK, "token": "secret"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        0,
        -1,
        5.0,
        1777288506000,
        "1e400",
        "soon",
    ],
)
def test_an_impossible_time_is_unknown(value: Any) -> None:
    task = parsed(wrapped(status="SUCCESS", finish_time=value, submit_time=value))
    assert (task.finished_at, task.submitted_at) == (None, None)


@pytest.mark.parametrize("link", [f" {LINK}", f"{LINK}\n", f"\t{LINK} ", LINK.replace("https", "HTTPS")])
def test_whitespace_around_a_link_is_removed(link: str) -> None:
    assert parsed(wrapped(status="SUCCESS", result_url=link)).video_url == link.strip()


@pytest.mark.parametrize("task_id", ["asyntask_other", "../x"])
def test_a_response_about_another_generation_is_unexpected(task_id: str) -> None:
    with pytest.raises(UnexpectedAnswerError, match="about another generation"):
        parsed(wrapped(status="SUCCESS", task_id=task_id))
    with pytest.raises(UnexpectedAnswerError, match="about another generation"):
        parse_generation({"id": "asyntask_other", "status": "SUCCESS"}, "asyntask_mine")


@pytest.mark.parametrize(
    "body", [{"id": "cgt-1", "status": "SUCCESS"}, {"id": 5, "status": "SUCCESS"}, {"status": "SUCCESS"}]
)
def test_the_upstreams_own_id_does_not_count_as_another_generation(body: dict[str, Any]) -> None:
    assert parse_generation(body, "asyntask_mine").generation_id == "asyntask_mine"
