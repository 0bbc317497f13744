"""Every way in which AnyFast can fail, as one tree of exceptions.

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

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
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

    def with_context(self, text: str) -> Self:
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
