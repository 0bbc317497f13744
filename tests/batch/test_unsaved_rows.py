"""What successful runs left unsaved is kept for later runs, and an unreachable record is not an absent one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_anyfast.batch.unsaved_rows import UnsavedRows
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import LedgerError
from airflow_provider_anyfast.ledger.record import Record, Stage
from airflow_provider_anyfast.ledger.stores import MemoryStore

LOST = Record(stage=Stage.LOST, fingerprint="f", max_tries=0, at=clock.now())


@dataclass
class BrokenStore(MemoryStore):
    """Airflow's API server fails."""

    reads: bool = False

    def get(self) -> Any:
        if not self.reads:
            raise RuntimeError("offline")
        return super().get()

    def set(self, value: dict[str, Any]) -> None:
        raise RuntimeError(f"offline, so {value} is lost")


def test_a_lost_submission_is_left_to_other_runs_and_not_to_the_one_that_lost_it() -> None:
    store = MemoryStore()
    UnsavedRows(store, "first").note([("row", LOST.to_stored())])
    assert UnsavedRows(store, "first").records() == {}
    assert UnsavedRows(store, "second").records() == {"row": LOST}


def test_a_row_that_a_later_run_has_saved_is_forgotten() -> None:
    store = MemoryStore()
    UnsavedRows(store, "first").note([("row", LOST.to_stored())])
    found = LOST.model_copy(update={"stage": Stage.SUBMITTED, "id": "asyntask_1"})
    UnsavedRows(store, "second").note([("row", {**found.to_stored(), "saved": {}})])
    assert store.value is None


def test_an_unreachable_record_stops_the_run_and_says_what_it_costs() -> None:
    with pytest.raises(LedgerError, match="could not be read"):
        UnsavedRows(BrokenStore(), "run").records()
    with pytest.raises(LedgerError, match="could not be written") as caught:
        UnsavedRows(BrokenStore(reads=True), "run").note([("row", LOST.to_stored())])
    assert "Nothing more was billed." in str(caught.value)
