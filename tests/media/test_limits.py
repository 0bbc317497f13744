"""Each of AnyFast's limits, exceeded by one on either side; the error names the file, the limit and the value."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.media.file import read_media
from airflow_provider_anyfast.media.limits import RULES, Limit, Measure
from tests.media.media_samples import audio, image, photo, video, wav

if TYPE_CHECKING:
    from pathlib import Path

EVERY_LIMIT = [(kind, measure) for kind, rules in RULES.items() for measure in rules.limits]


def problem_of(folder: Path, content: bytes) -> str:
    """The problem of a file, without its name; empty if it is accepted."""
    path = folder / "a.bin"
    path.write_bytes(content)
    try:
        read_media(path)
    except InvalidRequestError as error:
        message = error.what
        start, end = f"file={str(path)!r} ", "."
        assert message.startswith(start)
        assert message.endswith(end)
        return message[len(start) : -len(end)]
    return ""


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ((300, 300), ""),
        ((299, 300), "is 299 pixels wide, but AnyFast accepts 300 to 6000"),
        ((300, 299), "is 299 pixels high, but AnyFast accepts 300 to 6000"),
        ((6000, 6000), ""),
        ((6001, 6000), "is 6001 pixels wide, but AnyFast accepts 300 to 6000"),
        ((6000, 6001), "is 6001 pixels high, but AnyFast accepts 300 to 6000"),
        ((1000, 400), ""),
        ((1001, 400), "is 2.502 times as wide as high, but AnyFast accepts 0.4 to 2.5"),
        ((6000, 2399), "is 2.501 times as wide as high, but AnyFast accepts 0.4 to 2.5"),
        ((400, 1000), ""),
        ((400, 1001), "is 0.3996 times as wide as high, but AnyFast accepts 0.4 to 2.5"),
        ((399, 1000), "is 0.399 times as wide as high, but AnyFast accepts 0.4 to 2.5"),
        ((2399, 6000), "is 0.3998 times as wide as high, but AnyFast accepts 0.4 to 2.5"),
        (
            (1, 1),
            "is 1 pixels wide, but AnyFast accepts 300 to 6000; is 1 pixels high, but AnyFast accepts 300 to 6000",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_size_and_ratio_of_an_image_are_limited(
    tmp_path: Path, kind: str, size: tuple[int, int], problem: str
) -> None:
    assert problem_of(tmp_path, image(kind, *size, mode="1")) == problem


def test_an_image_too_large_to_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # Pillow opens images of twice as many pixels
    message = "has more pixels than Pillow's safety limit, but AnyFast accepts 6000 on each side at most"
    assert problem_of(tmp_path, image("GIF", 400, 251)) == message


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ((664, 614), ""),
        ((714, 571), "has 407,694 pixels per frame, but AnyFast accepts 407,696 to 8,295,044"),
        ((2494, 3326), ""),
        ((2754, 3012), "has 8,295,048 pixels per frame, but AnyFast accepts 407,696 to 8,295,044"),
        ((3840, 2160), ""),
        ((406, 720), "has 292,320 pixels per frame, but AnyFast accepts 407,696 to 8,295,044"),
        ((1010, 404), ""),
        ((1011, 404), "is 2.502 times as wide as high, but AnyFast accepts 0.4 to 2.5"),
        ((404, 1010), ""),
        ((403, 1012), "is 0.3982 times as wide as high, but AnyFast accepts 0.4 to 2.5"),
    ],
)
def test_the_pixels_of_a_video_frame_are_limited(tmp_path: Path, size: tuple[int, int], problem: str) -> None:
    assert problem_of(tmp_path, video(size=size)) == problem


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ((299, 1400), "is 299 pixels wide, but AnyFast accepts 300 to 6000"),
        ((1400, 299), "is 299 pixels high, but AnyFast accepts 300 to 6000"),
        ((6001, 300), "is 6001 pixels wide, but AnyFast accepts 300 to 6000"),
        ((300, 6001), "is 6001 pixels high, but AnyFast accepts 300 to 6000"),
    ],
)
def test_the_size_of_a_video_is_limited(tmp_path: Path, size: tuple[int, int], problem: str) -> None:
    """A frame beyond these also has too few pixels or a wrong ratio, and the error names every problem."""
    assert problem in problem_of(tmp_path, video(size=size)).split("; ")


@pytest.mark.parametrize(
    ("rate", "frames", "problem"),
    [
        (24, 48, ""),
        (24, 43, "lasts 1.792 seconds, but AnyFast accepts 2 to 30"),
        (24, 24, "lasts 1 seconds, but AnyFast accepts 2 to 30"),
        (24, 720, ""),
        (24, 724, ""),
        (24, 725, "lasts 30.21 seconds, but AnyFast accepts 2 to 30"),
        (24, 744, "lasts 31 seconds, but AnyFast accepts 2 to 30"),
        (23, 72, "has 23 frames per second, but AnyFast accepts 24 to 60"),
        (Fraction(24000, 1001), 72, ""),
        (60, 180, ""),
        (61, 183, "has 61 frames per second, but AnyFast accepts 24 to 60"),
    ],
)
def test_the_length_and_frame_rate_of_a_video_are_limited(
    tmp_path: Path, rate: Fraction | int, frames: int, problem: str
) -> None:
    assert problem_of(tmp_path, video(rate=rate, frames=frames)) == problem


@pytest.mark.parametrize(
    ("samples", "problem"),
    [
        (14_400, ""),
        (14_392, "lasts 1.799 seconds, but AnyFast accepts 2 to 30"),
        (241_600, ""),
        (241_608, "lasts 30.2 seconds, but AnyFast accepts 2 to 30"),
    ],
)
def test_the_length_of_a_wav_is_limited(tmp_path: Path, samples: int, problem: str) -> None:
    assert problem_of(tmp_path, wav(samples)) == problem


@pytest.mark.parametrize(("seconds", "fits"), [(1, False), (2, True), (30, True), (31, False)])
def test_the_length_of_an_mp3_is_limited(tmp_path: Path, seconds: int, *, fits: bool) -> None:
    problem = problem_of(tmp_path, audio("mp3", "libmp3lame", seconds=seconds, rate=16000, bit_rate=16000))
    assert problem.endswith("" if fits else "seconds, but AnyFast accepts 2 to 30")
    assert bool(problem) is not fits


def test_the_duration_of_an_mp3_is_counted_and_not_guessed_from_its_start(tmp_path: Path) -> None:
    untagged = {"write_xing": "0", "id3v2_version": "0"}
    quiet = audio("mp3", "libmp3lame", seconds=1, bit_rate=32000, options=untagged)
    rich = audio("mp3", "libmp3lame", seconds=10, bit_rate=320000, options=untagged)
    assert len(rich) / (32000 / 8) > 30, "a guess from the first bit rate would refuse it"
    assert problem_of(tmp_path, quiet + rich) == ""


@pytest.mark.parametrize(
    ("kind", "content"),
    [("Image", photo("PNG")), ("Video", video()), ("Audio", wav()), ("Audio", audio("mp3", "libmp3lame"))],
)
@pytest.mark.parametrize(("spare", "fits"), [(-1, False), (0, True), (1, True)])
def test_a_file_may_have_exactly_the_largest_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, content: bytes, spare: int, *, fits: bool
) -> None:
    rules, size = RULES[kind], len(content)
    limits = rules.limits | {Measure.SIZE: Limit(0, size + spare, "this test")}
    monkeypatch.setitem(RULES, kind, replace(rules, limits=limits))
    message = f"has {size:,} bytes, but AnyFast accepts at most {size + spare:,}"
    assert problem_of(tmp_path, content) == ("" if fits else message)


def test_one_error_names_every_problem_of_a_file(tmp_path: Path) -> None:
    assert problem_of(tmp_path, video(size=(290, 200), frames=10, rate=10)).split("; ") == [
        "is 290 pixels wide, but AnyFast accepts 300 to 6000",
        "is 200 pixels high, but AnyFast accepts 300 to 6000",
        "has 58,000 pixels per frame, but AnyFast accepts 407,696 to 8,295,044",
        "lasts 1 seconds, but AnyFast accepts 2 to 30",
        "has 10 frames per second, but AnyFast accepts 24 to 60",
    ]


def test_the_limits_are_those_on_which_all_sources_agree() -> None:
    assert {
        kind: {measure: (limit.lowest, limit.highest, limit.spare) for measure, limit in rules.limits.items()}
        for kind, rules in RULES.items()
    } == {
        "Image": {
            Measure.SIZE: (0, 30 * 1024**2, 0),
            Measure.WIDTH: (300, 6000, 0),
            Measure.HEIGHT: (300, 6000, 0),
            Measure.RATIO: (0.4, 2.5, 0),
        },
        "Video": {
            Measure.SIZE: (0, 200 * 1024**2, 0),
            Measure.WIDTH: (300, 6000, 0),
            Measure.HEIGHT: (300, 6000, 0),
            Measure.RATIO: (0.4, 2.5, 0),
            Measure.PIXELS: (407_696, 8_295_044, 0),
            Measure.DURATION: (2, 30, 0.2),
            Measure.FRAME_RATE: (24, 60, 0.2),
        },
        "Audio": {Measure.SIZE: (0, 15 * 1024**2, 0), Measure.DURATION: (2, 30, 0.2)},
    }


@pytest.mark.parametrize(("kind", "measure"), EVERY_LIMIT)
def test_a_limit_includes_both_ends_and_nothing_beyond(kind: str, measure: Measure) -> None:
    limit: Any = RULES[kind].limits[measure]
    low, high = limit.lowest - limit.spare, limit.highest + limit.spare
    assert [limit.problem(measure, value) for value in (low, high)] == ["", ""]
    assert limit.problem(measure, low - 0.001)
    assert limit.problem(measure, high + 0.001)


@pytest.mark.parametrize(("kind", "measure"), EVERY_LIMIT)
def test_every_limit_says_where_it_comes_from(kind: str, measure: Measure) -> None:
    assert "docs.anyfast.ai" in RULES[kind].limits[measure].source
