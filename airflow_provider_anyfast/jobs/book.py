"""Many ledgers in a few stored records: each row of a batch has its own, and simultaneous writes are one write.

Only the thread that made the book talks to the stores, since not every way of running an Airflow task allows others to.
Other threads hand it what is to be written, and go on when that is done.
"""

from __future__ import annotations

import queue
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_anyfast.jobs.ledger import Store

ROWS_PER_PAGE = 50
"""So that a page stays far below the 64 KB that Airflow's stores hold."""


class Book:
    """Pages of ledgers.

    Args:
        store_of: the store of a name.
        rows: how many ledgers there will be about; an earlier attempt's choice of pages is kept.

    Raises:
        LedgerError: it cannot be read. Unknown is not absent.
    """

    def __init__(self, store_of: Callable[[str], Store], rows: int) -> None:
        cover = store_of("pages")
        try:
            number = _pages_of(cover)
            if not number:
                number = rows // ROWS_PER_PAGE + 1
                cover.set({"pages": number})
            self._stores = [store_of(f"page_{page}") for page in range(number)]
            self._pages: list[dict[str, Any]] = [store.get() or {} for store in self._stores]
        except Exception as error:
            raise LedgerError(
                f"The ledger could not be opened ({error}). Videos may be paid for already, so nothing was submitted. "
                "The next attempt tries again."
            ) from error
        self._wanted: queue.SimpleQueue[_Change] = queue.SimpleQueue()
        self._closing = Lock()
        self._closed = False

    def ledger_store(self, key: str) -> Store:
        """Where the ledger of ``key``, a hexadecimal digest, is kept. For every thread but the book's own."""
        return _Entry(self, key)

    def get(self, key: str) -> Any:
        """What is stored under ``key``, or None."""
        return self._page_of(key).get(key)

    def write_what_is_wanted(self, seconds: float) -> None:
        """Waits for changes, ``seconds`` at most, and stores them: each page once, whatever has changed on it."""
        changes = []
        with suppress(queue.Empty):
            changes.append(self._wanted.get(timeout=seconds))
            while True:
                changes.append(self._wanted.get_nowait())
        by_page: dict[int, list[_Change]] = {}
        for change in changes:
            by_page.setdefault(self._number_of(change.key), []).append(change)
        for number, of_page in by_page.items():
            self._write(number, of_page)

    def close(self) -> None:
        """Refuses every change that is wanted and not stored, so that nobody waits in vain."""
        with self._closing:
            self._closed = True
        while not self._wanted.empty():
            self._wanted.get().done.set_exception(LedgerError("The task has ended meanwhile."))

    @staticmethod
    def stores(store_of: Callable[[str], Store]) -> list[Store]:
        """Every store that a book has, for taking it away."""
        cover = store_of("pages")
        return [*(store_of(f"page_{page}") for page in range(_pages_of(cover))), cover]

    def change(self, key: str, value: dict[str, Any] | None) -> None:
        """Returns when ``value`` is stored under ``key``, or nothing is where it is None; raises what that raised."""
        change = _Change(key, value)
        with self._closing:
            if self._closed:
                raise LedgerError("The task has ended meanwhile.")
            self._wanted.put(change)
        change.done.result()

    def _write(self, number: int, changes: list[_Change]) -> None:
        page = dict(self._pages[number])
        for change in changes:
            if change.value is None:
                page.pop(change.key, None)
            else:
                page[change.key] = change.value
        try:
            self._stores[number].set(page)
        except Exception as error:  # noqa: BLE001 - told to those who wait
            for change in changes:
                change.done.set_exception(error)
            return
        self._pages[number] = page
        for change in changes:
            change.done.set_result(None)

    def _number_of(self, key: str) -> int:
        return int(key[:8], 16) % len(self._stores)

    def _page_of(self, key: str) -> dict[str, Any]:
        return self._pages[self._number_of(key)]


class _Change:
    """Something to be stored, and who waits for it."""

    def __init__(self, key: str, value: dict[str, Any] | None) -> None:
        self.key = key
        self.value = value
        self.done: Future[None] = Future()


class _Entry:
    """The store of one ledger, in a book."""

    def __init__(self, book: Book, key: str) -> None:
        self._book = book
        self._key = key

    def get(self) -> Any:
        """The stored value, or None."""
        return self._book.get(self._key)

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value``."""
        self._book.change(self._key, value)

    def delete(self) -> None:
        """Forgets it."""
        self._book.change(self._key, None)


def _pages_of(cover: Store) -> int:
    return int((cover.get() or {}).get("pages", 0))
