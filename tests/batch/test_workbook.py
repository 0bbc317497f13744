"""Rows from a spreadsheet: the values are those that a reader of the sheet would expect."""

from __future__ import annotations

import io
import json
import sys
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from openpyxl import Workbook

from airflow_provider_anyfast.batch import workbook
from airflow_provider_anyfast.batch.table_file import parse_workbook, read_table
from airflow_provider_anyfast.client.errors import InvalidRequestError

if TYPE_CHECKING:
    from pathlib import Path


def saved(made: Workbook) -> bytes:
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def sheet(*rows: list[Any]) -> bytes:
    made = Workbook()
    for row in rows:
        made.worksheets[0].append(row)
    return saved(made)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("Grünes Fahrrad 🚲", "Grünes Fahrrad 🚲"),
        (" P001", " P001"),
        (4, 4),
        (4.0, 4),
        (12.99, 12.99),
        (4006381333931, 4006381333931),
        (4006381333931001, 4006381333931001),
        (True, True),
        (date(2026, 11, 2), "2026-11-02"),
        (datetime(2026, 11, 2, 8, 30), "2026-11-02 08:30:00"),  # noqa: DTZ001 - a spreadsheet has no time zones
        (time(8, 30), "08:30:00"),
        (timedelta(hours=30), "1 day, 6:00:00"),
        ("#REF!", ""),
    ],
)
def test_a_cell_is_the_value_that_the_sheet_shows(cell: Any, value: Any) -> None:
    (row,) = parse_workbook(sheet(["sku", "cell"], ["A1", cell]), "a.xlsx").rows()
    assert row == {"sku": "A1", "cell": value}
    assert type(row["cell"]) is type(value)
    assert json.loads(json.dumps(row)) == row


def test_the_first_row_with_a_value_names_the_columns_and_empty_rows_are_skipped() -> None:
    content = sheet([], [" sku ", "name", None], ["A1", "boat"], [None], ["B2", None, None], [None, None, None])
    rows = parse_workbook(content, "a.xlsx").rows()
    assert rows == [{"sku": "A1", "name": "boat"}, {"sku": "B2", "name": ""}]
    assert [row.label() for row in rows] == ["row 1 (line 3, sku A1)", "row 3 (line 5, sku B2)"]


def test_the_first_visible_worksheet_is_read() -> None:
    made = Workbook()
    made.worksheets[0].append(["sku"])
    made.worksheets[0].append(["A1"])
    made.create_sheet("prices").append(["price"])
    made.create_chartsheet("sales", 0)
    made.create_sheet("choices", 0).sheet_state = "hidden"
    assert parse_workbook(saved(made), "a.xlsx").rows() == [{"sku": "A1"}]


def test_a_spreadsheet_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "Produkte.XLSX"
    file.write_bytes(sheet(["sku"], ["A1"]))
    assert read_table(str(file)).rows() == [{"sku": "A1"}]


@pytest.mark.parametrize("content", [b"", b"sku;name\n", b"PK\x03\x04" + bytes(40)], ids=["nothing", "text", "cut off"])
def test_what_is_no_spreadsheet_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="Nothing was billed") as raised:
        parse_workbook(content, "a.xlsx")
    assert "cannot be read: " in raised.value.what


@pytest.mark.parametrize(
    ("rows", "phrase"),
    [
        ([["sku", "name", "sku"], [1, 2, 3]], "more than one column 'sku'"),
        (
            [["Products of 2026"], [], ["sku", "name", "price"], [1, 2, 3]],
            "2 columns have values but no name: its first row must name",
        ),
        ([["sku"]], "none of its rows contains a value"),
        ([], "none of its rows contains a value"),
    ],
)
def test_an_error_describes_why_a_spreadsheet_cannot_be_read(rows: list[list[Any]], phrase: str) -> None:
    with pytest.raises(InvalidRequestError, match="Nothing was billed") as raised:
        parse_workbook(sheet(*rows), "a.xlsx").rows()
    assert phrase in raised.value.what


def test_a_spreadsheet_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_UNPACKED", 1000)
    with pytest.raises(InvalidRequestError, match="but a batch reads at most 1,000"):
        parse_workbook(sheet(["sku"], ["A1"]), "a.xlsx")


def test_without_the_extra_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(InvalidRequestError) as raised:
        parse_workbook(sheet(["sku"], ["A1"]), "a.xlsx")
    assert "needs the extra 'excel'" in raised.value.what
    assert raised.value.advice.startswith("Install the extra, or save the table as CSV")
