"""The paged ledger of a batch: many ledgers in a few records, written by one thread for many."""

from __future__ import annotations

import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.client.errors import LedgerError
from airflow_provider_anyfast.ledger.pages import LEDGERS_PER_PAGE, PagedLedger
from scripts.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from airflow_provider_anyfast.ledger.record import Store

MOMENT = 0.01
PATIENCE = 60.0
"""Seconds that another thread may take, even on a busy machine."""


class Shelf:
    """Stores by name, as Airflow would keep them; it counts what is written, and can fail."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.writes: list[str] = []
        self.error: BaseException | None = None

    def __call__(self, name: str) -> Store:
        return _Kept(self, name)


class _Kept:
    def __init__(self, shelf: Shelf, name: str) -> None:
        self._shelf = shelf
        self._name = name

    def get(self) -> Any:
        self._fail()
        return self._shelf.kept.get(self._name)

    def set(self, value: dict[str, Any]) -> None:
        self._fail()
        self._shelf.kept[self._name] = value
        self._shelf.writes.append(self._name)

    def delete(self) -> None:
        del self._shelf.kept[self._name]

    def _fail(self) -> None:
        if self._shelf.error is not None:
            raise self._shelf.error


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@contextmanager
def threads(paged: PagedLedger) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as pool:
        try:
            yield pool
        finally:
            paged.close()


def change_in_threads(
    paged: PagedLedger, pool: ThreadPoolExecutor, **values: dict[str, Any] | None
) -> list[Future[None]]:
    """Makes each change in a separate thread; returns when all of them wait."""
    waiting = [pool.submit(paged.change, key, value) for key, value in values.items()]
    wait_until(lambda: len(paged._pending) == len(values), "the changes", seconds=PATIENCE, pause=MOMENT)
    return waiting


def fill(paged: PagedLedger, **values: dict[str, Any] | None) -> None:
    with ThreadPoolExecutor(len(values)) as pool:
        waiting = change_in_threads(paged, pool, **values)
        paged.flush_pending(MOMENT)
        for change in waiting:
            change.result(timeout=PATIENCE)


def test_simultaneous_changes_are_one_write(shelf: Shelf) -> None:
    fill(PagedLedger(shelf), **{f"k{n}": {"n": n} for n in range(30)})
    assert shelf.writes == ["pages", "page_0"]
    assert len(shelf.kept["page_0"]) == 30


def test_changes_of_the_creating_thread_are_stored_at_once_each_time(shelf: Shelf) -> None:
    """With a queue of Python 3.10, one in some 15,000 of these waited forever."""
    for n in range(30_000):
        shelf.kept.clear()
        paged = PagedLedger(shelf)
        paged.put_all({"a": {"n": n}})
        paged.put_unless_pending("b", {"n": n})
        assert shelf.kept["page_0"] == {"a": {"n": n}, "b": {"n": n}}


def test_a_change_ends_a_long_wait_for_changes(shelf: Shelf) -> None:
    paged = PagedLedger(shelf)
    with threads(paged) as pool:
        for n in range(3):
            waiting = pool.submit(paged.change, "k", {"n": n})
            before = time.monotonic()
            paged.flush_pending(PATIENCE)
            waiting.result(timeout=PATIENCE)
            assert time.monotonic() - before < PATIENCE / 2


def test_another_ledger_finds_what_is_stored_and_nothing_else(shelf: Shelf) -> None:
    fill(PagedLedger(shelf), a={"n": 1}, b={"n": 2})
    fill(PagedLedger(shelf), b=None, never=None)
    paged = PagedLedger(shelf)
    assert (paged.get("a"), paged.get("b"), paged.get("never")) == ({"n": 1}, None, None)


def test_a_ledger_stays_on_its_page_and_new_ones_fill_the_last_one(shelf: Shelf) -> None:
    fill(PagedLedger(shelf), first={"n": 0})
    for start in range(0, 120, 20):
        fill(PagedLedger(shelf), **{f"k{n}": {"n": n} for n in range(start, start + 20)})
    fill(PagedLedger(shelf), first={"n": 1})
    pages = [shelf.kept[f"page_{number}"] for number in range(shelf.kept["pages"]["pages"])]
    assert [len(page) for page in pages] == [LEDGERS_PER_PAGE, LEDGERS_PER_PAGE, 21]
    assert pages[0]["first"] == {"n": 1}


def intent_of(token: str) -> dict[str, Any]:
    return {"stage": "intent", "token": token}


@pytest.mark.parametrize("own", [{"other": {"n": 1}}, {"key": {"n": 1}}])
def test_of_two_attempts_at_once_one_may_submit(shelf: Shelf, own: dict[str, Any]) -> None:
    fill(PagedLedger(shelf), before={"n": 0})
    taken_for_dead, successor = PagedLedger(shelf), PagedLedger(shelf)
    fill(successor, **{key: intent_of("successor") for key in own})
    with threads(taken_for_dead) as pool:
        (waiting,) = change_in_threads(taken_for_dead, pool, key=intent_of("taken for dead"))
        taken_for_dead.flush_pending(MOMENT)
        with pytest.raises(LedgerError, match=r"(?s)Another attempt.*Let the other attempt end"):
            waiting.result(timeout=PATIENCE)
    assert shelf.kept["page_0"] == {"before": {"n": 0}, **{key: intent_of("successor") for key in own}}


def test_an_id_that_arrives_in_an_attempt_taken_for_dead_replaces_no_record_of_its_successor(shelf: Shelf) -> None:
    fill(PagedLedger(shelf), before=intent_of("taken for dead"))
    taken_for_dead, successor = PagedLedger(shelf), PagedLedger(shelf)
    fill(successor, other=intent_of("successor"))
    fill(taken_for_dead, before={"stage": "submitted", "id": "asyntask_1"})
    assert shelf.kept["page_0"] == {
        "before": {"stage": "submitted", "id": "asyntask_1"},
        "other": intent_of("successor"),
    }


def test_of_two_attempts_that_begin_a_page_at_once_one_may_submit(shelf: Shelf) -> None:
    taken_for_dead, successor = PagedLedger(shelf), PagedLedger(shelf)
    fill(successor, other=intent_of("successor"))
    with threads(taken_for_dead) as pool:
        (waiting,) = change_in_threads(taken_for_dead, pool, key=intent_of("taken for dead"))
        taken_for_dead.flush_pending(MOMENT)
        with pytest.raises(LedgerError, match="Another attempt"):
            waiting.result(timeout=PATIENCE)


def test_the_store_of_one_ledger_reads_writes_and_deletes(shelf: Shelf) -> None:
    paged = PagedLedger(shelf)
    with threads(paged) as pool:
        store = paged.ledger_store("a")
        assert store.get() is None
        for act, kept in ((lambda: store.set({"n": 1}), {"n": 1}), (store.delete, None)):
            done = pool.submit(act)
            wait_until(lambda: paged._pending, "the change", seconds=PATIENCE, pause=MOMENT)
            paged.flush_pending(MOMENT)
            done.result(timeout=PATIENCE)
            assert store.get() == kept


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_doubtful_write_drops_an_intent_and_never_an_id(shelf: Shelf, *, is_stored: bool) -> None:
    paged = PagedLedger(shelf)
    fill(
        paged, a={"stage": "intent"}, b={"stage": "submitted", "id": "asyntask_1"}, c={"stage": "submitted", "id": "2"}
    )
    submitted = {"stage": "submitted", "id": "asyntask_3"}
    with threads(paged) as pool:
        waiting = change_in_threads(paged, pool, a=submitted, b={"stage": "intent"}, c=None)
        shelf.error = OSError("offline")
        paged.flush_pending(MOMENT)
        for change in waiting:
            with pytest.raises(OSError, match="offline"):
                change.result(timeout=PATIENCE)
        shelf.error = None
        if is_stored:
            shelf.kept["page_0"] = {"a": submitted, "b": {"stage": "intent"}}
        paged.flush_pending(MOMENT)
    assert shelf.kept["page_0"] == {"a": submitted, "b": {"stage": "submitted", "id": "asyntask_1"}}


@pytest.mark.parametrize("is_first", [True, False], ids=["the index", "a page"])
def test_a_failed_write_raises_in_every_waiting_thread_and_no_intent_counts_as_stored(
    shelf: Shelf, *, is_first: bool
) -> None:
    paged = PagedLedger(shelf)
    if not is_first:
        fill(paged, a={"n": 0}, b={"n": 0})
    with threads(paged) as pool:
        waiting = change_in_threads(paged, pool, a={"stage": "intent"}, b={"stage": "intent"})
        shelf.error = OSError("offline")
        paged.flush_pending(MOMENT)
        for change in waiting:
            with pytest.raises(OSError, match="offline"):
                change.result(timeout=PATIENCE)
        shelf.error = None
    assert PagedLedger(shelf).get("a") == paged.get("a") == (None if is_first else {"n": 0})


def test_what_a_signal_interrupts_is_stored_by_the_next_call(shelf: Shelf) -> None:
    paged = PagedLedger(shelf)
    with threads(paged) as pool:
        waiting = change_in_threads(paged, pool, a={"n": 1}, b={"n": 2})
        shelf.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):  # not an Exception, like Airflow's execution_timeout
            paged.flush_pending(MOMENT)
        shelf.error = None
        assert not any(change.done() for change in waiting)
        paged.flush_pending(MOMENT)
        for change in waiting:
            change.result(timeout=PATIENCE)
    assert shelf.kept["page_0"] == {"a": {"n": 1}, "b": {"n": 2}}


def test_a_signal_at_any_line_of_a_flush_leaves_no_thread_waiting(shelf: Shelf) -> None:
    line, was_interrupted = 0, True
    while was_interrupted:
        line += 1
        paged = PagedLedger(shelf)
        with threads(paged) as pool:
            (waiting,) = change_in_threads(paged, pool, a={"n": line})
            was_interrupted = interrupt_at_line(line, partial(paged.flush_pending, 0.0))
            paged.flush_pending(0.0)
            waiting.result(timeout=PATIENCE)
    assert line > 10, "the lines of the flush were counted"


def interrupt_at_line(number: int, act: Callable[[], None]) -> bool:
    """Whether ``act`` got to a line of that number, where a signal handler then raised."""
    left, before = number, sys.gettrace()

    def trace(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal left
        left -= event == "line"
        if event == "line" and left == 0:
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_closing_refuses_pending_and_later_changes(shelf: Shelf) -> None:
    paged = PagedLedger(shelf)
    with threads(paged) as pool:
        waiting = change_in_threads(paged, pool, a={"n": 1}, b={"n": 2})
        paged.close()
        for change in waiting:
            with pytest.raises(LedgerError, match="ended before this could be stored"):
                change.result(timeout=PATIENCE)
        with pytest.raises(LedgerError, match="ended before this could be stored"):
            paged.change("c", {"n": 3})
    assert shelf.kept == {}


def test_a_change_settled_just_before_a_signal_is_not_settled_again(shelf: Shelf) -> None:
    paged = PagedLedger(shelf)
    with threads(paged) as pool:
        (waiting,) = change_in_threads(paged, pool, a={"n": 1})
        paged._pending[0].settle(OSError("offline"))
        with pytest.raises(OSError, match="offline"):
            waiting.result(timeout=PATIENCE)
        paged.flush_pending(MOMENT)
        paged.close()
    assert shelf.kept == {}


def test_a_ledger_that_cannot_be_opened_is_not_taken_for_an_empty_one(shelf: Shelf) -> None:
    shelf.error = OSError("offline")
    with pytest.raises(LedgerError, match="nothing more was submitted"):
        PagedLedger(shelf)


def test_a_ledger_that_cannot_be_opened_promises_no_next_attempt_after_the_last_one(shelf: Shelf) -> None:
    shelf.error = OSError("offline")
    with pytest.raises(LedgerError) as caught:
        PagedLedger(shelf)
    assert str(caught.value).count("The next attempt tries again.") == 1
    caught.value.is_last_attempt = True
    assert "next attempt" not in str(caught.value)


def test_a_ledger_can_be_deleted_as_a_whole(shelf: Shelf) -> None:
    fill(PagedLedger(shelf), a={"n": 1})
    for store in PagedLedger.stores(shelf):
        store.delete()
    assert shelf.kept == {}


def test_many_threads_that_write_continuously_lose_nothing(shelf: Shelf) -> None:
    paged = PagedLedger(shelf)

    def work(thread: int) -> None:
        for n in range(20):
            paged.change(f"{thread}-{n % 7}", {"n": n})

    with threads(paged) as pool:
        working = [pool.submit(work, thread) for thread in range(20)]
        while not all(worker.done() for worker in working):
            paged.flush_pending(MOMENT)
        for worker in working:
            worker.result()
    stored = PagedLedger(shelf)
    assert {thread: stored.get(f"{thread}-5") for thread in range(20)} == {key: {"n": 19} for key in range(20)}
    assert len(shelf.writes) < 20 * 20


def test_an_id_that_has_just_arrived_is_not_overwritten_by_an_older_value(shelf: Shelf) -> None:
    paged = PagedLedger(shelf)
    with ThreadPoolExecutor(1) as pool:
        arriving = pool.submit(paged.change, "row", {"stage": "submitted", "id": "asyntask_1"})
        wait_until(lambda: bool(paged._pending), "the change of the row", seconds=PATIENCE, pause=MOMENT)
        paged.put_unless_pending("row", {"stage": "lost", "id": ""})
        arriving.result(timeout=PATIENCE)
    assert paged.get("row") == {"stage": "submitted", "id": "asyntask_1"}
    paged.put_unless_pending("other", {"stage": "lost", "id": ""})
    assert PagedLedger(shelf).get("other") == {"stage": "lost", "id": ""}
