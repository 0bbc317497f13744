"""One purchase, made at most once: what an attempt does with the record of earlier ones.

A submission whose response was lost is looked up before anything else: in the attempt that lost it, in a retry, after a
clear, and before it is sent again.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.consistency import GENERATION_APPEARS, GENERATION_KEPT
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    Cost,
    GenerationNotFoundError,
    LostAnswerError,
    LostSubmissionError,
)
from airflow_provider_anyfast.client.job_failures import generation_failure
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.ledger.matching import Billed, Found, LostSubmission, Unknown, Verdict
from airflow_provider_anyfast.ledger.record import Attach, Unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_anyfast.client.transport import Guard
    from airflow_provider_anyfast.ledger.ledger import Ledger
    from airflow_provider_anyfast.ledger.record import Decision
    from airflow_provider_anyfast.values import OnLostSubmission

log = subject_logger(__name__)


@dataclass(frozen=True)
class PaidGeneration:
    """A generation that is paid for.

    Attributes:
        submitted_at: Unix seconds.
        generation: as AnyFast reports it; None if it was not queried yet.
        reattached: whether an earlier attempt submitted it.
    """

    id: str
    submitted_at: float
    generation: Generation | None = None
    reattached: bool = False

    def log_resumption(self) -> None:
        """Logs that an attempt continues with what an earlier one has paid for, if AnyFast knows it."""
        if self.generation is not None:
            log.info(
                "Resuming generation %s, which was submitted at %s and is %s. Nothing is billed again.",
                self.id,
                clock.iso(self.submitted_at),
                self.generation.status or "accepted",
            )


def submit_once(ledger: Ledger, send: Callable[[Guard], str], *, is_resubmission: bool = False) -> str:
    """Sends one billed call, recorded in the ledger before and after it, and returns the id in AnyFast's response.

    Args:
        ledger: where it is recorded.
        send: sends the call and returns the id. It enters the guard right before each request, also when it sends the
            request again: an attempt that is killed while it waits to send must not look like one that paid.
        is_resubmission: whether the call repeats a submission that was lost.

    Raises:
        LostAnswerError: the response is unknown; the intent stays in the ledger for the next attempt.
        AnyFastError: nothing was accepted, and no intent is left.
    """
    id_ = ""
    try:
        id_ = send(partial(_intent, ledger, is_resubmission=is_resubmission))
        ledger.record_submitted(id_)
    except BaseException:
        if id_:  # Airflow's execution_timeout can interrupt the task between the response and its record
            log.error("%s is accepted and billed, but this attempt was stopped before that was recorded.", id_)  # noqa: TRY400 - Airflow logs the cause
            ledger.record_submitted(id_)
        raise
    return id_


@contextmanager
def _intent(ledger: Ledger, *, is_resubmission: bool) -> Iterator[None]:
    """Records an intent while a request may be accepted; removes it if AnyFast has certainly not accepted it."""
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
    decision: Decision,
    *,
    submit: Callable[[Guard], str],
    query: Callable[[str], Generation],
    look_up: Callable[[LostSubmission], Verdict],
    on_lost_submission: OnLostSubmission = "fail",
    resubmit_failed: bool = True,
    wait_if_unknown: bool = False,
) -> PaidGeneration:
    """The generation of this attempt: one that is already paid for, or else a new one.

    Args:
        ledger: records what is paid for.
        decision: the ledger's plan for this attempt.
        submit: sends the submission and returns its id, as ``send`` of ``submit_once``. Billed.
        query: returns a generation as AnyFast reports it.
        look_up: looks up a submission whose response was lost. Not billed.
        on_lost_submission: what to do if a lost submission is not found.
        resubmit_failed: whether to submit again if the paid generation failed for a temporary reason.
        wait_if_unknown: whether to return a paid generation that AnyFast reports as unknown, since the caller polls it,
            and one such response proves nothing.

    Raises:
        GenerationFailedError: the paid generation failed, and ``resubmit_failed`` is False.
        LostSubmissionError: a submission was, or may have been, billed and cannot be found again.
        GenerationRejectedError, ModerationError: the paid one failed for a reason that would fail a new one too.
        GenerationNotFoundError: AnyFast does not know the paid one. Nothing was submitted, and its record stays.
        AnyFastError: AnyFast could not be queried, so nothing was submitted; or it refused the submission.
    """
    purchase = _Purchase(ledger, submit, query, look_up, on_lost_submission, wait_if_unknown=wait_if_unknown)
    unfound: Billed | Unknown = Unknown()
    if not isinstance(decision, Attach) and decision.lost is not None:
        verdict = look_up(decision.lost)
        if isinstance(verdict, Found):
            changed = isinstance(decision, Unconfirmed) and decision.changed
            decision = purchase.found(verdict, decision.lost, changed=changed)
        else:
            unfound = verdict
    if isinstance(decision, Unconfirmed):
        return purchase.resubmit_or_fail(decision.lost, unfound)
    if isinstance(decision, Attach):
        return purchase.attach(decision, resubmit_failed=resubmit_failed)
    if decision.reason:
        log.warning("Submitting a new video, which is billed: %s.", decision.reason)
    return purchase.submit_new()


@dataclass(frozen=True)
class _Purchase:
    """The ways in which an attempt gets its generation; see ``get_or_submit``."""

    ledger: Ledger
    submit: Callable[[Guard], str]
    query: Callable[[str], Generation]
    look_up: Callable[[LostSubmission], Verdict]
    on_lost_submission: OnLostSubmission
    wait_if_unknown: bool

    def submit_new(self, *, is_resubmission: bool = False) -> PaidGeneration:
        """Submits, and looks the submission up if its response is lost."""
        try:
            return PaidGeneration(submit_once(self.ledger, self.submit, is_resubmission=is_resubmission), clock.now())
        except LostAnswerError as error:
            lost = self.ledger.record_lost_response(error.request_id)
            verdict = self.look_up(lost)
            if isinstance(verdict, Found):
                # If it has failed already, it fails this attempt, as it would have if the response had arrived.
                return self.attach(self.found(verdict, lost), resubmit_failed=False)
            return self.resubmit_or_fail(lost, verdict, error)

    def found(self, verdict: Found, lost: LostSubmission, *, changed: bool = False) -> Attach:
        """Records a lost submission as paid for, and attaches to it."""
        log.info(
            "The response to the submission of %s was lost. AnyFast's billing log has it: generation %s. Nothing is "
            "submitted again.",
            clock.iso(lost.sent_at),
            verdict.id,
        )
        self.ledger.record_found(verdict.id)
        return Attach(verdict.id, lost.sent_at, changed=changed)

    def attach(self, paid: Attach, *, resubmit_failed: bool) -> PaidGeneration:
        """Continues with what is paid for; submits again only if that has failed and a new one may succeed."""
        if paid.changed:
            log.warning(
                "The request differs from the one that generation %s was paid for. A retry continues with that "
                "generation. To submit, and pay for, the changed request, clear the task.",
                paid.id,
            )
        self.ledger.acknowledge_clear()
        try:
            generation = self.query(paid.id)
        except GenerationNotFoundError as error:
            age = clock.now() - paid.submitted_at
            if age <= GENERATION_APPEARS or (self.wait_if_unknown and age <= GENERATION_KEPT):
                log.warning(
                    "AnyFast does not know generation %s yet, or cannot find it at the moment: waiting for it.", paid.id
                )
                return PaidGeneration(paid.id, paid.submitted_at, reattached=True)
            if age > GENERATION_KEPT:
                self.ledger.mark_closed(paid.id)
            raise _not_found(paid, error, is_kept=age <= GENERATION_KEPT) from error
        except AnyFastError as error:
            raise error.with_context(
                f"Generation {paid.id} was submitted and paid for at {clock.iso(paid.submitted_at)}, so nothing was "
                "submitted.",
                cost=Cost.PAID,
            ) from error
        if generation.outcome is Outcome.FAILED:
            failure = generation_failure(generation)
            self.ledger.mark_closed(paid.id)
            if not (failure.retryable and resubmit_failed):
                raise failure
            log.warning("%s %s Submitting a new one.", failure.what, failure.cost_sentence)
            return self.submit_new()
        return PaidGeneration(paid.id, paid.submitted_at, generation, reattached=True)

    def resubmit_or_fail(
        self, lost: LostSubmission, verdict: Billed | Unknown, error: LostAnswerError | None = None
    ) -> PaidGeneration:
        """Submits once more if the user chose so and nothing was sent again yet; otherwise fails for a person to look.

        Without that limit, a network that drops every response would cost two videos at each attempt. What was
        certainly billed is never sent again without a person.
        """
        if isinstance(verdict, Unknown) and self.on_lost_submission == "resubmit" and self.ledger.may_resubmit:
            log.warning(
                "%s on_lost_submission='resubmit': submitting again, which may be billed as well.",
                self._lost_at(lost.sent_at),
            )
            return self.submit_new(is_resubmission=True)
        self.ledger.mark_unconfirmed()
        how = f"{error.what} " if error else ""
        again = (
            " It has already been submitted again once since the last clear." if not self.ledger.may_resubmit else ""
        )
        what = f"{how}{self._lost_at(lost.sent_at)}{again} Nothing more was submitted.{_log_sentence(verdict)}"
        is_billed = isinstance(verdict, Billed)
        raise LostSubmissionError(
            what,
            cost=Cost.PAID if is_billed else None,
            advice=_BILLED_ADVICE if is_billed else None,
            status=error.status if error else None,
            code=error.code if error else "",
            request_id=error.request_id if error else "",
        ) from error

    def _lost_at(self, at: float) -> str:
        return (
            f"The submission of {clock.iso(at)} (request {self.ledger.fingerprint[:12]}) got no response that names a "
            "generation."
        )


def _not_found(paid: Attach, error: AnyFastError, *, is_kept: bool) -> AnyFastError:
    """The error for a paid generation that AnyFast does not know, which is final once AnyFast no longer keeps it."""
    what = f"Generation {paid.id} was submitted and paid for at {clock.iso(paid.submitted_at)}."
    if is_kept:
        return error.with_context(
            f"{what} Nothing was submitted.",
            cost=Cost.PAID,
            advice="Check that the connection's key is the one that submitted it, and clear the task to ask again. To "
            "give it up, change the request, such as its seed, and clear the task: that is billed.",
        )
    return error.with_context(
        f"{what} AnyFast keeps generations for 7 days.",
        cost=Cost.PAID,
        advice="Clear the task to submit and pay for a new one.",
    )


def _log_sentence(verdict: Billed | Unknown) -> str:
    """What AnyFast's billing log shows of a lost submission, as the end of a message; empty if there is no log."""
    charges = "; ".join(
        f"{charge.model} at {clock.iso(charge.created_at)}, {charge.quota:,} units of quota"
        + (f", request id {charge.request_id}" if charge.request_id else "")
        + (f", generation {charge.task_id}" if charge.task_id else "")
        for charge in verdict.charges[:_SHOWN]
    )
    if isinstance(verdict, Billed):
        if len(verdict.charges) == 1:
            return f" AnyFast's billing log has a charge that can only be this one: {charges}."
        return (
            f" {len(verdict.charges)} submissions were lost, and AnyFast's billing log has as many charges, but does "
            f"not say which belongs to which: {charges}."
        )
    if charges:
        return f" AnyFast's billing log does not show whether it is among these charges: {charges}."
    if verdict.is_log_read:
        return " AnyFast's billing log does not show it, which does not prove that it was not billed."
    return ""


_SHOWN = 10
"""Charges that one message names."""
_BILLED_ADVICE = (
    "Look the charge up in the AnyFast console's log. Clear the task to look again: if the log names the video by "
    "then, the task continues with it, and otherwise it submits and pays for a new one."
)
