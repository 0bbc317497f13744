"""The rows of a batch: read from a list, or from a CSV, JSON or JSON Lines file, and checked as a table."""

from __future__ import annotations

import codecs
import csv
import gc
import io
import json
import logging
import math
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.parameters import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

log = logging.getLogger(__name__)

MAX_ROWS = 10_000
"""Rows of one batch."""
MAX_CELL = 1024**2
"""Characters of one cell of a CSV file."""
MAX_FILE = 64 * 1024**2
"""Bytes of a file of rows."""
_DELIMITERS = ",;\t|"
_SAMPLE = 200
"""Records that show which of several characters separates the columns."""
_NO_VALUE = frozenset({"", "None", "null", "NULL", "NaN", "nan", "#N/A", "<NA>"})
"""What spreadsheets and data frames write for a cell without a value."""
_BLANK = " \t\r\n\xa0"
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


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


def parse_rows(text: str, name: str) -> list[Row]:
    """The rows of a file. Its name tells what kind it is; a CSV's separator is found.

    Args:
        text: its content.
        name: ends in ``.csv``, ``.tsv``, ``.json`` (a list of objects), ``.jsonl`` or ``.ndjson``.

    Raises:
        InvalidRequestError: it cannot be read as what its name says, or has two columns of one name.
    """
    kind = name.rpartition(".")[2].lower()
    with _without_collector():
        return _parsed(text, name, kind)


@contextmanager
def _without_collector() -> Iterator[None]:
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


def _parsed(text: str, name: str, kind: str) -> list[Row]:
    try:
        if kind in ("csv", "tsv"):
            return _checked(_from_csv(text))
        if kind == "json":
            return checked_rows(_json(text))
        if kind in ("jsonl", "ndjson"):
            lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
            rows = checked_rows([_json(line) for _, line in lines], keep_blank=True)
            for row, (number, _) in zip(rows, lines, strict=True):
                row.line = number
            return _checked(rows)
    except (ValueError, csv.Error, RecursionError) as error:
        if isinstance(error, InvalidRequestError):
            raise
        raise InvalidRequestError(f"rows={name!r} cannot be read: {error}.") from None
    raise InvalidRequestError(f"rows={name!r} ends in none of .csv, .tsv, .json, .jsonl, .ndjson.")


def decode_text(content: bytes, name: str) -> str:
    """The text of a file of rows: UTF-8, or UTF-16 with its mark, as Excel writes it.

    Raises:
        InvalidRequestError: it is neither; the message names the encoding that it seems to have.
    """
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        pass
    from charset_normalizer import from_bytes  # noqa: PLC0415 - only for a file that cannot be read

    guess = from_bytes(content).best()
    seems = f" It seems to be {guess.encoding}." if guess is not None else ""
    raise InvalidRequestError(
        f"rows={name!r} is not UTF-8.{seems}",
        advice="Save the file as UTF-8 (in Excel: 'CSV UTF-8'), and clear the task.",
    )


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
    return found if keep_blank else _checked(found)


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


def _checked(rows: list[Row]) -> list[Row]:
    found = [row for row in rows if any(map(has_value, row.values()))]
    if len(found) < len(rows):
        log.info("Skipped %d of %d rows: they have no values.", len(rows) - len(found), len(rows))
    if len(found) > MAX_ROWS:
        raise InvalidRequestError(f"The table has {len(found):,} rows, but one batch takes {MAX_ROWS:,}.")
    return found


def _from_csv(text: str) -> list[Row]:
    lines_before = 0
    delimiter = None
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == len("sep=;"):
        delimiter, text, lines_before = first.strip()[-1], rest, 1  # how Excel notes the separator
    records = _records(text, delimiter or _delimiter_of(text))
    _, header = next(records, (0, []))
    names = [name.strip() for name in header]
    cells = []
    for line, fields in records:
        if len(fields) != len(names) and any(field.strip() for field in fields):
            raise ValueError(
                f"line {line + lines_before} has {len(fields)} fields, but the header has {len(names)} columns"
            )
        cells.append((line + lines_before, fields))
    kept = [at for at, name in enumerate(names) if name or any(fields[at : at + 1] != [""] for _, fields in cells)]
    _refuse_double_columns([names[at] for at in kept])
    return [
        Row({names[at]: fields[at] if at < len(fields) else "" for at in kept}, number, line)
        for number, (line, fields) in enumerate(cells, start=1)
    ]


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV text that are not empty, each with the line on which it begins."""
    before = csv.field_size_limit(MAX_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        records, line = [], 1
        for fields in reader:
            if fields:
                records.append((line, fields))
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(before)
    return iter(records)


def _delimiter_of(text: str) -> str:
    """What separates the columns: the character that splits the header, and every record alike."""
    sample = "".join(text.splitlines(keepends=True)[:_SAMPLE])
    splitting = [each for each in _DELIMITERS if max(_widths(sample, each)[:1], default=0) > 1]
    if len(splitting) > 1:
        splitting = [each for each in splitting if len(set(_widths(sample, each))) == 1] or splitting
    if len(splitting) > 1:
        shown = " or ".join(repr(each) for each in splitting)
        raise ValueError(f"its columns may be separated by {shown}: write, for example, sep=; on the first line")
    return splitting[0] if splitting else ","


def _widths(sample: str, delimiter: str) -> list[int]:
    """How many fields each record of the sample has; empty where it cannot be read so."""
    try:
        return [len(fields) for _, fields in _records(sample, delimiter)]
    except csv.Error:
        # The sample may end within a quoted field, so what could be read of it counts.
        first = sample.partition("\n")[0]
        return [len(fields) for fields in csv.reader([first], delimiter=delimiter)]


def _refuse_double_columns(names: Sequence[str]) -> None:
    double = [name for name, times in Counter(names).items() if times > 1]
    if double:
        raise ValueError(
            f"it has more than one column {', '.join(map(repr, double))}; the columns are {', '.join(names)}"
        )


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_double_columns([name for name, _ in pairs])
    return dict(pairs)


def _literal(text: str) -> Any:
    """The list in the text that a template makes of one."""
    try:
        return decode(text, _object)
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
