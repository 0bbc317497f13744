"""The one place where an error response becomes an exception."""

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
    ServerError,
)
from airflow_provider_anyfast.client.redact import redact

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class ErrorResponse:
    """What an error answer says, whichever of AnyFast's shapes it has."""

    status: int
    code: str
    message: str
    request_id: str
    retry_after: float | None
    is_json: bool

    def has(self, *phrases: str) -> bool:
        """Whether the code or the message contains one of ``phrases``, in any case."""
        text = f"{self.code} {self.message}".lower()
        return any(phrase in text for phrase in phrases)


def error_from_response(response: httpx.Response, call: str, *secrets: str) -> APIError:
    """The one exception that an error answer becomes.

    Args:
        response: an answer whose body has been read and whose status is not 2xx.
        call: the name of the call, for the message.
        secrets: values that must not appear in the message.
    """
    refusal = parse_error_response(response)
    kind = _kind_of(refusal)
    said = with_english(redact(refusal.message, *secrets)) or "an empty answer"
    code = f" [{redact(refusal.code, *secrets)}]" if refusal.code else ""
    request = f" (request id {refusal.request_id})" if refusal.request_id and refusal.request_id not in said else ""
    return kind(
        f"{call}: AnyFast answered HTTP {refusal.status}{code}: {said}{request}",
        status=refusal.status,
        code=refusal.code,
        request_id=refusal.request_id,
        retry_after=refusal.retry_after,
    )


def parse_error_response(response: httpx.Response) -> ErrorResponse:
    """Reads the three JSON shapes, JSON inside ``message``, HTML and an empty body alike."""
    body = decode(response.text)
    code, message = code_and_message(body) if isinstance(body, dict) else ("", _plain_text(response))
    return ErrorResponse(
        status=response.status_code,
        code=code,
        message=message,
        request_id=response.headers.get("x-oneapi-request-id", ""),
        retry_after=_retry_after(response.headers.get("retry-after", "")),
        is_json=isinstance(body, dict),
    )


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


def with_english(text: str) -> str:
    """``text``, and what it means in English where it holds Chinese that AnyFast's gateway is known to send."""
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
"""Phrases of new-api, the gateway that AnyFast is built on (contract 4.2)."""


def is_moderation(code: str, message: str) -> bool:
    """Whether an error is the content policy's.

    Codes are matched by their end too, since the gateway masks dotted ones (``***.PrivacyInformation``).
    """
    return bool(_MODERATION.search(f"{code} {message}"))


def is_bad_parameter(code: str, message: str) -> bool:
    """Whether an error says that these parameters or this media will never do."""
    return bool(_BAD_PARAMETER.search(f"{code} {message}"))


_MODERATION = re.compile(
    r"SensitiveContentDetected|\.PrivacyInformation|ContentRestricted|PolicyViolation"
    r"|sensitive (?:information|content)|content policy|copyright",
    re.IGNORECASE,
)
_BAD_PARAMETER = re.compile(
    r"InvalidParameter|MissingParameter|InvalidArgument|Unsupported"
    r"|(?:PixelCount|Width|Height|AspectRatio|Duration|FileSize|Fps)Too\w+",
    re.IGNORECASE,
)
_HTML = re.compile(r"(?is)<(?:style|script)\b.*?</(?:style|script)>|<[^>]+>")


def _kind_of(refusal: ErrorResponse) -> type[APIError]:
    """By the words of AnyFast's own JSON where it refuses, and by the status alone where that proves nothing."""
    status = refusal.status
    if not refusal.is_json or status in (401, 413, 429):
        return _by_status(status)
    if status == 503 and refusal.has("asset_copy_not_ready"):  # noqa: PLR2004 - an HTTP status
        return AssetNotReadyError
    if refusal.has("model_not_found", "no available channel") and status in (400, 404, 503):
        return ModelUnavailableError
    if refusal.has("notfound.group_id") or (refusal.has("asset_group") and refusal.has("not found")):
        return AssetGroupNotFoundError
    return _by_status(status) if status >= 500 else _refused(refusal)  # noqa: PLR2004 - HTTP's server errors


def _refused(refusal: ErrorResponse) -> type[APIError]:
    """What AnyFast has looked at and not accepted."""
    if is_moderation(refusal.code, refusal.message):
        return ModerationError
    if refusal.has("asset") and refusal.has("not found"):
        return AssetNotFoundError
    for phrases, kind in _BY_PHRASE.items():
        if refusal.has(*phrases):
            return kind
    return _by_status(refusal.status)


_BY_PHRASE: dict[tuple[str, ...], type[APIError]] = {
    ("still processing", "invalid url scheme"): AssetNotReadyError,
    ("endpoint not available",): ModelUnavailableError,
    ("notfound.asset_id",): AssetNotFoundError,
    ("task_not_exist", "task does not exist", "task not found"): GenerationNotFoundError,
    ("insufficient_user_quota", "pre_consume_token_quota_failed", "accountoverdue"): QuotaError,
}


def _by_status(status: int) -> type[APIError]:
    return _BY_STATUS.get(status, ServerError if status >= 500 else BadRequestError)  # noqa: PLR2004 - likewise


_BY_STATUS: dict[int, type[APIError]] = {
    401: AuthenticationError,
    402: QuotaError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ServerError,
    413: RequestTooLargeError,
    429: RateLimitError,
}


def _plain_text(response: httpx.Response) -> str:
    text = response.text.strip()
    if "html" in response.headers.get("content-type", "").lower() or text.startswith("<"):
        return " ".join(_HTML.sub(" ", text).split())
    return text


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
