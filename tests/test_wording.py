"""Words of messages."""

from __future__ import annotations

import pytest

from airflow_provider_anyfast.wording import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1_000, "1,000 rows")])
def test_one_thing_is_counted_in_the_singular(number: int, text: str) -> None:
    assert counted(number, "row") == text
