"""The rows of a batch, checked as a table."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.values import decode, is_blank
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

log = logging.getLogger(__name__)

MAX_ROWS = 10_000
"""Rows of one batch."""
_LONGEST_NAME = 60
"""Characters of a row's name in messages and on pages."""


class Row(dict[str, Any]):
    """The values of one row by column. A template sees only the columns, not the methods of a Python dict.

    Attributes:
        number: position among all given rows, from 1.
        line: line in the file, from 1; None if the rows do not come from a text file.
    """

    def __init__(self, values: Mapping[str, Any], number: int = 0, line: int | None = None) -> None:
        super().__init__(values)
        self.number = number
        self.line = line

    def label(self, key_column: str | None = None) -> str:
        """The row's name in messages and logs: its number, its line in the file, and the value of its key column."""
        line = f"line {self.line}" if self.line is not None else ""
        column, name = named_by(self, key_column)
        key = f"{column} {name}" if name else ""
        details = ", ".join(detail for detail in (line, key) if detail)
        return f"row {self.number}" + (f" ({details})" if details else "")


def named_by(row: Mapping[str, Any], key_column: str | None = None) -> tuple[str, str]:
    """The column that names a row, and the row's name: the value of that column in one line; empty if it has none.

    Args:
        row: the values by column.
        key_column: the column; None takes the first one.
    """
    column = key_column if key_column is not None else next(iter(row), "")
    value = row.get(column)
    return column, "" if is_blank(value) else " ".join(str(value).split())[:_LONGEST_NAME]


@dataclass(frozen=True)
class Table:
    """The given rows. Each is created on demand, since a later segment of a batch needs few of thousands.

    Attributes:
        size: number of rows, including blank ones.
        make_row: creates the row with a number, from 1.
        name: where the rows come from, for messages.
    """

    size: int
    make_row: Callable[[int], Row]
    name: str = "rows"

    def rows(self) -> list[Row]:
        """All rows that have a value; logs how many have none.

        Raises:
            InvalidRequestError: there are none, or more than a batch accepts, or an item is not a row.
        """
        with without_collector():
            made = [self.make_row(number) for number in range(1, self.size + 1)]
            found = [row for row in made if not all(map(is_blank, row.values()))]
        if len(found) < len(made):
            log.info("Skipped %d of %s: no values.", len(made) - len(found), counted(len(made), "row"))
        if len(found) > MAX_ROWS:
            raise InvalidRequestError(f"The table has {len(found):,} rows, but one batch takes {MAX_ROWS:,}.")
        if not found:
            raise InvalidRequestError(f"{self.name} is empty, or none of its rows contains a value.")
        return found


@contextmanager
def without_collector() -> Iterator[None]:
    """Pauses the garbage collector, which would traverse all of Airflow's objects while thousands of rows are created.

    In a later segment of a batch, that would take longer than everything else. Rows contain no reference cycles.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def table_of(rows: Any, lines: Sequence[int] = ()) -> Table:
    """Converts ``rows`` to a table: a list of objects, a text that contains one, or a single object, which is one row.

    Args:
        rows: the given value.
        lines: the lines of the rows in their file, if they come from one.

    Raises:
        InvalidRequestError: it is anything else; the message states what to write instead.
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
        elif empty := [row.label(key_column) for row in rows if is_blank(row.get(column))]:
            problems.append(f"column {column!r} has no value in {listed(empty)}")
    if problems:
        raise InvalidRequestError(f"Required columns are missing or have no value: {'; '.join(problems)}.")


def warn_of_unknown_key_column(rows: Sequence[Row], key_column: str | None) -> None:
    """Logs that no row has the column that should name the rows. That is no reason to make no video."""
    if key_column is not None and all(key_column not in row for row in rows):
        columns = ", ".join(dict.fromkeys(name for row in rows for name in row))
        log.warning("key_column=%r: there is no such column, so rows have no name. There are %s.", key_column, columns)


def listed(labels: Sequence[str], most: int = 5) -> str:
    """The first ``most`` of ``labels``, and the number of the others."""
    more = f" and {len(labels) - most:,} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more


def refuse_double_columns(names: Sequence[str]) -> None:
    """Raises a ``ValueError`` if two columns have the same name."""
    double = [name for name, times in Counter(names).items() if times > 1]
    if double:
        raise ValueError(
            f"it has more than one column {', '.join(map(repr, double))}; the columns are {', '.join(names)}"
        )


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a row; refuses duplicate column names."""
    refuse_double_columns([name for name, _ in pairs])
    return dict(pairs)


def _literal(text: str) -> Any:
    """The list in a text that a template rendered from a list."""
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
