"""The exceptions of this provider, for ``except`` clauses, callbacks and ``retry_policy`` rules.

They are the client's own tree (see ``client.errors``). Where no retry can help, an operator raises the same class
mixed with ``AirflowFailException``, so that Airflow does not spend the task's retries.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    APIError,
    AssetFailedError,
    AssetGroupNotFoundError,
    AssetNotFoundError,
    AssetNotReadyError,
    AssetTimeoutError,
    AuthenticationError,
    BadRequestError,
    BatchFailedError,
    BatchRejectedError,
    ConfigurationError,
    ConnectionFailedError,
    DownloadError,
    GenerationFailedError,
    GenerationNotFoundError,
    GenerationRejectedError,
    GenerationTimeoutError,
    InvalidRequestError,
    LedgerError,
    LinkExpiredError,
    LostAnswerError,
    LostSubmissionError,
    ModelUnavailableError,
    ModerationError,
    NoAnswerError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    RequestTooLargeError,
    ServerError,
    StorageError,
    UnexpectedAnswerError,
    WaitInterruptedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "APIError",
    "AnyFastError",
    "AssetFailedError",
    "AssetGroupNotFoundError",
    "AssetNotFoundError",
    "AssetNotReadyError",
    "AssetTimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BatchFailedError",
    "BatchRejectedError",
    "ConfigurationError",
    "ConnectionFailedError",
    "DownloadError",
    "GenerationFailedError",
    "GenerationNotFoundError",
    "GenerationRejectedError",
    "GenerationTimeoutError",
    "InvalidRequestError",
    "LedgerError",
    "LinkExpiredError",
    "LostAnswerError",
    "LostSubmissionError",
    "ModelUnavailableError",
    "ModerationError",
    "NoAnswerError",
    "NotFoundError",
    "PermissionDeniedError",
    "QuotaError",
    "RateLimitError",
    "RequestTooLargeError",
    "ServerError",
    "StorageError",
    "UnexpectedAnswerError",
    "WaitInterruptedError",
    "fail_fast",
    "without_retry",
]


@contextmanager
def fail_fast() -> Iterator[None]:
    """Lets errors that no retry can cure end the task at once; the others stay retryable."""
    try:
        yield
    except AnyFastError as error:
        if error.retryable:
            raise
        raise without_retry(error) from error


def without_retry(error: AnyFastError) -> AnyFastError:
    """The same error as one that Airflow does not retry: of its own class and ``AirflowFailException``."""
    kind = type(error)
    if issubclass(kind, AirflowFailException):
        return error
    names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "retryable": False}
    final: AnyFastError = type(kind.__name__, (kind, AirflowFailException), names)(str(error))
    final.__dict__.update(error.__dict__)
    return final
