"""Many ledgers in a few stored records: each row of a batch has its own, and simultaneous writes are one write.

Only the thread that created the ledger talks to the stores, since not every way of running an Airflow task allows
others to. Other threads hand it what is to be written, and go on when that is done.
"""

from __future__ import annotations

import logging
import queue
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_anyfast.client.errors import LedgerError
from airflow_provider_anyfast.ledger.record import Stage, record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_anyfast.ledger.record import Record, Store

log = logging.getLogger(__name__)

StoreT = TypeVar("StoreT", bound="Store")

LEDGERS_PER_PAGE = 50
"""So that a page stays far below the 64 KB that Airflow's stores hold."""


class PagedLedger:
    """Pages of ledgers, filled one after the other: what is written at the same time is mostly on the same page.

    Args:
        store_of: the store of a name.
        located: only these keys are of interest, and this is the number of the page of each. None reads every page.

    Raises:
        LedgerError: it cannot be read. Unknown is not absent.
    """

    def __init__(self, store_of: Callable[[str], Store], located: Mapping[str, int] | None = None) -> None:
        self._store_of = store_of
        try:
            self._index = store_of(_INDEX).get() or {}
            self._pages = [_Page(number, store) for number, store in enumerate(_page_stores(store_of, self._index))]
            for number in range(len(self._pages)) if located is None else sorted(set(located.values())):
                self._pages[number].read()
        except Exception as error:
            raise LedgerError(
                f"The ledger could not be opened ({error}). Videos may be paid for already, so nothing was submitted. "
                "The next attempt tries again."
            ) from error
        self._page_of = {key: page for page in self._pages for key in page.ledgers}
        self._wakeup: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lock = Lock()
        self._pending: list[_Change] = []
        """Every thread appends to it and only the creating one removes, so it needs no lock of its own: ``_lock`` keeps
        a change from coming after ``close`` has refused the last one, or beside a newer one of the same key."""
        self._closed = False

    def ledger_store(self, key: str) -> Store:
        """Where the ledger of ``key`` is kept. For every thread except the one that created the ledger."""
        return _Entry(self, key)

    def get(self, key: str) -> Any:
        """What is stored under ``key``, or None."""
        page = self._page_of.get(key)
        return page and page.ledgers.get(key)

    def record(self, key: str) -> Record | None:
        """The record under ``key``, or None.

        Raises:
            LedgerError: what is stored makes no sense.
        """
        value = self.get(key)
        return None if value is None else record_of(value)

    def page_number(self, key: str) -> int | None:
        """The page on which ``key`` is; None where it is on none of those that were read."""
        page = self._page_of.get(key)
        return None if page is None else page.number

    def items(self) -> list[tuple[str, Any]]:
        """Everything that is stored on the pages that were read, with its key."""
        return [item for page in self._pages for item in page.ledgers.items()]

    def flush_pending(self, seconds: float) -> None:
        """Waits for changes, ``seconds`` at most, and stores them: each page once, whatever has changed on it.

        A change stays pending until it is stored, so the next call stores what a signal interrupted.
        """
        with suppress(queue.Empty):
            self._wakeup.get(timeout=seconds)
            while True:
                self._wakeup.get_nowait()
        self._rewrite_doubtful()
        by_page: dict[_Page, list[_Change]] = {}
        for change in [change for change in self._pending if not change.done.done()]:
            try:
                by_page.setdefault(self._page_for(change.key), []).append(change)
            except Exception as error:  # noqa: BLE001 - raised in the waiting thread
                self._settle([change], error)
        for page, changes in by_page.items():
            self._write(page, changes)

    def close(self) -> None:
        """Refuses every pending change, so that no thread waits for ever."""
        with self._lock:
            self._closed = True
        self._settle(tuple(self._pending), LedgerError("The task ended before this could be stored."))
        self._rewrite_doubtful()

    @staticmethod
    def stores(store_of: Callable[[str], StoreT]) -> list[StoreT]:
        """Every store that a paged ledger has, the index last."""
        index = store_of(_INDEX)
        return [*_page_stores(store_of, index.get() or {}), index]

    def noted(self, name: str) -> Any:
        """What was noted about the whole ledger under ``name``, or None."""
        return self._index.get(name)

    def note(self, **notes: Any) -> None:
        """Stores something about the whole ledger, or raises what that raised. For the creating thread."""
        index = {"pages": len(self._pages), **self._index, **notes}
        self._store_of(_INDEX).set(index)
        self._index = index

    def change(self, key: str, value: dict[str, Any] | None) -> None:
        """Returns when ``value`` is stored under ``key``, or nothing is where it is None; raises what that raised."""
        change = _Change(key, value)
        with self._lock:
            if self._closed:
                raise LedgerError("The task ended before this could be stored.")
            self._pending.append(change)
        self._wakeup.put(None)
        change.done.result()

    def annotate(self, key: str, **facts: Any) -> None:
        """Returns when ``facts`` are stored beside what ``key`` holds; raises what that raised."""
        self.change(key, {**(self.get(key) or {}), **facts})

    def put_unless_pending(self, key: str, value: dict[str, Any]) -> None:
        """Stores ``value`` under ``key``, or raises what that raised. For the creating thread.

        What the thread of the row is about to store is newer, such as an id that has just arrived, and is stored
        instead.
        """
        change = _Change(key, value)
        with self._lock:
            is_newer = any(each.key == key and not each.done.done() for each in self._pending)
            if not is_newer:
                self._pending.append(change)
        self.flush_pending(0.0)
        if not is_newer:
            change.done.result(timeout=0.0)

    def _page_for(self, key: str) -> _Page:
        """Where ``key`` is, or else is going to be. There is no page that the index does not count."""
        if page := self._page_of.get(key):
            return page
        if self._pages:
            self._pages[-1].read()
        if not self._pages or len(self._pages[-1].keys) >= LEDGERS_PER_PAGE:
            number = len(self._pages)
            self.note(pages=number + 1)
            self._pages.append(_Page(number, self._store_of(f"page_{number}"), is_read=True))
        self._pages[-1].keys.add(key)
        self._page_of[key] = self._pages[-1]
        return self._pages[-1]

    def _write(self, page: _Page, changes: list[_Change]) -> None:
        ledgers = dict(page.ledgers)
        for change in changes:
            if change.value is None:
                ledgers.pop(change.key, None)
            else:
                ledgers[change.key] = change.value
        try:
            page.store.set(ledgers)
        except Exception as error:  # noqa: BLE001 - raised in the threads that wait
            if not self._is_stored(page, ledgers):
                # An intent is taken back, for its request is not sent now. All else is true, and is stored later.
                page.ledgers = {key: value for key, value in ledgers.items() if not _is_intent(value)} | {
                    key: value for key, value in page.ledgers.items() if _is_intent(ledgers.get(key))
                }
                self._settle(changes, error)
                return
        page.ledgers = ledgers
        page.in_doubt = False
        self._settle(changes)

    def _is_stored(self, page: _Page, ledgers: dict[str, Any]) -> bool:
        """Whether a write that was answered with an error was stored all the same."""
        try:
            if page.store.get() == ledgers:
                return True
        except Exception as error:  # noqa: BLE001 - then it is unknown
            log.warning("A page of the ledger can neither be written nor read: %s", error)
        page.in_doubt = True
        return False

    def _rewrite_doubtful(self) -> None:
        """Stores once more what is true, over writes of which it is unknown whether they were stored."""
        for page in self._pages:
            if not page.in_doubt:
                continue
            try:
                page.store.set(page.ledgers)
            except Exception as error:  # noqa: BLE001 - tried again at the next flush
                log.warning("A page of the ledger still cannot be written: %s", error)
            else:
                page.in_doubt = False

    def _settle(self, changes: Iterable[_Change], error: Exception | None = None) -> None:
        for change in changes:
            if change.done.done():  # and then a signal came
                continue
            if error is None:
                change.done.set_result(None)
            else:
                change.done.set_exception(error)
            self._pending.remove(change)


@dataclass(eq=False)
class _Page:
    """A stored record with the ledgers of some rows."""

    number: int
    store: Store
    ledgers: dict[str, Any] = field(default_factory=dict)
    in_doubt: bool = False
    """Whether the stored page may differ from ``ledgers``."""
    keys: set[str] = field(default_factory=set)
    """Of all that have or had a place here."""
    is_read: bool = False

    def read(self) -> None:
        """Fetches what is stored, once."""
        if not self.is_read:
            self.ledgers = self.store.get() or {}
            self.keys = set(self.ledgers)
            self.is_read = True


@dataclass(eq=False)
class _Change:
    """Something to be stored, and who waits for it."""

    key: str
    value: dict[str, Any] | None
    done: Future[None] = field(default_factory=Future)


@dataclass(frozen=True)
class _Entry:
    """The store of one row's ledger."""

    paged: PagedLedger
    key: str

    def get(self) -> Any:
        """The stored value, or None."""
        return self.paged.get(self.key)

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value``."""
        self.paged.change(self.key, value)

    def delete(self) -> None:
        """Forgets it."""
        self.paged.change(self.key, None)


_INDEX = "pages"
"""The record that counts the pages."""


def _is_intent(value: Any) -> bool:
    return bool(value) and value.get("stage") == Stage.INTENT.value


def _page_stores(store_of: Callable[[str], StoreT], index: dict[str, Any]) -> list[StoreT]:
    return [store_of(f"page_{page}") for page in range(int(index.get("pages", 0)))]
