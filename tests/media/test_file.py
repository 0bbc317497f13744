"""A file is checked before anything is billed for it: what it is, and whether AnyFast accepts it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.media import file as media
from airflow_provider_anyfast.media.file import read_media
from airflow_provider_anyfast.media.sniff import media_type_of
from tests.media.media_samples import audio, heic, image, video, wav

if TYPE_CHECKING:
    from pathlib import Path

UNTAGGED = {"write_xing": "0", "id3v2_version": "0"}


@pytest.fixture
def put(tmp_path: Path) -> Any:
    def put_(content: bytes, name: str = "a.bin") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return put_


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
        ("TIFF", "image/tiff"),
    ],
)
def test_an_image_is_recognized_by_its_content(put: Any, kind: str, media_type: str) -> None:
    found = read_media(put(image(kind), "a.mp4"), "Image")
    assert (found.asset_type, found.media_type) == ("Image", media_type)


@pytest.mark.parametrize(
    ("content", "asset_type"),
    [
        (image("BMP"), "Image"),
        (heic(), "Image"),
        (video("mp4", "libx264"), "Video"),
        (video("mov", "libx264"), "Video"),
        (video("mp4", options={"movflags": "frag_keyframe+empty_moov"}), "Video"),
        (audio("mp3", "libmp3lame"), "Audio"),
        (audio("mp3", "libmp3lame", cover=True), "Audio"),
        (audio("mp3", "libmp3lame", options=UNTAGGED), "Audio"),
        (audio("mp3", "libmp3lame", rate=24000, options=UNTAGGED), "Audio"),
        (wav(), "Audio"),
    ],
    ids=["bmp", "heic", "mp4", "mov", "fragmented", "mp3", "cover", "untagged", "24 kHz", "wav"],
)
@pytest.mark.parametrize("given", [True, False], ids=["type given", "type not given"])
def test_every_format_that_anyfast_accepts_is_recognized(
    put: Any, content: bytes, asset_type: str, *, given: bool
) -> None:
    assert read_media(put(content), asset_type if given else None).asset_type == asset_type


@pytest.mark.parametrize(
    "content",
    [
        video("webm", "libvpx"),
        video("matroska", "libx264"),
        video("avi", "mpeg4"),
        audio("flac", "flac"),
        audio("adts", "aac"),
        image("ICO"),
        image("PPM"),
        b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
        b"%PDF-1.4\n",
        b"PK\x03\x04" + bytes(60),
        b"<!doctype html><html></html>",
        b'{"a": 1}',
        b"name,prompt\na,b\n",
        b"a",
        bytes(5000),
    ],
    ids=["webm", "mkv", "avi", "flac", "aac", "ico", "ppm", "svg", "pdf", "zip", "html", "json", "csv", "one", "zeros"],
)
def test_a_file_that_anyfast_does_not_accept_is_refused_before_it_is_billed(put: Any, content: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"a\.png.* contains .*"):
        read_media(put(content, "a.png"))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        (b'<?xml version="1.0"?>\n<!-- a logo -->\n<svg/>', "image/svg+xml"),
        (image("JPEG2000"), "image/jp2"),
        (b"\xff\x4f\xff\x51" + bytes(60), "image/jp2"),
        (image("AVIF"), "image/avif"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", "image/avif"),
        (video("webm", "libvpx"), "video/webm"),
        (video("matroska", "libx264"), "video/x-matroska"),
        (b"\x00\x00\x00\x14ftyp3gp4\x00\x00\x00\x00isom", "video/3gpp"),
        (b"\x00\x00\x00\x14ftyp3g2a\x00\x00\x00\x00isom", "video/3gpp2"),
        (audio("ipod", "aac"), "audio/mp4"),
        (audio("flac", "flac"), "audio/flac"),
        (audio("adts", "aac"), "audio/aac"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # some files contain random numbers
)
def test_a_format_that_anyfast_does_not_accept_is_named(put: Any, content: bytes, name: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"contains {re.escape(name)}, but AnyFast accepts .* as "):
        read_media(put(content))


@pytest.mark.parametrize("options", [{}, {"brand": "mp42"}])
@pytest.mark.parametrize("cover", [True, False], ids=["cover", "no cover"])
def test_a_video_file_with_only_audio_is_not_a_video(put: Any, options: dict[str, str], *, cover: bool) -> None:
    with pytest.raises(InvalidRequestError, match="contains audio, but no picture, so it is not a video"):
        read_media(put(audio("mp4", "aac", cover=cover, options=options)))


def test_an_mp3_with_another_audio_codec_is_refused(put: Any) -> None:
    with pytest.raises(InvalidRequestError, match="contains aac audio, which is not MP3"):
        read_media(put(b"ID3\x04\x00\x00\x00\x00\x00\x00" + audio("adts", "aac")))


@pytest.mark.parametrize(
    ("brands", "media_type"),
    [
        (b"isom", "video/mp4"),
        (b"iso5", "video/mp4"),
        (b"mp42M4A ", "video/mp4"),
        (b"avc1", "video/mp4"),
        (b"qt  ", "video/quicktime"),
        (b"heix", "image/heic"),
        (b"mif1mif1heic", "image/heic"),
        (b"mif1miaf", "image/heif"),
        (b"M4B ", "audio/mp4"),
    ],
)
def test_iso_files_are_distinguished_by_their_brand(brands: bytes, media_type: str) -> None:
    start = b"ftyp" + brands[:4] + bytes(4) + brands[4:]
    assert media_type_of((len(start) + 4).to_bytes(4, "big") + start + b"\x00\x00\x00\x10mdatavif") == media_type


@pytest.mark.parametrize(
    "header", [b"\xff\xfd\x90", b"\xff\xeb\x90", b"\xff\xf3\xf0", b"\xff\xf3\x9c", b"\xff\xf3", b"\xff"]
)
def test_a_file_that_only_resembles_an_mp3_is_not_one(header: bytes) -> None:
    assert media_type_of(header) != "audio/mpeg"


@pytest.mark.parametrize(
    ("content", "given"),
    [
        (image("PNG"), "Video"),
        (image("PNG"), "Audio"),
        (video("mp4", "libx264"), "Image"),
        (video("mp4", "libx264"), "Audio"),
        (wav(), "Image"),
        (wav(), "Video"),
    ],
)
def test_a_file_of_another_type_than_given_is_refused(put: Any, content: bytes, given: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"asset_type='{given}' was given"):
        read_media(put(content), given)


def test_the_error_names_a_wrong_type_and_a_wrong_format(put: Any) -> None:
    with pytest.raises(InvalidRequestError, match="asset_type='Image' was given; contains video/webm"):
        read_media(put(video("webm", "libvpx")), "Image")


def test_an_empty_file_is_refused(put: Any) -> None:
    with pytest.raises(InvalidRequestError, match="is empty"):
        read_media(put(b""))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"none\.png.* cannot be read \(No such file or directory\)"):
        read_media(tmp_path / "none.png")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"cannot be read \(Is a directory\)"):
        read_media(tmp_path)


def test_a_pipe_is_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hero.png")
    with pytest.raises(InvalidRequestError, match="a pipe"):
        read_media(tmp_path / "hero.png")


def test_the_name_depends_on_the_content(put: Any) -> None:
    first, again = read_media(put(image("PNG"), "hero.png")), read_media(put(image("PNG"), "hero.png"))
    other = read_media(put(image("GIF"), "hero.png"))
    assert first.default_name == again.default_name != other.default_name
    assert first.default_name == f"hero-{hashlib.sha256(image('PNG')).hexdigest()[:12]}"


def test_a_long_file_name_is_shortened_for_anyfast(put: Any) -> None:
    assert len(read_media(put(image("PNG"), "x" * 200 + ".png")).default_name) <= 64


def test_the_digest_covers_the_whole_content(put: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "_HASH_CHUNK", 100)
    content = image("BMP")
    assert read_media(put(content)).digest == hashlib.sha256(content).hexdigest()


def test_a_file_can_be_opened_and_encoded_as_a_data_uri(put: Any) -> None:
    found = read_media(put(image("PNG")))
    with found.open() as file:
        assert file.read() == image("PNG")
    assert found.data_uri() == f"data:image/png;base64,{base64.b64encode(image('PNG')).decode()}"
