"""One purchase, made at most once: what an attempt does with what earlier ones left in the ledger."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    Cost,
    GenerationNotFoundError,
    LostAnswerError,
    LostSubmissionError,
)
from airflow_provider_anyfast.client.job_failures import generation_failure
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.ledger.record import Attach, Ledger, Unconfirmed
from airflow_provider_anyfast.polling.poller import NOT_FOUND_GRACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_anyfast.client.transport import Guard

log = logging.getLogger(__name__)

OnLostSubmission = Literal["fail", "resubmit"]

RETENTION = 7 * 24 * 3600.0
"""Seconds for which AnyFast keeps a generation (docs.anyfast.ai, seedance-task-query)."""


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


def submit_once(ledger: Ledger, send: Callable[[Guard], str], *, is_resubmission: bool = False) -> str:
    """Sends one billed call, recorded in the ledger before and after it, and returns the id that AnyFast answers.

    Args:
        ledger: where it is recorded.
        send: sends the call and returns the id. It enters the guard that it is given right before the request leaves,
            each time where it is sent again: an attempt that is killed while it waits must not look like one that paid.
        is_resubmission: whether the call repeats a submission that was lost.

    Raises:
        LostAnswerError: the answer is unknown; the intent stays in the ledger for the next attempt.
        AnyFastError: nothing was accepted, and no intent is left.
    """
    id_ = ""
    try:
        id_ = send(partial(_intent, ledger, is_resubmission=is_resubmission))
        ledger.record_submitted(id_)
    except BaseException:
        if id_:  # Airflow's execution_timeout strikes wherever the task is, also between the answer and its record.
            log.error("%s is accepted and billed, and this attempt is stopped before that was recorded.", id_)  # noqa: TRY400 - Airflow logs the cause
            ledger.record_submitted(id_)
        raise
    return id_


@contextmanager
def _intent(ledger: Ledger, *, is_resubmission: bool) -> Iterator[None]:
    """The time in which a request may be accepted; leaves no intent where AnyFast has certainly not accepted it."""
    ledger.record_intent(is_resubmission=is_resubmission)
    try:
        yield
    except LostAnswerError:
        raise
    except AnyFastError:
        ledger.clear_intent()
        raise


def get_or_submit(
    ledger: Ledger,
    *,
    submit: Callable[[Guard], str],
    query: Callable[[str], Generation],
    on_lost_submission: OnLostSubmission = "fail",
    resubmit_failed: bool = True,
    wait_if_unknown: bool = False,
) -> PaidGeneration:
    """The generation that this attempt is about: one that is paid for already, or else a new one.

    Args:
        ledger: what was paid for before.
        submit: sends the submission and returns the id that it answers, as ``submit_once`` has it. Billed.
        query: asks how a generation is doing.
        on_lost_submission: what to do where a submission has no answer.
        resubmit_failed: whether a new one takes the place of one that failed for a reason that can go away.
        wait_if_unknown: whether a paid generation that AnyFast says it does not know is waited for like any other. The
            caller then polls it, and one such answer proves nothing.

    Raises:
        GenerationFailedError: ``resubmit_failed`` is False, and it failed.
        LostSubmissionError: a submission may have been billed and cannot be found again.
        GenerationRejectedError, ModerationError: the paid one failed for a reason that a new one would meet too.
        GenerationNotFoundError: AnyFast does not know the paid one. Nothing was submitted, and its record stays.
        AnyFastError: AnyFast could not be asked, so nothing was submitted; or it refused the submission.
    """
    decision = ledger.plan()
    if isinstance(decision, Unconfirmed):
        return _settle_lost(ledger, submit, on_lost_submission, decision)
    if isinstance(decision, Attach):
        generation = _attach(ledger, decision, query, resubmit_failed=resubmit_failed, wait_if_unknown=wait_if_unknown)
        if generation is not None:
            return generation
    elif decision.reason:
        log.warning("Submitting a new video, which is billed: %s.", decision.reason)
    try:
        return PaidGeneration(submit_once(ledger, submit), clock.now())
    except LostAnswerError as error:
        lost = Unconfirmed(clock.now(), may_resubmit=ledger.may_resubmit)
        return _settle_lost(ledger, submit, on_lost_submission, lost, error)


def _attach(
    ledger: Ledger,
    paid: Attach,
    query: Callable[[str], Generation],
    *,
    resubmit_failed: bool,
    wait_if_unknown: bool,
) -> PaidGeneration | None:
    if paid.changed:
        log.warning(
            "The request renders differently than the one that generation %s was paid for. A retry goes on with that "
            "generation. To submit, and pay for, the changed request, clear the task.",
            paid.id,
        )
    ledger.acknowledge_clear()
    try:
        task = query(paid.id)
    except GenerationNotFoundError as error:
        age = clock.now() - paid.submitted_at
        if age <= NOT_FOUND_GRACE or (wait_if_unknown and age <= RETENTION):
            log.warning("AnyFast does not know generation %s yet, or not at this moment: waiting for it.", paid.id)
            return PaidGeneration(paid.id, paid.submitted_at, reattached=True)
        raise _unknown(ledger, paid, error, is_retained=age <= RETENTION) from error
    except AnyFastError as error:
        raise error.with_context(
            f"Generation {paid.id} was submitted and paid for at {clock.iso(paid.submitted_at)}, so nothing was "
            "submitted.",
            cost=Cost.PAID,
        ) from error
    if task.outcome is Outcome.FAILED:
        failure = generation_failure(task)
        ledger.mark_closed(paid.id)
        if not (failure.retryable and resubmit_failed):
            raise failure
        log.warning("%s %s Submitting a new one.", failure.what, failure.cost_sentence)
        return None
    log.info(
        "Resuming generation %s, which was submitted at %s and is %s. Nothing is billed again.",
        paid.id,
        clock.iso(paid.submitted_at),
        task.status or "accepted",
    )
    return PaidGeneration(paid.id, paid.submitted_at, task, reattached=True)


def _unknown(ledger: Ledger, paid: Attach, error: AnyFastError, *, is_retained: bool) -> AnyFastError:
    """What to raise for a paid generation that AnyFast says it does not know; closes it only where that is final."""
    what = f"Generation {paid.id} was submitted and paid for at {clock.iso(paid.submitted_at)}."
    if is_retained:
        return error.with_context(
            f"{what} Nothing was submitted.",
            cost=Cost.PAID,
            advice="Check that the connection's key is the one that submitted it, and clear the task to ask again. To "
            "give it up, change the request, such as its seed, and clear the task: that is billed.",
        )
    ledger.mark_closed(paid.id)
    return error.with_context(
        f"{what} AnyFast keeps generations for 7 days.",
        cost=Cost.PAID,
        advice="Clear the task to submit and pay for a new one.",
    )


def _settle_lost(
    ledger: Ledger,
    submit: Callable[[Guard], str],
    on_lost_submission: OnLostSubmission,
    lost: Unconfirmed,
    error: LostAnswerError | None = None,
) -> PaidGeneration:
    """Submits once more where the user said so and none was sent again yet; else fails for a person to look.

    Without that limit, a network that drops every answer would be billed twice at each attempt.
    """
    at = lost.at
    if on_lost_submission == "resubmit" and lost.may_resubmit:
        log.warning(
            "%s on_lost_submission='resubmit': submitting once more, which may be billed too.", _lost_at(ledger, at)
        )
        try:
            return PaidGeneration(submit_once(ledger, submit, is_resubmission=True), clock.now())
        except LostAnswerError as second:
            at, error = clock.now(), second
    ledger.mark_unconfirmed()
    first = error.what if error else "An earlier attempt ended while it waited for the answer."
    again = " It was sent once more already since the last clear." if not ledger.may_resubmit else ""
    raise LostSubmissionError(
        f"{first} {_lost_at(ledger, at)}{again} Nothing more was submitted.",
        status=error.status if error else None,
        code=error.code if error else "",
        request_id=error.request_id if error else "",
    ) from error


def _lost_at(ledger: Ledger, at: float) -> str:
    return f"The submission of {clock.iso(at)} (request {ledger.fingerprint[:12]}) has no answer."
