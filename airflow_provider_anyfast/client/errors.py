"""Everything that can fail, as one tree of exceptions.

Each class states once what such a failure costs, whether it concerns one row of a batch or all of them, whether a retry
helps, and what a person can do. Messages, the batch and the tables in the docs take it from here.

::

    AnyFastError
    ├── ConfigurationError             a value of the connection is missing or malformed
    ├── InvalidRequestError            bad input, found before anything was sent
    ├── LedgerError                    the record of what was paid for could not be read or written
    ├── StorageError                   a file could not be read from, or put into, your own storage
    ├── ConnectionFailedError          AnyFast could not be reached; nothing was sent
    ├── NoAnswerError                  sent, but no response came, or only one from something in between
    ├── UnexpectedAnswerError          a 2xx response that cannot be parsed
    ├── LostAnswerError                a billed call whose response is unknown: it may have been billed
    │   └── LostSubmissionError        the same for a generation, which AnyFast cannot list
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
    │   ├── GenerationRejectedError    rendering refused these parameters; another try will not help
    │   └── WatchedGenerationFailedError   rendering failed while a sensor waited, which cannot submit again
    ├── GenerationTimeoutError         the video was not ready in time; it is still rendering and will be billed
    ├── BatchFailedError               too many rows of a batch failed; a retry runs the unfinished ones
    │   └── BatchRejectedError         the same, and a retry helps none of them
    ├── WaitInterruptedError           polling a job failed permanently; the job itself may be fine
    └── DownloadError                  the file did not arrive complete
        ├── LinkMissingError           AnyFast reports success, but returns no link to the video
        └── LinkExpiredError
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from typing_extensions import Self


class Cost(str, Enum):
    """What a failure has cost."""

    NOTHING = "nothing"
    MAYBE = "maybe"
    PAID = "paid"
    REFUNDED = "refunded"


class Scope(str, Enum):
    """Whether a failure concerns one row of a batch, or every row."""

    ROW = "row"
    BATCH = "batch"


_COST_SENTENCES = {
    Cost.NOTHING: "Nothing was billed.",
    Cost.MAYBE: "It may have been billed.",
    Cost.PAID: "The video is billed.",
    Cost.REFUNDED: "AnyFast refunds it, so nothing stays billed.",
}


class AnyFastError(Exception):
    """Base class of everything that this provider raises on purpose.

    The message has three lines: what happened, what it cost, and what the next attempt does or, if none follows, what
    to do.

    Args:
        what: what happened, in one or two sentences, without cost and advice.
        cost: replaces that of the class, where more is known of this case.
        advice: replaces ``advice`` and ``next_attempt`` of the class: what the class says of a retry may be wrong here.

    Attributes:
        what: what happened.
        cost: what it cost.
        cost_sentence: the same as a sentence.
        scope: whether it concerns one row of a batch or all of them.
        retryable: whether a retry may succeed.
        next_attempt: what Airflow's next attempt does; unused if ``retryable`` is False.
        advice: what a person can do if no further attempt follows.
        names_connection: whether the message names the connection, since it may be the cause.
        conn_id: the connection; empty if unknown.
        is_last_attempt: whether no further attempt follows; None if unknown.
        status: the HTTP status of the response, if there was one.
        code: AnyFast's or the upstream's error code, maybe masked (``***.PixelCountTooSmall``).
        request_id: AnyFast's ``X-Oneapi-Request-Id``, which its support asks for.
        retry_after: seconds to wait before a retry, as the response says.
        generation_id: the generation concerned, if there is one.
    """

    cost: Cost = Cost.NOTHING
    cost_sentence: str = _COST_SENTENCES[Cost.NOTHING]
    scope: ClassVar[Scope] = Scope.BATCH
    retryable: ClassVar[bool] = False
    next_attempt: str = ""
    advice: str = ""
    names_connection: ClassVar[bool] = False
    is_last_attempt: bool | None = None
    conn_id: str = ""

    def __init__(
        self,
        what: str,
        *,
        cost: Cost | None = None,
        advice: str | None = None,
        status: int | None = None,
        code: str = "",
        request_id: str = "",
        retry_after: float | None = None,
        generation_id: str = "",
    ) -> None:
        super().__init__(what)
        self.what = what
        if cost is not None and cost is not self.cost:
            self.set_cost(cost)
        if advice is not None:
            self.advice = self.next_attempt = advice
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.generation_id = generation_id

    def __init_subclass__(cls) -> None:
        """A class that states a cost gets the sentence for it, unless it states its own."""
        super().__init_subclass__()
        if "cost" in cls.__dict__ and "cost_sentence" not in cls.__dict__:
            cls.cost_sentence = _COST_SENTENCES[cls.cost]

    def __str__(self) -> str:
        where = f"Connection {self.conn_id!r}: " if self.conn_id and self.names_connection else ""
        return "\n".join(line for line in (f"{where}{self.what}", self.cost_sentence, self.next_step) if line)

    @property
    def next_step(self) -> str:
        """What the next attempt does or, if none follows, what a person can do."""
        return self.next_attempt if self.retryable and not self.is_last_attempt else self.advice

    def with_context(
        self, text: str, *, cost: Cost | None = None, cost_sentence: str = "", advice: str | None = None
    ) -> Self:
        """A copy of the error that says more about the case at hand.

        Args:
            text: follows what happened.
            cost: what it cost here; None keeps the cost of the error.
            cost_sentence: the same in words; empty uses the sentence that belongs to ``cost``.
            advice: what to do here, also before the next attempt; None keeps what the error says.
        """
        longer = type(self)(f"{self.what} {text}".strip())
        longer.__dict__.update({name: value for name, value in self.__dict__.items() if name != "what"})
        longer.__cause__ = self.__cause__
        if cost is not None:
            longer.set_cost(cost, cost_sentence)
        if advice is not None:
            longer.advice = longer.next_attempt = advice
        return longer

    def set_cost(self, cost: Cost, sentence: str = "") -> None:
        """States what it cost, and the sentence about it; an empty one is the sentence that belongs to ``cost``."""
        self.cost, self.cost_sentence = cost, sentence or _COST_SENTENCES[cost]


_SAME_VIDEO = "The next attempt waits for the same video, without a new submission."
_CLEAR_RESUMES = "Clear the task to continue with the same video, without a new submission."
_AGAIN = "The next attempt tries again."


class ConfigurationError(AnyFastError, ValueError):
    """A value of the connection is missing or malformed. Nothing was sent."""

    advice = "Correct the connection, and clear the task."


class InvalidRequestError(AnyFastError, ValueError):
    """Input that AnyFast would refuse, found before anything was sent. Nothing was billed."""

    scope = Scope.ROW
    advice = "Correct the input, and clear the task."


class LedgerError(AnyFastError):
    """The record of what was paid for could not be read or written, so nothing was submitted."""

    cost_sentence = "Nothing more was billed."
    retryable = True
    next_attempt = _AGAIN
    advice = "Clear the task once Airflow's API server and its database respond again."


class StorageError(AnyFastError):
    """Your own storage did not respond, or refused. A retry does not pay again for what is paid for."""

    cost_sentence = "Nothing more was billed."
    scope = Scope.ROW
    retryable = True
    next_attempt = "The next attempt tries again, and does not pay for anything twice."
    advice = (
        "Clear the task once the storage responds again, or once its path or its permissions are correct. Nothing is "
        "paid for twice."
    )


class ConnectionFailedError(AnyFastError):
    """AnyFast could not be reached: the request was never sent, so nothing was billed."""

    retryable = True
    names_connection = True
    next_attempt = _AGAIN
    advice = "Check the connection's host and proxy and the network, and clear the task."


class NoAnswerError(AnyFastError):
    """A call that is not billed got no response from AnyFast: none at all, or one from something in between."""

    retryable = True
    names_connection = True
    next_attempt = _AGAIN
    advice = "Check that AnyFast responds at the connection's host, and clear the task."


class UnexpectedAnswerError(AnyFastError):
    """A 2xx response that cannot be parsed."""

    scope = Scope.ROW
    retryable = True
    names_connection = True
    next_attempt = "The next attempt asks again."
    advice = "Clear the task to ask again. If the error persists, AnyFast may have changed its API: report it."


class LostAnswerError(AnyFastError):
    """The response to a billed call is unknown, so AnyFast may have accepted and billed it."""

    cost = Cost.MAYBE
    scope = Scope.ROW
    retryable = True
    names_connection = True
    next_attempt = "The next attempt looks for it before it creates anything."
    advice = "Clear the task: it looks for what was created before it creates anything."


class LostSubmissionError(LostAnswerError):
    """A submission whose response is unknown. AnyFast cannot list a key's generations, so a person has to look."""

    cost_sentence = "A video may have been billed."
    retryable = False
    advice = (
        "Look at the task log in the AnyFast console around that time. Clear the task to submit and pay for a new "
        "video, or set on_lost_submission='resubmit'."
    )


class APIError(AnyFastError):
    """AnyFast refused the call. A refused call is not billed."""

    names_connection = True
    advice = "Look up the error code in AnyFast's documentation."


class BadRequestError(APIError):
    """A parameter that AnyFast or the model refuses."""

    scope = Scope.ROW
    advice = "Change the parameter that AnyFast names, and clear the task."


class ModerationError(APIError):
    """The content policy refused the prompt, a reference or the rendered video. AnyFast refunds it."""

    cost = Cost.REFUNDED
    cost_sentence = "A refused request is not billed, and a refused video is refunded."
    scope = Scope.ROW
    advice = "Change the prompt or the references, and clear the task: the same ones are refused again."


class AuthenticationError(APIError):
    """The API key is missing, wrong, disabled, expired or used up."""

    cost_sentence = "Nothing more was billed."
    advice = (
        "Put a valid API key into the connection's password, and clear the task. The task continues with what is paid "
        "for."
    )


class PermissionDeniedError(APIError):
    """The key may not do this."""

    cost_sentence = "Nothing more was billed."
    advice = "Use a key whose plan and group allow this, and clear the task."


class QuotaError(APIError):
    """The account has no money left."""

    cost_sentence = "Nothing more was billed."
    advice = "Top up the AnyFast account, and clear the task. The task continues with what is paid for."


class NotFoundError(APIError):
    """Absent, or invisible to this key."""

    advice = "Check the connection's host and, if an id is given, that the connection's key is the one that created it."


class AssetGroupNotFoundError(NotFoundError):
    """No such asset group for this key. AnyFast returns the same for a name already taken in the group."""

    scope = Scope.ROW
    advice = "Check the group's id. Groups belong to the key that created them, and names are unique in a group."


class AssetNotFoundError(NotFoundError):
    """No such asset for this key, or one that was created a moment ago."""

    scope = Scope.ROW
    advice = "Check the asset's id. Assets belong to the key that created them, and can be deleted."


class GenerationNotFoundError(NotFoundError):
    """No such generation, or one that was submitted a moment ago."""

    scope = Scope.ROW
    advice = (
        "Check the generation's id, and whether the connection's key has changed. AnyFast keeps generations for 7 "
        "days, for the account that submitted them."
    )


class ModelUnavailableError(APIError):
    """The key's plan does not offer the model."""

    scope = Scope.ROW
    advice = "Choose a model that the key may use, or a key whose plan offers this one, and clear the task."


class RequestTooLargeError(APIError):
    """The request body is larger than AnyFast accepts."""

    scope = Scope.ROW
    advice = "Upload references as assets or give links, instead of data URIs, and clear the task."


class AssetNotReadyError(APIError):
    """A referenced asset is still being processed or copied. Nothing was billed; waiting helps."""

    scope = Scope.ROW
    retryable = True
    next_attempt = "The next attempt submits again; the asset is usually ready within minutes."
    advice = "Clear the task in a few minutes, when the asset is ready."


class RateLimitError(APIError):
    """Too many requests, or the model is saturated. Nothing was billed."""

    retryable = True
    next_attempt = _AGAIN
    advice = "Clear the task later, or limit tasks with an Airflow pool."


class ServerError(APIError):
    """A 5xx response to a call that is not billed."""

    retryable = True
    next_attempt = _AGAIN
    advice = "Clear the task when AnyFast responds again."


class AssetFailedError(AnyFastError):
    """AnyFast could not use the uploaded file. The asset stays Failed."""

    cost = Cost.PAID
    cost_sentence = "The asset's creation is billed."
    scope = Scope.ROW
    advice = (
        "Use another file, since this one fails again, and clear the task: this creates a new asset and pays for it."
    )


class AssetTimeoutError(AnyFastError):
    """The asset was not Active in time; it may still become so."""

    cost = Cost.PAID
    cost_sentence = "The asset's creation is billed."
    scope = Scope.ROW
    retryable = True
    next_attempt = "The next attempt finds the same asset and creates no new one."
    advice = "Clear the task to wait for the same asset, or raise its timeout."


class GenerationFailedError(AnyFastError):
    """Rendering failed, and AnyFast refunds it. The same request may succeed at another time."""

    cost = Cost.REFUNDED
    scope = Scope.ROW
    retryable = True
    next_attempt = "The next attempt submits a new video and pays for it."
    advice = "Clear the task to submit a new video and pay for it."


class GenerationRejectedError(GenerationFailedError):
    """Rendering refused the request's parameters. The same request will fail again."""

    retryable = False
    advice = "Change the parameters: the same request fails again."


class WatchedGenerationFailedError(GenerationFailedError):
    """Rendering failed while a sensor waited. Polling again does not help: another task has to submit a new video."""

    retryable = False
    advice = "Clear the task that submitted the video."


class GenerationTimeoutError(AnyFastError):
    """The video was not ready in time. It is still rendering and will be billed; a retry waits for the same one."""

    cost = Cost.PAID
    cost_sentence = "AnyFast cannot cancel it: the video will finish and be billed."
    scope = Scope.ROW
    retryable = True
    next_attempt = _SAME_VIDEO
    advice = _CLEAR_RESUMES


class BatchFailedError(AnyFastError):
    """Too many rows of a batch failed. A retry runs the unfinished rows, and no finished row is paid for again."""

    cost = Cost.PAID
    cost_sentence = (
        "Rows that succeeded are billed, once each. Of a failed row, its error in the manifest says whether it is "
        "billed."
    )
    retryable = True
    next_attempt = "The next attempt runs the rows that have not succeeded."
    advice = (
        "Clear the task to run the rows that have not succeeded. No row whose video can still be saved is paid for "
        "again."
    )


class BatchRejectedError(BatchFailedError):
    """Too many rows of a batch failed, none of them for a temporary reason."""

    retryable = False
    advice = "Correct the rows that the manifest names, and clear the task. No other row is paid for again."


class WaitInterruptedError(AnyFastError):
    """Polling a job failed permanently. The job itself may be fine, and a retry polls it again."""

    cost = Cost.PAID
    cost_sentence = "What was submitted will finish and be billed."
    retryable = True
    names_connection = True
    next_attempt = "The next attempt polls the same job, without a new submission."
    advice = "Clear the task to continue with the same job, without a new submission."


class DownloadError(AnyFastError):
    """The file did not arrive complete. The video exists, and a retry does not pay for it again."""

    cost = Cost.PAID
    scope = Scope.ROW
    retryable = True
    next_attempt = "The next attempt downloads the same video again, without a new submission."
    advice = "Clear the task within 24 hours of the end of rendering to download the same video."


class LinkMissingError(DownloadError):
    """AnyFast reports that the video has succeeded, but returns no link to it. It may add the link later."""

    next_attempt = "The next attempt asks for the link again, without a new submission."
    advice = (
        "Clear the task to ask for the link again, without a new submission. If it is still missing, give AnyFast's "
        "support the generation's id."
    )


class LinkExpiredError(DownloadError):
    """The link to the video is older than 24 hours. AnyFast issues no new one."""

    retryable = False
    advice = "The video can no longer be fetched. Clear the task to submit and pay for a new one."
