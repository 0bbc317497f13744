"""Only the videos that a person named are approved, whatever has happened to the drafts since."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.batch.review import (
    APPROVE,
    NOTES,
    REJECT,
    VIDEOS,
    Answer,
    Draft,
    chosen,
    drafts_of,
    keywords_of,
    labels_of,
    manifests_of,
    question_of,
    row_of,
    text_of,
)
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.seedance.request import LEFT_OUT

if TYPE_CHECKING:
    from pathlib import Path


def draft(row: int, generation: str = "", **result: Any) -> Draft:
    found = {"generation_id": generation or f"g{row}", "prompt": f"Film {row}", "path": f"/v/{row}.mp4", "seed": row}
    return Draft(row, {"name": f"boat {row}"}, found | result)


def event(*videos: str, option: str = APPROVE, **more: Any) -> dict[str, Any]:
    form = {VIDEOS: list(videos), NOTES: more.pop("notes", {})}
    return {"chosen_options": [option], "params_input": form, "responded_by_user": {"id": "1", "name": "ann"}, **more}


OWN = {"request": "r", "batch": "b", "attempt": 1, "status": "SUCCESS"}
"""Of a manifest entry."""
DRAFTS = [draft(1), draft(2), draft(3)]
QUESTION = question_of(DRAFTS)
ALL = next(iter(labels_of(DRAFTS)))


def rows(answer: dict[str, Any], drafts: list[Draft] = DRAFTS, question: str = QUESTION) -> list[int]:
    return [found.row for found, _ in chosen(drafts, Answer.of_event(answer, question))]


@pytest.mark.parametrize(
    ("answer", "approved"),
    [
        (event("g1", "g3"), [1, 3]),
        (event(ALL), [1, 2, 3]),
        (event(), []),
        (event("g1", option=REJECT), []),
        (event("g1", option="Something else"), []),
        ({"chosen_options": [APPROVE], "params_input": None, "responded_by_user": {"id": "1", "name": "a"}}, []),
        (event(responded_by_user=None), [1, 2, 3]),
        (event(responded_by_user=None, option=REJECT), []),
        (event(timedout=True), [1, 2, 3]),
    ],
)
def test_a_response_approves_the_videos_that_it_names(answer: dict[str, Any], approved: list[int]) -> None:
    assert rows(answer) == approved


@pytest.mark.parametrize("named", ["g2", ALL])
def test_a_response_to_an_earlier_question_approves_nothing(named: str) -> None:
    made_anew = [draft(1), draft(2, "g2-again"), draft(3)]
    with pytest.raises(InvalidRequestError, match="no longer among the drafts"):
        rows(event(named), made_anew)


def test_a_default_approves_only_the_videos_of_its_question() -> None:
    made_anew = [draft(1), draft(2, "g2-again")]
    with pytest.raises(InvalidRequestError, match="no longer among the drafts"):
        rows(event(timedout=True), made_anew)


@pytest.mark.parametrize("form", [{VIDEOS: "g1"}, {NOTES: "darker"}, {VIDEOS: {"g1": True}}])
def test_a_form_with_unexpected_types_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="No final was made"):
        Answer.of_event({"chosen_options": [APPROVE], "params_input": form}, QUESTION)


def test_a_note_is_found_by_the_video_or_by_the_row() -> None:
    answer = Answer.of_event(event("g1", "g2", "g3", notes={"g1": " darker ", "2": "slower", "3": ""}), QUESTION)
    assert [note for _, note in chosen(DRAFTS, answer)] == ["darker", "slower", ""]


def test_a_stored_response_is_read_back_unchanged() -> None:
    answer = Answer.of_event(event("g1", notes={"g1": "darker"}), QUESTION)
    assert Answer.parse(json.loads(json.dumps(answer.to_json()))) == answer


def test_the_row_of_a_final_is_the_drafts_row_plus_the_review() -> None:
    made = draft(2, parameters={"model": "seedance", "prompt": "Film 2", "resolution": "480p", "seed": -1})
    assert row_of(made, "darker", {"resolution": "1080p"}) == {
        "name": "boat 2",
        "review": {
            "row": 2,
            "note": "darker",
            "prompt": "Film 2",
            "seed": 2,
            "parameters": {"model": "seedance", "prompt": "Film 2", "resolution": "1080p", "seed": 2},
            "generation_id": "g2",
            "path": "/v/2.mp4",
        },
    }


def test_a_final_whose_picture_is_not_stored_is_refused() -> None:
    made = draft(1, parameters={"prompt": "x", "reference_images": [LEFT_OUT]})
    with pytest.raises(InvalidRequestError, match="data URI"):
        keywords_of(made, {})


def test_drafts_come_from_manifests_results_and_lists_of_both(tmp_path: Path) -> None:
    manifest = tmp_path / "drafts.jsonl"
    entries = [
        {**OWN, "row": 7, "input": {"name": "boat"}, "generation_id": "g7", "path": "/v/7.mp4"},
        {**OWN, "row": 8, "input": {}, "status": "FAILURE", "generation_id": "g8"},
    ]
    manifest.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    result = {"generation_id": "g1", "path": "/v/1.mp4"}
    batch = {"rows": 2, "manifest_path": str(manifest)}

    def keys(videos: Any) -> list[tuple[int, str]]:
        return [(found.row, found.key) for found in drafts_of(videos)]

    assert keys(str(manifest)) == keys(batch) == [(7, "g7")]
    assert keys(result) == keys(str(result)) == [(1, "g1")]
    assert keys([{"generation_id": "g0", "path": None}, result, None, batch]) == [(2, "g1"), (7, "g7")]
    assert manifests_of([result, batch, str(manifest)]) == [str(manifest), str(manifest)]


@pytest.mark.parametrize("videos", [{"bill": 3}, 4, [[{"x": 1}]], None, "[1", "[1]"])
def test_a_value_that_names_no_video_is_refused(videos: Any) -> None:
    with pytest.raises(InvalidRequestError, match="Nothing was asked"):
        drafts_of(videos)


def test_an_error_names_a_manifest_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="does not exist"):
        drafts_of(str(tmp_path / "none.jsonl"))


def test_markup_in_a_prompt_is_escaped_in_the_question() -> None:
    text = text_of([draft(1, prompt="[click](https://evil.example) <img src=x> `code`\n# big")], "/page")
    assert r"\[click\]\(https\:" in text
    assert r"\<img" in text
    assert "\n# big" not in text
    assert "](/page)" in text


def test_a_long_question_is_shortened() -> None:
    assert "and 950 more" in text_of([draft(number) for number in range(1000)], "")


def test_a_reviewer_sees_the_name_of_each_row() -> None:
    labels = labels_of(
        [draft(1), Draft(2, {"sku": " A\n1 ", "name": "boat"}, {"generation_id": "g2"}), Draft(3, {}, {"path": "c"})]
    )
    assert [*labels.values()] == ["All videos (3)", "1 (boat 1): Film 1", "2 (A 1): g2", "3: c"]


def test_a_reviewer_sees_the_key_that_the_batch_used(tmp_path: Path) -> None:
    manifest = tmp_path / "drafts.jsonl"
    manifest.write_text(
        json.dumps(
            {**OWN, "row": 1, "input": {"name": "boat", "sku": "B-7"}, "key_column": "sku", "generation_id": "g1"}
        )
    )
    assert [found.label for found in drafts_of(str(manifest))] == ["1 (B-7): g1"]
