"""The only module that turns an error response into an exception."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import (
    APIError,
    AssetGroupNotFoundError,
    AssetNotFoundError,
    AssetNotReadyError,
    AuthenticationError,
    BadRequestError,
    GenerationNotFoundError,
    ModelUnavailableError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    RequestTooLargeError,
    Scope,
    ServerError,
)
from airflow_provider_anyfast.client.redact import redact

if TYPE_CHECKING:
    import httpx

    from airflow_provider_anyfast.client.endpoints import Call


@dataclass(frozen=True)
class ErrorResponse:
    """The content of an error response, in any of AnyFast's formats.

    Attributes:
        is_json: whether it is JSON in one of these formats, and not that of something in between.
    """

    status: int
    code: str
    message: str
    request_id: str
    retry_after: float | None
    is_json: bool

    def has(self, *phrases: str) -> bool:
        """Whether the code or the message contains one of ``phrases``, in any case."""
        text = self.text.lower()
        return any(phrase in text for phrase in phrases)

    @property
    def text(self) -> str:
        """Code and message."""
        return f"{self.code} {self.message}"


def error_from_response(response: httpx.Response, call: Call[Any], *secrets: str) -> APIError:
    """The exception for an error response.

    Args:
        response: an error response whose body has been read.
        call: the call that it responds to; some words mean a refusal for some calls only.
        secrets: values that must not appear in the message.
    """
    error = parse_error_response(response)
    message = with_english(redact(error.message, *secrets).rstrip(" .。")) or "an empty response"
    code = f" [{redact(error.code, *secrets)}]" if error.code else ""
    request = f" (request id {error.request_id})" if error.request_id and error.request_id not in message else ""
    return _class_of(error, call)(
        f"{call.name}: AnyFast returned HTTP {error.status}{code}: {message}{request}.",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        retry_after=error.retry_after,
    )


def with_english(text: str) -> str:
    """``text``, with a translation of the Chinese phrases that AnyFast's gateway is known to send."""
    meanings = [english for chinese, english in _CHINESE.items() if chinese in text]
    return f'{text} (in English: "{"; ".join(meanings)}")' if meanings else text


_CHINESE = {
    "用户额度不足": "the account's balance is too low",
    "令牌额度已用尽": "the API key's quota is used up",
    "令牌额度不足": "the API key's quota is too low",
    "无效的令牌": "the API key is not valid",
    "令牌已过期": "the API key has expired",
    "令牌状态不可用": "the API key is disabled",
    "用户已被封禁": "the account is banned",
    "无权访问": "no access to this group",
    "您已达到请求数限制": "you have reached the request limit",
    "分组上游负载已饱和": "the models of your group are saturated; try again later",
    "无可用渠道": "no channel offers this model to your group",
    "请求上游地址失败": "the gateway could not reach the model",
    "任务超时": "the generation timed out",
}
"""Phrases of new-api, the gateway software that AnyFast uses."""


def is_known_refusal(error: ErrorResponse, call: Call[Any]) -> bool:
    """Whether the words are known as a refusal of ``call``, although the HTTP status proves nothing.

    For 5xx, and for 2xx with an error in place of an id.
    """
    if not error.is_json:
        return False
    by_words = _at_any_status(error, call) or (None if error.status >= _SERVER_ERRORS else _by_words(error))
    return by_words is not None and not came_after_acceptance(error)


def came_after_acceptance(error: ErrorResponse) -> bool:
    """Whether the gateway may have failed after the upstream had accepted a submission.

    A gateway's settings can replace the HTTP status of an error, so this holds for each of them.
    """
    return error.is_json and error.has(*_AFTER_ACCEPTANCE)


_AFTER_ACCEPTANCE = (
    "do_request_failed",
    "invalid_response",
    "unmarshal_response_body_failed",
    "read_response_body_failed",
    "task_not_exist",
    "task does not exist",
    "task not found",
)
"""Codes of new-api after which an upstream task may exist, and a new task that the gateway itself does not find."""


def parse_error_response(response: httpx.Response) -> ErrorResponse:
    """Reads the three JSON formats, JSON inside ``message``, HTML and an empty body."""
    body = decode(response.text)
    code, message = code_and_message(body) if isinstance(body, dict) else ("", _plain_text(response))
    return ErrorResponse(
        status=response.status_code,
        code=code,
        message=message,
        request_id=response.headers.get("x-oneapi-request-id", ""),
        retry_after=_retry_after(response.headers.get("retry-after", "")),
        is_json=isinstance(body, dict) and _is_anyfasts(body) and bool(code or message),
    )


def _is_anyfasts(body: dict[str, Any]) -> bool:
    """Whether a body has one of AnyFast's formats; API gateways, ingresses and firewalls send others."""
    inner = body.get("error") or body.get("Error") or body.get("ResponseMetadata")
    return isinstance(inner, dict) or (isinstance(body.get("code"), str) and isinstance(body.get("message"), str))


def code_and_message(body: Any) -> tuple[str, str]:
    """The innermost code and message of a decoded error body; empty strings where there are none."""
    if not isinstance(body, dict):
        return "", str(body or "")
    metadata = body.get("ResponseMetadata")
    inner = (
        body.get("error") or body.get("Error") or (metadata or {} if isinstance(metadata, dict) else {}).get("Error")
    )
    if isinstance(inner, dict):
        return code_and_message(inner)
    code = str(body.get("code") or body.get("Code") or body.get("type") or "")
    message = str(body.get("message") or body.get("Message") or inner or "")
    nested = decode(message)
    if isinstance(nested, dict):
        inner_code, inner_message = code_and_message(nested)
        return inner_code or code, inner_message or message
    return code, message


def is_moderation(code: str, message: str) -> bool:
    """Whether the content policy caused an error.

    A code also matches by its last part, since the gateway masks dotted codes (``***.PrivacyInformation``).
    """
    return bool(_MODERATION.search(f"{code} {message}"))


def is_bad_parameter(code: str, message: str) -> bool:
    """Whether an error says that these parameters or this file are never accepted."""
    return bool(_BAD_PARAMETER.search(f"{code} {message}"))


_MODERATION = re.compile(
    r"SensitiveContentDetected|RiskDetection|\.PrivacyInformation|ContentRestricted|PolicyViolation"
    r"|sensitive (?:information|content)|content policy|copyright|contains? (?:an? )?real person",
    re.IGNORECASE,
)
_UNUSABLE_MEDIA = (
    r"(?:PixelCount|Width|Height|AspectRatio|Duration|FileSize|Fps)Too\w+|TypeMismatch|FaceMismatch"
    r"|Format(?:Unsupported|Undetectable)|AudioTrack(?:Required|Forbidden)"
)
"""Last parts of the upstream's codes for an unusable file; the gateway may mask the part before a dot."""
_BAD_PARAMETER = re.compile(
    rf"InvalidParameter|MissingParameter|InvalidArgument|Unsupported|{_UNUSABLE_MEDIA}", re.IGNORECASE
)
_BAD_FILE = re.compile(
    rf"{_UNUSABLE_MEDIA}|DownloadFailed|TranscodingFailed|Face consistency verification failed", re.IGNORECASE
)
_HTML = re.compile(r"(?is)<(?:style|script)\b.*?</(?:style|script)>|<[^<>]+>")
_LONGEST_PAGE = 16 * 1024
"""Characters of a page that are read; the pattern above takes quadratic time on a hostile one."""


_SERVER_ERRORS = 500
_STATUS_DECIDES = (401, 413)
"""HTTP statuses that decide the class of the error, whatever the words."""
_NO_MONEY = (
    "insufficient_user_quota",
    "insufficient_quota",
    "pre_consume_token_quota_failed",
    "accountoverdue",
    "setlimitexceeded",
    "insufficient balance",
    "额度不足",
    "余额不足",
)
"""Phrases for an account that is empty or has reached the limit that its owner set."""


def _class_of(error: ErrorResponse, call: Call[Any]) -> type[APIError]:
    """The class of the exception. Whatever is wrong with a request that is only an id, is wrong with the id."""
    found = _class_of_any(error, call)
    concerns_request = found is NotFoundError or (found.scope is Scope.ROW and not found.retryable)
    if call.unknown is None or found is ModerationError or not concerns_request:
        return found
    return call.unknown


def _class_of_any(error: ErrorResponse, call: Call[Any]) -> type[APIError]:
    """By the words of AnyFast's own JSON, or by the status alone where there are none or they prove nothing."""
    status = error.status
    if not error.is_json or status in _STATUS_DECIDES:
        return _by_status(status)
    if status == 429:  # noqa: PLR2004 - an HTTP status
        return QuotaError if error.has(*_NO_MONEY) else RateLimitError
    if status >= _SERVER_ERRORS:
        return _at_any_status(error, call) or ServerError
    return _at_any_status(error, call) or _by_words(error) or _by_status(status)


def _at_any_status(error: ErrorResponse, call: Call[Any]) -> type[APIError] | None:
    """The class of a refusal whose words are clear whatever the status; None for any other."""
    status = error.status
    if status == 503 and error.has("asset_copy_not_ready"):  # noqa: PLR2004 - an HTTP status
        return AssetNotReadyError
    if error.has("model_not_found", "no available channel") and status in (400, 404, 503):
        return ModelUnavailableError
    if status >= _SERVER_ERRORS and not call.refused_by_5xx:
        return None  # the gateway may have failed after doing a part of the work
    if error.has("notfound.group_id") or (error.has("asset_group") and error.has("not found")):
        return AssetGroupNotFoundError
    if _BAD_FILE.search(error.text):
        return ModerationError if is_moderation(error.code, error.message) else BadRequestError
    return None


def _by_words(error: ErrorResponse) -> type[APIError] | None:
    """The class of a refusal by its words; None if they are not known."""
    if is_moderation(error.code, error.message):
        return ModerationError
    if error.has("asset") and error.has("not found"):
        return AssetNotFoundError
    classes = (each for phrases, each in _BY_PHRASE.items() if error.has(*phrases))
    return next(classes, BadRequestError if is_bad_parameter(error.code, error.message) else None)


_BY_PHRASE: dict[tuple[str, ...], type[APIError]] = {
    ("still processing", "invalid url scheme"): AssetNotReadyError,
    ("endpoint not available",): ModelUnavailableError,
    ("notfound.asset_id",): AssetNotFoundError,
    ("task_not_exist", "task does not exist", "task not found"): GenerationNotFoundError,
    _NO_MONEY: QuotaError,
}


def _by_status(status: int) -> type[APIError]:
    # An error inside a 2xx response is a failure of the service, unless its words say otherwise.
    other = ServerError if status >= _SERVER_ERRORS or status < 300 else BadRequestError  # noqa: PLR2004 - an HTTP status
    return _BY_STATUS.get(status, other)


_BY_STATUS: dict[int, type[APIError]] = {
    401: AuthenticationError,
    402: QuotaError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ServerError,
    413: RequestTooLargeError,
    429: RateLimitError,
    499: ServerError,
}


def _plain_text(response: httpx.Response) -> str:
    text = response.text.strip()[:_LONGEST_PAGE]
    if "html" not in response.headers.get("content-type", "").lower() and not text.startswith("<"):
        return text
    words = _HTML.sub(" ", text).split()
    half = len(words) // 2
    # A page repeats its title in its heading.
    return " ".join(words[:half] if half and words[:half] == words[half : 2 * half] else words)


def decode(text: str) -> Any:
    """The JSON object or array in ``text``, or None."""
    text = text.strip()
    if text[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _retry_after(value: str) -> float | None:
    """Seconds of a ``Retry-After`` header, given as seconds or as a date."""
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - clock.now())
    except (ValueError, TypeError, OverflowError):
        return None
