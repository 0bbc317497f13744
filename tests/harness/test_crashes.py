"""A process can be killed at every observable step, and the runner continues as Airflow does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from airflow.sdk import BaseOperator

from tests.harness.toys import BuyTicket
from tests.support.installed_airflow import HAS_STATE_STORE, LEDGER_PLACES
from tests.support.killed_process import last_words_of
from tests.support.steps import CrashPoint
from tests.support.task_run import Attempt, TaskRunner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow.sdk import Context

    from tests.harness.toys import Shop


def buying(shop: Shop) -> Callable[[], BaseOperator]:
    return lambda: BuyTicket(task_id="t", url=shop.url, retries=2)


def point(attempt: Attempt, side: str, step: str) -> CrashPoint:
    return next(found for found in attempt.crash_points if str(found).startswith(side) and found.name == step)


def test_the_steps_of_an_attempt_are_recorded(shop: Shop, shop_runner: TaskRunner) -> None:
    attempt = shop_runner.attempt(buying(shop))

    get, put = ("state store get", "state store set") if HAS_STATE_STORE else ("variable get", "variable put")
    assert [f"{step.name} ({step.process})" for step in attempt.steps] == [
        "start (worker)",
        "rendered fields set (worker)",
        f"{get} ticket (worker)",
        "http POST /buy (worker)",
        f"{put} ticket (worker)",
        "xcom set t.ticket (worker)",
        "state deferred (worker)",
        "xcom get t.ticket (worker)",
        "xcom set t._link_TicketLink (worker)",
        "connection get shop (triggerer)",
        "http GET /ticket (triggerer)",
        "start (worker)",
        "rendered fields set (worker)",
        "xcom set t.return_value (worker)",
        "state success (worker)",
        "xcom get t.ticket (worker)",
        "xcom set t._link_TicketLink (worker)",
    ]
    assert len(attempt.crash_points) == 2 * len(attempt.steps)


@pytest.mark.parametrize("state_store", LEDGER_PLACES)
def test_only_a_crash_between_payment_and_record_pays_twice(
    state_store: bool,  # noqa: FBT001  # a parameter of the test
    shop: Shop,
    shop_runner: TaskRunner,
) -> None:
    shop_runner.state_store = state_store
    clean = shop_runner.attempt(buying(shop))
    paid_twice = []
    for crash in clean.crash_points:
        shop.sold = 0
        runner = shop_runner.fresh()
        killed = runner.attempt(buying(shop), crash_at=crash)
        end = runner.run_to_end(buying(shop))
        assert killed.crashed, crash
        assert end.state == "success", crash
        if shop.sold != 1:
            paid_twice.append(str(crash))

    record = "state store set ticket" if state_store else "variable put ticket"
    assert [words.split(" ", 3)[::3] for words in paid_twice] == [["after", "http POST /buy"], ["before", record]]


def test_a_killed_worker_leaves_a_retry_and_no_error_of_its_own(shop: Shop, shop_runner: TaskRunner) -> None:
    clean = shop_runner.attempt(buying(shop))
    runner = shop_runner.fresh()

    killed = runner.attempt(buying(shop), crash_at=point(clean, "after", "xcom set t.ticket"))

    assert (killed.state, killed.crashed, killed.error) == ("up_for_retry", "worker", None)
    assert killed.xcoms == {"ticket": "ticket-2"}
    assert killed.links == {}
    assert [step.name for step in killed.steps] == [step.name for step in clean.steps[:6]]
    assert "Bought ticket ticket-2" in killed.log_text


def test_a_killed_worker_without_retries_fails(shop: Shop, shop_runner: TaskRunner) -> None:
    killed = shop_runner.attempt(lambda: BuyTicket(task_id="t", url=shop.url), crash_at=CrashPoint(3))

    assert killed.state == "failed"


def test_a_killed_triggerer_is_replaced_by_another(shop: Shop, shop_runner: TaskRunner) -> None:
    clean = shop_runner.attempt(buying(shop))
    runner = shop_runner.fresh()

    killed = runner.attempt(buying(shop), crash_at=point(clean, "after", "http GET /ticket"))
    resumed = runner.resume(buying(shop))

    assert (killed.state, killed.crashed) == ("deferred", "triggerer")
    assert (resumed.state, resumed.try_number) == ("success", 1)
    assert shop.keys_seen == ["key-of-the-shop"] * 3


def test_a_resumed_task_can_be_killed_too(shop: Shop, shop_runner: TaskRunner) -> None:
    shop_runner.attempt(buying(shop), run_trigger=False)

    killed = shop_runner.resume(buying(shop), event={"gate": 1}, crash_at=CrashPoint(3, "before"))

    assert (killed.state, killed.crashed) == ("up_for_retry", "worker")


def test_a_crash_point_that_is_never_reached_is_an_error(shop: Shop, shop_runner: TaskRunner) -> None:
    with pytest.raises(AssertionError, match="There was no before step 99"):
        shop_runner.attempt(buying(shop), crash_at=CrashPoint(99))


class WriteFile(BaseOperator):
    """Writes a temporary file, moves it to its path, and always cleans up."""

    def __init__(self, *, path: Path, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]  # passed on unread
        self.path = path

    def execute(self, context: Context) -> None:
        part = self.path.with_suffix(".part")
        try:
            part.write_text("video")
            os.replace(part, self.path)  # noqa: PTH105  # what the recorder watches; Path.replace of 3.10 has its own
        finally:
            part.unlink(missing_ok=True)


def test_a_killed_process_does_not_tidy_up(tmp_path: Path) -> None:
    def make() -> BaseOperator:
        return WriteFile(task_id="t", path=tmp_path / "video.mp4")

    clean = TaskRunner().attempt(make)
    (tmp_path / "video.mp4").unlink()
    TaskRunner().attempt(make, crash_at=point(clean, "before", "file move to video.mp4"))

    assert os.listdir(tmp_path) == ["video.part"]  # noqa: PTH208  # names are what is compared


def test_a_fork_that_ends_by_itself_is_an_error() -> None:
    with pytest.raises(AssertionError, match="ended before it reached"):
        last_words_of(lambda _: None)


def test_a_fork_that_raises_is_an_error_with_its_traceback() -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        last_words_of(lambda _: 1 // 0)


def test_a_fork_that_ends_silently_is_an_error() -> None:
    with pytest.raises(AssertionError, match="ended without a message"):
        last_words_of(lambda _: os._exit(1))
