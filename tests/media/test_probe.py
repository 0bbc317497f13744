"""Damaged files, files that cannot be measured here, and what happens without Pillow and PyAV."""

from __future__ import annotations

import logging
import random
import sys
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.media import file as media
from airflow_provider_anyfast.media.file import read_media
from airflow_provider_anyfast.media.limits import Measure
from airflow_provider_anyfast.media.probe import Measures, measure
from tests.media.media_samples import SMALLEST, audio, heic, image, photo, video, wav

if TYPE_CHECKING:
    from pathlib import Path

LOGGER = "airflow_provider_anyfast.media.file"
HINT = "`pip install airflow-provider-anyfast[media]` installs it"
TAGS = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)
MOOV_FIRST = {"moov_size": "20000"}


@pytest.fixture
def put(tmp_path: Path) -> Any:
    def put_(content: bytes, name: str = "a.bin") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return put_


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_an_image_that_ends_too_early_is_refused(put: Any, kind: str, kept: float) -> None:
    whole = photo(kind)
    assert read_media(put(whole)).asset_type == "Image"
    with pytest.raises(InvalidRequestError, match=r"is damaged: "):
        read_media(put(whole[: int(len(whole) * kept)]))


def test_an_image_with_a_flipped_bit_is_refused(put: Any) -> None:
    content = bytearray(photo("PNG"))
    content[len(content) // 2] ^= 1
    with pytest.raises(InvalidRequestError, match="is damaged: the checksum of its IDAT is wrong"):
        read_media(put(bytes(content)))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


TEXTS = {
    "2 MB of compressed text": chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2 * 10**6))),
    "2 MB of international text": chunk(b"iTXt", b"k\0\0\0\0\0" + b"x" * 2 * 10**6),
    "text with a wrong checksum": chunk(b"tEXt", b"k\0text")[:-1] + b"\0",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_picture_with_unusual_text_is_accepted(put: Any, text: bytes) -> None:
    png = photo("PNG")
    assert read_media(put(png[:33] + text + png[33:])).asset_type == "Image"


def test_a_picture_that_only_lacks_its_end_mark_is_accepted(put: Any) -> None:
    assert read_media(put(photo("PNG")[:-12])).asset_type == "Image"
    assert read_media(put(photo("JPEG")[:-2])).asset_type == "Image"


def test_a_png_is_measured_without_pillow(put: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = put(image("PNG", 299, 400))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InvalidRequestError, match="is 299 pixels wide"):
        read_media(narrow)


@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x40\x00\x00\x00WEBPVP8 "])
def test_a_file_that_only_starts_like_an_image_is_refused(put: Any, start: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"is damaged: "):
        read_media(put(start + bytes(3)))


@pytest.mark.parametrize(
    "content",
    [video(), video("mov"), video(options=MOOV_FIRST), video(options={"movflags": "frag_keyframe+empty_moov"}), heic()],
    ids=["mp4", "mov", "index first", "fragmented", "heic"],
)
@pytest.mark.parametrize("extra", [True, False], ids=["with PyAV", "without"])
def test_a_file_whose_last_bytes_are_missing_is_refused(
    put: Any, monkeypatch: pytest.MonkeyPatch, content: bytes, *, extra: bool
) -> None:
    if not extra:
        monkeypatch.setitem(sys.modules, "av", None)
        monkeypatch.setitem(sys.modules, "PIL", None)
    assert read_media(put(content)).size == len(content)
    content = content[: content.rindex(b"mdat") + 20]
    with pytest.raises(InvalidRequestError, match=r"is damaged: its last [\d,]+ bytes are missing\."):
        read_media(put(content))


@pytest.mark.parametrize(
    "rubbish", [b"\x00" * 40, b"\x00\x00\x00\x01free\x00\x00\x00\x00\x00\x00\x00\x10" + bytes(4), b"\xff" * 40]
)
def test_trailing_bytes_after_a_whole_video_are_ignored(put: Any, rubbish: bytes) -> None:
    assert read_media(put(video() + rubbish)).asset_type == "Video"


def test_a_video_whose_content_has_a_64_bit_length_is_read(put: Any) -> None:
    content = video()
    at = content.index(b"\x00\x00\x00\x08free")  # space reserved for the longer header
    assert content[at + 12 : at + 16] == b"mdat"
    length = int.from_bytes(content[at + 8 : at + 12], "big") + 8
    whole = content[:at] + b"\x00\x00\x00\x01mdat" + length.to_bytes(8, "big") + content[at + 16 :]
    assert read_media(put(whole)).size == len(content)
    with pytest.raises(InvalidRequestError, match="its last 7 bytes are missing"):
        read_media(put(whole[: at + length - 7]))


def test_a_video_with_an_unknown_codec_is_accepted_and_logged(put: Any, caplog: pytest.LogCaptureFixture) -> None:
    content = video(codec="libx264").replace(b"avc1", b"zzzz")
    with caplog.at_level(logging.INFO, LOGGER):
        read_media(put(content))
    assert "frame rate: FFmpeg does not know its video codec." in logged(caplog)[0]


def test_a_video_whose_pictures_have_no_size_is_refused(put: Any) -> None:
    content = bytearray(video(codec="mjpeg", pixels="yuvj420p", options=MOOV_FIRST))
    at = content.index(b"stsd") + 44  # the width in the sample description
    assert content[at : at + 4] == b"".join(side.to_bytes(2, "big") for side in SMALLEST)
    content[at : at + 4] = bytes(4)
    pictures = content.index(b"mdat") + 4
    content[pictures:] = bytes(len(content) - pictures)
    with pytest.raises(InvalidRequestError, match="is damaged: its frames have no size"):
        read_media(put(bytes(content)))


def test_a_video_without_its_index_is_refused(put: Any) -> None:
    content = video()
    with pytest.raises(InvalidRequestError, match=r"is damaged: FFmpeg cannot read it \(Invalid data found"):
        read_media(put(content[: content.index(b"moov") - 4]))


def test_a_video_with_an_empty_index_is_refused(put: Any) -> None:
    content = video()
    at = content.index(b"moov") + 4
    with pytest.raises(InvalidRequestError, match="contains neither picture nor audio"):
        read_media(put(content[:at] + bytes(len(content) - at)))


def test_a_video_that_ends_before_its_first_picture_is_refused(put: Any) -> None:
    content = video(codec="libx264", options={"movflags": "frag_keyframe+empty_moov"})
    with pytest.raises(InvalidRequestError, match="lasts 0 seconds, but AnyFast accepts 2 to 30"):
        read_media(put(content[: content.index(b"moof") - 4]))


def test_a_missing_measure_is_logged(
    put: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_but_the_rate(path: Path, media_type: str) -> Measures:
        return {kind: value for kind, value in measure(path, media_type).items() if kind is not Measure.FRAME_RATE}

    monkeypatch.setattr(media, "measure", all_but_the_rate)
    path = put(video())
    with caplog.at_level(logging.INFO, LOGGER):
        read_media(path)
    assert logged(caplog) == [f"file={str(path)!r} was not checked for frame rate: the file does not say."]


@pytest.mark.parametrize(
    "content",
    [
        TAGS + bytes(4000),
        TAGS + video("h264", "libx264"),
        b"\xff\xfb\x90\x64" + bytes(4000),
        b"RIFF\x24\x00\x00\x00WAVE",
    ],
    ids=["tags only", "tags and pictures", "one frame's header", "no sound"],
)
def test_damaged_audio_is_refused(put: Any, content: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"is damaged: FFmpeg cannot read it|contains no audio"):
        read_media(put(content))


@pytest.mark.parametrize(
    "content",
    [
        *(photo(kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")),
        *(video(kind, options=MOOV_FIRST) for kind in ("mp4", "mov")),
        audio("mp3", "libmp3lame"),
        wav(),
    ],
    ids=["jpeg", "png", "gif", "webp", "tiff", "bmp", "mp4", "mov", "mp3", "wav"],
)
def test_a_file_with_any_damage_is_either_accepted_or_refused(put: Any, content: bytes) -> None:
    chance = random.Random(1)
    refused = 0
    for _ in range(30):
        damaged = bytearray(content)
        for _ in range(4):
            at = chance.randrange(chance.choice((60, 2000)))
            damaged[at] = chance.randrange(256)
        try:
            read_media(put(bytes(damaged)))
        except InvalidRequestError:
            refused += 1
    assert refused


@pytest.mark.parametrize(
    "case",
    [
        (image("JPEG", 10, 10), "PIL", "width, height, aspect ratio"),
        (heic(), "PIL", "width, height, aspect ratio"),
        (video(size=(100, 100)), "av", "width, height, aspect ratio, pixels per frame, duration, frame rate"),
        (wav(100), "av", "duration"),
    ],
    ids=["image", "heic", "video", "audio"],
)
def test_without_the_extra_one_line_says_what_was_not_checked_and_what_to_install(
    put: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, case: tuple[bytes, str, str]
) -> None:
    content, missing, unchecked = case
    monkeypatch.setitem(sys.modules, missing, None)
    path = put(content)
    with caplog.at_level(logging.INFO, LOGGER):
        read_media(path)
    assert logged(caplog) == [
        f"file={str(path)!r} was not checked for {unchecked}: {missing} is not installed: {HINT}."
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (video("webm", "libvpx"), "contains video/webm"),
        (audio("ipod", "aac"), "contains audio/mp4"),
        (image("PNG"), "asset_type='Video' was given"),
        (wav(15 * 1024**2 // 2 - 22) + b"\x00", "has 15,728,641 bytes, but AnyFast accepts at most 15,728,640"),
    ],
    ids=["format", "m4a", "type", "size"],
)
def test_without_the_extra_format_type_and_size_are_checked(
    put: Any, monkeypatch: pytest.MonkeyPatch, content: bytes, problem: str
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InvalidRequestError, match=problem):
        read_media(put(content), "Video" if content.startswith(b"\x89PNG") else None)


def test_an_image_that_pillow_does_not_know_is_accepted_and_logged(put: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = put(heic())
    with caplog.at_level(logging.INFO, LOGGER):
        read_media(path)
    assert logged(caplog) == [
        f"file={str(path)!r} was not checked for width, height, aspect ratio: Pillow cannot read image/heic."
    ]


@pytest.mark.parametrize("content", [photo("JPEG"), video(), wav(), audio("mp3", "libmp3lame")])
def test_nothing_is_logged_about_a_fully_checked_file(
    put: Any, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        read_media(put(content))
    assert logged(caplog) == []


def test_memory_does_not_depend_on_the_size_of_a_video(put: Any) -> None:
    content = video(options=MOOV_FIRST)
    path = put(content)
    with path.open("r+b") as file:  # a sparse gap of 150 MB after the pictures
        at = content.index(b"mdat") - 4
        file.seek(at)
        file.write((len(content) - at + 150 * 1024**2).to_bytes(4, "big"))
        file.truncate(len(content) + 150 * 1024**2)
    tracemalloc.start()
    read_media(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1024**2
