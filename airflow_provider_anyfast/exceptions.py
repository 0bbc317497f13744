"""The exceptions of this provider, for ``except`` clauses, callbacks and ``retry_policy`` rules.

Operators, sensors, ``hook.run`` and the clients of ``hook.get_conn`` and ``hook.get_async_conn`` raise these. They are
the tree of ``client.errors``. Those that a retry cannot fix are subclasses here that are also Airflow's
``AirflowFailException``, so that Airflow does not spend the task's retries on them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_anyfast.client import errors
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    APIError,
    AssetNotReadyError,
    AssetTimeoutError,
    BatchFailedError,
    ConnectionFailedError,
    Cost,
    DownloadError,
    GenerationFailedError,
    GenerationTimeoutError,
    LedgerError,
    LinkMissingError,
    LostAnswerError,
    NoAnswerError,
    RateLimitError,
    Scope,
    ServerError,
    StorageError,
    UnexpectedAnswerError,
    WaitInterruptedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

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
    "Cost",
    "DownloadError",
    "GenerationFailedError",
    "GenerationNotFoundError",
    "GenerationRejectedError",
    "GenerationTimeoutError",
    "InvalidRequestError",
    "LedgerError",
    "LinkExpiredError",
    "LinkMissingError",
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
    "Scope",
    "ServerError",
    "StorageError",
    "UnexpectedAnswerError",
    "WaitInterruptedError",
    "WatchedGenerationFailedError",
    "fail_fast",
]

log = logging.getLogger(__name__)


class ConfigurationError(errors.ConfigurationError, AirflowFailException):
    """A value of the connection is missing or malformed. Nothing was sent."""


class InvalidRequestError(errors.InvalidRequestError, AirflowFailException):
    """Input that AnyFast would refuse, found before anything was sent. Nothing was billed."""


class LostSubmissionError(errors.LostSubmissionError, AirflowFailException):
    """A submission whose response is unknown. AnyFast cannot list a key's generations, so a person has to look."""


class BadRequestError(errors.BadRequestError, AirflowFailException):
    """A parameter that AnyFast or the model refuses."""


class ModerationError(errors.ModerationError, AirflowFailException):
    """The content policy refused the prompt, a reference or the rendered video. AnyFast refunds it."""


class AuthenticationError(errors.AuthenticationError, AirflowFailException):
    """The API key is missing, wrong, disabled, expired or used up."""


class PermissionDeniedError(errors.PermissionDeniedError, AirflowFailException):
    """The key may not do this."""


class QuotaError(errors.QuotaError, AirflowFailException):
    """The account has no money left."""


class NotFoundError(errors.NotFoundError, AirflowFailException):
    """Absent, or invisible to this key."""


class AssetGroupNotFoundError(errors.AssetGroupNotFoundError, NotFoundError):
    """No such asset group for this key. AnyFast returns the same for a name already taken in the group."""


class AssetNotFoundError(errors.AssetNotFoundError, NotFoundError):
    """No such asset for this key, or one that was created a moment ago."""


class GenerationNotFoundError(errors.GenerationNotFoundError, NotFoundError):
    """No such generation, or one that was submitted a moment ago."""


class ModelUnavailableError(errors.ModelUnavailableError, AirflowFailException):
    """The key's plan does not offer the model."""


class RequestTooLargeError(errors.RequestTooLargeError, AirflowFailException):
    """The request body is larger than AnyFast accepts."""


class AssetFailedError(errors.AssetFailedError, AirflowFailException):
    """AnyFast could not use the uploaded file. The asset stays Failed."""


class GenerationRejectedError(errors.GenerationRejectedError, AirflowFailException):
    """Rendering refused the request's parameters. The same request will fail again."""


class WatchedGenerationFailedError(errors.WatchedGenerationFailedError, AirflowFailException):
    """Rendering failed while a sensor waited. Polling again does not help: another task has to submit a new video."""


class BatchRejectedError(errors.BatchRejectedError, AirflowFailException):
    """Too many rows of a batch failed, none of them for a temporary reason."""


class LinkExpiredError(errors.LinkExpiredError, AirflowFailException):
    """The link to the video is older than 24 hours. AnyFast issues no new one."""


_FINAL: dict[type[AnyFastError], type[AnyFastError]] = {
    known.__bases__[0]: known
    for known in list(globals().values())
    if isinstance(known, type) and issubclass(known, AirflowFailException) and issubclass(known, AnyFastError)
}
"""The public class of each error that a retry cannot fix, by the class that the client raises."""


class fail_fast:  # noqa: N801 - used as a context manager, so it reads as a function
    """Raises errors in the form that Airflow expects: those that a retry cannot fix fail the task at once.

    An expected failure is logged as a short block, and its causes at DEBUG, since their tracebacks would bury the
    message in Airflow's log of the failed task.

    Args:
        context: Airflow's task context, which shows whether another attempt follows.
        conn_id: the connection that the message names.
    """

    def __init__(self, context: Mapping[str, Any] | None = None, conn_id: str = "") -> None:
        self._context = context
        self._conn_id = conn_id

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, AnyFastError):
            return
        final = as_final(error)
        final.conn_id = final.conn_id or self._conn_id
        final.is_last_attempt = self._is_last_attempt()
        log.error("%s\n%s", type(final).__name__, final)
        log.debug("The causes of the failure above.", exc_info=(type(error), error, traceback))
        raise final.with_traceback(None) from None

    def _is_last_attempt(self) -> bool | None:
        ti = self._context.get("ti") if self._context is not None else None
        return None if ti is None else bool(ti.try_number > ti.max_tries)


def as_final(error: AnyFastError) -> AnyFastError:
    """The same error as the public class that Airflow does not retry; itself if a retry may help."""
    public = _FINAL.get(type(error))
    if public is None:
        return error
    final = public(error.what)
    final.__dict__.update(error.__dict__)
    return final
