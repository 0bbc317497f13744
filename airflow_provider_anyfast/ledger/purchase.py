"""One paid thing, bought at most once: what an attempt does with what earlier ones left in the ledger."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    GenerationNotFoundError,
    LostAnswerError,
    LostSubmissionError,
)
from airflow_provider_anyfast.client.failures import generation_failure
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.ledger.record import Attach, Ledger, Unconfirmed
from airflow_provider_anyfast.polling.poller import NOT_FOUND_GRACE

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

OnLostSubmission = Literal["fail", "resubmit"]


@dataclass(frozen=True)
class PaidGeneration:
    """A generation that is paid for.

    Attributes:
        submitted_at: Unix seconds.
        task: AnyFast's answer about it, where it has been asked for already.
        reattached: whether an earlier attempt submitted it.
    """

    id: str
    submitted_at: float
    task: Generation | None = None
    reattached: bool = False


def submit_once(ledger: Ledger, send: Callable[[], str]) -> str:
    """Sends one billed call, with a note in the ledger before and after it, and returns the id it answers.

    Raises:
        LostAnswerError: the answer is unknown; the intent stays in the ledger for the next attempt.
        AnyFastError: nothing was accepted, and the intent is taken back.
    """
    ledger.record_intent()
    try:
        id_ = send()
    except LostAnswerError:
        raise
    except AnyFastError:
        ledger.clear_intent()
        raise
    ledger.record_submitted(id_)
    return id_


def get_or_submit(
    ledger: Ledger,
    *,
    submit: Callable[[], str],
    query: Callable[[str], Generation],
    on_lost_submission: OnLostSubmission = "fail",
    resubmit_failed: bool = True,
) -> PaidGeneration:
    """The generation that this attempt is about: one that is paid for already, or else a new one.

    Args:
        ledger: what was paid for before.
        submit: sends the submission and returns the id that it answers. Billed.
        query: asks how a generation is doing.
        on_lost_submission: what to do where a submission has no answer.
        resubmit_failed: whether a new one takes the place of one that failed for a reason that can go away.

    Raises:
        GenerationFailedError: ``resubmit_failed`` is False, and it failed.
        LostSubmissionError: a submission may have been billed and cannot be found again.
        GenerationRejectedError, ModerationError: the paid one failed for a reason that a new one would meet too.
        AnyFastError: AnyFast could not be asked, so nothing was submitted; or it refused the submission.
    """
    plan = ledger.plan()
    if isinstance(plan, Attach):
        generation = _attach(ledger, plan, query, resubmit_failed=resubmit_failed)
        if generation is not None:
            return generation
    elif isinstance(plan, Unconfirmed):
        _settle_lost(ledger, plan.at, on_lost_submission)
    elif plan.reason:
        log.warning("A new video is submitted and billed: %s.", plan.reason)
    return _submit(ledger, submit, on_lost_submission)


def _attach(
    ledger: Ledger, plan: Attach, query: Callable[[str], Generation], *, resubmit_failed: bool
) -> PaidGeneration | None:
    try:
        task = query(plan.id)
    except GenerationNotFoundError as error:
        if clock.now() - plan.submitted_at <= NOT_FOUND_GRACE:
            return PaidGeneration(plan.id, plan.submitted_at, reattached=True)
        ledger.mark_closed(plan.id)
        raise error.with_context(
            f"Generation {plan.id} was submitted and billed at {clock.iso(plan.submitted_at)}, and AnyFast does not "
            "know it any more (it keeps records for 7 days, per account: has the connection's key changed?). "
            "Clear the task to generate, and pay for, a new one."
        ) from error
    except AnyFastError as error:
        raise error.with_context(
            f"Generation {plan.id} is paid for since {clock.iso(plan.submitted_at)}, so nothing was submitted; "
            "the next attempt asks for it again."
        ) from error
    if task.outcome is Outcome.FAILED:
        failure = generation_failure(task)
        ledger.mark_closed(plan.id)
        if not (failure.retryable and resubmit_failed):
            raise failure
        log.warning("%s That is this attempt.", failure)
        return None
    log.info(
        "Generation %s was submitted at %s and is %s: this attempt goes on with it, and nothing is paid again.",
        plan.id,
        clock.iso(plan.submitted_at),
        task.status or "accepted",
    )
    return PaidGeneration(plan.id, plan.submitted_at, task, reattached=True)


def _submit(ledger: Ledger, submit: Callable[[], str], on_lost_submission: OnLostSubmission) -> PaidGeneration:
    try:
        return PaidGeneration(submit_once(ledger, submit), clock.now())
    except LostAnswerError as error:
        _settle_lost(ledger, clock.now(), on_lost_submission, error)
    return PaidGeneration(submit_once(ledger, submit), clock.now())


def _settle_lost(
    ledger: Ledger, at: float, on_lost_submission: OnLostSubmission, error: LostAnswerError | None = None
) -> None:
    """Goes on to a new submission only where the user said so."""
    what = (
        f"A submission of {clock.iso(at)} (request {ledger.fingerprint[:12]}) has no answer, so a video may have been "
        "made and billed."
    )
    if on_lost_submission == "resubmit":
        log.warning("%s on_lost_submission='resubmit': a second one is submitted now, and may be billed too.", what)
        return
    ledger.mark_unconfirmed()
    raise LostSubmissionError(
        f"{error or 'An earlier attempt ended while it waited for the answer.'} {what} Nothing more was submitted. "
        "Look at the task log in the AnyFast console around that time. To have a new video made (and paid for), clear "
        "this task, or set on_lost_submission='resubmit'.",
        status=error.status if error else None,
        code=error.code if error else "",
        request_id=error.request_id if error else "",
    ) from error
