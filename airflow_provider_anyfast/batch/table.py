"""The rows of a batch, checked as a table."""

from __future__ import annotations

import gc
import logging
import math
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.values import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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


@dataclass(frozen=True)
class Table:
    """The rows that were given. Each is made when it is needed: a later segment of a batch needs few of thousands.

    Attributes:
        size: how many there are, blank ones included.
        make_row: the row of a number from 1.
    """

    size: int
    make_row: Callable[[int], Row]

    def rows(self) -> list[Row]:
        """All rows that have a value; the log says how many have none.

        Raises:
            InvalidRequestError: there are none, or more than a batch takes, or something is not a row.
        """
        with without_collector():
            made = [self.make_row(number) for number in range(1, self.size + 1)]
            found = [row for row in made if any(map(has_value, row.values()))]
        if len(found) < len(made):
            log.info("Skipped %d of %d rows: they have no values.", len(made) - len(found), len(made))
        if len(found) > MAX_ROWS:
            raise InvalidRequestError(f"The table has {len(found):,} rows, but one batch takes {MAX_ROWS:,}.")
        if not found:
            raise InvalidRequestError("rows is empty, or none of its rows contains a value.")
        return found


@contextmanager
def without_collector() -> Iterator[None]:
    """Keeps the garbage collector from walking through all of Airflow's objects while thousands of rows are made.

    In a later segment of a batch, that would take longer than everything else. Rows hold no cycles.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def table_of(rows: Any, lines: Sequence[int] = ()) -> Table:
    """``rows`` as a table: a list of objects, a text that holds one, or a single object, which is one row.

    Args:
        rows: what was given.
        lines: of the file on which the rows stand, if they come from one.

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

    def make_row(number: int) -> Row:
        values = given[number - 1]
        if not isinstance(values, dict):
            raise InvalidRequestError(f"row {number} is {_article(values)}, not an object such as {{'sku': 'A1'}}.")
        return Row(values, number, lines[number - 1] if lines else None)

    return Table(len(given), make_row)


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
