"""The state of a sensor in mode ``reschedule``, each of whose pokes runs in a new process."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.ledger.stores import POKES_KEY, store_for
from airflow_provider_anyfast.polling.poller import FailedPolls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

log = logging.getLogger(__name__)


class Memory:
    """The consecutive failed polls of one attempt. Nothing is stored while polls succeed.

    A sensor pays for nothing, so it continues without this record if the record cannot be read or written.

    Attributes:
        began_at: Unix seconds of the first of the consecutive failures, or of now.
        failed_polls: what an earlier poke of the same attempt saved.
    """

    def __init__(self, context: Context) -> None:
        self._store = store_for(context, POKES_KEY, pays=False)
        self._attempt = context["ti"].try_number
        self._is_stored = True
        self.began_at, self.failed_polls = clock.now(), FailedPolls()
        with _without_record_if_it_fails("read"):
            stored = self._store.get()
            self._is_stored = stored is not None
            if stored is not None and stored.pop("attempt") == self._attempt:
                began_at = float(stored.pop("began_at"))
                self.failed_polls = FailedPolls(**stored)
                self.began_at = began_at

    def save(self, failed_polls: FailedPolls) -> None:
        """Stores ``failed_polls`` for the next poke, or deletes the record if there is none."""
        with _without_record_if_it_fails("written"):
            if failed_polls != FailedPolls():
                self._store.set({**asdict(failed_polls), "began_at": self.began_at, "attempt": self._attempt})
                self._is_stored = True
            elif self._is_stored:
                self._store.delete()
                self._is_stored = False


@contextmanager
def _without_record_if_it_fails(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever Airflow or somebody's change of the record causes
        log.warning(
            "The sensor's record of failed polls cannot be %s (%s), so it counts them from now on.", what, error
        )
