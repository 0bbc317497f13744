"""An error response in any format becomes one exception that quotes AnyFast's message."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyfast.client import errors
from airflow_provider_anyfast.client.endpoints import Call
from airflow_provider_anyfast.client.error_parsing import code_and_message, error_from_response, parse_error_response
from airflow_provider_anyfast.client.errors import APIError

if TYPE_CHECKING:
    from tests.support.clock import FakeClock

Body = dict[str, Any]

THE_CALL = Call("the call", "GET", "/", parse=str)


def refused(status: int, body: Body | str = "", **headers: str) -> APIError:
    text = body if isinstance(body, str) else json.dumps(body)
    return error_from_response(httpx.Response(status, text=text, headers=headers), THE_CALL)


def shape_a(message: str, *, code: str = "", kind: str = "new_api_error") -> Body:
    """The error format of authentication, routing and most asset calls."""
    return {"error": {"message": message, "type": kind, "code": code}}


def shape_b(code: str, message: str) -> Body:
    """The upstream's refusal of a submission: its body as text inside the gateway's."""
    upstream = {"error": {"code": code, "message": message, "type": "BadRequest"}}
    return {"code": "fail_to_fetch_task", "message": json.dumps(upstream), "data": None}


def shape_c(code: str, message: str) -> Body:
    """The gateway's own refusal on task routes."""
    return {"code": code, "message": message, "data": None}


REFUSALS: dict[str, tuple[int, Body | str, type[APIError], str, str]] = {
    # Submitting a generation.
    "a bad parameter": (
        400,
        shape_b("InvalidParameter.Duration", "duration 99 is not supported"),
        errors.BadRequestError,
        "InvalidParameter.Duration",
        "duration 99 is not supported",
    ),
    "an asset of another key": (
        400,
        shape_b("InvalidParameter", "The specified asset asset-20260320120147-pqwhc is not found"),
        errors.AssetNotFoundError,
        "InvalidParameter",
        "asset-20260320120147-pqwhc is not found",
    ),
    "an asset in processing": (
        400,
        shape_b("InvalidParameter", "asset is still processing and is not available yet"),
        errors.AssetNotReadyError,
        "InvalidParameter",
        "still processing",
    ),
    "an asset whose link is not synced": (
        400,
        shape_b("InvalidParameter", "invalid url scheme"),
        errors.AssetNotReadyError,
        "InvalidParameter",
        "invalid url scheme",
    ),
    "moderated text": (
        400,
        shape_b("InputTextSensitiveContentDetected", "The prompt was refused"),
        errors.ModerationError,
        "InputTextSensitiveContentDetected",
        "The prompt was refused",
    ),
    "a real face": (
        400,
        shape_b("InputImageSensitiveContentDetected.PrivacyInformation", "content[1] may show a real person"),
        errors.ModerationError,
        "InputImageSensitiveContentDetected.PrivacyInformation",
        "content[1]",
    ),
    "a real face, masked": (
        400,
        shape_b("***.PrivacyInformation", "refused"),
        errors.ModerationError,
        "***.PrivacyInformation",
        "refused",
    ),
    "a moderated video": (
        400,
        shape_b("InputVideoSensitiveContentDetected", "refused"),
        errors.ModerationError,
        "InputVideoSensitiveContentDetected",
        "refused",
    ),
    "moderated audio": (
        400,
        shape_b("InputAudioSensitiveContentDetected", "refused"),
        errors.ModerationError,
        "InputAudioSensitiveContentDetected",
        "refused",
    ),
    "a moderated result": (
        400,
        shape_b("OutputVideoSensitiveContentDetected", "refused"),
        errors.ModerationError,
        "OutputVideoSensitiveContentDetected",
        "refused",
    ),
    "no prompt": (
        400,
        shape_c("invalid_request", "prompt is required"),
        errors.BadRequestError,
        "invalid_request",
        "prompt is required",
    ),
    "no model name": (
        400,
        shape_a("Model name not specified"),
        errors.BadRequestError,
        "new_api_error",
        "Model name not specified",
    ),
    "a wrong key": (
        401,
        shape_a("Invalid token (request id: 2026)"),
        errors.AuthenticationError,
        "new_api_error",
        "Invalid token",
    ),
    "a key as the documentation prints its refusal": (
        401,
        shape_a("Invalid API key", code="invalid_api_key", kind="authentication_error"),
        errors.AuthenticationError,
        "invalid_api_key",
        "Invalid API key",
    ),
    "no key": (
        401,
        {"error": {"message": "No token provided"}},
        errors.AuthenticationError,
        "",
        "No token provided",
    ),
    "a forbidden address": (
        403,
        shape_a("Your IP is not allowed", code="access_denied"),
        errors.PermissionDeniedError,
        "access_denied",
        "Your IP is not allowed",
    ),
    "no money": (
        403,
        shape_c("insufficient_user_quota", "用户额度不足"),
        errors.QuotaError,
        "insufficient_user_quota",
        "用户额度不足",
    ),
    "no quota left for the key": (
        403,
        shape_c("pre_consume_token_quota_failed", "token quota is not enough"),
        errors.QuotaError,
        "pre_consume_token_quota_failed",
        "token quota is not enough",
    ),
    "the upstream's own account": (
        403,
        shape_b("AccountOverdueError", "The account is overdue"),
        errors.QuotaError,
        "AccountOverdueError",
        "The account is overdue",
    ),
    "payment required": (402, "", errors.QuotaError, "", "an empty response"),
    "a wrong path": (
        404,
        {"error": {"message": "Invalid URL (POST /x)", "type": "invalid_request_error", "param": "", "code": ""}},
        errors.NotFoundError,
        "invalid_request_error",
        "Invalid URL (POST /x)",
    ),
    "a plan without the model": (
        404,
        shape_a("endpoint not available"),
        errors.ModelUnavailableError,
        "new_api_error",
        "endpoint not available",
    ),
    "a body too large": (
        413,
        shape_c("read_request_body_failed", "http: request body too large"),
        errors.RequestTooLargeError,
        "read_request_body_failed",
        "request body too large",
    ),
    "too many requests": (
        429,
        shape_a("您已达到请求数限制：1分钟内最多请求10次"),
        errors.RateLimitError,
        "new_api_error",
        "请求数限制",
    ),
    "a saturated group": (
        429,
        shape_c("fail_to_fetch_task", "当前分组上游负载已饱和，请稍后再试"),
        errors.RateLimitError,
        "fail_to_fetch_task",
        "负载已饱和",
    ),
    "a saturated upstream": (
        429,
        shape_b("QuotaExceeded", "too many queued tasks"),
        errors.RateLimitError,
        "QuotaExceeded",
        "too many queued tasks",
    ),
    "the address limiter": (429, "", errors.RateLimitError, "", "an empty response"),
    "a server timeout": (408, "", errors.ServerError, "", "an empty response"),
    "a failed relay": (
        500,
        shape_c("do_request_failed", "请求上游地址失败"),
        errors.ServerError,
        "do_request_failed",
        "请求上游地址失败",
    ),
    "no channel": (
        500,
        shape_c("get_channel_failed", "no channel"),
        errors.ServerError,
        "get_channel_failed",
        "no channel",
    ),
    "an upstream response without an id": (
        500,
        shape_c("invalid_response", "task_id is empty"),
        errors.ServerError,
        "invalid_response",
        "task_id is empty",
    ),
    "an upstream response that is not JSON": (
        500,
        shape_c("unmarshal_response_body_failed", "invalid character '<'"),
        errors.ServerError,
        "unmarshal_response_body_failed",
        "invalid character",
    ),
    "a bad gateway": (502, "", errors.ServerError, "", "an empty response"),
    "a gateway timeout": (504, "<html><body>504 Gateway Time-out</body></html>", errors.ServerError, "", "504 Gateway"),
    "an overloaded service": (503, "Service Unavailable", errors.ServerError, "", "Service Unavailable"),
    "a model of another group": (
        503,
        shape_a("No available channel for model seedance-2.5 under group default", code="model_not_found"),
        errors.ModelUnavailableError,
        "model_not_found",
        "No available channel for model seedance-2.5",
    ),
    "an asset that is being copied": (
        503,
        shape_c("asset_copy_not_ready", 'asset "x" copy on channel 391 is not ready (status="Processing")'),
        errors.AssetNotReadyError,
        "asset_copy_not_ready",
        "copy on channel 391 is not ready",
    ),
    # Assets and groups.
    "a group type that the key may not make": (
        400,
        shape_a("GroupType must be one of [AIGC]"),
        errors.BadRequestError,
        "new_api_error",
        "GroupType must be one of [AIGC]",
    ),
    "a list without a group type": (
        400,
        shape_a("GroupType is missing"),
        errors.BadRequestError,
        "new_api_error",
        "GroupType is missing",
    ),
    "too few pixels": (
        400,
        shape_a("[***.PixelCountTooSmall] The video has too few pixels", kind="upstream_error"),
        errors.BadRequestError,
        "upstream_error",
        "[***.PixelCountTooSmall]",
    ),
    "a missing callback": (
        400,
        shape_a("[***.CallbackURL] The required parameter CallbackURL is missing."),
        errors.BadRequestError,
        "new_api_error",
        "CallbackURL is missing",
    ),
    "a missing group": (
        404,
        shape_a("upstream_error: [NotFound.group_id] The specified asset_group group-1 is not found."),
        errors.AssetGroupNotFoundError,
        "new_api_error",
        "[NotFound.group_id]",
    ),
    "a new group": (
        400,
        shape_a("upstream_error: [NotFound.group_id] The specified asset_group group-1 is not found."),
        errors.AssetGroupNotFoundError,
        "new_api_error",
        "[NotFound.group_id]",
    ),
    "a missing asset": (
        404,
        shape_a("upstream_error: [NotFound.asset_id] The specified asset asset-1 is not found."),
        errors.AssetNotFoundError,
        "new_api_error",
        "[NotFound.asset_id]",
    ),
    "another face": (
        502,
        shape_a("upstream asset error: Face consistency verification failed"),
        errors.ServerError,
        "new_api_error",
        "Face consistency verification failed",
    ),
    "a bad name of a group": (
        400,
        shape_a("asset_group.Name is longer than 64 characters"),
        errors.BadRequestError,
        "new_api_error",
        "asset_group.Name is longer",
    ),
    # Querying a generation.
    "an unknown generation, as documented": (
        404,
        shape_a("task does not exist"),
        errors.GenerationNotFoundError,
        "new_api_error",
        "task does not exist",
    ),
    "an unknown generation, as the gateway reports it": (
        400,
        shape_c("task_not_exist", "task_not_exist"),
        errors.GenerationNotFoundError,
        "task_not_exist",
        "task_not_exist",
    ),
    "an unknown generation of another route": (
        404,
        shape_a("Task not found"),
        errors.GenerationNotFoundError,
        "new_api_error",
        "Task not found",
    ),
    # Formats.
    "the upstream's own envelope": (
        400,
        {"ResponseMetadata": {"RequestId": "r", "Error": {"Code": "InvalidParameter", "Message": "Name is empty"}}},
        errors.BadRequestError,
        "InvalidParameter",
        "Name is empty",
    ),
    "an error as a text": (400, {"error": "no such thing"}, errors.BadRequestError, "", "no such thing"),
    "an error in an error": (
        400,
        {"error": {"error": {"code": "InvalidParameter", "message": "deep"}}},
        errors.BadRequestError,
        "InvalidParameter",
        "deep",
    ),
    "JSON inside JSON inside JSON": (
        400,
        shape_c("outer", json.dumps(shape_b("InvalidParameter", "innermost"))),
        errors.BadRequestError,
        "InvalidParameter",
        "innermost",
    ),
    "JSON inside a message, without a text of its own": (
        400,
        shape_c("fail_to_fetch_task", '{"request_id": "r"}'),
        errors.BadRequestError,
        "fail_to_fetch_task",
        '{"request_id": "r"}',
    ),
    "text that only looks like JSON": (400, "{nothing", errors.BadRequestError, "", "{nothing"),
    "a list": (400, '["nothing"]', errors.BadRequestError, "", '["nothing"]'),
    "a page of a proxy": (
        403,
        "<html><head><style>p {color: red}</style></head><body><h1>Access\n denied</h1></body></html>",
        errors.PermissionDeniedError,
        "",
        "Access denied",
    ),
    "a text": (418, "I am a teapot", errors.BadRequestError, "", "I am a teapot"),
}


@pytest.mark.parametrize(("status", "body", "kind", "code", "says"), REFUSALS.values(), ids=REFUSALS.keys())
def test_each_refusal_has_its_own_exception(
    status: int, body: Body | str, kind: type[APIError], code: str, says: str
) -> None:
    error = refused(status, body)
    assert type(error) is kind
    assert error.status == status
    assert error.code == code
    assert says in str(error)
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize(
    "text",
    [
        "<html><body>Your request is still processing</body></html>",
        "<html><body>Bad gateway. Copyright 2026, the proxy</body></html>",
        "<html><body>The asset /logo.png was not found</body></html>",
        "upstream asset server not found",
        "request is still processing",
        '{"error": {"message": "the upload is still processing, and timed out"}}',
        '{"code": "asset_copy_not_ready", "message": "of a gateway that should have said 503"}',
    ],
)
def test_the_words_of_a_server_error_never_make_it_a_refusal(status: int, text: str) -> None:
    assert type(refused(status, text)) is errors.ServerError


@pytest.mark.parametrize("status", [503, 403])
def test_words_in_the_footer_of_a_page_are_not_moderation(status: int) -> None:
    assert not isinstance(refused(status, "<html>Closed. Copyright 2026</html>"), errors.ModerationError)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, shape_c("insufficient_quota", "You exceeded your current quota"), errors.QuotaError),
        (429, shape_b("SetLimitExceeded", "The account has reached its set limit"), errors.QuotaError),
        (429, shape_b("QuotaExceeded", "too many queued tasks"), errors.RateLimitError),
        (403, shape_a("用户额度不足"), errors.QuotaError),
        (403, shape_a("no access to group vip"), errors.PermissionDeniedError),
        (400, shape_b("InputTextRiskDetection", "refused"), errors.ModerationError),
        (400, shape_b("OutputImageRiskDetection", "refused"), errors.ModerationError),
        (400, shape_b("x", "The input image may contain real person."), errors.ModerationError),
        (200, shape_a("the gateway has a problem"), errors.ServerError),
        (499, "", errors.ServerError),
    ],
)
def test_quota_moderation_and_server_errors_are_recognized_by_their_words(
    status: int, body: Body | str, kind: type[APIError]
) -> None:
    assert type(refused(status, body)) is kind


def test_a_page_that_repeats_its_title_is_quoted_once() -> None:
    assert "HTTP 403: Blocked." in str(refused(403, "<html><body>Blocked</body></html>"))
    page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
    assert refused(502, page).what == "the call: AnyFast returned HTTP 502: 502 Bad Gateway."


def test_a_quoted_sentence_ends_with_one_period() -> None:
    assert refused(500, shape_c("x", "internal error.")).what.endswith("internal error.")


def test_no_control_character_of_the_service_reaches_a_message() -> None:
    text = str(refused(400, shape_c("a\x1b[31m", "red\x1b[0m\nforged log line\x00\u202e\x9b")).what)
    assert all(character.isprintable() for character in text)


def test_a_refusal_names_the_call_the_status_and_the_code() -> None:
    assert refused(403, shape_c("insufficient_user_quota", "no money")).what == (
        "the call: AnyFast returned HTTP 403 [insufficient_user_quota]: no money."
    )


def test_a_refusal_in_chinese_is_quoted_and_translated() -> None:
    text = str(refused(403, shape_c("insufficient_user_quota", "用户额度不足, 剩余额度: 0")))
    assert "用户额度不足, 剩余额度: 0" in text
    assert "the account's balance is too low" in text


def test_a_message_contains_the_request_id() -> None:
    error = refused(500, "broken", **{"X-Oneapi-Request-Id": "20260427"})
    assert error.request_id == "20260427"
    assert error.what.endswith("broken (request id 20260427).")


def test_a_request_id_that_is_already_in_the_message_is_not_repeated() -> None:
    error = refused(401, shape_a("Invalid token (request id: 20260427)"), **{"X-Oneapi-Request-Id": "20260427"})
    assert str(error).count("20260427") == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("", None),
        ("soon", None),
        ("Mon, 99 Jan 2026 00:00:00 GMT", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("Mon, 99999999999999999999 Jan 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds(header: str, seconds: float | None) -> None:
    assert refused(429, "", **{"Retry-After": header}).retry_after == seconds


def test_retry_after_is_read_as_a_date(fake_clock: FakeClock) -> None:
    assert refused(429, "", **{"Retry-After": formatdate(fake_clock.now() + 90, usegmt=True)}).retry_after == 90.0


def test_a_retry_after_in_the_past_means_no_wait(fake_clock: FakeClock) -> None:
    assert refused(429, "", **{"Retry-After": formatdate(fake_clock.now() - 90, usegmt=True)}).retry_after == 0.0


def test_a_response_without_retry_after_has_no_wait() -> None:
    assert refused(503).retry_after is None


@given(st.text(max_size=40))
def test_any_retry_after_is_seconds_or_none(header: str) -> None:
    try:
        response = httpx.Response(429, headers={"Retry-After": header})
    except ValueError:  # not a header at all
        return
    seconds = parse_error_response(response).retry_after
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("text", ["[" * 100_000, '{"error":' * 100_000, '{"error":' * 200 + "{}" + "}" * 200])
def test_a_deeply_nested_response_is_also_a_refusal(text: str) -> None:
    assert type(refused(400, text)) is errors.BadRequestError


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "Error", "message", "code", "type", "ResponseMetadata"]) | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(status=st.sampled_from([400, 401, 403, 404, 418, 429, 500, 503]), body=JSON)
def test_any_error_response_becomes_an_api_error(status: int, body: Any) -> None:
    error = refused(status, json.dumps(body))
    assert isinstance(error, APIError)
    assert error.status == status
    assert str(error)


@pytest.mark.parametrize("body", [None, "", [], 0, {}])
def test_an_empty_error_has_no_code_and_message(body: Any) -> None:
    assert code_and_message(body) == ("", "")


def test_a_sentence_can_be_added_to_an_error_that_keeps_its_facts() -> None:
    cause = OSError("cause")
    error = errors.RateLimitError(
        "Slow down.", status=429, code="c", request_id="r", retry_after=3.0, generation_id="asyntask_1"
    )
    error.__cause__ = cause
    longer = error.with_context("All channels are busy.")
    assert type(longer) is errors.RateLimitError
    assert longer.what == "Slow down. All channels are busy."
    assert {**longer.__dict__, "what": error.what} == error.__dict__
    assert longer.__cause__ is cause


RETRYABLE = {
    errors.LedgerError,
    errors.ConnectionFailedError,
    errors.NoAnswerError,
    errors.UnexpectedAnswerError,
    errors.LostAnswerError,
    errors.AssetNotReadyError,
    errors.RateLimitError,
    errors.ServerError,
    errors.AssetTimeoutError,
    errors.GenerationFailedError,
    errors.GenerationTimeoutError,
    errors.WaitInterruptedError,
    errors.DownloadError,
}
FINAL = {
    errors.ConfigurationError,
    errors.InvalidRequestError,
    errors.LostSubmissionError,
    errors.BadRequestError,
    errors.ModerationError,
    errors.AuthenticationError,
    errors.PermissionDeniedError,
    errors.QuotaError,
    errors.NotFoundError,
    errors.AssetGroupNotFoundError,
    errors.AssetNotFoundError,
    errors.GenerationNotFoundError,
    errors.ModelUnavailableError,
    errors.RequestTooLargeError,
    errors.AssetFailedError,
    errors.GenerationRejectedError,
    errors.LinkExpiredError,
}


@pytest.mark.parametrize("kind", sorted(RETRYABLE | FINAL, key=str))
def test_an_error_is_retryable_only_if_another_try_can_help(kind: type[errors.AnyFastError]) -> None:
    assert kind("x").retryable is (kind in RETRYABLE)
