"""The report of a batch: the table is complete, and text cannot inject markup into the page."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.batch.manifest import FAILED, LOST, SKIPPED, SUCCEEDED, ManifestEntry, from_text
from airflow_provider_anyfast.batch.report import contact_sheet, report_csv
from tests.batch.stub_batch import written_manifest

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "/videos/run 1"
HOSTILE = """</p><script>alert("x")</script>' onerror="alert(1)"""


def line(row: int = 1, *, given: dict[str, Any] | None = None, **fields: Any) -> ManifestEntry:
    result = {"generation_id": f"cgt-{row}", "path": f"{FOLDER}/{row}.mp4", "usage": {"total_tokens": 1000 * row}}
    changed = {"status": SUCCEEDED, "result": result, **fields}
    return ManifestEntry(
        row=row, request="", batch="", attempt=1, input={"id": row} if given is None else given, **changed
    )


def failure(row: int, error: str = "The content was refused.") -> ManifestEntry:
    return line(row, status=FAILED, error=error, result={"prompt": "A sea"})


def table(*lines: ManifestEntry) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(report_csv(lines), newline="")))


class Page(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self.text += data

    def values(self, tag: str, name: str) -> list[str]:
        return [str(attributes[name]) for found, attributes in self.elements if found == tag and name in attributes]

    @property
    def videos(self) -> list[str]:
        return self.values("div", "data-src")


def page(*lines: ManifestEntry, title: str = "A run") -> Page:
    return Page(contact_sheet(lines, title=title, folder=FOLDER))


def test_the_table_has_a_line_for_each_row_with_its_own_columns_and_the_outcome() -> None:
    rows = table(line(1, given={"id": "a", "status": "new"}), failure(2))
    assert [(row["row"], row["status"], row["tokens"], row["file"], row["error"]) for row in rows] == [
        ("1", "SUCCESS", "1000", f"{FOLDER}/1.mp4", ""),
        ("2", "FAILURE", "0", "", "The content was refused."),
    ]
    assert (rows[0]["input_id"], rows[0]["input_status"]) == ("a", "new")
    assert (rows[1]["input_id"], rows[1]["input_status"]) == ("2", "")


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\n=1", "  =1"])
def test_a_cell_that_a_spreadsheet_would_run_as_a_formula_is_escaped(text: str) -> None:
    (row,) = table(line(1, given={"name": text}))
    assert row["input_name"] == f"'{text}"


def test_a_carriage_return_does_not_end_a_line_of_the_table() -> None:
    (row,) = table(line(1, given={"name": "a\rb\r\nc"}))
    assert row["input_name"] == "a\nb\nc"


@pytest.mark.parametrize("text", ["-5", "+49", "-1,5", "a=b", "boat - lamp", ""])
def test_any_other_cell_is_unchanged(text: str) -> None:
    (row,) = table(line(1, given={"name": text}))
    assert row["input_name"] == text


def test_any_text_survives_a_round_trip_through_the_table() -> None:
    nasty = 'a "quoted", long\nstory; =1+1'
    (row,) = table(line(given={"id": nasty, "shots": [1, {"ü": None}]}, error=nasty))
    assert (row["input_id"], row["error"]) == (nasty, nasty)
    assert row["input_shots"] == '[1, {"ü": null}]'


@pytest.mark.parametrize(("cost", "shown"), [("0.1000", "0.1000"), (None, "")])
def test_the_table_has_the_cost_of_a_row_if_known(cost: str | None, shown: str) -> None:
    (row,) = table(line(result={"cost": cost}))
    assert row["cost"] == shown


def test_the_page_adds_up_tokens_and_money_without_rounding() -> None:
    lines = [
        line(row, result={"usage": {"total_tokens": 600}, "cost": cost}) for row, cost in ((1, "0.10"), (2, "0.20"))
    ]
    assert "2 of 3 videos ready · 1 failed · 1,200 tokens · cost 0.30" in page(*lines, failure(3)).text
    assert "cost" not in page(line(1)).text


def test_videos_in_or_below_the_folder_of_the_page_have_relative_links() -> None:
    paths = [f"{FOLDER}/a b?c#d:é.mp4", f"{FOLDER}/more/x.mp4"]
    found = page(*(line(row, result={"path": path}) for row, path in enumerate(paths))).videos
    assert found == ["a%20b%3Fc%23d%3A%C3%A9.mp4", "more/x.mp4"]


@pytest.mark.parametrize(
    ("folder", "path", "link"),
    [
        (FOLDER, "/videos/1.mp4", "../1.mp4"),
        ("s3://conn@bucket/out", "s3://conn@bucket/out/1.mp4", "1.mp4"),
        ("s3://conn@bucket/out/reports", "s3://other@bucket/out/1.mp4", "../1.mp4"),
        ("s3://conn@bucket", "s3://conn@bucket/1.mp4", "1.mp4"),
        ("out/reports", "out/1.mp4", "../1.mp4"),
    ],
)
def test_relative_links_reach_any_folder_of_the_same_bucket_or_file_system(folder: str, path: str, link: str) -> None:
    assert Page(contact_sheet([line(result={"path": path})], title="", folder=folder)).videos == [link]


def test_a_video_without_a_file_plays_from_its_link() -> None:
    found = page(line(result={"video_url": "https://x.example/v.mp4?a=1&b=2"})).videos
    assert found == ["https://x.example/v.mp4?a=1&b=2"]


@pytest.mark.parametrize(
    "result",
    [{}, {"path": "s3://bucket/1.mp4"}, {"path": "out/1.mp4"}, {"video_url": "javascript:alert(1)"}],
    ids=["nothing", "a bucket", "a folder of the worker", "a script"],
)
def test_a_path_that_a_browser_must_not_or_cannot_open_is_not_shown_as_a_video(result: dict[str, Any]) -> None:
    assert page(line(result=result)).videos == []


def test_text_cannot_inject_markup_into_the_page() -> None:
    result = dict.fromkeys(("generation_id", "prompt", "resolution", "ratio"), HOSTILE)
    links = {"video_url": f'https://x.example/"{HOSTILE}'}
    hostile = page(
        line(1, result={**result, **links}),
        line(2, status=HOSTILE, error=HOSTILE, result={"path": f"{FOLDER}/{HOSTILE}"}),
        title=HOSTILE,
    )
    harmless = page(line(1, result={"path": f"{FOLDER}/1.mp4", "prompt": "A sea"}), failure(2))
    assert [tag for tag, _ in hostile.elements if tag == "script"] == ["script"]
    assert {tag for tag, _ in hostile.elements} <= {tag for tag, _ in harmless.elements}
    assert not {name for _, attributes in hostile.elements for name in attributes if name.startswith("on")}
    assert hostile.text.count("<script>") >= 7


def test_the_page_loads_nothing_from_other_sites_and_runs_only_its_own_script() -> None:
    html = contact_sheet([line(1)], title="A run", folder=FOLDER)
    (policy,) = (value for value in Page(html).values("meta", "content") if "default-src" in value)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        text = html.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
        assert not re.search(r"https?://|url\(|@import", text)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (SUCCEEDED, "Ready"),
        (SKIPPED, "Already there"),
        (FAILED, "Failed"),
        (LOST, "May have been billed"),
        ("RUNNING", "Not ended"),
    ],
)
def test_a_row_has_a_status_label_and_the_page_filters_by_it(status: str, words: str) -> None:
    shown = page(line(1, status=status), line(2))
    assert words in shown.text
    assert shown.values("li", "class")[0] in shown.values("option", "value")


def test_a_row_shows_its_key_its_request_its_video_and_its_log() -> None:
    result = {
        "parameters": {"ratio": "16:9", "resolution": "720p", "duration": 5, "generate_audio": False},
        "ratio": "9:16",
        "duration": 4,
        "usage": {"total_tokens": 87300},
    }
    found = line(3, given={"name": "Boat", "sku": "B-7"}, key_column="sku", result=result)
    shown = Page(contact_sheet([found], title="", folder="", log_of=lambda row: f"/log/{row.row}"))
    for text in ("B-7", "Row 3", "16:9, 720p, 5 s, no sound", "9:16, 4 s", "87,300 tokens"):
        assert text in shown.text
    assert "/log/3" in shown.values("a", "href")


def test_the_page_and_the_table_show_how_a_video_differs_from_its_request() -> None:
    facts = {"width": 864, "height": 496, "seconds": 2.5, "frame_rate": 24.0, "has_sound": False}
    odd = line(1, result={**facts, "ratio": "16:9", "duration": 4, "warnings": [HOSTILE, "It is silent."]})
    shown = page(odd, line(2, result={**facts, "seconds": 4.0, "warnings": []}), line(3))
    assert "16:9, 864 x 496 pixels, 2.5 s, no sound" in shown.text
    assert "864 x 496 pixels, 4 s, no sound" in shown.text
    assert "It is silent." in shown.text
    assert "1 not as asked for" in shown.text
    assert [tag for tag, _ in shown.elements if tag == "script"] == ["script"]
    (row, *_) = table(odd)
    assert [row[name] for name in facts] == ["864", "496", "2.5", "24.0", "False"]
    assert row["warnings"] == f"{HOSTILE} It is silent."


def test_a_poster_is_shown_before_the_video_is_loaded() -> None:
    shown = page(line(1, result={"path": f"{FOLDER}/1.mp4", "poster_path": f"{FOLDER}/1.poster.jpg"}), line(2))
    assert shown.values("div", "data-poster") == ["1.poster.jpg"]


def test_a_page_of_thousands_of_rows_loads_no_player_before_its_row_is_visible() -> None:
    assert not {"video", "img"} & {tag for tag, _ in page(line(1), line(2)).elements}


def test_a_video_that_already_existed_is_ready_too() -> None:
    assert "2 of 3 videos ready · 1 already there · 1 failed" in page(line(1), line(2, status=SKIPPED), failure(3)).text


def test_rows_that_have_not_ended_are_counted() -> None:
    assert "1 of 5 videos ready · 4 not ended" in Page(contact_sheet([line(1)], title="", folder="", total=5)).text


def test_a_failed_row_shows_its_prompt_and_its_error() -> None:
    shown = page(failure(7)).text
    assert all(text in shown for text in ("Row 7", "Failed", "A sea", "The content was refused."))


def test_a_report_can_be_made_from_the_manifest_of_the_batch_operator(tmp_path: Path) -> None:
    lines = [line(1), failure(2)]
    assert report_csv(from_text(written_manifest(tmp_path, lines))) == report_csv(lines)
