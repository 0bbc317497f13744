"""Rows from the text of a file: the values are those that a reader of the table would expect."""

from __future__ import annotations

import csv
import gc
import io
import logging
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyfast.batch import table
from airflow_provider_anyfast.batch.table import Row, check_required, listed, table_of, warn_of_unknown_key_column
from airflow_provider_anyfast.batch.table_file import MAX_CELL, decode_text, parse_table
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.values import is_blank


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.csv", "name,n\r\nboat,1\r\n\r\n", [{"name": "boat", "n": "1"}]),
        ("a.CSV", 'name\n"a, ""big""\nboat"\n', [{"name": 'a, "big"\nboat'}]),
        ("a.csv", ",name\n0,boat\n", [{"": "0", "name": "boat"}]),
        ("a.csv", "name,,\nboat,,\n", [{"name": "boat"}]),
        ("a.csv", "name;n\nboat;1,5\n", [{"name": "boat", "n": "1,5"}]),
        ("a.tsv", "name\tn\nboat\t1\n", [{"name": "boat", "n": "1"}]),
        ("a.csv", "sep=;\r\nname;n\r\nboat;1\r\n", [{"name": "boat", "n": "1"}]),
        ("a.csv", '"a,b";n\n"c,d";1\n', [{"a,b": "c,d", "n": "1"}]),
        ("a.csv", " name , n\nboat, 1\n,\n,,,\n", [{"name": "boat", "n": " 1"}]),
        ("a.json", '[{"n": 1}, {"n": null}]', [{"n": 1}]),
        ("a.jsonl", '{"n": 1}\r\n \n{"n": "a\u2028b\u0085c"}', [{"n": 1}, {"n": "a\u2028b\u0085c"}]),
        ("a.json", '{"n": 1}', [{"n": 1}]),
    ],
)
def test_a_files_name_determines_its_format(name: str, text: str, rows: list[dict[str, Any]]) -> None:
    assert parse_table(text, name).rows() == rows


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", "name\n"), ("a.csv", ""), ("a.csv", "name\n \n"), ("a.ndjson", "")]
)
def test_a_file_without_a_value_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidRequestError, match="none of its rows contains a value"):
        parse_table(text, name).rows()


@pytest.mark.parametrize(
    ("name", "text", "phrase"),
    [
        ("a.csv", "name,n\nboat\n", "line 2 has 1 field, but the header has 2 columns"),
        ("a.csv", "name\nboat,1\n", "line 2 has 2 fields, but the header has 1 column"),
        ("a.csv", ",name\n0,boat,1\n", "line 2 has 3 fields, but the header has 2"),
        ("a.csv", 'name\n"boat\n', "cannot be read: a field begins with a quotation mark and has none at its end"),
        ("a.json", "[", "cannot be read"),
        ("a.csv", "sku,n,sku\n1,2,3\n", "more than one column 'sku'; the columns are sku, n, sku"),
        ("a.csv", "sku,,\n1,2,3\n", "2 columns have values but no name: its first row must name"),
        ("a.csv", "a,b;c\n1,2;3\n", "may be separated by ',' or ';'"),
        ("a.json", '[{"n": 1, "n": 2}]', "more than one column 'n'"),
        ("a.json", "[1]", "row 1 is an int"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.jsonl", '{"n": 1}\n[]\n', "row 2 is a list"),
        ("a.jsonl", "nothing", "cannot be read"),
        ("a.txt", "", "ends in none of"),
    ],
)
def test_an_error_describes_why_a_file_cannot_be_read(name: str, text: str, phrase: str) -> None:
    with pytest.raises(InvalidRequestError, match="Nothing was billed") as told:
        parse_table(text, name).rows()
    assert phrase in str(told.value)


def test_rows_are_copies() -> None:
    given = {"n": 1}
    (row,) = table_of((given,)).rows()
    row["n"] = 2
    assert given == {"n": 1}


def test_a_key_column_that_does_not_exist_is_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    rows = table_of([{"sku": "A1"}, {"name": "boat"}]).rows()
    for known in (None, "sku", "name"):
        warn_of_unknown_key_column(rows, known)
    assert caplog.messages == []
    warn_of_unknown_key_column(rows, "SKU")
    assert caplog.messages == ["key_column='SKU': there is no such column, so rows have no name. There are sku, name."]


def test_rows_without_any_value_are_skipped_and_counted_and_do_not_shift_the_numbers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, table.__name__)
    rows = parse_table('sku,name\n,\n A1 ,"two\nlines"\n , \nNaN,None\nB2,boat\n', "rows.csv").rows()
    assert [(row.number, row.line) for row in rows] == [(2, 3), (5, 7)]
    assert "Skipped 3 of 5 rows" in caplog.text


def test_the_label_of_a_row_has_its_number_its_line_and_its_key() -> None:
    _, row = parse_table("name;sku\nboat;A1\nlamp;B2\n", "rows.csv").rows()
    assert row.label() == "row 2 (line 3, name lamp)"
    assert row.label("sku") == "row 2 (line 3, sku B2)"
    (plain,) = table_of([{"n": float("nan"), "m": 1}]).rows()
    assert plain.label() == "row 1"
    assert plain.label("nowhere") == "row 1"


@dataclass(frozen=True)
class Scalar:
    """A value of a data frame, which is no text and no float: numpy's float32, or pandas' NA and NaT."""

    text: str

    def __str__(self) -> str:
        return self.text


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            "",
            " ",
            "\t",
            "\xa0",
            "None",
            "null",
            "NULL",
            "NaN",
            " nan ",
            "#N/A",
            "N/A",
            "<NA>",
            "#REF!",
            "#DIV/0!",
        ),
        *(float("nan"), Decimal("NaN"), Scalar("nan"), Scalar("NaT"), Scalar("<NA>")),
    ],
)
def test_text_that_exports_write_for_an_empty_cell_is_no_value(value: Any) -> None:
    assert is_blank(value)


@pytest.mark.parametrize(
    "value", [0, False, 0.0, "0", "none", "Null Island", "NA", "Nana", [], {}, ["nan"], float("inf"), Scalar("0")]
)
def test_anything_else_is_a_value(value: Any) -> None:
    assert not is_blank(value)


def test_required_columns_exist_and_have_a_value_in_each_row() -> None:
    rows = parse_table("sku,name,image\nA1,boat,\nB2,,\nC3,lamp,x\n", "rows.csv").rows()
    check_required(rows, ["sku"])
    with pytest.raises(InvalidRequestError) as raised:
        check_required(rows, ["name", "color", "image"], "sku")
    assert raised.value.what == (
        "Required columns are missing or have no value: column 'name' has no value in row 2 (line 3, sku B2); "
        "there is no column 'color'; the columns are sku, name, image; column 'image' has no value in row 1 "
        "(line 2, sku A1), row 2 (line 3, sku B2)."
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_in_unicode_is_read(encoding: str) -> None:
    assert decode_text("größe;中".encode(encoding), "rows.csv") == "größe;中"


def test_a_file_in_another_encoding_is_refused_and_the_error_names_the_encoding_and_the_fix() -> None:
    text = "sku;naam\nA1;café crème brûlée à la carte\n" * 20
    with pytest.raises(InvalidRequestError, match=r"is not UTF-8\. It seems to be \w+\.") as raised:
        decode_text(text.encode("cp1252"), "rows.csv")
    assert "CSV UTF-8" in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_in_unicode_without_the_mark_of_utf_16_is_not_read_as_utf_8(encoding: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not UTF-8"):
        decode_text("sku,name\nA1,boat\n".encode(encoding), "rows.csv")


@pytest.mark.parametrize("text", ['[{"n": 1}]', "[{'n': 1}]", '{"n": 1}'])
def test_text_that_a_template_rendered_from_a_list_is_read_as_the_list(text: str) -> None:
    assert table_of(text).rows() == [{"n": 1}]


@pytest.mark.parametrize(
    ("rows", "phrase"),
    [
        (None, "rows is None, not a list of objects"),
        (5, "rows is an int"),
        ("[<LazyXComSequence>]", "begins like a list"),
        (["a"], "row 1 is a str"),
    ],
)
def test_rows_of_another_type_are_refused_with_advice(rows: Any, phrase: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        table_of(rows).rows()
    assert phrase in raised.value.what


def test_the_lazy_sequence_of_a_mapped_task_and_a_single_object_are_accepted() -> None:
    assert table_of(iter([{"n": 1}, {"n": 2}])).rows() == [{"n": 1}, {"n": 2}]
    assert table_of({"n": 1}).rows() == [{"n": 1}]


def test_a_long_cell_is_read_up_to_its_limit_and_the_limit_of_other_programs_stays() -> None:
    before = csv.field_size_limit()
    assert parse_table(f"text\n{'a' * MAX_CELL}\n", "rows.csv").rows()[0]["text"] == "a" * MAX_CELL
    with pytest.raises(InvalidRequestError, match="field larger than"):
        parse_table(f"text\n{'a' * (MAX_CELL + 1)}\n", "rows.csv").rows()
    assert csv.field_size_limit() == before


def test_more_rows_than_a_batch_accepts_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"has 10,001 rows, but one batch takes 10,000"):
        table_of([{"n": 1}] * 10_001).rows()


def test_a_long_list_of_labels_is_shortened_with_a_count() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=12)
HEADERS = st.lists(CELLS.map(str.strip).filter(bool), min_size=2, max_size=5, unique=True)


@given(header=HEADERS, data=st.data(), delimiter=st.sampled_from(",;\t|"))
def test_a_table_survives_a_round_trip_through_a_csv_file(
    header: list[str], data: st.DataObject, delimiter: str
) -> None:
    size = len(header)
    rows = data.draw(st.lists(st.lists(CELLS, min_size=size, max_size=size), max_size=5))
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    try:
        found = parse_table(text.getvalue(), "rows.csv").rows()
    except InvalidRequestError:
        return  # an ambiguous table is refused, so nothing is billed for it
    expected = [dict(zip(header, row, strict=True)) for row in rows if not all(map(is_blank, row))]
    if all(type(row) is Row and list(row) == header for row in found):
        assert found == expected
    else:
        assert found == [], "a table that is read with other columns buys nothing that its reader would not expect"


def test_objects_with_a_duplicate_column_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="sku"):
        table_of('[{"sku": "A1", "sku": "A2"}]').rows()


@pytest.mark.parametrize("text", ["name\n" + "boat\n" * 5_000, "name,name\nboat,boat\n"], ids=["rows", "a refusal"])
def test_the_garbage_collector_is_off_while_a_table_is_read_and_on_again_afterwards(text: str) -> None:
    phases: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        phases.append(phase)

    gc.collect()
    gc.callbacks.append(note)
    try:
        with suppress(InvalidRequestError):
            parse_table(text, "rows.csv").rows()
    finally:
        gc.callbacks.remove(note)
    assert (
        len(phases) <= 4
    )  # a collection may follow the parsing and the creation of rows, once the collector is on again
    assert gc.isenabled()
