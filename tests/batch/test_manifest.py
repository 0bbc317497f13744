"""Writing and reading the lines of a manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.batch.manifest import ManifestEntry, failure_entry, from_text
from airflow_provider_anyfast.client.errors import Cost, GenerationFailedError, LostSubmissionError
from tests.batch.stub_batch import written_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_anyfast.client.errors import AnyFastError


def line(row: int, **changes: Any) -> ManifestEntry:
    given = {"request": f"r{row}", "batch": "b", "attempt": 1, "input": {"name": "boat"}, "status": "SUCCESS"}
    return ManifestEntry(row, **{**given, **changes})


def test_a_written_manifest_is_read_in_the_order_of_the_rows(tmp_path: Path) -> None:
    lines = [
        line(2, result={"generation_id": "g2", "usage": {"total_tokens": 7}}),
        line(1, status="FAILURE", error="no", error_type="X", retryable=True, result={"generation_id": None}),
        line(3, input={"name": "a\u2028b\u0085\n\x1cc \U0001f680", "n": [1, None]}),
    ]
    text = written_manifest(tmp_path, lines)
    assert text.count("\n") == 3
    assert [found.row for found in from_text(text)] == [1, 2, 3]
    assert from_text(text) == [lines[1], lines[0], lines[2]]


def test_values_without_a_json_type_are_written_as_text(tmp_path: Path) -> None:
    (written,) = written_manifest(tmp_path, [line(1, input={"when": complex(1, 2)})]).splitlines()
    assert json.loads(written)["input"] == {"when": "(1+2j)"}


def test_a_lone_surrogate_is_written_and_read_again(tmp_path: Path) -> None:
    lines = [line(1, input={"half \ude80": "a \ud83d", "whole": "\U0001f680"})]
    text = written_manifest(tmp_path, lines)
    assert text.encode().count(rb"\ud83d") == 1
    assert "\U0001f680" in text
    assert from_text(text) == lines


def test_numbers_that_json_does_not_have_are_written_as_null(tmp_path: Path) -> None:
    given = {"price": float("nan"), "sizes": [1.5, (float("inf"), {"n": -float("inf")})]}
    text = written_manifest(tmp_path, [line(1, input=given)])
    (found,) = from_text(text)
    assert found.input == {"price": None, "sizes": [1.5, [None, {"n": None}]]}
    assert "NaN" not in text
    assert written_manifest(tmp_path, [found]) == text


def test_a_manifest_of_a_version_without_key_columns_is_read(tmp_path: Path) -> None:
    written = json.loads(written_manifest(tmp_path, [line(1, key_column="sku")]))
    assert written.pop("key_column") == "sku"
    assert from_text(json.dumps(written)) == [line(1)]


@pytest.mark.parametrize("text", ["not JSON", "[]", "1", "null", '{"row": 1}', "{"])
def test_an_unreadable_line_is_left_out(text: str, tmp_path: Path) -> None:
    assert from_text(f"{text}\n\n{written_manifest(tmp_path, [line(1)])}") == [line(1)]


@pytest.mark.parametrize(
    ("result", "tokens"),
    [
        ({}, 0),
        ({"usage": None}, 0),
        ({"usage": {"total_tokens": None}}, 0),
        ({"usage": {"total_tokens": 9}}, 9),
        ({"usage": {"total_tokens": 108_900, "super_resolution_tokens": 245_025, "new": "field"}}, 353_925),
    ],
)
def test_tokens_are_the_billed_ones_as_far_as_known(result: dict[str, Any], tokens: int) -> None:
    assert line(1, result=result).tokens == tokens


@pytest.mark.parametrize(
    ("error", "known", "status", "generation_id"),
    [
        (GenerationFailedError("broken", generation_id="g1"), "", "FAILURE", "g1"),
        (GenerationFailedError("broken"), "g2", "FAILURE", "g2"),
        (LostSubmissionError("no answer"), "", "LOST", None),
        (LostSubmissionError("the billing log has it", cost=Cost.PAID), "", "FAILURE", None),
    ],
)
def test_a_failure_names_its_reason_and_its_generation(
    error: AnyFastError, known: str, status: str, generation_id: str | None
) -> None:
    found = failure_entry(line(1), error, known)
    assert (found.status, found.error, found.error_type) == (status, str(error), type(error).__name__)
    assert found.retryable == error.retryable
    assert found.result == {"generation_id": generation_id}
