"""Facts and a poster of finished videos, from a file or an object, without reading all of it."""

from __future__ import annotations

import io
from importlib.util import find_spec

import pytest
from PIL import Image

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.media import finished
from airflow_provider_anyfast.media.finished import check_installed, opened_video
from airflow_provider_anyfast.media.probe import UnusableMediaError
from airflow_provider_anyfast.seedance.saved import VideoFacts
from tests.media.media_samples import audio, video


def test_facts_are_the_size_length_frame_rate_and_sound_of_a_video() -> None:
    with opened_video(io.BytesIO(video(size=(864, 496), frames=60))) as opened:
        assert opened.facts() == VideoFacts(864, 496, 2.5, 24.0, has_sound=False)


def test_a_poster_is_a_small_picture_with_the_same_ratio_and_can_be_made_after_the_facts() -> None:
    with opened_video(io.BytesIO(video(size=(1600, 900), frames=2))) as opened:
        opened.facts()
        with Image.open(io.BytesIO(opened.poster())) as poster:
            assert (poster.format, poster.size) == ("JPEG", (1280, 720))


def test_a_video_without_a_length_in_its_headers_has_facts_and_a_poster() -> None:
    fragmented = video(frames=48, options={"movflags": "frag_keyframe+empty_moov"})
    with opened_video(io.BytesIO(fragmented)) as opened:
        assert opened.facts().seconds == 2.0
        assert opened.poster().startswith(b"\xff\xd8\xff")


def test_a_long_video_is_not_read_to_its_end() -> None:
    class Counted(io.BytesIO):
        total = 0

        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size)
            self.total += len(content)
            return content

    file = Counted(video(size=(1280, 720), frames=720, options={"moov_size": "20000"}))
    with opened_video(file) as opened:
        assert opened.facts().seconds == 30.0
        opened.poster()
    assert file.total < len(file.getvalue()) / 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"no video", "is damaged"), (audio("mp4", "aac"), "contains audio, but no picture"), (b"", "is damaged")],
)
def test_a_file_that_is_not_a_video_is_an_error(content: bytes, reason: str) -> None:
    with pytest.raises(UnusableMediaError, match=reason), opened_video(io.BytesIO(content)):
        pass


@pytest.mark.parametrize("missing", ["av", "PIL"])
def test_a_missing_library_for_posters_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    check_installed()
    monkeypatch.setattr(finished, "find_spec", lambda name: None if name == missing else find_spec(name))
    with pytest.raises(InvalidRequestError, match=r"PyAV and Pillow: `pip install airflow-provider-anyfast\[media\]`"):
        check_installed()
