"""What an attempt does with what an earlier one paid for: it never pays twice."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.client import errors
from airflow_provider_anyfast.client.consistency import GENERATION_APPEARS, GENERATION_KEPT
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.matching import LostSubmission, Unknown
from airflow_provider_anyfast.ledger.purchase import (
    PaidGeneration,
    get_or_submit,
    submit_once,
)
from airflow_provider_anyfast.ledger.record import Stage
from tests.ledger.memory_store import Shelf
from tests.support.clock import START

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.transport import Guard
    from airflow_provider_anyfast.values import OnLostSubmission
    from tests.support.clock import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock")

RUNNING = Generation("asyntask_old", "IN_PROGRESS", Outcome.PENDING)
DONE = Generation("asyntask_old", "SUCCESS", Outcome.SUCCEEDED, video_url="https://host/x.mp4")
FAILED = Generation("asyntask_old", "FAILURE", Outcome.FAILED, failure_message="internal error")
MODERATED = Generation(
    "asyntask_old", "FAILURE", Outcome.FAILED, failure_code="OutputVideoSensitiveContentDetected", failure_message="no"
)
REJECTED = Generation(
    "asyntask_old", "FAILURE", Outcome.FAILED, failure_code="InvalidParameter.X", failure_message="no"
)
LOST = errors.LostAnswerError("The response was lost.", status=502, code="c", request_id="r")


class KilledError(BaseException):
    """The worker was killed."""


@dataclass
class AnyFast:
    """Responds to submissions and queries, and records them. Raises a response that is an exception."""

    submissions: list[str | BaseException] = field(default_factory=lambda: ["asyntask_new"])
    response: Generation | BaseException = RUNNING
    submitted: int = 0
    queried: list[str] = field(default_factory=list)

    def submit(self, guard: Guard) -> str:
        with guard():
            self.submitted += 1
            generation_id: str = _given(self.submissions.pop(0))
        return generation_id

    def query(self, generation_id: str) -> Generation:
        self.queried.append(generation_id)
        task: Generation = _given(self.response)
        return task


def _given(what: Any) -> Any:
    if isinstance(what, BaseException):
        raise what
    return what


def attempt(
    shelf: Shelf,
    anyfast: AnyFast,
    *,
    max_tries: int = 3,
    fingerprint: str = "f",
    on_lost_submission: OnLostSubmission = "fail",
    wait_if_unknown: bool = False,
) -> PaidGeneration:
    ledger = Ledger(shelf, fingerprint=fingerprint, max_tries=max_tries)
    return get_or_submit(
        ledger,
        ledger.plan(),
        submit=anyfast.submit,
        query=anyfast.query,
        look_up=no_billing_log,
        on_lost_submission=on_lost_submission,
        wait_if_unknown=wait_if_unknown,
    )


def no_billing_log(_: LostSubmission) -> Unknown:
    """AnyFast offers no billing log."""
    return Unknown()


def found(stage: Stage, **changes: Any) -> Shelf:
    id_ = "" if stage in (Stage.INTENT, Stage.LOST) else "asyntask_old"
    return Shelf({"stage": stage.value, "fingerprint": "f", "max_tries": 3, "at": START, "id": id_, **changes})


PAID = (Stage.SUBMITTED, Stage.CLOSED)
paid = pytest.mark.parametrize("stage", PAID)


# Nothing was found.


def test_the_first_attempt_submits_and_records_the_id(fake_clock: FakeClock) -> None:
    shelf, anyfast = Shelf(), AnyFast()
    assert attempt(shelf, anyfast) == PaidGeneration("asyntask_new", fake_clock.now())
    assert (anyfast.submitted, anyfast.queried) == (1, [])
    assert (shelf.value["stage"], shelf.value["id"]) == ("submitted", "asyntask_new")


def test_an_intent_exists_while_a_request_is_in_flight_and_not_between_two_requests() -> None:
    shelf = Shelf()
    seen: list[Any] = []

    def submit(guard: Guard) -> str:
        seen.append(shelf.value)
        with suppress(errors.RateLimitError), guard():
            seen.append(shelf.value["stage"])
            raise errors.RateLimitError("busy")
        seen.append(shelf.value)
        with guard():
            seen.append(shelf.value["stage"])
        return "asyntask_new"

    submit_once(Ledger(shelf, fingerprint="f", max_tries=3), submit)
    assert seen == [None, "intent", None, "intent"]
    assert shelf.value["stage"] == "submitted"


def test_clearing_an_intent_does_not_restore_an_earlier_one_that_could_not_be_cleared() -> None:
    shelf = Shelf()

    def submit(guard: Guard) -> str:
        with suppress(errors.RateLimitError), guard():
            shelf.failures = {"delete": 1}
            raise errors.RateLimitError("busy")
        with guard():
            raise errors.RateLimitError("busy")

    with pytest.raises(errors.RateLimitError):
        submit_once(Ledger(shelf, fingerprint="f", max_tries=3), submit)
    assert shelf.value is None


# A paid generation was found.


@paid
@pytest.mark.parametrize("task", [RUNNING, DONE])
def test_a_retry_continues_with_a_paid_generation(stage: Stage, task: Generation) -> None:
    anyfast = AnyFast(response=task)
    generation = attempt(found(stage), anyfast)
    assert generation == PaidGeneration("asyntask_old", START, task, reattached=True)
    assert (anyfast.submitted, anyfast.queried) == (0, ["asyntask_old"])


@pytest.mark.parametrize("task", [RUNNING, DONE])
def test_clearing_a_task_that_has_not_ended_continues_with_its_generation(task: Generation) -> None:
    anyfast = AnyFast(response=task)
    assert attempt(found(Stage.SUBMITTED), anyfast, max_tries=4).id == "asyntask_old"
    assert anyfast.submitted == 0


@paid
def test_a_generation_that_anyfast_does_not_list_yet_is_continued_with(stage: Stage, fake_clock: FakeClock) -> None:
    fake_clock.advance(GENERATION_APPEARS)
    anyfast = AnyFast(response=errors.GenerationNotFoundError("task_not_exist"))
    assert attempt(found(stage), anyfast) == PaidGeneration("asyntask_old", START, None, reattached=True)
    assert anyfast.submitted == 0


@pytest.mark.parametrize(("stage", "max_tries"), [(Stage.SUBMITTED, 3), (Stage.SUBMITTED, 4), (Stage.CLOSED, 3)])
def test_one_response_that_the_generation_is_unknown_proves_nothing(
    stage: Stage, max_tries: int, fake_clock: FakeClock
) -> None:
    fake_clock.advance(GENERATION_KEPT)
    shelf, anyfast = found(stage), AnyFast(response=errors.GenerationNotFoundError("task_not_exist", status=404))
    with pytest.raises(
        errors.GenerationNotFoundError, match="Generation asyntask_old was submitted and paid"
    ) as raised:
        attempt(shelf, anyfast, max_tries=max_tries)
    assert raised.value.status == 404
    assert raised.value.cost is errors.Cost.PAID
    assert "clear the task to ask again" in str(raised.value)
    assert anyfast.submitted == 0
    assert (shelf.value["stage"], shelf.value["id"]) == (stage.value, "asyntask_old")


def test_a_caller_that_polls_waits_for_a_generation_that_is_temporarily_unknown(fake_clock: FakeClock) -> None:
    fake_clock.advance(3600)
    anyfast = AnyFast(response=errors.GenerationNotFoundError("task_not_exist"))
    generation = attempt(found(Stage.SUBMITTED), anyfast, wait_if_unknown=True)
    assert generation == PaidGeneration("asyntask_old", START, None, reattached=True)
    assert anyfast.submitted == 0


def test_a_clear_pays_for_a_new_video_only_after_anyfast_no_longer_keeps_the_old_one(fake_clock: FakeClock) -> None:
    fake_clock.advance(GENERATION_KEPT + 1)
    shelf, anyfast = found(Stage.SUBMITTED), AnyFast(response=errors.GenerationNotFoundError("task_not_exist"))
    for _ in range(3):
        with pytest.raises(errors.GenerationNotFoundError, match="keeps generations for 7 days"):
            attempt(shelf, anyfast)
    assert attempt(shelf, anyfast, max_tries=4).id == "asyntask_new"
    assert anyfast.submitted == 1


@paid
def test_a_retry_never_pays_for_a_changed_request_and_logs_that(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    anyfast = AnyFast()
    assert attempt(found(stage), anyfast, fingerprint="other").id == "asyntask_old"
    assert anyfast.submitted == 0
    assert "differs from the one that generation" in caplog.text


@paid
@pytest.mark.parametrize(
    "error",
    [
        errors.NoAnswerError("slow"),
        errors.ConnectionFailedError("down"),
        errors.ServerError("broken"),
        errors.RateLimitError("busy"),
        errors.UnexpectedAnswerError("odd"),
        errors.AuthenticationError("key"),
        errors.PermissionDeniedError("no"),
        errors.NotFoundError("404 of a proxy"),
        errors.BadRequestError("odd"),
        errors.ConfigurationError("moved"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_while_querying_is_not_taken_for_an_absent_generation(
    stage: Stage, error: errors.AnyFastError, fake_clock: FakeClock
) -> None:
    fake_clock.advance(3600)
    shelf, anyfast = found(stage), AnyFast(response=error)
    before = dict(shelf.value)
    with pytest.raises(
        type(error), match=r"Generation asyntask_old was submitted and paid for at .* nothing was submitted"
    ) as raised:
        attempt(shelf, anyfast)
    assert raised.value.retryable is error.retryable
    assert anyfast.submitted == 0
    assert shelf.value == before


# A paid generation has failed.


@paid
def test_a_failed_generation_that_may_succeed_is_submitted_again(stage: Stage) -> None:
    shelf, anyfast = found(stage), AnyFast(response=FAILED)
    assert attempt(shelf, anyfast).id == "asyntask_new"
    assert (anyfast.submitted, anyfast.queried) == (1, ["asyntask_old"])
    assert (shelf.value["stage"], shelf.value["id"]) == ("submitted", "asyntask_new")


@paid
@pytest.mark.parametrize(
    ("task", "kind"), [(MODERATED, errors.ModerationError), (REJECTED, errors.GenerationRejectedError)]
)
def test_a_failed_generation_that_would_fail_again_fails_the_attempt(
    stage: Stage, task: Generation, kind: type[errors.AnyFastError]
) -> None:
    shelf, anyfast = found(stage), AnyFast(response=task)
    for _ in range(2):
        with pytest.raises(kind, match="asyntask_old"):
            attempt(shelf, anyfast)
    assert anyfast.submitted == 0
    assert shelf.value["stage"] == "closed"


def test_a_moderated_generation_is_submitted_again_only_by_a_clear() -> None:
    shelf, anyfast = found(Stage.SUBMITTED), AnyFast(response=MODERATED)
    with pytest.raises(errors.ModerationError):
        attempt(shelf, anyfast)
    assert attempt(shelf, anyfast, max_tries=4).id == "asyntask_new"


# A response was lost.


@pytest.mark.parametrize("max_tries", [3, 4])
def test_an_attempt_that_ended_before_its_response_fails_the_next_and_is_not_paid_again(max_tries: int) -> None:
    shelf, anyfast = found(Stage.INTENT), AnyFast()
    with pytest.raises(
        errors.LostSubmissionError, match=r"The submission of 2026-05-28T20:26:40Z .*got no response"
    ) as raised:
        attempt(shelf, anyfast, max_tries=max_tries)
    assert not raised.value.retryable
    assert "Clear the task" in str(raised.value)
    assert anyfast.submitted == 0
    assert (shelf.value["stage"], shelf.value["max_tries"]) == ("lost", max_tries)


def test_only_a_clear_after_the_error_message_pays_again() -> None:
    shelf, anyfast = found(Stage.INTENT), AnyFast()
    for max_tries in (4, 4):
        with pytest.raises(errors.LostSubmissionError):
            attempt(shelf, anyfast, max_tries=max_tries)
    assert anyfast.submitted == 0
    assert attempt(shelf, anyfast, max_tries=5).id == "asyntask_new"
    assert anyfast.submitted == 1


def test_a_response_lost_in_this_attempt_fails_it_at_once() -> None:
    shelf, anyfast = Shelf(), AnyFast([LOST])
    with pytest.raises(errors.LostSubmissionError, match=r"The response was lost\. The submission of") as raised:
        attempt(shelf, anyfast)
    assert (raised.value.status, raised.value.code, raised.value.request_id) == (502, "c", "r")
    assert raised.value.__cause__ is LOST
    assert anyfast.submitted == 1
    assert shelf.value["stage"] == "lost"
    with pytest.raises(errors.LostSubmissionError):
        attempt(shelf, anyfast)
    assert anyfast.submitted == 1


@pytest.mark.parametrize("stage", [Stage.INTENT, Stage.LOST])
def test_resubmit_sends_a_lost_submission_again_in_a_later_attempt(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    shelf, anyfast = found(stage), AnyFast()
    assert attempt(shelf, anyfast, on_lost_submission="resubmit").id == "asyntask_new"
    assert anyfast.submitted == 1
    assert "may be billed as well" in caplog.text


def test_resubmit_sends_a_lost_submission_again_in_the_same_attempt() -> None:
    shelf, anyfast = Shelf(), AnyFast([LOST, "asyntask_new"])
    assert attempt(shelf, anyfast, on_lost_submission="resubmit").id == "asyntask_new"
    assert anyfast.submitted == 2


def test_a_lost_submission_is_sent_again_only_once_until_a_clear() -> None:
    shelf, anyfast = Shelf(), AnyFast([LOST, LOST, "asyntask_new"])
    for _ in range(3):
        with pytest.raises(errors.LostSubmissionError, match="already been submitted again once"):
            attempt(shelf, anyfast, on_lost_submission="resubmit")
    assert anyfast.submitted == 2
    assert shelf.value["stage"] == "lost"
    assert attempt(shelf, anyfast, max_tries=4, on_lost_submission="resubmit").id == "asyntask_new"


def test_a_resubmission_whose_attempt_was_killed_is_not_sent_again() -> None:
    shelf, anyfast = found(Stage.INTENT), AnyFast([KilledError(), "asyntask_new"])
    with pytest.raises(KilledError):
        attempt(shelf, anyfast, on_lost_submission="resubmit")
    with pytest.raises(errors.LostSubmissionError):
        attempt(shelf, anyfast, on_lost_submission="resubmit")
    assert anyfast.submitted == 1


def test_a_refused_resubmission_leaves_the_record_of_the_lost_one_unchanged() -> None:
    shelf, anyfast = found(Stage.INTENT), AnyFast([errors.RateLimitError("busy"), "asyntask_new"])
    before = shelf.value
    with pytest.raises(errors.RateLimitError):
        attempt(shelf, anyfast, on_lost_submission="resubmit")
    assert shelf.value == {**before, "resubmitted": False, "token": ""}
    assert attempt(shelf, anyfast, on_lost_submission="resubmit").id == "asyntask_new"


def test_a_retry_after_a_clear_that_continued_with_the_same_video_pays_for_no_changed_request() -> None:
    shelf, anyfast = found(Stage.SUBMITTED), AnyFast()
    attempt(shelf, anyfast, max_tries=4)
    assert attempt(shelf, anyfast, max_tries=4, fingerprint="other").id == "asyntask_old"
    assert anyfast.submitted == 0


def test_a_lost_submission_is_not_forgotten_when_its_resubmission_is_refused() -> None:
    shelf, anyfast = found(Stage.LOST), AnyFast([LOST, errors.RateLimitError("busy"), "asyntask_new"])
    with pytest.raises(errors.RateLimitError):
        attempt(shelf, anyfast, max_tries=4, on_lost_submission="resubmit")
    with pytest.raises(errors.LostSubmissionError):
        attempt(shelf, anyfast, max_tries=4)
    assert anyfast.submitted == 2


def test_an_attempt_that_is_stopped_between_the_response_and_its_record_keeps_the_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Interrupting(Shelf):
        def set(self, value: dict[str, Any]) -> None:
            if value["id"] and not self.failures:
                self.failures = {"none": 1}
                raise KilledError
            super().set(value)

    shelf, anyfast = Interrupting(), AnyFast()
    with pytest.raises(KilledError):
        attempt(shelf, anyfast)
    assert shelf.value["id"] == "asyntask_new"
    assert "asyntask_new is accepted and billed" in caplog.text


# The submission is refused.


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequestError("no"),
        errors.ModerationError("no"),
        errors.QuotaError("no"),
        errors.RateLimitError("busy"),
        errors.AssetNotReadyError("copy"),
        errors.ConnectionFailedError("down"),
        errors.ConfigurationError("moved"),
        errors.ModelUnavailableError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refused_submission_leaves_no_record(error: errors.AnyFastError) -> None:
    shelf, anyfast = Shelf(), AnyFast([error, "asyntask_new"])
    with pytest.raises(type(error)):
        attempt(shelf, anyfast)
    assert shelf.value is None
    assert attempt(shelf, anyfast).id == "asyntask_new"


# The request has changed, or the task was cleared.


@pytest.mark.parametrize("stage", Stage)
def test_a_clear_submits_a_changed_request_and_logs_that(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    shelf, anyfast = found(stage), AnyFast()
    assert attempt(shelf, anyfast, fingerprint="other", max_tries=4).id == "asyntask_new"
    assert (anyfast.submitted, anyfast.queried) == (1, [])
    assert "Submitting a new video, which is billed: the task was cleared, and the request has changed" in caplog.text


@pytest.mark.parametrize("stage", [Stage.FINISHED, Stage.CLOSED, Stage.LOST])
def test_clearing_a_task_that_has_ended_pays_for_a_new_one(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    shelf, anyfast = found(stage), AnyFast()
    assert attempt(shelf, anyfast, max_tries=4).id == "asyntask_new"
    assert (anyfast.submitted, anyfast.queried) == (1, [])
    assert "the task was cleared after" in caplog.text


# The ledger fails.


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("max_tries", [3, 4])
def test_nothing_is_paid_while_the_ledger_cannot_be_read(stage: Stage, max_tries: int) -> None:
    shelf, anyfast = found(stage), AnyFast()
    shelf.failures = {"get": 1}
    with pytest.raises(errors.LedgerError):
        attempt(shelf, anyfast, max_tries=max_tries)
    assert (anyfast.submitted, anyfast.queried) == (0, [])


def test_nothing_is_paid_while_the_ledger_cannot_be_written() -> None:
    shelf, anyfast = Shelf(set=1), AnyFast()
    with pytest.raises(errors.LedgerError, match="Nothing was submitted"):
        attempt(shelf, anyfast)
    assert anyfast.submitted == 0
    assert attempt(shelf, anyfast).id == "asyntask_new"


def test_a_paid_generation_is_used_even_if_its_id_could_not_be_written() -> None:
    shelf = Shelf()

    def submit(guard: Guard) -> str:
        with guard():
            shelf.failures = {"set": 100}
        return "asyntask_new"

    ledger = Ledger(shelf, fingerprint="f", max_tries=3)
    assert submit_once(ledger, submit) == "asyntask_new"
    shelf.failures = {}
    ledger.mark_closed("asyntask_new")
    anyfast = AnyFast(response=DONE)
    assert attempt(shelf, anyfast).id == "asyntask_new"
    assert anyfast.submitted == 0


@pytest.mark.parametrize("error", [TypeError("a bug"), ValueError("a bug"), KilledError()])
def test_a_response_that_is_not_from_anyfast_does_not_prove_that_nothing_was_paid(error: BaseException) -> None:
    shelf, anyfast = Shelf(), AnyFast([error])
    with pytest.raises(type(error)):
        attempt(shelf, anyfast)
    assert shelf.value["stage"] == "intent"
    with pytest.raises(errors.LostSubmissionError):
        attempt(shelf, anyfast)
    assert anyfast.submitted == 1
