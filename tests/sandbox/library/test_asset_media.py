"""How an asset's file is processed: checked if the sandbox has its content, otherwise decided by a marker."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

import httpx
import pytest

from airflow_provider_anyfast.sandbox.media.limits import check_media
from airflow_provider_anyfast.sandbox.media.probe import Media, read_media
from tests.sandbox.client import gateway_message, ok_json
from tests.sandbox.media_files import clip, data_uri, picture, sound
from tests.support.killed_process import last_words_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock

MEGABYTE = 1024 * 1024
MODELS = {"Image": "volc-asset", "Video": "volc-asset-video", "Audio": "volc-asset-audio"}


def processed(anyfast: Client, clock: FakeClock, url: str, kind: str = "Image", name: str = "a file") -> dict[str, Any]:
    asset_id = anyfast.asset(anyfast.group(), URL=url, AssetType=kind, model=MODELS[kind], Name=name)
    clock.advance(2)
    return anyfast.ok("GetAsset", Id=asset_id)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_picture_in_a_documented_format_becomes_active(anyfast: Client, clock: FakeClock, kind: str) -> None:
    shown = processed(anyfast, clock, data_uri(picture(kind=kind), f"image/{kind.lower()}"))

    assert shown["Status"] == "Active"
    assert "Error" not in shown


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_video_becomes_active(anyfast: Client, clock: FakeClock, suffix: str) -> None:
    assert processed(anyfast, clock, data_uri(clip(suffix=suffix), "video/mp4"), "Video")["Status"] == "Active"


def test_an_audio_file_becomes_active(anyfast: Client, clock: FakeClock) -> None:
    assert processed(anyfast, clock, data_uri(sound(), "audio/wav"), "Audio")["Status"] == "Active"


def test_bare_base64_is_an_image(anyfast: Client, clock: FakeClock) -> None:
    assert processed(anyfast, clock, base64.b64encode(picture()).decode())["Status"] == "Active"


def test_bare_base64_is_an_image_even_if_the_type_says_otherwise(anyfast: Client, clock: FakeClock) -> None:
    shown = processed(anyfast, clock, base64.b64encode(sound()).decode(), "Audio")

    assert (shown["Status"], shown["Error"]["Code"]) == ("Failed", "TypeMismatch")


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (picture(299, 400), "Image", "WidthTooSmall"),
        (picture(400, 299), "Image", "HeightTooSmall"),
        (picture(6001, 3000), "Image", "WidthTooLarge"),
        (picture(3000, 6001), "Image", "HeightTooLarge"),
        (picture(300, 800), "Image", "AspectRatioTooSmall"),
        (picture(800, 300), "Image", "AspectRatioTooLarge"),
        (picture(kind="ICO"), "Image", "FormatUnsupported"),
        (b"just some text", "Image", "FormatUndetectable"),
        (b"1\n00:00:00,000 --> 00:00:01,000\nonly subtitles\n", "Video", "FormatUndetectable"),
        (sound(), "Image", "TypeMismatch"),
        (picture(), "Audio", "TypeMismatch"),
        (clip(406, 720), "Video", "PixelCountTooSmall"),
        (clip(rate=20), "Video", "FpsTooLow"),
        (clip(rate=61), "Video", "FpsTooHigh"),
        (clip(seconds=1), "Video", "DurationTooShort"),
        (clip(seconds=31), "Video", "DurationTooLong"),
        (clip(suffix="mkv"), "Video", "FormatUnsupported"),
        (sound(1), "Audio", "DurationTooShort"),
        (sound(31), "Audio", "DurationTooLong"),
    ],
    ids=lambda value: "file" if isinstance(value, bytes) else value,
)
def test_an_unsuitable_file_is_accepted_and_billed_and_then_fails_with_its_code(
    anyfast: Client, clock: FakeClock, content: bytes, kind: str, code: str
) -> None:
    shown = processed(anyfast, clock, data_uri(content), kind)

    assert (shown["Status"], shown["Error"]["Code"], shown["URL"]) == ("Failed", code, "")
    assert shown["Error"]["Message"].startswith(f"[***.{code}]")
    assert anyfast.billed()["assets"] == 1


@pytest.mark.parametrize(
    ("media", "code"),
    [
        (Media("Image", "png", 30 * MEGABYTE - 1, 400, 400), None),
        (Media("Image", "png", 30 * MEGABYTE, 400, 400), "FileSizeTooLarge"),
        (Media("Image", "heic", 1000), None),
        (Media("Video", "mp4", 200 * MEGABYTE, 1920, 1080, 5, 24), "FileSizeTooLarge"),
        (Media("Video", "mp4", 1000, 3840, 2160, 5, 24), None),
        (Media("Video", "mp4", 1000, 4096, 2160, 5, 24), "PixelCountTooLarge"),
        (Media("Video", "mp4", 1000, 1280, 720, 30.04, 24), None),
        (Media("Video", "mp4", 1000), None),
        (Media("Audio", "mp3", 15 * MEGABYTE, seconds=5), "FileSizeTooLarge"),
        (Media("Audio", "aac", 1000, seconds=5), "FormatUnsupported"),
    ],
)
def test_the_documented_limits_hold_at_their_edges(media: Media, code: str | None) -> None:
    failure = check_media(media, media.kind)

    assert (failure and failure.code) == code


@pytest.mark.parametrize(
    ("media", "code"),
    [
        (Media("Image", "bmp", 1000, 400, 400), "FormatUnsupported"),
        (Media("Video", "mp4", 50 * MEGABYTE, 1280, 720, 5, 24), "FileSizeTooLarge"),
        (Media("Video", "mp4", 1000, 1280, 720, 16, 24), "DurationTooLong"),
        (Media("Image", "png", 1000, 400, 400), None),
    ],
)
def test_a_verified_persons_group_has_narrower_limits(media: Media, code: str | None) -> None:
    failure = check_media(media, media.kind, "LivenessFace")

    assert (failure and failure.code) == code


def test_a_file_is_recognized_by_its_content() -> None:
    seen = read_media(clip(864, 480, seconds=2))
    assert seen is not None
    assert (seen.kind, seen.format, seen.width, seen.height, seen.seconds, seen.frame_rate) == (
        "Video", "mp4", 864, 480, 2.0, 24.0,
    )  # fmt: skip
    small = read_media(seen.thumbnail or b"")
    assert small is not None
    assert (small.kind, small.format, small.width, small.height) == ("Image", "png", 256, 142)
    heard = read_media(sound(3))
    assert heard is not None
    assert (heard.kind, heard.format, heard.seconds, heard.thumbnail) == ("Audio", "wav", 3.0, None)
    heif = read_media(b"\0\0\0\x18ftypheic" + bytes(100))
    assert heif == Media("Image", "heic", 112)


def test_a_process_can_be_forked_beside_a_thread_that_has_read_a_video() -> None:
    def speak(die: Callable[[str], NoReturn]) -> None:
        die("alive")

    with ThreadPoolExecutor(max_workers=1) as still_there:
        assert still_there.submit(read_media, clip()).result() is not None
        assert last_words_of(speak) == "alive"


def test_a_marker_in_the_name_fails_an_asset_that_the_sandbox_does_not_fetch(anyfast: Client, clock: FakeClock) -> None:
    shown = processed(anyfast, clock, "https://example.com/a.png", name="me [sandbox:fail:FaceMismatch]")

    assert shown["Status"] == "Failed"
    assert shown["Error"] == {"Code": "FaceMismatch", "Message": "Face consistency verification failed."}


def test_a_marker_in_the_url_does_the_same(anyfast: Client, clock: FakeClock) -> None:
    shown = processed(anyfast, clock, "https://example.com/%5Bsandbox:fail:DownloadFailed%5D.png")

    assert (shown["Status"], shown["Error"]["Code"]) == ("Failed", "DownloadFailed")


def upload(anyfast: Client, content: bytes, **fields: str) -> httpx.Response:
    return anyfast.http.post("/volc/asset/CreateAsset", data=fields, files={"file": ("file.bin", content)})


def test_a_form_takes_the_file_itself(anyfast: Client, clock: FakeClock) -> None:
    group_id = anyfast.group()
    response = upload(anyfast, sound(), GroupId=group_id, Name="song", AssetType="Audio", model="volc-asset-audio")
    clock.advance(2)

    shown = anyfast.ok("GetAsset", Id=ok_json(response)["Id"])
    assert (shown["Status"], shown["AssetType"], shown["Name"]) == ("Active", "Audio", "song")
    assert httpx.get(shown["URL"]).content == sound()


def test_a_form_without_a_type_silently_counts_as_an_image(anyfast: Client, clock: FakeClock) -> None:
    response = upload(anyfast, sound(), GroupId=anyfast.group(), Name="song")
    clock.advance(2)

    shown = anyfast.ok("GetAsset", Id=ok_json(response)["Id"])
    assert (shown["AssetType"], shown["Status"], shown["Error"]["Code"]) == ("Image", "Failed", "TypeMismatch")


def test_a_form_without_a_file_or_a_group_is_refused(anyfast: Client) -> None:
    no_file = anyfast.http.post("/volc/asset/CreateAsset", data={"GroupId": "g"}, files={"other": b""})
    assert no_file.status_code == 400
    assert "the form has no file" in gateway_message(no_file)

    no_group = upload(anyfast, picture(), Name="n")
    assert no_group.status_code == 400
    assert "The required parameter GroupId is missing." in gateway_message(no_group)
    assert anyfast.billed()["assets"] == 0
