"""Many ledgers in a few stored records: each row of a batch has its own, and writes of the same moment are one write."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_anyfast.jobs.ledger import Store

ROWS_PER_PAGE = 50
"""So that a page stays far below the 64 KB that Airflow's stores hold."""


class Book:
    """Pages of ledgers, safe to use from several threads.

    Args:
        store_of: the store of a name.
        rows: how many ledgers there will be about; an earlier attempt's choice of pages is kept.

    Raises:
        LedgerError: it cannot be read. Unknown is not absent.
    """

    def __init__(self, store_of: Callable[[str], Store], rows: int) -> None:
        cover = store_of("pages")
        try:
            number = int(cover.get() or 0)
            if not number:
                number = rows // ROWS_PER_PAGE + 1
                cover.set(number)
            self._pages = [_Page(store_of(f"page_{page}")) for page in range(number)]
        except Exception as error:
            raise LedgerError(
                f"The ledger could not be opened ({error}). Videos may be paid for already, so nothing was submitted. "
                "The next attempt tries again."
            ) from error

    def ledger_store(self, key: str) -> Store:
        """Where the ledger of ``key``, a hexadecimal digest, is kept."""
        return _Entry(self._pages[int(key[:8], 16) % len(self._pages)], key)

    @staticmethod
    def stores(store_of: Callable[[str], Store]) -> list[Store]:
        """Every store that a book has, for taking it away."""
        cover = store_of("pages")
        return [*(store_of(f"page_{page}") for page in range(int(cover.get() or 0))), cover]


class _Page:
    """One stored record with many entries."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: dict[str, Any] = store.get() or {}
        self._changing, self._writing = Lock(), Lock()
        self._version = self._written = 0

    def get(self, key: str) -> Any:
        with self._changing:
            return self._entries.get(key)

    def put(self, key: str, value: dict[str, Any] | None) -> None:
        """Returns when it is stored. Whoever writes takes along what others have put meanwhile."""
        with self._changing:
            before = self._entries.get(key)
            self._set(key, value)
            self._version += 1
            mine = self._version
        with self._writing:
            if self._written >= mine:
                return
            with self._changing:
                entries, version = dict(self._entries), self._version
            try:
                self._store.set(entries)
            except BaseException:
                with self._changing:
                    self._set(key, before)  # else the next write would store what this one has told to have failed
                raise
            self._written = version

    def _set(self, key: str, value: dict[str, Any] | None) -> None:
        if value is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = value


class _Entry:
    """The store of one ledger, on a page."""

    def __init__(self, page: _Page, key: str) -> None:
        self._page = page
        self._key = key

    def get(self) -> Any:
        """The stored value, or None."""
        return self._page.get(self._key)

    def set(self, value: dict[str, Any]) -> None:
        """Stores ``value``."""
        self._page.put(self._key, value)

    def delete(self) -> None:
        """Forgets it."""
        self._page.put(self._key, None)
