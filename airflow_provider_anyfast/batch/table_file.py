"""Reads a table from a CSV, Excel, JSON or JSON Lines file, local or in object storage."""

from __future__ import annotations

import codecs
import csv
import io
import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch import workbook
from airflow_provider_anyfast.batch.table import (
    Row,
    Table,
    object_of,
    refuse_double_columns,
    table_of,
    without_collector,
)
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.files.paths import stored_file
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_CELL = 1024**2
"""Maximum characters of one cell of a CSV file."""
MAX_FILE = 64 * 1024**2
"""Maximum bytes of a file of rows."""
_DELIMITERS = ",;\t|"
_CSV_AT_ITS_END = "unexpected end of data"
_UNCLOSED = "a field begins with a quotation mark and has none at its end"
_SAMPLE = 200
"""Records that are examined to detect the delimiter."""
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def is_file(rows: Any) -> bool:
    """Whether ``rows`` names a file. A text that begins like a list is the rendered output of a task."""
    return isinstance(rows, str) and not rows.lstrip().startswith(("[", "{"))


def read_content(rows: str) -> bytes:
    """The content of a file of rows, local or in object storage.

    Raises:
        InvalidRequestError: it does not exist, or is too large.
        StorageError: the storage does not respond.
    """
    file = stored_file(rows, "rows")
    size = file.size()
    if size is None:
        raise InvalidRequestError(f"rows={rows!r} does not exist.")
    if size > MAX_FILE:
        raise InvalidRequestError(f"rows={rows!r} has {size:,} bytes, but a batch reads at most {MAX_FILE:,}.")
    with file.open() as opened:
        return opened.read()


def read_table(rows: Any, content: bytes | None = None) -> Table:
    """The table of a list, or of a CSV, Excel, JSON or JSON Lines file.

    Args:
        rows: a list, a text that contains one, or the path of a file.
        content: the content of the file, if already read.

    Raises:
        InvalidRequestError: it cannot be read.
        StorageError: the storage does not respond.
    """
    if not is_file(rows):
        return table_of(rows)
    name = stored_file(rows, "rows").name
    content = read_content(rows) if content is None else content
    is_workbook = _kind_of(name) in workbook.KINDS
    table = parse_workbook(content, name) if is_workbook else parse_table(decode_text(content, rows), name)
    return replace(table, name=f"rows={rows!r}")


def parse_workbook(content: bytes, name: str) -> Table:
    """The table in the first visible worksheet of a spreadsheet. Its first row that has a value names the columns.

    Args:
        content: the content of the file.
        name: the file's name, for messages.

    Raises:
        InvalidRequestError: it cannot be read, has two columns with the same name, or the extra ``excel`` is missing.
    """
    try:
        with without_collector():
            records = workbook.cells_of(content, name)
            header = next((cells for _, cells in records if any(cell != "" for cell in cells)), [])
            return _of_records([str(cell).strip() for cell in header], list(records))
    except ValueError as error:
        if isinstance(error, InvalidRequestError):
            raise
        raise InvalidRequestError(f"rows={name!r} cannot be read: {error}.") from None


def parse_table(text: str, name: str) -> Table:
    """The table in a file. The name determines the format; the delimiter of a CSV file is detected.

    Args:
        text: the content of the file.
        name: the file's name, ending in ``.csv``, ``.tsv``, ``.json`` (a list of objects), ``.jsonl`` or ``.ndjson``.

    Raises:
        InvalidRequestError: it cannot be read in that format, or has two columns with the same name.
    """
    kind = _kind_of(name)
    try:
        with without_collector():
            if kind in ("csv", "tsv"):
                return _from_csv(text)
            if kind == "json":
                return table_of(_json(text))
            if kind in ("jsonl", "ndjson"):
                lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
                return table_of([_json(line) for _, line in lines], [number for number, _ in lines])
    except (ValueError, csv.Error, RecursionError) as error:
        if isinstance(error, InvalidRequestError):
            raise
        reason = _UNCLOSED if str(error) == _CSV_AT_ITS_END else error
        raise InvalidRequestError(f"rows={name!r} cannot be read: {reason}.") from None
    raise InvalidRequestError(f"rows={name!r} ends in none of .csv, .tsv, .xlsx, .json, .jsonl, .ndjson.")


def _kind_of(name: str) -> str:
    return name.rpartition(".")[2].lower()


def decode_text(content: bytes, name: str) -> str:
    """The text of a file of rows: UTF-8, or UTF-16 with a byte order mark, as Excel writes it.

    Raises:
        InvalidRequestError: it is neither; the message names the likely encoding.
    """
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    with suppress(UnicodeDecodeError):
        text = content.decode(encoding)
        if "\0" not in text[:2]:  # in UTF-16 without a mark, or UTF-32, every other character is NUL
            return text
    from charset_normalizer import from_bytes  # noqa: PLC0415 - only needed for a file that cannot be read

    guess = from_bytes(content).best()
    seems = f" It seems to be {guess.encoding}." if guess is not None else ""
    raise InvalidRequestError(
        f"rows={name!r} is not UTF-8.{seems}",
        advice="Save the file as UTF-8 (in Excel: 'CSV UTF-8'), and clear the task.",
    )


def _from_csv(text: str) -> Table:
    lines_before = 0
    delimiter = None
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == len("sep=;"):
        delimiter, text, lines_before = first.strip()[-1], rest, 1  # how Excel declares the delimiter
    records = _records(text, delimiter or _delimiter_of(text))
    _, header = next(records, (0, []))
    names = [name.strip() for name in header]
    cells = []
    for line, fields in records:
        if len(fields) != len(names) and any(field.strip() for field in fields):
            raise ValueError(
                f"line {line + lines_before} has {counted(len(fields), 'field')}, but the header has "
                f"{counted(len(names), 'column')}"
            )
        cells.append((line + lines_before, fields))
    return _of_records(names, cells)


def _of_records(names: Sequence[str], records: Sequence[tuple[int, Sequence[Any]]]) -> Table:
    """A table of records, each with its line in the file. A column that has neither a name nor a value is left out."""
    kept = [at for at, name in enumerate(names) if name or any(fields[at : at + 1] != [""] for _, fields in records)]
    if (nameless := sum(not names[at] for at in kept)) > 1:
        raise ValueError(
            f"{nameless} columns have values but no name: its first row must name the columns, and it has only "
            f"{', '.join(filter(None, names))}"
        )
    refuse_double_columns([names[at] for at in kept])

    def make_row(number: int) -> Row:
        line, fields = records[number - 1]
        return Row({names[at]: fields[at] if at < len(fields) else "" for at in kept}, number, line)

    return Table(len(records), make_row)


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The non-empty records of a CSV text, each with the line on which it begins."""
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
    """The delimiter of the columns: the character that splits the header and every record into equally many fields."""
    sample = "".join(text.splitlines(keepends=True)[:_SAMPLE])
    splitting = [each for each in _DELIMITERS if max(_widths(sample, each)[:1], default=0) > 1]
    if len(splitting) > 1:
        splitting = [each for each in splitting if len(set(_widths(sample, each))) == 1] or splitting
    if len(splitting) > 1:
        shown = " or ".join(repr(each) for each in splitting)
        raise ValueError(f"its columns may be separated by {shown}: write, for example, sep=; on the first line")
    return splitting[0] if splitting else ","


def _widths(sample: str, delimiter: str) -> list[int]:
    """The number of fields in each record of the sample; only the header's if the sample cannot be read as a whole."""
    try:
        return [len(fields) for _, fields in _records(sample, delimiter)]
    except csv.Error:
        # The sample may end within a quoted field, so only its first line is read.
        first = sample.partition("\n")[0]
        return [len(fields) for fields in csv.reader([first], delimiter=delimiter)]


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=object_of)
