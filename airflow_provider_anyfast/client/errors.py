"""Every way in which AnyFast can fail, and the one place where a response becomes an exception.

::

    AnyFastError
    ├── ConfigurationError             a value of the connection is missing or malformed
    ├── InvalidRequestError            bad input, found before anything was sent
    ├── LedgerError                    what was paid for could not be read or written down
    ├── StorageError                   a file could not be read from, or put into, the team's own storage
    ├── ConnectionFailedError          AnyFast could not be reached; nothing was sent
    ├── NoAnswerError                  sent, but no answer came, or only one of something in between
    ├── UnexpectedAnswerError          a 2xx answer that cannot be understood
    ├── LostAnswerError                a billed call whose answer is unknown: money may have been spent
    │   └── LostSubmissionError        the same of a generation, which AnyFast gives no way to find again
    ├── APIError                       AnyFast refused
    │   ├── BadRequestError
    │   ├── ModerationError            the content policy, at submit or after rendering
    │   ├── AuthenticationError
    │   ├── PermissionDeniedError
    │   ├── QuotaError
    │   ├── NotFoundError
    │   │   ├── AssetGroupNotFoundError
    │   │   ├── AssetNotFoundError
    │   │   └── GenerationNotFoundError
    │   ├── ModelUnavailableError
    │   ├── RequestTooLargeError
    │   ├── AssetNotReadyError
    │   ├── RateLimitError
    │   └── ServerError
    ├── AssetFailedError               AnyFast could not use the uploaded file
    ├── AssetTimeoutError              the asset was not Active in time
    ├── GenerationFailedError          rendering failed; another try may succeed
    │   └── GenerationRejectedError    rendering refused these parameters; another try will not help
    ├── GenerationTimeoutError         the video was not ready in time, and is still being made and billed
    ├── BatchFailedError               too many rows of a batch failed; a retry runs those that are not done
    │   └── BatchRejectedError         the same, and no retry can mend any of them
    ├── WaitInterruptedError           asking how a job is doing failed for good; the job itself may be well
    └── DownloadError                  the bytes did not arrive whole
        └── LinkExpiredError
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.redact import redact

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self


class AnyFastError(Exception):
    """Base of everything that this provider raises on purpose.

    Attributes:
        retryable: whether the same thing, tried again later, may succeed.
        status: the HTTP status of the answer, where there was one.
        code: AnyFast's or the upstream's error code, maybe masked (``***.PixelCountTooSmall``).
        request_id: AnyFast's ``X-Oneapi-Request-Id``, which its support asks for.
        retry_after: seconds that the answer asked to wait.
        generation_id: the generation it is about, where one exists.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        request_id: str = "",
        retry_after: float | None = None,
        generation_id: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.generation_id = generation_id

    def adding(self, text: str) -> Self:
        """The same error with a sentence more."""
        longer = type(self)(f"{self} {text}")
        longer.__dict__.update(self.__dict__)
        longer.__cause__ = self.__cause__
        return longer


class ConfigurationError(AnyFastError, ValueError):
    """A value of the connection is missing or malformed. Nothing was sent."""


class InvalidRequestError(AnyFastError, ValueError):
    """Input that AnyFast would refuse, found before anything was sent. Nothing was spent."""


class LedgerError(AnyFastError):
    """The record of what was paid for could not be read or written, so nothing was submitted."""

    retryable = True


class StorageError(AnyFastError):
    """The team's own storage did not answer, or refused. What is paid for is not paid again by a retry."""

    retryable = True


class ConnectionFailedError(AnyFastError):
    """AnyFast could not be reached: the request was never sent, so nothing was spent."""

    retryable = True


class NoAnswerError(AnyFastError):
    """A free call was sent, and no answer of AnyFast came: none at all, or one of something in between."""

    retryable = True


class UnexpectedAnswerError(AnyFastError):
    """A 2xx answer that cannot be understood."""

    retryable = True


class LostAnswerError(AnyFastError):
    """The answer to a billed call is unknown, so AnyFast may have accepted and billed it."""

    retryable = True


class LostSubmissionError(LostAnswerError):
    """A submission whose answer is unknown. AnyFast gives no way to find it, so a person has to look."""

    retryable = False


class APIError(AnyFastError):
    """AnyFast answered with a refusal. A refused call is not billed."""


class BadRequestError(APIError):
    """A parameter that AnyFast or the model refuses."""


class ModerationError(APIError):
    """The content policy refused the prompt, a reference or the rendered video. AnyFast refunds it."""


class AuthenticationError(APIError):
    """The API key is missing, wrong, disabled, expired or used up."""


class PermissionDeniedError(APIError):
    """The key may not do this."""


class QuotaError(APIError):
    """The account has no money left."""


class NotFoundError(APIError):
    """Absent, or invisible to this key."""


class AssetGroupNotFoundError(NotFoundError):
    """No such asset group for this key; AnyFast answers the same to a name already taken in the group."""


class AssetNotFoundError(NotFoundError):
    """No such asset for this key, or one that was created a moment ago."""


class GenerationNotFoundError(NotFoundError):
    """No such generation, or one that was submitted a moment ago."""


class ModelUnavailableError(APIError):
    """The key's plan does not offer the model."""


class RequestTooLargeError(APIError):
    """The request body is larger than AnyFast takes."""


class AssetNotReadyError(APIError):
    """A referenced asset is still being processed or copied. Nothing was billed; it goes away by waiting."""

    retryable = True


class RateLimitError(APIError):
    """Too many requests, or the model is saturated. Nothing was billed."""

    retryable = True


class ServerError(APIError):
    """A 5xx answer."""

    retryable = True


class AssetFailedError(AnyFastError):
    """AnyFast could not use the uploaded file. The asset stays Failed."""


class AssetTimeoutError(AnyFastError):
    """The asset was not Active in time; it may still become so."""

    retryable = True


class GenerationFailedError(AnyFastError):
    """Rendering failed, and AnyFast refunds it. The same request may succeed at another time."""

    retryable = True


class GenerationRejectedError(GenerationFailedError):
    """Rendering refused the request's parameters. The same request will fail again."""

    retryable = False


class GenerationTimeoutError(AnyFastError):
    """The video was not ready in time. It is still being made and billed; a retry waits for the same one."""

    retryable = True


class BatchFailedError(AnyFastError):
    """More rows of a batch failed than may. A retry runs what is not done, and pays for nothing that is."""

    retryable = True


class BatchRejectedError(BatchFailedError):
    """More rows of a batch failed than may, none of them for a reason that can go away by itself."""

    retryable = False


class WaitInterruptedError(AnyFastError):
    """Asking how a job is doing failed for good. The job itself may be well, and a retry asks again."""

    retryable = True


class DownloadError(AnyFastError):
    """The file did not arrive whole. The video exists and is not paid for again by a retry."""

    retryable = True


class LinkExpiredError(DownloadError):
    """The link to the video is older than 24 hours. AnyFast gives no new one."""

    retryable = False


@dataclass(frozen=True)
class Refusal:
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
    refusal = read_refusal(response)
    kind = _kind_of(refusal)
    said = redact(refusal.message, *secrets) or "an empty answer"
    code = f" [{redact(refusal.code, *secrets)}]" if refusal.code else ""
    request = f" (request id {refusal.request_id})" if refusal.request_id and refusal.request_id not in said else ""
    return kind(
        f"{call}: AnyFast answered HTTP {refusal.status}{code}: {said}{request}",
        status=refusal.status,
        code=refusal.code,
        request_id=refusal.request_id,
        retry_after=refusal.retry_after,
    )


def read_refusal(response: httpx.Response) -> Refusal:
    """Reads the three JSON shapes, JSON inside ``message``, HTML and an empty body alike."""
    body = decode(response.text)
    code, message = code_and_message(body) if isinstance(body, dict) else ("", _plain_text(response))
    return Refusal(
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


def _kind_of(refusal: Refusal) -> type[APIError]:
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


def _refused(refusal: Refusal) -> type[APIError]:
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
