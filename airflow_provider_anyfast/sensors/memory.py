"""What a sensor in mode ``reschedule`` remembers from one poke to the next, each of which is a process of its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.ledger.stores import store_for
from airflow_provider_anyfast.polling.poller import Trouble

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_anyfast.ledger.record import Store

KEY = "anyfast_sensor"
"""Of the store. XComs do not serve: Airflow clears them at every poke."""


@dataclass
class Memory:
    """The failed polls in a row of one attempt. It holds nothing, and nothing is written, while polls succeed.

    Attributes:
        began_at: Unix seconds of the attempt's first poke.
    """

    began_at: float
    _store: Store
    _attempt: int
    _is_stored: bool = False

    @classmethod
    def of(cls, context: Context) -> Memory:
        """The memory of the attempt that ``context`` belongs to."""
        ti = context["ti"]
        first: Any = ti.get_first_reschedule_date(context)
        began_at = first.timestamp() if first is not None else clock.now()
        return cls(began_at, store_for(context, KEY), ti.try_number)

    def load(self) -> Trouble:
        """What an earlier poke of the same attempt has saved."""
        stored = self._store.get()
        self._is_stored = stored is not None
        if not isinstance(stored, dict) or stored.pop("attempt", None) != self._attempt:
            return Trouble()
        return Trouble(**stored)

    def save(self, trouble: Trouble) -> None:
        """Keeps ``trouble`` for the next poke; no trouble is not kept."""
        if trouble != Trouble():
            self._store.set({**asdict(trouble), "attempt": self._attempt})
            self._is_stored = True
        elif self._is_stored:
            self._store.delete()
            self._is_stored = False
