"""Ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_anyfast.sandbox.api import identifiers

if TYPE_CHECKING:
    import pytest


def test_ids_are_unique_even_when_they_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identifiers, "_LOWER", "ab")
    ids = identifiers.Identifiers()

    assert len({ids.asset(0) for _ in range(2**5)}) == 2**5


def test_an_id_contains_beijing_time() -> None:
    assert identifiers.Identifiers().group(0).startswith("group-19700101080000-")


def test_a_request_id_contains_utc_to_the_nanosecond() -> None:
    assert identifiers.new_request_id(0.25).startswith("19700101000000250000000")
