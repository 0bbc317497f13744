"""Rendered videos on disk: rendered once, kept within a limit."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from airflow_provider_anyfast.sandbox.media import video_store
from airflow_provider_anyfast.sandbox.media.video import Picture, Video, in_ascii
from airflow_provider_anyfast.sandbox.media.video_store import VideoStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VIDEO = Video(64, 64, 24, audio=False, container="mp4", prompt="a fox", caption="here", pictures=())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VideoStore]:
    store = VideoStore(tmp_path / "videos", limit=250)
    yield store
    store.close()


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[Video]:
    """Every video that is rendered, to 100 bytes each."""
    videos: list[Video] = []

    def render(video: Video, path: Path) -> None:
        videos.append(video)
        path.write_bytes(bytes(100))

    monkeypatch.setattr(video_store, "render", render)
    return videos


def test_a_video_is_rendered_once(store: VideoStore, rendered: list[Video]) -> None:
    first, second = store.file(VIDEO).result(), store.file(VIDEO).result()

    assert first == second
    assert rendered == [VIDEO]


def test_two_requests_at_the_same_time_share_one_rendering(store: VideoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    calls: list[Video] = []

    def render(video: Video, path: Path) -> None:
        calls.append(video)
        assert go_on.wait(10)
        path.write_bytes(b"video")

    monkeypatch.setattr(video_store, "render", render)
    first, second = store.file(VIDEO), store.file(VIDEO)
    go_on.set()

    assert first.result() == second.result()
    assert calls == [VIDEO]


def test_the_least_recently_used_videos_are_removed(store: VideoStore, rendered: list[Video]) -> None:
    old, used, new = (replace(VIDEO, prompt=prompt) for prompt in ("old", "used", "new"))
    for age, video in ((300, used), (200, old)):
        path = store.file(video).result()
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    store.file(used).result()

    kept = store.file(new).result()
    assert set(kept.parent.iterdir()) == {kept, store.file(used).result()}


def test_a_video_larger_than_the_limit_is_still_kept(tmp_path: Path, rendered: list[Video]) -> None:
    store = VideoStore(tmp_path, limit=10)

    assert store.file(VIDEO).result().exists()
    store.close()


def test_a_rendering_that_fails_leaves_nothing_and_is_tried_again(
    store: VideoStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(video: Video, path: Path) -> None:
        path.write_bytes(b"half a video")
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(video_store, "render", fail)
        with pytest.raises(OSError, match="no space left"):
            store.file(VIDEO).result()
    assert list((tmp_path / "videos").iterdir()) == []

    assert store.file(VIDEO).result().exists()


def test_the_last_frame_is_a_file_of_its_own(store: VideoStore) -> None:
    assert store.last_frame(VIDEO).result().read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "other",
    [
        replace(VIDEO, prompt="an owl"),
        replace(VIDEO, frames=48),
        replace(VIDEO, audio=True),
        replace(VIDEO, pictures=(Picture("a", None),)),
    ],
)
def test_different_videos_have_different_names(other: Video) -> None:
    assert other.digest() != VIDEO.digest()
    assert (
        replace(other, pictures=(Picture("a", b"1"),)).digest()
        != replace(other, pictures=(Picture("a", b"2"),)).digest()
    )


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("Größe: ÄÖÜ äöüß éñłč", "Grosse: AOU aouss enlc"),
        ("A\N{COMBINING DIAERESIS} e\N{COMBINING ACUTE ACCENT}", "A e"),
        ("Лодка", "Lodka"),
        ("Ελλάδα", "Ellada"),
        ("小船", "Xiao Chuan "),
        ("a “boat” … 5 €", 'a "boat" ... 5 EUR'),
        ("🚤👍🏽❤️", "[speedboat][thumbs up sign][heavy black heart]"),
    ],
)
def test_letters_that_the_font_lacks_are_written_so_that_people_can_read_them(text: str, drawn: str) -> None:
    assert in_ascii(text) == drawn


def test_any_prompt_can_be_drawn(store: VideoStore) -> None:
    pictures = (Picture("a picture with a long name", None),) * 9
    for prompt in ("", "x" * 500, "一只狐狸 🦊", "line\nline", "word " * 300):
        assert store.file(replace(VIDEO, prompt=prompt, width=128, pictures=pictures)).result().exists()
