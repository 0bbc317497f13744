"""Every row is rendered and checked before the first payment, and each problem is listed once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from jinja2 import Environment

from airflow_provider_anyfast.batch import rows as batch_rows
from airflow_provider_anyfast.batch.options import BatchParameters
from airflow_provider_anyfast.batch.rows import prepare
from airflow_provider_anyfast.batch.table import Row, table_of
from airflow_provider_anyfast.batch.table_file import read_table
from airflow_provider_anyfast.batch.template import RowTemplate
from airflow_provider_anyfast.client.errors import InvalidRequestError

if TYPE_CHECKING:
    from pathlib import Path


def prepared(rows: Any, template: dict[str, Any], **options: Any) -> list[batch_rows.BatchRow]:
    made = rows if isinstance(rows[0], Row) else table_of(rows).rows()
    given = BatchParameters(**options)
    return prepare(made, RowTemplate(template, Environment()), {}, given, billed_to="anyfast_default")


def refusal(rows: Any, template: dict[str, Any], **options: Any) -> str:
    with pytest.raises(InvalidRequestError) as raised:
        prepared(rows, template, **options)
    return raised.value.what


def test_a_problem_of_many_rows_is_named_once() -> None:
    rows = [{"SKU": f"A{n}", "Name": "boat"} for n in range(200)]
    assert refusal(rows, {"prompt": "{{ row.Nmae }}"}) == (
        "200 of 200 rows would be refused. prompt: there is no column 'Nmae'; the columns are SKU, Name: row 1 "
        "(SKU A0), row 2 (SKU A1), row 3 (SKU A2), row 4 (SKU A3), row 5 (SKU A4) and 195 more."
    )


def test_different_problems_are_each_named_with_their_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("sku;seconds\nA1;5\nA2;99\nA3;x\nA4;99\n")
    told = refusal(read_table(str(file)).rows(), {"prompt": "{{ row.sku }}", "duration": "{{ row.seconds }}"})
    assert told.startswith("3 of 4 rows would be refused. duration=99 is outside 4 to 15 seconds of seedance: ")
    assert "seedance: row 2 (line 3, sku A2), row 4 (line 5, sku A4). duration='x'" in told
    assert told.endswith("row 3 (line 4, sku A3).")


def test_a_value_of_a_row_cannot_leave_the_folder_of_the_template() -> None:
    for value in ("../x", "a/../../x", "..", "..\\x"):
        assert "leaves its folder" in refusal(
            [{"sku": value}], {"prompt": "x", "output_path": "/out/{{ row.sku }}/v.mp4"}
        )


@pytest.mark.parametrize("other", ["out/./a.mp4", "out//a.mp4", "./out/a.mp4"])
def test_two_rows_cannot_have_the_same_output(other: str) -> None:
    rows = [{"sku": "1", "path": "out/a.mp4"}, {"sku": "2", "path": other}]
    template = {"prompt": "{{ row.sku }}", "output_path": "{{ row.path }}"}
    assert f"output_path={other!r} is also that of row 1 (sku 1): row 2 (sku 2)" in refusal(rows, template)


def test_equal_rows_are_reported_before_the_payment(caplog: pytest.LogCaptureFixture) -> None:
    rows, template = [{"sku": "A1"}, {"sku": "A1"}, {"sku": "B2"}, {"sku": "A1"}], {"prompt": "{{ row.sku }}"}
    caplog.set_level(logging.WARNING, batch_rows.__name__)
    assert [row.number for row in prepared(rows, template)] == [1, 2, 3, 4]
    assert "Rows that make the same request as an earlier row: row 2 (sku A1), row 4 (sku A1)" in caplog.text
    assert "billed as well" in caplog.text


def test_equal_rows_can_be_skipped_or_refused() -> None:
    rows, template = [{"sku": "A1"}, {"sku": "A1"}, {"sku": "B2"}], {"prompt": "{{ row.sku }}"}
    assert [row.number for row in prepared(rows, template, duplicate_rows="skip")] == [1, 3]
    assert "Rows that make the same request as an earlier row: " in refusal(rows, template, duplicate_rows="fail")


def test_an_empty_table_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("sku,name\n,\n,,\n")
    empty = (str(tmp_path / "rows.csv"), r"rows='.*rows\.csv' is empty, or none of its rows contains a value")
    for rows, phrase in (empty, ([], "rows is empty")):
        with pytest.raises(InvalidRequestError, match=phrase):
            read_table(rows).rows()
    with pytest.raises(InvalidRequestError, match="does not exist"):
        read_table(str(tmp_path / "nowhere.csv")).rows()


def test_a_spreadsheet_file_in_utf_16_is_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes("sku\tname\r\nA1\tBöot\r\n".encode("utf-16"))
    assert read_table(str(file)).rows() == [{"sku": "A1", "name": "Böot"}]
