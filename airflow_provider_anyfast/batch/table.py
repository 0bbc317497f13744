"""The rows of a batch, checked as a table."""

from __future__ import annotations

import logging
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.values import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

log = logging.getLogger(__name__)

MAX_ROWS = 10_000
"""Rows of one batch."""
_NO_VALUE = frozenset({"", "None", "null", "NULL", "NaN", "nan", "#N/A", "<NA>"})
"""What spreadsheets and data frames write for a cell without a value."""
_BLANK = " \t\r\n\xa0"


class Row(dict[str, Any]):
    """The values of one row by column. A template sees the columns alone, never the methods of a Python dict.

    Attributes:
        number: from 1, among all rows that were given.
        line: of the file, from 1; None where the rows come from no text file.
    """

    def __init__(self, values: Mapping[str, Any], number: int = 0, line: int | None = None) -> None:
        super().__init__(values)
        self.number = number
        self.line = line

    def label(self, key_column: str | None = None) -> str:
        """How messages and logs name the row: its number, its line in the file, and the value of its key column."""
        line = f"line {self.line}" if self.line is not None else ""
        column = key_column if key_column is not None else next(iter(self), "")
        key = f"{column} {self[column]!s:.60}" if column in self and has_value(self[column]) else ""
        details = ", ".join(detail for detail in (line, key) if detail)
        return f"row {self.number}" + (f" ({details})" if details else "")


def has_value(value: Any) -> bool:
    """Whether a cell holds anything: not None, NaN, a blank text, or what stands for these in an export."""
    if isinstance(value, float):
        return not math.isnan(value)
    return value is not None and not (isinstance(value, str) and value.strip(_BLANK) in _NO_VALUE)


def checked_rows(rows: Any, *, keep_blank: bool = False) -> list[Row]:
    """``rows`` as a table: a list of objects, or a single object, which is one row.

    Rows without any value are left out, and counted in the log.

    Raises:
        InvalidRequestError: it is something else; the message says what to write instead.
    """
    if isinstance(rows, str):
        rows = _literal(rows)
    if isinstance(rows, dict):
        rows = [rows]
    try:
        given = list(rows)
    except TypeError:
        raise InvalidRequestError(
            f"rows is {_article(rows)}, not a list of objects. Give a list of dicts, the path of a file, or the "
            "output of a task, as in rows=task.output."
        ) from None
    found = []
    for number, values in enumerate(given, start=1):
        if not isinstance(values, dict):
            raise InvalidRequestError(f"row {number} is {_article(values)}, not an object such as {{'sku': 'A1'}}.")
        found.append(Row(values, number, values.line if isinstance(values, Row) else None))
    return found if keep_blank else without_blank_rows(found)


def check_required(rows: Sequence[Row], required: Iterable[str], key_column: str | None = None) -> None:
    """Raises an ``InvalidRequestError`` unless each of the ``required`` columns exists, and has a value in each row."""
    problems = []
    for column in required:
        if all(column not in row for row in rows):
            columns = ", ".join(dict.fromkeys(name for row in rows for name in row))
            problems.append(f"there is no column {column!r}; the columns are {columns}")
        elif empty := [row.label(key_column) for row in rows if not has_value(row.get(column))]:
            problems.append(f"column {column!r} has no value in {listed(empty)}")
    if problems:
        raise InvalidRequestError(f"Required columns are missing or have no value: {'; '.join(problems)}.")


def listed(labels: Sequence[str], most: int = 5) -> str:
    """The first of ``labels``, and how many more there are."""
    more = f" and {len(labels) - most:,} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more


def without_blank_rows(rows: list[Row]) -> list[Row]:
    """The rows that have a value, of which there may be as many as one batch takes."""
    found = [row for row in rows if any(map(has_value, row.values()))]
    if len(found) < len(rows):
        log.info("Skipped %d of %d rows: they have no values.", len(rows) - len(found), len(rows))
    if len(found) > MAX_ROWS:
        raise InvalidRequestError(f"The table has {len(found):,} rows, but one batch takes {MAX_ROWS:,}.")
    return found


def refuse_double_columns(names: Sequence[str]) -> None:
    """Raises a ``ValueError`` if two columns have one name."""
    double = [name for name, times in Counter(names).items() if times > 1]
    if double:
        raise ValueError(
            f"it has more than one column {', '.join(map(repr, double))}; the columns are {', '.join(names)}"
        )


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A row of JSON, whose columns all have their own names."""
    refuse_double_columns([name for name, _ in pairs])
    return dict(pairs)


def _literal(text: str) -> Any:
    """The list in the text that a template makes of one."""
    try:
        return decode(text, object_of)
    except PydanticCustomError:
        raise InvalidRequestError(
            "rows is text that begins like a list but is neither JSON nor a Python literal. Give the output of the "
            "task itself, as in rows=task.output, instead of a template that renders it to text."
        ) from None
    except ValueError as error:
        raise InvalidRequestError(f"rows cannot be read: {error}.") from None


def _article(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
