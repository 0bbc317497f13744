"""What a sensor in mode ``reschedule`` remembers from one poke to the next, each of which is a process of its own."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.ledger.stores import store_for
from airflow_provider_anyfast.polling.poller import Trouble

if TYPE_CHECKING:
    from airflow.sdk import Context

KEY = "anyfast_sensor"
"""Of the store. XComs do not serve: Airflow clears them at every poke."""


class Memory:
    """The failed polls in a row of one attempt. It holds nothing, and nothing is written, while polls succeed.

    Attributes:
        began_at: Unix seconds of the first of the polls that failed in a row, or of now.
        trouble: what an earlier poke of the same attempt has saved.
    """

    def __init__(self, context: Context) -> None:
        self._store = store_for(context, KEY, pays=False)
        self._attempt = context["ti"].try_number
        stored = self._store.get()
        self._is_stored = stored is not None
        self.began_at, self.trouble = clock.now(), Trouble()
        if isinstance(stored, dict) and stored.pop("attempt", None) == self._attempt:
            self.began_at = float(stored.pop("began_at"))
            self.trouble = Trouble(**stored)

    def save(self, trouble: Trouble) -> None:
        """Keeps ``trouble`` for the next poke; no trouble is not kept."""
        if trouble != Trouble():
            self._store.set({**asdict(trouble), "began_at": self.began_at, "attempt": self._attempt})
            self._is_stored = True
        elif self._is_stored:
            self._store.delete()
            self._is_stored = False
