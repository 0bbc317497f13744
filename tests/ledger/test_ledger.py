"""What is recorded about a payment, and what a later attempt decides from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyfast.client.errors import LedgerError
from airflow_provider_anyfast.ledger import stores
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.matching import LostSubmission
from airflow_provider_anyfast.ledger.record import Attach, Decision, Stage, Submit, Unconfirmed
from tests.ledger.memory_store import OutageError, Shelf
from tests.support.clock import START

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock")
FOREVER = 1000


def ledger(shelf: Shelf, *, fingerprint: str = "f", max_tries: int = 3) -> Ledger:
    return Ledger(shelf, fingerprint=fingerprint, max_tries=max_tries)


def record(stage: Stage, *, fingerprint: str = "f", max_tries: int = 3, id_: str | None = None) -> dict[str, Any]:
    known = "" if stage in (Stage.INTENT, Stage.LOST) else "asyntask_1"
    return {
        "stage": stage.value,
        "fingerprint": fingerprint,
        "max_tries": max_tries,
        "at": START,
        "id": known if id_ is None else id_,
    }


def shelf_at(stage: Stage, **parameters: Any) -> Shelf:
    return Shelf(record(stage, **parameters))


# What a later attempt does.


def test_without_a_record_an_attempt_submits() -> None:
    assert ledger(Shelf()).plan() == Submit()


LOST_SUBMISSION = LostSubmission(None, START, None, START)

SAME_REQUEST: dict[tuple[Stage, str], Decision | str] = {
    (Stage.INTENT, "retry"): Unconfirmed(LOST_SUBMISSION),
    (Stage.INTENT, "clear"): Unconfirmed(LOST_SUBMISSION),
    (Stage.LOST, "retry"): Unconfirmed(LOST_SUBMISSION),
    (Stage.LOST, "clear"): "its submission was lost",
    (Stage.SUBMITTED, "retry"): Attach("asyntask_1", START),
    (Stage.SUBMITTED, "clear"): Attach("asyntask_1", START),
    (Stage.CLOSED, "retry"): Attach("asyntask_1", START),
    (Stage.CLOSED, "clear"): "asyntask_1 ended without a file",
    (Stage.FINISHED, "retry"): "asyntask_1 finished",
    (Stage.FINISHED, "clear"): "asyntask_1 finished",
}


@pytest.mark.parametrize(("stage", "way", "plan"), [(*key, plan) for key, plan in SAME_REQUEST.items()])
def test_an_attempt_continues_from_the_stage_that_was_reached(stage: Stage, way: str, plan: Decision | str) -> None:
    max_tries = 3 if way == "retry" else 4
    found = ledger(shelf_at(stage), max_tries=max_tries).plan()
    assert found == (Submit(f"the task was cleared after {plan}") if isinstance(plan, str) else plan)


def test_every_stage_has_a_decision() -> None:
    assert {stage for stage, _ in SAME_REQUEST} == set(Stage)


@pytest.mark.parametrize("stage", Stage)
def test_a_clear_submits_a_changed_request_whatever_was_paid_before(stage: Stage) -> None:
    found = ledger(shelf_at(stage, fingerprint="other"), max_tries=4).plan()
    assert isinstance(found, Submit)
    paid = "a submission whose response is unknown" if stage in (Stage.INTENT, Stage.LOST) else "generation asyntask_1"
    assert found.reason == (f"the task was cleared, and the request has changed since {paid} of 2026-05-28T20:26:40Z")


RETRIED: dict[Stage, type[Decision]] = {
    Stage.INTENT: Unconfirmed,
    Stage.LOST: Unconfirmed,
    Stage.SUBMITTED: Attach,
    Stage.CLOSED: Attach,
}


@pytest.mark.parametrize("stage", RETRIED)
def test_a_retry_continues_with_what_is_paid_for_even_if_the_request_has_changed(stage: Stage) -> None:
    found = ledger(shelf_at(stage, fingerprint="other")).plan()
    assert isinstance(found, RETRIED[stage])
    assert not isinstance(found, Attach) or found.changed


def test_a_fingerprint_of_an_earlier_version_is_the_same_request() -> None:
    shelf = shelf_at(Stage.SUBMITTED, fingerprint="old")
    attempt = Ledger(shelf, fingerprint="f", former_fingerprints=["old"], max_tries=4)
    assert attempt.plan() == Attach("asyntask_1", START)


def test_a_clear_is_detected_even_if_the_user_lowered_the_retries_before() -> None:
    assert isinstance(ledger(shelf_at(Stage.FINISHED, max_tries=5), max_tries=2).plan(), Submit)


def test_a_plan_changes_nothing() -> None:
    for stage in Stage:
        shelf = shelf_at(stage)
        ledger(shelf, max_tries=4).plan()
        assert shelf.value == record(stage)
        assert shelf.calls == ["get"]


# What cannot be read is not absent.


@pytest.mark.parametrize(
    "value",
    [
        "",
        "text",
        5,
        [],
        {},
        {"stage": "intent"},
        {**record(Stage.SUBMITTED), "stage": "sold"},
        {**record(Stage.SUBMITTED), "max_tries": "many"},
        {**record(Stage.SUBMITTED), "at": None},
        {**record(Stage.SUBMITTED), "id": 5},
        {**record(Stage.SUBMITTED), "id": ""},
        {**record(Stage.CLOSED), "id": ""},
        {**record(Stage.FINISHED), "id": ""},
        json.dumps(record(Stage.SUBMITTED)),
    ],
)
def test_nothing_is_submitted_if_the_record_cannot_be_parsed(value: Any) -> None:
    with pytest.raises(LedgerError, match="cannot be parsed") as caught:
        ledger(Shelf(value)).plan()
    assert "may be paid for already" in str(caught.value)
    assert caught.value.retryable


def test_nothing_is_submitted_if_the_ledger_cannot_be_read() -> None:
    with pytest.raises(LedgerError, match=r"could not be read \(503 Service Unavailable\)") as caught:
        ledger(Shelf(get=1)).plan()
    assert isinstance(caught.value.__cause__, OutageError)


@given(
    st.none()
    | st.text()
    | st.integers()
    | st.dictionaries(
        st.sampled_from(["stage", "fingerprint", "max_tries", "at", "id"]),
        st.none() | st.text() | st.integers() | st.floats() | st.sampled_from(list(Stage)),
    )
)
def test_any_stored_value_is_a_decision_or_a_ledger_error(value: Any) -> None:
    try:
        plan = ledger(Shelf(value)).plan()
    except LedgerError:
        assert value is not None
    else:
        assert isinstance(plan, Submit | Attach | Unconfirmed)
        assert not (isinstance(plan, Attach) and not plan.id)


# What is written.


def test_an_intent_is_written_before_the_payment(fake_clock: FakeClock) -> None:
    shelf = Shelf()
    ledger(shelf).record_intent()
    assert shelf.value.pop("token")
    assert shelf.value == {**record(Stage.INTENT), "at": fake_clock.now(), "resubmitted": False}


def test_an_id_is_written_after_the_payment(fake_clock: FakeClock) -> None:
    shelf = Shelf()
    attempt = ledger(shelf)
    attempt.record_intent()
    fake_clock.advance(5.0)
    attempt.record_submitted("asyntask_1")
    assert shelf.value == {**record(Stage.SUBMITTED), "at": START + 5.0, "resubmitted": False, "token": ""}


def test_a_cleared_intent_leaves_no_record() -> None:
    shelf = Shelf()
    attempt = ledger(shelf)
    attempt.record_intent()
    attempt.clear_intent()
    assert shelf.value is None
    assert attempt.plan() == Submit()


ADVANCES: dict[str, tuple[Callable[[Ledger], None], Stage, Stage, str]] = {
    "lose": (lambda attempt: attempt.mark_unconfirmed(), Stage.INTENT, Stage.LOST, ""),
    "close": (lambda attempt: attempt.mark_closed("asyntask_1"), Stage.SUBMITTED, Stage.CLOSED, "asyntask_1"),
}
advances = pytest.mark.parametrize(("advance", "before", "after", "id_"), ADVANCES.values(), ids=ADVANCES.keys())


@advances
def test_an_end_is_written_with_the_number_of_this_attempt(
    advance: Callable[[Ledger], None], before: Stage, after: Stage, id_: str
) -> None:
    shelf = shelf_at(before)
    advance(ledger(shelf, max_tries=7))
    assert shelf.value == {**record(after, max_tries=7, id_=id_), "resubmitted": False, "token": ""}


@advances
def test_an_end_keeps_the_fingerprint_of_the_request_that_was_paid(
    advance: Callable[[Ledger], None], before: Stage, after: Stage, id_: str
) -> None:
    shelf = shelf_at(before)
    advance(ledger(shelf, fingerprint=""))
    assert shelf.value["fingerprint"] == "f"


@advances
def test_a_user_who_clears_twice_gets_a_new_one_twice(
    advance: Callable[[Ledger], None], before: Stage, after: Stage, id_: str
) -> None:
    shelf = shelf_at(before)
    advance(ledger(shelf, max_tries=4))
    assert isinstance(ledger(shelf, max_tries=5).plan(), Submit)


@advances
def test_without_a_record_there_is_no_end_to_write(
    advance: Callable[[Ledger], None], before: Stage, after: Stage, id_: str
) -> None:
    shelf = Shelf()
    advance(ledger(shelf))
    assert shelf.value is None


def test_an_end_repairs_a_record_to_which_the_id_could_not_be_written() -> None:
    shelf = shelf_at(Stage.INTENT)
    ledger(shelf).mark_closed("asyntask_1")
    assert shelf.value["id"] == "asyntask_1"
    assert ledger(shelf).plan() == Attach("asyntask_1", START)


# Writes that fail.


def test_nothing_may_be_sent_if_the_intent_could_not_be_written() -> None:
    with pytest.raises(LedgerError, match="Nothing was submitted") as caught:
        ledger(Shelf(set=1)).record_intent()
    assert isinstance(caught.value.__cause__, OutageError)


class Liar(Shelf):
    """Stores a value, and raises an error nevertheless."""

    def set(self, value: dict[str, Any]) -> None:
        self.value = dict(value)
        super().set(value)


def test_an_intent_that_is_stored_despite_an_error_counts() -> None:
    shelf = Liar(set=1)
    ledger(shelf).record_intent()
    assert shelf.value["stage"] == "intent"


def test_an_intent_that_may_be_stored_and_cannot_be_read_back_is_removed() -> None:
    shelf = Liar(set=1, get=4)
    with pytest.raises(LedgerError, match="Nothing was submitted"):
        ledger(shelf).record_intent()
    assert shelf.value is None


def test_the_error_says_so_if_an_intent_may_remain() -> None:
    with pytest.raises(LedgerError, match="cannot distinguish from a lost submission"):
        ledger(Liar(set=1, get=FOREVER, delete=FOREVER)).record_intent()


def test_an_intent_that_another_attempt_has_overwritten_is_not_sent() -> None:
    class Contested(Shelf):
        def get(self) -> Any:
            return {**record(Stage.INTENT), "token": "another"}

    with pytest.raises(LedgerError, match="another attempt"):
        ledger(Contested()).record_intent()


def test_a_store_that_finds_nothing_of_what_was_just_written_stops_the_submission() -> None:
    class Empty(Shelf):
        def get(self) -> Any:
            return None

    with pytest.raises(LedgerError, match="Nothing was submitted"):
        ledger(Empty()).record_intent()


def test_a_failed_write_of_an_id_is_retried(fake_clock: FakeClock) -> None:
    shelf = Shelf(set=3)
    ledger(shelf).record_submitted("asyntask_1")
    assert shelf.value["id"] == "asyntask_1"
    assert 3.0 <= sum(fake_clock.sleeps) <= 30.0


def test_an_id_that_cannot_be_written_is_logged_and_the_attempt_continues(caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf(record(Stage.INTENT), set=FOREVER)
    ledger(shelf).record_submitted("asyntask_1")
    assert shelf.value == record(Stage.INTENT)
    assert "could not record asyntask_1, which is paid for" in caplog.text


@pytest.mark.parametrize("kind", ["get", "set"])
@advances
def test_an_end_that_cannot_be_written_is_logged_and_the_attempt_continues(
    advance: Callable[[Ledger], None],
    before: Stage,
    after: Stage,
    id_: str,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf = shelf_at(before)
    shelf.failures = {kind: FOREVER}
    advance(ledger(shelf))
    assert shelf.value == record(before)
    assert f"could not record that the purchase is {after.value}" in caplog.text


def test_an_intent_that_cannot_be_removed_stays(caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf(record(Stage.INTENT), delete=1)
    attempt = ledger(shelf)
    attempt.clear_intent()
    assert "could not remove the intent" in caplog.text
    assert attempt.plan() == Unconfirmed(LOST_SUBMISSION)


def test_an_attempt_that_is_killed_while_it_writes_ends_at_once() -> None:
    class Killed(BaseException):
        pass

    class Killer(Shelf):
        def set(self, value: dict[str, Any]) -> None:
            raise Killed

    attempt = ledger(Killer(record(Stage.INTENT)))
    writes: tuple[Callable[[], object], ...] = (
        attempt.record_intent,
        lambda: attempt.record_submitted("asyntask_1"),
        attempt.mark_unconfirmed,
        lambda: attempt.mark_closed("asyntask_1"),
    )
    for write in writes:
        with pytest.raises(Killed):
            write()


def test_a_record_is_plain_json() -> None:
    shelf = Shelf()
    ledger(shelf).record_submitted("asyntask_1")
    assert json.loads(json.dumps(shelf.value)) == shelf.value


def test_a_refused_submission_after_a_closed_one_leaves_the_closed_one_closed() -> None:
    shelf = Shelf(record(Stage.SUBMITTED))
    attempt = ledger(shelf)
    attempt.plan()
    attempt.mark_closed("asyntask_1")
    attempt.record_intent()
    attempt.clear_intent()
    assert shelf.value["stage"] == Stage.CLOSED.value


def test_the_keys_of_stored_records_stay_as_earlier_versions_wrote_them() -> None:
    keys = (stores.GENERATION_KEY, stores.BATCH_KEY, stores.ASSET_KEY, stores.GROUP_KEY, stores.ANSWER_KEY)
    assert keys == ("anyfast_generation", "anyfast_batch", "anyfast_asset", "anyfast_asset_group", "anyfast_review")
    assert stores.POKES_KEY == "anyfast_sensor"
