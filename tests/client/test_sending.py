"""What is sent again and what is not: a billed call whose response is unknown is never sent twice.

Every scenario runs on both drivers, which must send the same requests, wait the same times and end the same way.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyfast.client import endpoints, errors
from airflow_provider_anyfast.client.consistency import ASSET_IS_COPIED
from airflow_provider_anyfast.client.endpoints import Call, Upload
from airflow_provider_anyfast.client.errors import LostAnswerError
from airflow_provider_anyfast.client.rate_limiter import LONGEST_PAUSE
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.seedance.result import video_result
from tests.client.driving import (
    KEY,
    SETTINGS,
    BrokenBody,
    ScriptedAsyncClient,
    ScriptedClient,
    Service,
    Step,
    drive,
    drive_both,
    held_clock,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

BODY = {"model": "seedance", "content": [{"type": "text", "text": "一只纸船 – a paper boat"}]}
GOOD = httpx.Response(
    200, json={"id": "asyntask_1", "Id": "asset-1", "status": "QUEUED", "data": {"status": "QUEUED"}, "Items": []}
)


def response(status: int, body: Any = "", **headers: str) -> httpx.Response:
    if isinstance(body, str):
        return httpx.Response(status, text=body, headers=headers)
    return httpx.Response(status, json=body, headers=headers)


def an_upload() -> Call[str]:
    upload = Upload("a.mp4", io.BytesIO(b"a video" * 1000), "video/mp4")
    return endpoints.create_asset(group_id="group-1", name="a", asset_type="Video", upload=upload)


QUERIES: dict[str, Callable[[], Call[Any]]] = {
    "query": lambda: endpoints.query_generation("asyntask_1"),
    "get an asset": lambda: endpoints.get_asset("asset-1"),
}
"""Calls whose only parameter is an id."""
BILLED: dict[str, Callable[[], Call[Any]]] = {
    "submit": lambda: endpoints.submit_generation(BODY),
    "create a group": lambda: endpoints.create_asset_group("g"),
    "create an asset": lambda: endpoints.create_asset(
        group_id="g", name="a", asset_type="Image", url="https://h/a.png"
    ),
    "upload an asset": an_upload,
}
OTHERS: dict[str, Callable[[], Call[Any]]] = {
    "list assets": lambda: next(endpoints.list_assets()),
    "list groups": lambda: next(endpoints.list_asset_groups()),
    "delete an asset": lambda: endpoints.delete_asset("asset-1"),
}
FREE = {**QUERIES, **OTHERS}
billed = pytest.mark.parametrize("make", BILLED.values(), ids=BILLED.keys())
free = pytest.mark.parametrize("make", FREE.values(), ids=FREE.keys())
both = pytest.mark.parametrize("make", [*BILLED.values(), *FREE.values()], ids=[*BILLED.keys(), *FREE.keys()])
queries = pytest.mark.parametrize(
    ("make", "unknown"),
    [
        (QUERIES["query"], errors.GenerationNotFoundError),
        (QUERIES["get an asset"], errors.AssetNotFoundError),
    ],
    ids=QUERIES.keys(),
)

NEVER_SENT: dict[str, Exception] = {
    "no connection": httpx.ConnectError("refused"),
    "no connection in time": httpx.ConnectTimeout("slow"),
    "no free connection": httpx.PoolTimeout("full"),
    "refused by the proxy": httpx.ProxyError("407 Proxy Authentication Required"),
}
NO_RESPONSE: dict[str, Step] = {
    "read timeout": httpx.ReadTimeout("slow"),
    "dropped connection": httpx.RemoteProtocolError("Server disconnected without sending a response."),
    "connection reset": httpx.ReadError("reset"),
    "connection lost while sending": httpx.WriteError("reset"),
    "write timeout": httpx.WriteTimeout("slow"),
    "broken body": httpx.Response(200, stream=BrokenBody()),
    "damaged encoding": httpx.DecodingError("bad gzip"),
}
SERVER_ERRORS: dict[str, Step] = {
    "408": response(408),
    "500": response(500, {"code": "do_request_failed", "message": "请求上游地址失败", "data": None}),
    "502": response(502, "<html><body>502 Bad Gateway. Copyright 2026</body></html>"),
    "503 of a proxy": response(503, "<html><body>Service Unavailable</body></html>"),
    "503 without a known code": response(503, {"error": {"message": "overloaded"}}),
    "504": response(504, "<html><body>your request is still processing</body></html>"),
    "504 about an asset": response(504, {"error": {"message": "the asset server was not found"}}),
}
LATE_ERRORS: dict[str, Step] = {
    "400 with a gateway error": response(400, {"code": "do_request_failed", "message": "no", "data": None}),
    "400 with an odd response of the upstream": response(
        400, {"code": "invalid_response", "message": "task_id is empty", "data": None}
    ),
    "404 with a gateway error": response(404, {"error": {"code": "unmarshal_response_body_failed", "message": "no"}}),
    "400 about the new task": response(400, {"code": "task_not_exist", "message": "task_not_exist", "data": None}),
}
"""Errors of a gateway that may have submitted the request, with another status, as its settings can replace it."""
ERRORS_IN_2XX_RESPONSES: dict[str, Step] = {
    "200 with an error": response(200, {"error": {"message": "no"}}),
    "200 with a gateway error": response(200, {"error": {"code": "do_request_failed", "message": "no"}}),
    "200 with a task's error": response(200, {"code": "do_request_failed", "message": "no", "data": None}),
    "200 without success": response(200, {"success": False, "message": "no"}),
}
UNPARSABLE: dict[str, Step] = {
    "empty 200": response(200),
    "HTML 200": response(200, "<html><body>Welcome</body></html>"),
    "odd JSON 200": response(200, {"hello": "world"}),
    "a number 200": response(200, "5"),
    "a list 200": response(200, "[]"),
    "null 200": response(200, "null"),
    "not UTF-8 200": httpx.Response(200, content=b'{"id": "\xff\xfe"}'),
    "deeply nested 200": response(200, "[" * 100_000),
}
REFUSED: dict[str, tuple[Step, type[errors.AnyFastError]]] = {
    "400": (response(400, {"error": {"message": "prompt is required"}}), errors.BadRequestError),
    "401": (response(401, {"error": {"message": f"Invalid token {KEY}"}}), errors.AuthenticationError),
    "403": (response(403, {"error": {"message": "no", "code": "access_denied"}}), errors.PermissionDeniedError),
    "403 no money": (response(403, {"code": "insufficient_user_quota", "message": "no"}), errors.QuotaError),
    "404": (response(404, {"error": {"message": "Invalid URL (POST /x)"}}), errors.NotFoundError),
    "413": (response(413), errors.RequestTooLargeError),
    "503 model": (response(503, {"error": {"message": "no", "code": "model_not_found"}}), errors.ModelUnavailableError),
    "moderation": (
        response(400, {"code": "x", "message": '{"error": {"code": "InputTextSensitiveContentDetected"}}'}),
        errors.ModerationError,
    ),
    "200 with the upstream's error": (
        response(200, {"ResponseMetadata": {"Error": {"Code": "InvalidParameter", "Message": "no"}}}),
        errors.BadRequestError,
    ),
    "200 with a task's refusal": (
        response(200, {"code": "insufficient_user_quota", "message": "no", "data": None}),
        errors.QuotaError,
    ),
}
FROM_OTHERS: dict[str, tuple[Step, type[errors.AnyFastError]]] = {
    "301": (response(301, Location="https://www.anyfast.test/"), errors.ConfigurationError),
    "302 during maintenance": (response(302, "<html>Back soon</html>"), errors.ConfigurationError),
    "307": (response(307, Location="https://www.anyfast.test/"), errors.ConfigurationError),
    "400 of a proxy": (response(400, "<html>400 Bad Request</html>"), errors.ConfigurationError),
    "401 of a proxy": (response(401, "<html>Sign in</html>"), errors.ConfigurationError),
    "404 of an ingress": (response(404, "default backend - 404"), errors.ConfigurationError),
    "404 of an ingress in JSON": (response(404, {"detail": "Not Found"}), errors.ConfigurationError),
    "404 with an empty body": (response(404), errors.ConfigurationError),
    "405 of a proxy": (response(405, "<html>405 Not Allowed</html>"), errors.ConfigurationError),
    "407 of a proxy": (response(407, "<html>Proxy Authentication Required</html>"), errors.ConfigurationError),
    "421": (response(421, "Misdirected Request"), errors.ConfigurationError),
}
"""What sites under maintenance, ingresses and proxies send, and the error of a billed call."""
FILTERED: dict[str, Step] = {
    "304": response(304),
    "402": response(402, "<html>Deployment paused</html>"),
    "403 of a firewall": response(403, "<html>Attention required</html>"),
    "403 with an empty body": response(403),
    "403 of an API gateway": response(403, {"message": "Forbidden"}),
    "403 of another service": response(403, {"status": 403, "error": "Forbidden", "path": "/"}),
    "403 with a number as code": response(403, {"code": 7, "message": "permission denied"}),
    "406 of a firewall": response(406, "<html>Not Acceptable! Mod_Security</html>"),
    "418 of a firewall": response(418, "<html>Blocked</html>"),
    "451 of a proxy": response(451, "<html>Unavailable For Legal Reasons</html>"),
}
"""What firewalls send in place of a request or of a response: it proves nothing about a billed call."""
NOT_ACCEPTED: dict[str, Step] = {
    "429": response(429),
    "429 with a wait": response(429, **{"Retry-After": "7"}),
    "429 of a group": response(429, {"code": "x", "message": "当前分组上游负载已饱和，请稍后再试", "data": None}),
    "429 with words of a refusal": response(429, {"error": {"message": "the asset was not found, sensitive content"}}),
    "an asset in processing": response(400, {"error": {"message": "asset is still processing"}}),
    "a link not synced": response(400, {"error": {"message": "invalid url scheme"}}),
    "an asset in copying": response(503, {"code": "asset_copy_not_ready", "message": 'asset "x" copy is not ready'}),
}
UNKNOWN = {**NO_RESPONSE, **FILTERED, **LATE_ERRORS, **SERVER_ERRORS, **ERRORS_IN_2XX_RESPONSES, **UNPARSABLE}
AGAIN = {**NEVER_SENT, **NOT_ACCEPTED}


def table(steps: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("step", steps.values(), ids=steps.keys())


@billed
@table(UNKNOWN)
def test_a_billed_call_without_a_clear_response_is_sent_once(make: Callable[[], Call[Any]], step: Step) -> None:
    run = drive_both(make, [step, GOOD])
    assert len(run.sent) == 1
    assert run.waits == ()
    assert type(run.error) is LostAnswerError
    assert "billed" in str(run.error)
    assert ".." not in str(run.error)


@billed
@table(AGAIN)
def test_a_billed_call_that_was_certainly_not_accepted_is_sent_again(make: Callable[[], Call[Any]], step: Step) -> None:
    run = drive_both(make, [step, GOOD])
    assert run.error is None
    assert len(run.sent) == 2
    assert run.sent[0] == run.sent[1]
    assert len(run.waits) == 1


@billed
@table(AGAIN)
@pytest.mark.parametrize("lost", [httpx.ReadTimeout("slow"), response(500)], ids=["read timeout", "500"])
def test_a_billed_call_that_is_lost_at_its_second_try_is_not_sent_again(
    make: Callable[[], Call[Any]], step: Step, lost: Step
) -> None:
    run = drive_both(make, [step, lost, GOOD])
    assert len(run.sent) == 2
    assert type(run.error) is LostAnswerError


@free
@table({**NEVER_SENT, **NO_RESPONSE, **SERVER_ERRORS, **ERRORS_IN_2XX_RESPONSES, "429": response(429)})
def test_a_free_call_is_sent_again(make: Callable[[], Call[Any]], step: Step) -> None:
    run = drive_both(make, [step, step, GOOD])
    assert run.error is None
    assert len(run.sent) == 3
    assert len(run.waits) == 2


@free
@table(UNPARSABLE)
def test_an_unparsable_response_to_a_free_call_is_an_error_if_it_lasts(
    make: Callable[[], Call[Any]], step: Step
) -> None:
    assert drive_both(make, [step, step, GOOD]).error is None
    run = drive_both(make, [step], replace(SETTINGS, max_retries=2))
    assert len(run.sent) == 3
    assert type(run.error) is errors.UnexpectedAnswerError


@pytest.mark.parametrize("make", [*BILLED.values(), *OTHERS.values()], ids=[*BILLED.keys(), *OTHERS.keys()])
@pytest.mark.parametrize(("step", "kind"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_call_is_sent_once(
    make: Callable[[], Call[Any]], step: Step, kind: type[errors.AnyFastError]
) -> None:
    run = drive_both(make, [step, GOOD])
    assert len(run.sent) == 1
    assert type(run.error) is kind
    assert KEY not in str(run.error)


@queries
@pytest.mark.parametrize(("step", "kind"), REFUSED.values(), ids=REFUSED.keys())
def test_whatever_is_wrong_with_a_query_is_wrong_with_its_id(
    make: Callable[[], Call[Any]], unknown: type[errors.NotFoundError], step: Step, kind: type[errors.AnyFastError]
) -> None:
    run = drive_both(make, [step, GOOD])
    assert len(run.sent) == 1
    concerns_the_key = (errors.AuthenticationError, errors.PermissionDeniedError, errors.QuotaError)
    assert type(run.error) is (kind if kind in (*concerns_the_key, errors.ModerationError) else unknown)


@free
@table({name: step for name, (step, _) in FROM_OTHERS.items()})
def test_a_free_call_is_retried_after_a_response_of_something_in_between(
    make: Callable[[], Call[Any]], step: Step
) -> None:
    run = drive_both(make, [step, step, GOOD])
    assert run.error is None
    assert len(run.sent) == 3


@free
@table({name: step for name, (step, _) in FROM_OTHERS.items()})
def test_lasting_responses_of_something_in_between_are_a_retryable_error(
    make: Callable[[], Call[Any]], step: httpx.Response
) -> None:
    error = drive_both(make, [step]).error
    assert type(error) is errors.NoAnswerError
    assert error.retryable
    assert error.status == step.status_code
    assert "the connection's host" in str(error)
    assert "Nothing was billed." in str(error)


@billed
@pytest.mark.parametrize(("step", "kind"), FROM_OTHERS.values(), ids=FROM_OTHERS.keys())
def test_a_billed_call_that_something_in_between_refused_is_sent_once(
    make: Callable[[], Call[Any]], step: Step, kind: type[errors.AnyFastError]
) -> None:
    run = drive_both(make, [step, GOOD])
    assert len(run.sent) == 1
    assert type(run.error) is kind


@billed
def test_the_error_for_a_page_of_a_firewall_says_that_anyfast_may_have_received_nothing(
    make: Callable[[], Call[Any]],
) -> None:
    error = drive_both(make, [FILTERED["403 of a firewall"]]).error
    assert "AnyFast has received nothing" in str(error)
    assert "Attention required" in str(error)


@free
@table(FILTERED)
def test_the_page_of_a_firewall_does_not_end_a_free_call(make: Callable[[], Call[Any]], step: Step) -> None:
    assert drive_both(make, [step, step, GOOD]).error is None


@pytest.mark.parametrize("make", [BILLED["submit"], FREE["query"]], ids=["billed", "free"])
@table({**NEVER_SENT, "429": response(429)})
@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_a_call_fails_after_its_retries(make: Callable[[], Call[Any]], step: Step, max_retries: int) -> None:
    run = drive_both(make, [step], replace(SETTINGS, max_retries=max_retries))
    assert len(run.sent) == max_retries + 1
    assert isinstance(run.error, errors.ConnectionFailedError | errors.RateLimitError)
    assert not isinstance(run.error, LostAnswerError)


@free
@pytest.mark.parametrize(
    ("step", "kind"), [(httpx.ReadTimeout("slow"), errors.NoAnswerError), (response(500), errors.ServerError)]
)
def test_a_free_call_ends_with_its_last_error(
    make: Callable[[], Call[Any]], step: Step, kind: type[errors.AnyFastError]
) -> None:
    run = drive_both(make, [step])
    assert type(run.error) is kind
    assert len(run.sent) == SETTINGS.max_retries + 1


def test_the_waits_grow_with_jitter_up_to_a_limit() -> None:
    run = drive_both(FREE["query"], [response(500)], replace(SETTINGS, max_retries=30))
    assert all(0 < wait <= LONGEST_PAUSE for wait in run.waits)
    assert len(set(run.waits)) > 20
    assert max(run.waits[:3]) < max(run.waits[6:])


@both
def test_a_wait_is_little_longer_than_retry_after(make: Callable[[], Call[Any]]) -> None:
    run = drive_both(make, [response(429, **{"Retry-After": "30"}), GOOD])
    assert 30.0 <= run.waits[0] <= 36.0


@both
@pytest.mark.parametrize("retry_after", ["3600", "inf", "1e300"])
def test_no_retry_after_blocks_a_worker_for_ever(make: Callable[[], Call[Any]], retry_after: str) -> None:
    run = drive_both(make, [response(429, **{"Retry-After": retry_after}), GOOD])
    assert run.waits[0] <= LONGEST_PAUSE


def test_the_wait_for_an_asset_that_is_being_copied_exceeds_the_retries() -> None:
    not_ready = NOT_ACCEPTED["an asset in copying"]
    run = drive_both(BILLED["submit"], [not_ready] * 8 + [GOOD], replace(SETTINGS, max_retries=1))
    assert run.result == "asyntask_1"
    assert len(run.sent) == 9


def test_the_wait_for_an_asset_that_is_never_ready_ends() -> None:
    run = drive_both(BILLED["submit"], [NOT_ACCEPTED["an asset in copying"]])
    assert type(run.error) is errors.AssetNotReadyError
    assert ASSET_IS_COPIED <= sum(run.waits) <= ASSET_IS_COPIED + LONGEST_PAUSE


def test_waiting_for_an_asset_uses_no_retry_of_another_failure() -> None:
    steps = [NOT_ACCEPTED["an asset in copying"]] * 6 + [response(429), response(429), GOOD]
    run = drive_both(BILLED["submit"], steps, replace(SETTINGS, max_retries=2))
    assert run.result == "asyntask_1"


CLEAR = (*AGAIN.values(), *(step for step, _ in (*REFUSED.values(), *FROM_OTHERS.values())))
ANY_STEP = st.sampled_from([*UNKNOWN.values(), *CLEAR])


@given(steps=st.lists(ANY_STEP, max_size=8), name=st.sampled_from(sorted(BILLED)))
def test_no_sequence_of_events_sends_a_billed_call_after_an_unclear_response(steps: list[Step], name: str) -> None:
    run = drive_both(BILLED[name], [*steps, GOOD])
    met = [*steps, GOOD][: len(run.sent)]
    assert all(any(step is known for known in AGAIN.values()) for step in met[:-1])
    if any(met[-1] is unclear for unclear in UNKNOWN.values()):
        assert type(run.error) is LostAnswerError
    assert (run.error is None) == (met[-1] is GOOD)


@given(steps=st.lists(ANY_STEP, max_size=8), name=st.sampled_from(sorted(FREE)))
def test_no_sequence_of_events_loses_a_free_response(steps: list[Step], name: str) -> None:
    run = drive_both(FREE[name], [*steps, GOOD])
    assert not isinstance(run.error, LostAnswerError)
    assert len(run.sent) <= len(steps) + 1


def test_a_lost_response_keeps_the_facts_of_the_one_that_arrived() -> None:
    step = response(500, {"code": "invalid_response", "message": "task_id is empty"}, **{"X-Oneapi-Request-Id": "r1"})
    error = drive_both(BILLED["submit"], [step]).error
    assert isinstance(error, LostAnswerError)
    assert (error.status, error.code, error.request_id) == (500, "invalid_response", "r1")
    assert isinstance(error.__cause__, errors.ServerError)


@pytest.mark.parametrize(
    "step",
    [
        response(500, {"id": "asyntask_9", "error": {"message": "the database is gone"}}),
        response(502, "<html>asyntask_9</html>"),
        response(201, Location="/v1/video/generations/asyntask_9"),
        response(303, Location="https://anyfast.test/v1/video/generations/asyntask_9?sig=secret"),
        response(200, "callback({'id': 'asyntask_9'})"),
    ],
    ids=["500", "502", "201", "303", "not JSON"],
)
def test_what_may_name_an_accepted_call_is_logged_when_its_response_is_lost(
    step: Step, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(drive(BILLED["submit"](), [step]).error, LostAnswerError)
    assert "asyntask_9" in caplog.text
    assert "secret" not in caplog.text


def test_a_refusal_of_the_gateway_to_find_a_task_is_no_refusal_of_a_submission() -> None:
    step = response(200, {"code": "task_not_exist", "message": "task_not_exist", "data": None})
    assert isinstance(drive_both(BILLED["submit"], [step]).error, LostAnswerError)
    assert isinstance(drive_both(FREE["query"], [step]).error, errors.GenerationNotFoundError)


@pytest.mark.parametrize(
    ("encoding", "field"),
    [("gbk", "application/json; charset=gbk"), ("gbk", "application/json"), ("latin-1", ""), ("utf-16", "")],
)
def test_a_text_in_another_encoding_hides_neither_an_id_nor_a_status(encoding: str, field: str) -> None:
    text = "成功" if encoding != "latin-1" else "café"
    body = json.dumps(
        {"id": "asyntask_1", "message": text, "data": {"task_id": "asyntask_1", "status": "FAILURE"}},
        ensure_ascii=False,
    )
    step = httpx.Response(200, content=body.encode(encoding), headers={"Content-Type": field})
    assert drive_both(BILLED["submit"], [step]).result == "asyntask_1"
    assert drive_both(FREE["query"], [step]).result.outcome is Outcome.FAILED


def test_an_asset_of_another_id_is_not_the_one_that_was_queried() -> None:
    step = response(200, {"Id": "asset-2", "Status": "Failed"})
    error = drive_both(FREE["get an asset"], [step]).error
    assert isinstance(error, errors.UnexpectedAnswerError)
    assert "asset-2" in str(error)


def test_a_list_that_ignores_its_filter_contains_only_assets_of_the_group() -> None:
    items = [{"Id": "asset-1", "GroupId": "group-1"}, {"Id": "asset-2", "GroupId": "group-2"}, {"Id": "asset-3"}]
    step = response(200, {"Items": items, "TotalCount": 3})
    run = drive_both(lambda: endpoints.list_assets(group_ids=["group-1"]), [step])
    assert [asset.id for asset in run.result] == ["asset-1", "asset-3"]


def test_a_lost_response_keeps_its_cause() -> None:
    error = drive(BILLED["submit"](), [httpx.ReadTimeout("slow")]).error
    assert error is not None
    assert isinstance(error.__cause__, httpx.ReadTimeout)
    assert "ReadTimeout: slow" in str(error)


@pytest.mark.parametrize("make", BILLED.values(), ids=BILLED.keys())
@pytest.mark.parametrize("body", [{"id": "x1"}, {"Id": "x1"}, {"task_id": "x1"}, {"task_id": "x1", "status": ""}])
def test_a_response_with_an_id_is_accepted_whatever_else_it_contains(
    make: Callable[[], Call[Any]], body: dict[str, Any]
) -> None:
    run = drive_both(make, [response(200, {**body, "error": {"message": "a warning"}})])
    assert run.result == "x1"


def test_the_error_for_a_response_that_is_not_json_names_the_request() -> None:
    error = drive_both(FREE["query"], [response(200, "<html>", **{"X-Oneapi-Request-Id": "r1"})]).error
    assert error is not None
    assert error.request_id == "r1"
    assert "not JSON" in str(error)
    assert "r1" in str(error)


def test_an_empty_response_is_reported_as_empty() -> None:
    assert "an empty response" in str(drive_both(FREE["query"], [response(200, "  ")]).error)


@pytest.mark.parametrize("make", [BILLED["submit"], FREE["query"]], ids=["billed", "free"])
def test_a_redirect_says_where_to_point_the_connection(make: Callable[[], Call[Any]]) -> None:
    step = response(308, Location=f"https://www.anyfast.test/?token={KEY}")
    error = drive_both(make, [step]).error
    assert "redirects to https://www.anyfast.test/?…" in str(error)


@pytest.mark.parametrize(
    "step", [httpx.ConnectError(f"Bearer {KEY}"), httpx.ReadError(f"proxy http://u:p99@host {KEY}")]
)
def test_the_error_of_a_broken_connection_contains_no_secret(step: Exception) -> None:
    message = str(drive_both(FREE["query"], [step]).error)
    assert KEY not in message
    assert "p99" not in message


def test_an_exception_without_a_message_is_reported_by_its_name() -> None:
    assert "ReadTimeout." in str(drive_both(FREE["query"], [httpx.ReadTimeout("")]).error)


def test_a_try_is_logged_with_its_reason_and_its_wait(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        drive(FREE["query"](), [response(429, **{"Retry-After": "30"}), GOOD])
    assert len(caplog.messages) == 1
    assert "HTTP 429" in caplog.messages[0]
    assert "(try 2)" in caplog.messages[0]
    assert KEY not in caplog.text


# What a response proves about a billed call.

UPSTREAM_ASSET = "upstream asset error: "
REFUSED_BY_WORDS: dict[str, tuple[Step, type[errors.AnyFastError]]] = {
    "a wrong face": (
        response(502, {"error": {"message": UPSTREAM_ASSET + "Face consistency verification failed"}}),
        errors.BadRequestError,
    ),
    "too few pixels": (
        response(502, {"error": {"message": UPSTREAM_ASSET + "[***.PixelCountTooSmall] 406x720"}}),
        errors.BadRequestError,
    ),
    "a private face": (
        response(502, {"error": {"code": "FaceMismatch", "message": "x.PrivacyInformation"}}),
        errors.ModerationError,
    ),
    "no group": (
        response(
            502, {"error": {"message": "upstream_error: [NotFound.group_id] The specified asset_group is not found"}}
        ),
        errors.AssetGroupNotFoundError,
    ),
}


@pytest.mark.parametrize(("step", "kind"), REFUSED_BY_WORDS.values(), ids=REFUSED_BY_WORDS.keys())
def test_an_asset_call_refused_in_known_words_is_refused_whatever_the_status(
    step: Step, kind: type[errors.AnyFastError]
) -> None:
    run = drive_both(BILLED["create an asset"], [step, GOOD])
    assert len(run.sent) == 1
    assert type(run.error) is kind


@pytest.mark.parametrize("step", [step for step, _ in REFUSED_BY_WORDS.values()], ids=REFUSED_BY_WORDS.keys())
def test_the_same_words_prove_nothing_about_a_submission(step: Step) -> None:
    assert type(drive_both(BILLED["submit"], [step]).error) is LostAnswerError


@billed
@pytest.mark.parametrize("status", [303, 408, 499, 500, 502, 504, 520, 599])
def test_a_status_that_may_follow_an_accepted_request_proves_nothing(
    make: Callable[[], Call[Any]], status: int
) -> None:
    run = drive_both(make, [response(status, {"error": {"message": "no"}}), GOOD])
    assert len(run.sent) == 1
    assert type(run.error) is LostAnswerError


@billed
def test_an_accepted_call_is_logged_at_once(make: Callable[[], Call[Any]], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        accepted = drive(make(), [response(200, {"id": "asyntask_7"}, **{"X-Oneapi-Request-Id": "r1"})]).result
    assert accepted == "asyntask_7"
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "asyntask_7" in caplog.text
    assert "r1" in caplog.text


def test_a_free_call_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="airflow_provider_anyfast"):
        drive(FREE["query"](), [GOOD])
    assert caplog.messages == []


@pytest.mark.parametrize(
    "body", [{"hello": "asyntask_7"}, {"id": "a/../asyntask_7"}, "see asyntask_7", {"error": "asyntask_7"}]
)
def test_a_response_without_a_usable_id_is_logged(body: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        error = drive(BILLED["submit"](), [response(200, body)]).error
    assert type(error) is LostAnswerError
    assert "asyntask_7" in caplog.text


def test_every_value_of_a_response_can_be_stored() -> None:
    usage = '{"total_tokens": 5, "x": NaN, "y": -Infinity, "z": 1e999, "n": 1' + "0" * 5000 + "}"
    deep = '{"a":' * 200 + "1" + "}" * 200
    links = r'"content": {"last_frame_url": "\thttps://h/f.png\n"}'
    video = rf'{{"model": "a\ud83d\u0000b", "seed": NaN, "usage": {usage}, "duration": 5, "deep": {deep}, {links}}}'
    text = f'{{"data": {{"status": "SUCCESS", "result_url": " https://h/x.mp4 ", "data": {video}}}}}'
    generation = drive_both(FREE["query"], [response(200, text)]).result
    assert (generation.video_url, generation.last_frame_url) == ("https://h/x.mp4", "https://h/f.png")
    assert (generation.model, generation.seed, generation.duration, generation.usage.total_tokens) == (
        "a?b",
        None,
        5,
        5,
    )
    json.dumps(video_result(generation), allow_nan=False).encode()


# What a request contains.


@both
def test_every_request_has_the_key_once_and_names_the_sender(make: Callable[[], Call[Any]]) -> None:
    sent = drive_both(make, [GOOD]).sent[0]
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["user-agent"].startswith("airflow-provider-anyfast")
    assert sent.url.startswith("https://anyfast.test/")


def test_a_body_is_sent_as_json_in_utf_8() -> None:
    sent = drive_both(BILLED["submit"], [GOOD]).sent[0]
    assert json.loads(sent.body.decode()) == BODY
    assert (sent.method, sent.url) == ("POST", "https://anyfast.test/v1/video/generations")


def test_a_get_request_has_no_body() -> None:
    sent = drive_both(FREE["query"], [GOOD]).sent[0]
    assert (sent.method, sent.body) == ("GET", b"")


def test_the_path_of_a_base_url_is_kept() -> None:
    settings = replace(SETTINGS, base_url="http://gateway.test:8080/anyfast")
    assert drive_both(FREE["query"], [GOOD], settings).sent[0].url == (
        "http://gateway.test:8080/anyfast/v1/video/generations/asyntask_1"
    )


def test_every_try_sends_the_whole_file() -> None:
    run = drive_both(an_upload, [response(429), httpx.ConnectError("refused"), GOOD])
    assert len(run.sent) == 3
    for sent in run.sent:
        assert sent.body.count(b"a video") == 1000
        assert b'name="file"; filename="a.mp4"' in sent.body
        assert b"Content-Type: video/mp4" in sent.body
        for name, value in (
            ("GroupId", "group-1"),
            ("Name", "a"),
            ("AssetType", "Video"),
            ("model", "volc-asset-video"),
        ):
            assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in sent.body
        assert b'name="URL"' not in sent.body


def test_only_a_submission_gets_the_long_timeout() -> None:
    assert drive_both(BILLED["submit"], [GOOD]).sent[0].read_timeout == 300.0
    assert drive_both(BILLED["create a group"], [GOOD]).sent[0].read_timeout == 20.0
    assert drive_both(FREE["query"], [GOOD]).sent[0].read_timeout == 20.0


@pytest.mark.parametrize(("timeout", "connect"), [(20.0, 15.0), (5.0, 5.0)])
def test_the_connect_timeout_is_no_longer_than_needed(timeout: float, connect: float) -> None:
    sent = drive_both(BILLED["submit"], [GOOD], replace(SETTINGS, timeout=timeout)).sent[0]
    assert sent.connect_timeout == connect


def test_a_flow_reads_all_of_its_pages() -> None:
    pages: list[Step] = [
        response(200, {"Items": [{"Id": f"asset-{number}"} for number in range(100)], "TotalCount": 101}),
        response(500),
        response(200, {"Items": [{"Id": "asset-100"}], "TotalCount": 101}),
    ]
    run = drive_both(endpoints.list_assets, pages)
    assert [asset.id for asset in run.result] == [f"asset-{number}" for number in range(101)]
    assert [json.loads(sent.body)["PageNumber"] for sent in run.sent] == [1, 2, 2]


def test_an_error_ends_a_flow() -> None:
    error = drive_both(endpoints.list_asset_groups, [response(401, {"error": {"message": "Invalid token"}})]).error
    assert isinstance(error, errors.AuthenticationError)


@pytest.mark.parametrize("make", [BILLED["submit"], FREE["query"]], ids=["billed", "free"])
@table({**AGAIN, **NO_RESPONSE, **SERVER_ERRORS})
def test_send_once_sends_once(make: Callable[[], Call[Any]], step: Step) -> None:
    async def send(service: Service) -> None:
        async with ScriptedAsyncClient(service) as client:
            await client.send_once(make())

    with held_clock() as time:
        service, service_async = Service([step]), Service([step])
        with ScriptedClient(service) as client, pytest.raises(errors.AnyFastError):
            client.send_once(make())
        with pytest.raises(errors.AnyFastError):
            asyncio.run(send(service_async))
    assert len(service.sent) == len(service_async.sent) == 1
    assert time.sleeps == []


@pytest.mark.parametrize(
    "first",
    [
        response(429, **{"retry-after": "7"}),
        response(503, {"error": {"code": "asset_copy_not_ready", "message": "wait"}}),
    ],
    ids=["throttled", "an asset is being copied"],
)
def test_a_guard_surrounds_each_exchange_but_not_the_waits(first: httpx.Response) -> None:
    seen: list[Any] = []

    @contextmanager
    def guard() -> Iterator[None]:
        seen.append(len(time.sleeps))
        try:
            yield
        except errors.AnyFastError as error:
            seen.append(type(error).__name__)
            raise
        finally:
            seen.append(len(time.sleeps))

    with held_clock() as time, ScriptedClient(Service([first, GOOD])) as client:
        assert client.send(BILLED["submit"](), guard) == "asyntask_1"
        (slept,) = {len(time.sleeps)}
    assert slept > 0
    assert [seen[0], *seen[2:]] == [0, 0, slept, slept]


def test_a_guard_that_raises_keeps_the_request_from_being_sent() -> None:
    def guard() -> AbstractContextManager[None]:
        raise errors.LedgerError("The record cannot be written.")

    service = Service([GOOD])
    with held_clock(), ScriptedClient(service) as client, pytest.raises(errors.LedgerError):
        client.send(BILLED["submit"](), guard)
    assert service.sent == []


def test_a_response_is_parsed() -> None:
    task = drive_both(FREE["query"], [response(200, {"data": {"status": "FAILURE"}})]).result
    assert (task.generation_id, task.outcome) == ("asyntask_1", Outcome.FAILED)


def test_the_user_agent_can_be_set() -> None:
    from airflow_provider_anyfast.client.transport import AnyFastClient  # noqa: PLC0415 - here alone

    with AnyFastClient(SETTINGS, "my-tool/1") as client:
        assert client._http.headers["user-agent"] == "my-tool/1"


def test_a_closed_client_sends_nothing() -> None:
    async def send() -> None:
        service = Service([GOOD])
        client = ScriptedAsyncClient(service)
        await client.close()
        await client.send(FREE["query"]())

    client = ScriptedClient(Service([GOOD]))
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.send(FREE["query"]())
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(send())


def test_the_last_response_shows_whether_the_server_is_a_sandbox() -> None:
    here = response(200, {"data": {"status": "QUEUED"}}, **{"X-AnyFast-Sandbox": "1"})
    client = ScriptedClient(Service([here, GOOD]))
    said = [client.is_sandbox]
    for _ in range(2):
        client.send(endpoints.query_generation("asyntask_1"))
        said.append(client.is_sandbox)
    assert said == [False, True, False]
