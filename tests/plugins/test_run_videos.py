"""What the page shows about a run, from what its tasks have stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.plugins.airflow_records import TaskRecord
from airflow_provider_anyfast.plugins.run_videos import Video, videos_of

if TYPE_CHECKING:
    from pathlib import Path

RESULT = {
    "generation_id": "g1",
    "prompt": "A boat",
    "parameters": {"model": "seedance", "resolution": "480p", "reference_images": ["asset-1", "asset-2"]},
    "video_url": "https://signed.example/x.mp4?secret=1",
    "path": "/videos/1.mp4",
    "resolution": "480p",
    "seed": 7,
    "usage": {"total_tokens": 100, "super_resolution_tokens": 20},
    "cost": "0.0055",
}


def record(task_id: str = "video", map_index: int = -1, state: str = "success", **xcoms: Any) -> TaskRecord:
    return TaskRecord(task_id, map_index, state, xcoms)


def one(*records: TaskRecord) -> Video:
    (video,) = videos_of(records).videos
    return video


def manifest(path: Path, *entries: dict[str, Any]) -> str:
    own = {"request": "r", "batch": "b", "attempt": 1, "input": {}, "status": "SUCCESS"}
    nothing = {"error_type": None, "error": None, "retryable": None}
    path.write_text("".join(json.dumps({**own, **nothing, **entry}) + "\n" for entry in entries))
    return str(path)


def test_a_video_is_shown_with_its_request_and_its_facts() -> None:
    video = one(record(generation_id="g1", return_value=RESULT))
    assert (video.kind, video.status, video.prompt) == ("ready", "Ready", "A boat")
    assert video.requested == {"model": "seedance", "resolution": "480p", "references": 2}
    assert video.actual == {"resolution": "480p", "seed": 7}
    assert (video.tokens, video.cost) == (120, "0.0055")


def test_a_poster_takes_precedence_over_a_last_frame_and_measured_facts_are_shown() -> None:
    facts = {"width": 864, "height": 496, "seconds": 2.5, "has_sound": False, "warnings": ["It is short."]}
    video = one(record(return_value={**RESULT, **facts, "poster_path": "/v/1.jpg", "last_frame_path": "/v/1.png"}))
    assert (video.poster, video.warnings) == ("/v/1.jpg", ["It is short."])
    assert video.actual.items() >= {("width", 864), ("height", 496), ("seconds", 2.5), ("has_sound", False)}


def test_the_page_gets_neither_paths_nor_links() -> None:
    text = json.dumps(
        one(record(generation_id="g1", return_value={**RESULT, "poster_path": "/videos/1.jpg"})).to_json()
    )
    assert "/videos/1." not in text
    assert "signed.example" not in text


def test_a_rendering_video_has_its_prompt() -> None:
    working = record(state="deferred", generation_id="g1")
    working.rendered = {"prompt": "A boat", "seed": "None"}
    video = one(working)
    assert (video.kind, video.status, video.prompt) == ("rendering", "Rendering", "A boat")


def test_a_generation_of_several_tasks_is_shown_once_with_its_file() -> None:
    submitted = {**RESULT, "path": None, "video_url": None}
    video = one(
        record("submit", generation_id="g1", return_value=submitted),
        record("download", generation_id="g1", return_value=RESULT),
    )
    assert (video.task_id, video.kind) == ("download", "ready")


def test_finished_and_rendering_rows_of_a_batch_are_shown(tmp_path: Path) -> None:
    path = manifest(
        tmp_path / "m.jsonl",
        {"row": 1, "input": {"name": "boat"}, "generation_id": "g1", "path": "/v/1.mp4"},
        {"row": 2, "status": "FAILURE", "error": "Refused.", "retryable": True, "parameters": {"prompt": "A kettle"}},
        {"row": 3, "status": "LOST"},
        {"row": 4, "status": "SKIPPED", "path": "/v/4.mp4"},
        {"row": 5, "input": {"name": "kettle", "sku": "K-2"}, "key_column": "sku", "generation_id": "g5"},
    )
    claim, course = {"manifest": path, "batch": "b", "path": path}, {"active": [[1, "g1", 0], [6, "g6", 0]]}
    batch = record("batch", state="deferred", manifest=claim, course=course, progress={"rows": 6, "succeeded": 1})
    found = videos_of([batch])
    assert [(video.row, video.kind) for video in found.videos] == [
        *[(1, "ready"), (2, "failed"), (3, "unknown"), (4, "ready"), (5, "unsaved"), (6, "rendering")],
    ]
    assert found.videos[0].input == {"name": "boat"}
    assert [video.name for video in found.videos[:5]] == ["boat", "", "", "", "K-2"]
    assert (found.videos[1].prompt, found.videos[1].error) == ("A kettle", "Refused.")
    assert found.batches[0]["progress"] == {"rows": 6, "succeeded": 1}


def test_a_review_waits_for_a_response(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.jsonl", {"row": 1, "generation_id": "g1", "path": "/v/1.mp4"})
    review = {"question": "q", "videos": ["g1"], "manifests": [path]}
    found = videos_of([record("review", state="awaiting_input", review=review)])
    assert [video.key for video in found.videos] == ["g1"]
    assert (found.reviews[0]["waits"], found.reviews[0]["videos"]) == (True, ["g1"])


def test_a_manifest_in_a_bucket_cannot_name_local_files(tmp_path: Path, monkeypatch: Any) -> None:
    from airflow_provider_anyfast.plugins import run_videos  # noqa: PLC0415 - patched below

    path = manifest(
        tmp_path / "m.jsonl",
        {"row": 1, "generation_id": "g1", "path": "/etc/passwd"},
        {"row": 2, "generation_id": "g2", "path": "s3://bucket/2.mp4"},
    )
    monkeypatch.setattr(run_videos, "LocalFile", type("NoLocalFile", (), {}))
    claim = {"manifest": path, "batch": "b", "path": path}
    assert [video.path for video in videos_of([record("batch", manifest=claim)]).videos] == ["", "s3://bucket/2.mp4"]


def test_an_unreadable_manifest_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"\xff\xfe\xff")
    found = videos_of([record("batch", manifest={"path": str(path)})])
    assert "is not UTF-8 text" in found.problems[0]


def test_xcoms_of_other_tasks_are_ignored() -> None:
    others = [
        record("a", path="/etc/passwd", return_value={"path": "/etc/passwd"}),
        record("b", manifest="text", return_value=3),
        record("c", review=["x"]),
    ]
    assert videos_of(others).videos == []
