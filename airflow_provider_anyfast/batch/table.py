"""The rows of a batch, from the text of a CSV, JSON or JSON Lines file."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from airflow_provider_anyfast.client.errors import InvalidRequestError

Row = dict[str, Any]


def parse_rows(text: str, name: str) -> list[Row]:
    """The rows of a file; which kind it is, its name tells.

    Args:
        text: its content.
        name: ends in ``.csv``, ``.json`` (a list of objects), ``.jsonl`` or ``.ndjson``.

    Raises:
        InvalidRequestError: it cannot be read as what its name says; nothing was spent.
    """
    kind = name.rpartition(".")[2].lower()
    try:
        if kind == "csv":
            return _from_csv(text)
        if kind == "json":
            return checked_rows(json.loads(text))
        if kind in ("jsonl", "ndjson"):
            return checked_rows([json.loads(line) for line in text.split("\n") if line.strip()])
    except (ValueError, csv.Error, RecursionError) as error:
        raise InvalidRequestError(f"rows={name!r} cannot be read: {error}. Nothing was submitted or spent.") from error
    raise InvalidRequestError(f"rows={name!r} ends in none of .csv, .json, .jsonl, .ndjson. Nothing was spent.")


def checked_rows(rows: Any) -> list[Row]:
    """``rows`` as a list of objects.

    Raises:
        InvalidRequestError: naming the first that is none.
    """
    if not isinstance(rows, list | tuple):
        raise InvalidRequestError(f"rows is a {type(rows).__name__}, and not a list of objects. Nothing was spent.")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InvalidRequestError(f"row {number} is a {type(row).__name__}, and not an object. Nothing was spent.")
    return [dict(row) for row in rows]


def _from_csv(text: str) -> list[Row]:
    """A column may be named "", as the index of pandas is; None is the name of what is more than the header."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    rows = []
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(f"line {reader.line_num} has not as many fields as the header")
        rows.append(row)
    return rows
