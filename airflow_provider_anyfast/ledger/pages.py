"""Many ledgers in a few stored records: each row of a batch has its own, and simultaneous writes are one write.

Only the thread that created the ledger calls the stores, since not every way of running an Airflow task allows other
threads to. They hand it their changes, and continue when these are stored.
"""

from __future__ import annotations

import logging
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
    """Pages of ledgers, filled one after the other, so that simultaneous writes mostly concern the same page.

    Args:
        store_of: returns the store of a name.
        located: the page number of each key that is needed; only these pages are read. None reads every page.

    Raises:
        LedgerError: a store cannot be read. Unknown is not absent.
    """

    def __init__(self, store_of: Callable[[str], Store], located: Mapping[str, int] | None = None) -> None:
        self._store_of = store_of
        try:
            self._index = _index_in(store_of(_INDEX))
            self._pages = [_Page(number, store) for number, store in enumerate(_page_stores(store_of, self._index))]
            for number in range(len(self._pages)) if located is None else sorted(set(located.values())):
                self._pages[number].read()
        except LedgerError:
            raise
        except Exception as error:
            raise LedgerError(
                f"The record of what was paid for could not be read ({error}). Videos may be paid for already, so "
                "nothing more was submitted."
            ) from error
        self._page_of = {key: page for page in self._pages for key in page.ledgers}
        # Locked until a change arrives. Not a queue, whose ``get`` may wait forever on Python 3.10 when its timeout is
        # over (0 always is); not an ``Event``, whose lock stays locked if a signal handler raises within ``wait``.
        self._quiet = Lock()
        self._quiet.acquire()
        self._lock = Lock()
        self._pending: list[_Change] = []
        """Every thread appends to it and only the creating one removes, which alone needs no lock. ``_lock`` keeps a
        change from arriving after ``close``, or together with a newer one of the same key."""
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
            LedgerError: the stored value cannot be parsed.
        """
        value = self.get(key)
        return None if value is None else record_of(value)

    def page_number(self, key: str) -> int | None:
        """The number of the page that holds ``key``; None if no page that was read does."""
        page = self._page_of.get(key)
        return None if page is None else page.number

    def items(self) -> list[tuple[str, Any]]:
        """Every key with its value, on the pages that were read."""
        return [item for page in self._pages for item in page.ledgers.items()]

    def flush_pending(self, seconds: float) -> None:
        """Waits for changes, ``seconds`` at most, and stores them, writing each changed page once.

        A change stays pending until it is stored, so if a signal interrupts this, the next call stores it.
        """
        self._quiet.acquire(timeout=seconds)
        self._rewrite_doubtful()
        by_page: dict[_Page, list[_Change]] = {}
        for change in [change for change in self._pending if not change.is_done]:
            try:
                by_page.setdefault(self._page_for(change.key), []).append(change)
            except Exception as error:  # noqa: BLE001 - raised in the waiting thread
                self._settle([change], error)
        for page, changes in by_page.items():
            self._write(page, changes)

    def close(self) -> None:
        """Refuses every pending and later change, so that no thread waits forever."""
        with self._lock:
            self._closed = True
        self._settle(tuple(self._pending), LedgerError("The task ended before this could be stored."))
        self._rewrite_doubtful()

    @staticmethod
    def stores(store_of: Callable[[str], StoreT]) -> list[StoreT]:
        """Every store of a paged ledger, the index last."""
        index = store_of(_INDEX)
        return [*_page_stores(store_of, _index_in(index)), index]

    def metadata(self, name: str) -> Any:
        """What ``set_metadata`` stored under ``name``, or None."""
        return self._index.get(name)

    @staticmethod
    def stored_metadata(store_of: Callable[[str], Store]) -> Mapping[str, Any] | None:
        """The metadata of a ledger that another task instance writes; None if it has none yet."""
        stored = store_of(_INDEX).get()
        return None if stored is None else _parse_index(stored)

    def set_metadata(self, values: Mapping[str, Any]) -> None:
        """Stores values about the whole ledger, or raises what the store raised. Only for the creating thread."""
        index, store = {**self._index, **values}, self._store_of(_INDEX)
        if _index_in(store) not in (self._index, index):
            raise _another_attempt()
        store.set(index)
        self._index = index

    def change(self, key: str, value: dict[str, Any] | None) -> None:
        """Returns when ``value`` is stored, or ``key`` is deleted if it is None; raises what the store raised."""
        change = _Change(key, value)
        with self._lock:
            if self._closed:
                raise LedgerError("The task ended before this could be stored.")
            self._pending.append(change)
        with suppress(RuntimeError):  # an earlier change has unlocked it
            self._quiet.release()
        change.wait()

    def update(self, key: str, fields: Mapping[str, Any]) -> None:
        """Returns when ``fields`` are merged into the value of ``key``; raises what the store raised."""
        self.change(key, {**(self.get(key) or {}), **fields})

    def put_all(self, values: Mapping[str, dict[str, Any]]) -> None:
        """Stores each value under its key, or raises what the store raised. Only for the creating thread."""
        changes = [_Change(key, value) for key, value in values.items()]
        with self._lock:
            self._pending.extend(changes)
        self.flush_pending(0.0)
        for change in changes:
            change.raise_error()

    def put_unless_pending(self, key: str, value: dict[str, Any]) -> None:
        """Stores ``value`` under ``key``, or raises what the store raised. Only for the creating thread.

        A pending change of the row's own thread is newer, such as an id that has just arrived, and is stored instead.
        """
        change = _Change(key, value)
        with self._lock:
            is_newer = any(each.key == key and not each.is_done for each in self._pending)
            if not is_newer:
                self._pending.append(change)
        self.flush_pending(0.0)
        if not is_newer:
            change.raise_error()

    def _page_for(self, key: str) -> _Page:
        """The page of ``key``, or the one to add it to. The index counts a new page before the page is written."""
        if page := self._page_of.get(key):
            return page
        if self._pages:
            self._pages[-1].read()
        if not self._pages or len(self._pages[-1].keys) >= LEDGERS_PER_PAGE:
            number = len(self._pages)
            self.set_metadata({"pages": number + 1})
            self._pages.append(_Page(number, self._store_of(f"page_{number}"), is_read=True))
        self._pages[-1].keys.add(key)
        self._page_of[key] = self._pages[-1]
        return self._pages[-1]

    def _write(self, page: _Page, changes: list[_Change]) -> None:
        if self._has_foreign_records(page):
            refused = [change for change in changes if _is_intent(change.value)]
            self._settle(refused, _another_attempt())
            changes = [change for change in changes if change not in refused]
            if not changes:
                return
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
                # An intent is dropped, since its request is not sent now. Other changes are facts, and stored later.
                page.ledgers = {key: value for key, value in ledgers.items() if not _is_intent(value)} | {
                    key: value for key, value in page.ledgers.items() if _is_intent(ledgers.get(key))
                }
                self._settle(changes, error)
                return
        page.ledgers = ledgers
        page.in_doubt = False
        self._settle(changes)

    def _has_foreign_records(self, page: _Page) -> bool:
        """Whether another attempt has written the page, whose records are then kept.

        Airflow starts another attempt if it takes this one for dead. Both know the rows that the first one had
        submitted by then, but not what the other submits afterwards.
        """
        if page.in_doubt:
            return False
        try:
            stored = page.store.get() or {}
        except Exception as error:  # noqa: BLE001 - the write that follows fails as well, or is read back
            log.warning("A page of the ledger cannot be read: %s", error)
            return False
        if stored == page.ledgers:
            return False
        page.ledgers = stored
        page.keys |= stored.keys()
        return True

    def _is_stored(self, page: _Page, ledgers: dict[str, Any]) -> bool:
        """Whether a write that raised an error was stored nevertheless."""
        try:
            if page.store.get() == ledgers:
                return True
        except Exception as error:  # noqa: BLE001 - what is stored is then unknown
            log.warning("A page of the ledger can neither be written nor read: %s", error)
        page.in_doubt = True
        return False

    def _rewrite_doubtful(self) -> None:
        """Writes again every page of which it is unknown whether the last write was stored."""
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
            if not change.is_done:  # otherwise a signal interrupted the previous call after this
                change.settle(error)
                self._pending.remove(change)


@dataclass(eq=False)
class _Page:
    """One stored record, with the ledgers of some rows."""

    number: int
    store: Store
    ledgers: dict[str, Any] = field(default_factory=dict)
    in_doubt: bool = False
    """Whether the stored page may differ from ``ledgers``."""
    keys: set[str] = field(default_factory=set)
    """Every key that is, or was, on this page."""
    is_read: bool = False

    def read(self) -> None:
        """Fetches what is stored, once."""
        if not self.is_read:
            self.ledgers = self.store.get() or {}
            self.keys = set(self.ledgers)
            self.is_read = True


@dataclass(eq=False)
class _Change:
    """A change to store, for which its thread waits.

    Not a ``Future``: if a signal handler raises while the main thread sets its result, its lock may stay locked, or its
    thread may not be notified.
    """

    key: str
    value: dict[str, Any] | None
    is_done: bool = False
    """Whether it is stored or refused."""
    _error: Exception | None = None
    _unsettled: Lock = field(default_factory=Lock)
    """Locked until then."""

    def __post_init__(self) -> None:
        self._unsettled.acquire()

    def settle(self, error: Exception | None) -> None:
        """Lets the waiting thread continue, with ``error`` if it is not None."""
        self._error = error
        self.is_done = True
        self._unsettled.release()

    def wait(self) -> None:
        """Returns when the change is stored, or raises what the store raised."""
        while not self.is_done:
            self._unsettled.acquire(timeout=1.0)  # a signal handler may raise just before the release
        self.raise_error()

    def raise_error(self) -> None:
        """Raises what the store raised, if it did."""
        if self._error is not None:
            raise self._error


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
        """Deletes the value."""
        self.paged.change(self.key, None)


def _another_attempt() -> LedgerError:
    return LedgerError(
        "Another attempt of this task is writing the records of what was paid for, so this one submits nothing more.",
        advice="Let the other attempt end. If none is running, clear the task, which continues from the records.",
    )


_INDEX = "pages"
"""The name of the record that counts the pages, and holds the metadata."""


def _is_intent(value: Any) -> bool:
    return bool(value) and value.get("stage") == Stage.INTENT.value


def _index_in(store: Store) -> dict[str, Any]:
    """The stored index, or that of an empty ledger."""
    stored = store.get()
    return {"pages": 0} if stored is None else _parse_index(stored)


def _parse_index(index: Any) -> dict[str, Any]:
    """Returns ``index``; one that counts no pages is damaged, and then nothing proves that nothing is paid for."""
    if not isinstance(index, dict) or not isinstance(index.get("pages"), int):
        raise LedgerError(
            "The index of the records of what was paid for cannot be parsed. Videos may be paid for already, so "
            "nothing was submitted.",
            advice="Restore the Variables anyfast_ledger_… of this task and clear it, or delete them to submit and pay "
            "for all rows again.",
        )
    return index


def _page_stores(store_of: Callable[[str], StoreT], index: dict[str, Any]) -> list[StoreT]:
    return [store_of(f"page_{page}") for page in range(index["pages"])]
