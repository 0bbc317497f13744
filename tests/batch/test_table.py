"""Rows from the text of a file."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_anyfast.batch.table import checked_rows, parse_rows
from airflow_provider_anyfast.client.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.csv", "name,n\r\nboat,1\r\n\r\n", [{"name": "boat", "n": "1"}]),
        ("a.CSV", 'name\n"a, ""big""\nboat"\n', [{"name": 'a, "big"\nboat'}]),
        ("a.csv", ",name\n0,boat\n", [{"": "0", "name": "boat"}]),
        ("a.csv", "name,\nboat,\n", [{"name": "boat", "": ""}]),
        ("a.csv", "name\n", []),
        ("a.csv", "", []),
        ("a.json", '[{"n": 1}, {"n": null}]', [{"n": 1}, {"n": None}]),
        ("a.jsonl", '{"n": 1}\r\n \n{"n": "\u2028\u0085"}', [{"n": 1}, {"n": "\u2028\u0085"}]),
        ("a.ndjson", "", []),
    ],
)
def test_a_file_is_read_as_what_its_name_says(name: str, text: str, rows: list[dict[str, Any]]) -> None:
    assert parse_rows(text, name) == rows


@pytest.mark.parametrize(
    ("name", "text", "phrase"),
    [
        ("a.csv", "name,n\nboat\n", "line 2 has not as many fields"),
        ("a.csv", "name\nboat,1\n", "line 2 has not as many fields"),
        ("a.csv", ",name\n0,boat,1\n", "line 2 has not as many fields"),
        ("a.csv", 'name\n"boat\n', "cannot be read"),
        ("a.json", "[", "cannot be read"),
        ("a.json", '{"n": 1}', "is a dict"),
        ("a.json", "[1]", "row 1 is a int"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.jsonl", '{"n": 1}\n[]\n', "row 2 is a list"),
        ("a.jsonl", "nothing", "cannot be read"),
        ("a.xlsx", "", "ends in none of"),
    ],
)
def test_what_cannot_be_read_is_told_in_words(name: str, text: str, phrase: str) -> None:
    with pytest.raises(InvalidRequestError, match="Nothing was") as told:
        parse_rows(text, name)
    assert phrase in str(told.value)


def test_rows_are_copies() -> None:
    given = {"n": 1}
    (row,) = checked_rows((given,))
    row["n"] = 2
    assert given == {"n": 1}
