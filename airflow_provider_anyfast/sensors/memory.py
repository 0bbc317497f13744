"""The state of a sensor in mode ``reschedule``, each of whose pokes runs in a new process."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.ledger.stores import POKES_KEY, store_for
from airflow_provider_anyfast.polling.poller import FailedPolls

if TYPE_CHECKING:
    from airflow.sdk import Context


class Memory:
    """The consecutive failed polls of one attempt. Nothing is stored while polls succeed.

    Attributes:
        began_at: Unix seconds of the first of the consecutive failures, or of now.
        failed_polls: what an earlier poke of the same attempt saved.
    """

    def __init__(self, context: Context) -> None:
        self._store = store_for(context, POKES_KEY, pays=False)
        self._attempt = context["ti"].try_number
        stored = self._store.get()
        self._is_stored = stored is not None
        self.began_at, self.failed_polls = clock.now(), FailedPolls()
        if isinstance(stored, dict) and stored.pop("attempt", None) == self._attempt:
            self.began_at = float(stored.pop("began_at"))
            self.failed_polls = FailedPolls(**stored)

    def save(self, failed_polls: FailedPolls) -> None:
        """Stores ``failed_polls`` for the next poke, or deletes the record if there is none."""
        if failed_polls != FailedPolls():
            self._store.set({**asdict(failed_polls), "began_at": self.began_at, "attempt": self._attempt})
            self._is_stored = True
        elif self._is_stored:
            self._store.delete()
            self._is_stored = False
