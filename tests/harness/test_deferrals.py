"""A deferred task goes through its stored trigger and resumes in a new operator, as in Airflow."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from tests.harness.toys import BuyTicket
from tests.support import installed_airflow, supervisor
from tests.support.clock import FakeClock
from tests.support.installed_airflow import TRIGGERER_HAS_ONE_LOOP, TaskDeferralError, TaskDeferralTimeout
from tests.support.supervisor import TriggerHangsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import BaseOperator

    from tests.harness.toys import Shop
    from tests.support.task_run import TaskRunner


def buying(shop: Shop, mood: str = "") -> Callable[[], BaseOperator]:
    return lambda: BuyTicket(task_id="t", url=shop.url, note="{{ run_id }}", mood=mood, retries=1)


def test_the_trigger_runs_and_a_new_operator_resumes(shop: Shop, shop_runner: TaskRunner) -> None:
    made: list[BaseOperator] = []

    def make() -> BaseOperator:
        made.append(buying(shop)())
        return made[-1]

    attempt = shop_runner.attempt(make)

    assert attempt.state == "success"
    assert attempt.result == {"note": "manual__2026-01-01T00:00:00+00:00", "gate": 7}
    assert (attempt.deferrals, attempt.events) == (1, [{"gate": 7}])
    assert attempt.xcoms["ticket"] == "ticket-1"
    assert isinstance(attempt.task, BuyTicket)
    assert attempt.task.note == "manual__2026-01-01T00:00:00+00:00"
    assert len(made) > 1
    assert shop.keys_seen == ["key-of-the-shop"]


def test_an_attempt_can_stop_where_it_defers(shop: Shop, shop_runner: TaskRunner) -> None:
    attempt = shop_runner.attempt(buying(shop), run_trigger=False)

    assert attempt.state == "deferred"
    assert attempt.deferral is not None
    assert attempt.deferral.classpath == "tests.harness.toys.TicketTrigger"
    kwargs = installed_airflow.read_kwargs(attempt.deferral.trigger_kwargs)
    assert kwargs == {"url": shop.url, "conn_id": "shop", "mood": ""}
    assert attempt.deferral.timeout == dt.timedelta(minutes=10)
    assert shop_runner.resume(buying(shop)).state == "success"


def test_an_event_can_be_injected(shop: Shop, shop_runner: TaskRunner) -> None:
    shop_runner.attempt(buying(shop), run_trigger=False)

    attempt = shop_runner.resume(buying(shop), event={"gate": 9})

    assert attempt.result == {"note": "manual__2026-01-01T00:00:00+00:00", "gate": 9}
    assert shop.keys_seen == []


def test_a_deferral_can_time_out(shop: Shop, shop_runner: TaskRunner) -> None:
    shop_runner.attempt(buying(shop), run_trigger=False)

    attempt = shop_runner.resume(buying(shop), timed_out=True)

    assert attempt.state == "up_for_retry"
    assert isinstance(attempt.error, TaskDeferralTimeout)


def test_a_trigger_that_takes_longer_than_the_deferral_allows_is_too_late(
    shop: Shop, shop_runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop_runner.clock = clock = FakeClock()
    shop_runner.attempt(buying(shop), run_trigger=False)
    clock.advance(601)

    assert isinstance(shop_runner.resume(buying(shop)).error, TaskDeferralTimeout)


@pytest.mark.parametrize("mood", ["raises", "silent"])
def test_a_trigger_without_an_event_fails_the_try(mood: str, shop: Shop, shop_runner: TaskRunner) -> None:
    attempt = shop_runner.attempt(buying(shop, mood))

    assert attempt.state == "up_for_retry"
    assert isinstance(attempt.error, TaskDeferralError)
    assert ("the trigger stumbled" in attempt.log_text) == (mood == "raises")


@pytest.mark.parametrize(
    "mood",
    ["calls without await", "requests state", *(["calls in a thread of its own"] if TRIGGERER_HAS_ONE_LOOP else [])],
)
def test_a_trigger_that_would_hang_is_an_error(mood: str, shop: Shop, shop_runner: TaskRunner) -> None:
    with pytest.raises(TriggerHangsError):
        shop_runner.attempt(buying(shop, mood))


def test_a_trigger_may_call_the_supervisor_from_a_thread(shop: Shop, shop_runner: TaskRunner) -> None:
    assert shop_runner.attempt(buying(shop, "calls in a thread")).state == "success"


def test_a_trigger_must_return_after_its_event(
    shop: Shop, shop_runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "END_OF_TRIGGER_SECONDS", 0.05)

    with pytest.raises(AssertionError, match="must return after its first event"):
        shop_runner.attempt(buying(shop, "lingers"))


def test_a_clear_while_deferred_starts_a_new_try(shop: Shop, shop_runner: TaskRunner) -> None:
    shop_runner.attempt(buying(shop), run_trigger=False)
    shop_runner.clear(keep_task_state=True)

    attempt = shop_runner.attempt(buying(shop))

    assert (attempt.state, attempt.try_number, attempt.max_tries) == ("success", 2, 2)
    assert shop.sold == 1


def test_resume_needs_a_deferred_task(shop: Shop, shop_runner: TaskRunner) -> None:
    shop_runner.attempt(buying(shop))

    with pytest.raises(AssertionError, match="is success, not deferred"):
        shop_runner.resume(buying(shop))
