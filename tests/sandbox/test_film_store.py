"""Rendered videos on disk: made once, kept within bounds."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from airflow_provider_anyfast.sandbox import film_store
from airflow_provider_anyfast.sandbox.film import Film, Picture
from airflow_provider_anyfast.sandbox.film_store import FilmStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILM = Film(64, 64, 24, audio=False, container="mp4", prompt="a fox", caption="here", pictures=())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FilmStore]:
    store = FilmStore(tmp_path / "films", limit=250)
    yield store
    store.close()


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[Film]:
    """Every film that is rendered, to 100 bytes each."""
    films: list[Film] = []

    def render(film: Film, path: Path) -> None:
        films.append(film)
        path.write_bytes(bytes(100))

    monkeypatch.setattr(film_store, "render", render)
    return films


def test_a_film_is_rendered_once(store: FilmStore, rendered: list[Film]) -> None:
    first, second = store.video(FILM).result(), store.video(FILM).result()

    assert first == second
    assert rendered == [FILM]


def test_two_who_ask_at_the_same_time_wait_for_the_same_rendering(
    store: FilmStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    calls: list[Film] = []

    def render(film: Film, path: Path) -> None:
        calls.append(film)
        assert go_on.wait(10)
        path.write_bytes(b"film")

    monkeypatch.setattr(film_store, "render", render)
    first, second = store.video(FILM), store.video(FILM)
    go_on.set()

    assert first.result() == second.result()
    assert calls == [FILM]


def test_the_films_used_longest_ago_make_room(store: FilmStore, rendered: list[Film]) -> None:
    old, used, new = (replace(FILM, prompt=prompt) for prompt in ("old", "used", "new"))
    for age, film in ((300, used), (200, old)):
        path = store.video(film).result()
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    store.video(used).result()

    kept = store.video(new).result()
    assert set(kept.parent.iterdir()) == {kept, store.video(used).result()}


def test_a_film_larger_than_all_the_room_is_still_kept(tmp_path: Path, rendered: list[Film]) -> None:
    store = FilmStore(tmp_path, limit=10)

    assert store.video(FILM).result().exists()
    store.close()


def test_a_rendering_that_fails_leaves_nothing_and_is_tried_again(
    store: FilmStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(film: Film, path: Path) -> None:
        path.write_bytes(b"half a film")
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(film_store, "render", fail)
        with pytest.raises(OSError, match="no space left"):
            store.video(FILM).result()
    assert list((tmp_path / "films").iterdir()) == []

    assert store.video(FILM).result().exists()


def test_the_last_frame_is_a_file_of_its_own(store: FilmStore) -> None:
    assert store.last_frame(FILM).result().read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "other",
    [
        replace(FILM, prompt="an owl"),
        replace(FILM, frames=48),
        replace(FILM, audio=True),
        replace(FILM, pictures=(Picture("a", None),)),
    ],
)
def test_different_films_have_different_names(other: Film) -> None:
    assert other.digest() != FILM.digest()
    assert (
        replace(other, pictures=(Picture("a", b"1"),)).digest()
        != replace(other, pictures=(Picture("a", b"2"),)).digest()
    )


def test_any_prompt_can_be_drawn(store: FilmStore) -> None:
    pictures = (Picture("a picture with a long name", None),) * 9
    for prompt in ("", "x" * 500, "一只狐狸 🦊", "line\nline", "word " * 300):
        assert store.video(replace(FILM, prompt=prompt, width=128, pictures=pictures)).result().exists()
