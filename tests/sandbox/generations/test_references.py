"""References in a submission: assets, URLs and data URIs, and the shape they give to the video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.sandbox.client import audio, image, ok_json, text, upstream_error, video
from tests.sandbox.media_files import clip, data_uri, picture, sound

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock


def uploaded(anyfast: Client, content: bytes, kind: str = "Image", name: str = "a file") -> str:
    model = {"Image": "volc-asset", "Video": "volc-asset-video", "Audio": "volc-asset-audio"}[kind]
    return anyfast.asset(anyfast.group(), URL=data_uri(content), AssetType=kind, model=model, Name=name)


def test_an_active_asset_is_accepted(anyfast: Client, clock: FakeClock) -> None:
    asset_id = anyfast.asset(anyfast.group())
    clock.advance(2)

    ok_json(anyfast.submit(text(), image(f"asset://{asset_id}")))


def test_an_asset_that_is_still_processing_is_refused(anyfast: Client) -> None:
    asset_id = anyfast.asset(anyfast.group())

    response = anyfast.submit(text(), image(f"asset://{asset_id}"))
    assert response.status_code == 400
    error = upstream_error(response)
    assert error["code"] == "InvalidParameter"
    assert "asset is still processing and is not available yet" in error["message"]


@pytest.mark.parametrize("name", ["[sandbox:fail:FaceMismatch]", "deleted", "foreign", "not indexed"])
def test_an_asset_that_failed_or_is_not_there_is_not_found(
    anyfast: Client,
    configure: Callable[..., None],
    client_with: Callable[[str | None], Client],
    clock: FakeClock,
    name: str,
) -> None:
    keys = ({"value": "sandbox-key"}, {"value": "second-key"})
    configure(api_keys=keys, asset_index_seconds=100 if name == "not indexed" else 0)
    owner = client_with("second-key") if name == "foreign" else anyfast
    asset_id = owner.asset(owner.group(), Name=name)
    clock.advance(2)
    if name == "deleted":
        anyfast.ok("DeleteAsset", Id=asset_id)

    response = anyfast.submit(text(), image(f"asset://{asset_id}"))
    assert response.status_code == 400
    assert f"The specified asset {asset_id} is not found." in upstream_error(response)["message"]


@pytest.mark.parametrize(
    "url",
    [
        "Asset://asset-20260101000000-abcde",
        "asset-20260101000000-abcde",
        "file:///home/me/a.png",
        "ftp://example.com/a.png",
        "https://",
        "picture.png",
    ],
)
def test_a_url_of_an_unknown_kind_is_refused(anyfast: Client, url: str) -> None:
    response = anyfast.submit(text(), image(url))

    assert response.status_code == 400
    assert "`content[1].image_url`" in upstream_error(response)["message"]


def test_an_asset_of_the_wrong_type_is_refused(anyfast: Client, clock: FakeClock) -> None:
    asset_id = uploaded(anyfast, sound(), "Audio")
    clock.advance(2)

    response = anyfast.submit(text(), image(f"asset://{asset_id}"))
    assert response.status_code == 400
    assert f"the asset {asset_id} is of type Audio, not Image" in upstream_error(response)["message"]


@pytest.mark.parametrize(
    ("item", "code", "part"),
    [
        (video(data_uri(b"x", "video/mp4")), "InvalidParameter", "not as Base64"),
        (image("data:image/png,plain"), "InvalidParameter", "data:<type>;base64,<content>"),
        (image("data:image/png;base64,?"), "InvalidParameter", "not Base64"),
        (image(data_uri(picture(200, 400))), "InvalidParameter.WidthTooSmall", "Width is 200 px"),
        (image(data_uri(sound())), "InvalidParameter.TypeMismatch", "type Audio"),
        (audio(data_uri(sound(1))), "InvalidParameter.DurationTooShort", "1.00 s"),
    ],
)
def test_inline_content_is_checked(anyfast: Client, item: dict[str, Any], code: str, part: str) -> None:
    response = anyfast.submit(text(), image(), item)

    assert response.status_code == 400
    error = upstream_error(response)
    assert error["code"] == code
    assert part in error["message"]
    assert "content[2]" in error["message"]


def test_inline_images_and_audios_are_accepted_and_not_stored_in_the_account(anyfast: Client) -> None:
    anyfast.generate(text(), image(data_uri(picture())), audio(data_uri(sound(), "audio/wav")))

    (generation,) = ok_json(anyfast.http.get("/account"))["accounts"][0]["generations"]
    kept = generation["request"]["content"][1]["image_url"]["url"]
    assert kept.startswith("data:image/png;base64,")
    assert kept.endswith(" characters)")
    assert len(kept) < 100
    assert [reference["kind"] for reference in generation["references"]] == ["image", "audio"]


def test_videos_together_are_limited_by_the_model(anyfast: Client, clock: FakeClock) -> None:
    asset_id = uploaded(anyfast, clip(seconds=8), "Video")
    clock.advance(2)
    content = (text(), video(f"asset://{asset_id}"), video(f"asset://{asset_id}"))

    refused = anyfast.submit(*content, model="seedance")
    assert "the videos last 16.0 s together, at most 15 s are taken" in upstream_error(refused)["message"]
    ok_json(anyfast.submit(*content, model="seedance-2.5"))


def test_audios_together_are_limited_too(anyfast: Client) -> None:
    song = audio(data_uri(sound(9), "audio/wav"))

    response = anyfast.submit(text(), image(), song, song)
    assert "the audios last 18.0 s together" in upstream_error(response)["message"]


@pytest.mark.parametrize(
    ("width", "height", "ratio"), [(600, 1000, "9:16"), (900, 400, "21:9"), (500, 500, "1:1"), (820, 600, "4:3")]
)
def test_an_adaptive_video_takes_the_ratio_of_its_first_picture(
    anyfast: Client, clock: FakeClock, width: int, height: int, ratio: str
) -> None:
    generation_id = anyfast.generate(text(), image(data_uri(picture(width, height))), image(), ratio="adaptive")
    clock.advance(8)

    assert anyfast.task(generation_id)["data"]["ratio"] == ratio


def test_an_adaptive_video_is_wide_when_its_first_picture_is_not_known(anyfast: Client, clock: FakeClock) -> None:
    unknown_first = anyfast.generate(text(), image(), image(data_uri(picture())))
    nothing = anyfast.generate(text())
    clock.advance(8)

    assert [anyfast.task(generation)["data"]["ratio"] for generation in (unknown_first, nothing)] == ["16:9"] * 2


@pytest.mark.parametrize(("seconds", "duration"), [(6, 6), (2, 4)])
def test_an_automatic_duration_follows_the_video(
    anyfast: Client, clock: FakeClock, seconds: int, duration: int
) -> None:
    asset_id = uploaded(anyfast, clip(seconds=seconds), "Video")
    clock.advance(2)
    generation_id = anyfast.generate(
        text(),
        video(f"asset://{asset_id}"),
        model="seedance-2.5",
        omni_reference_task_type="edit",
        duration=-1,
    )
    clock.advance(8)

    shown = anyfast.task(generation_id)
    assert shown["data"]["duration"] == duration
    assert shown["action"] == "omniGenerate"


@pytest.mark.parametrize(
    ("content", "action"),
    [
        ([text()], "generate"),
        ([text(), image(role="first_frame")], "generate"),
        ([text(), image(role="first_frame"), image(role="last_frame")], "firstTailGenerate"),
        ([text(), image()], "referenceGenerate"),
    ],
)
def test_the_action_names_the_kind_of_generation(anyfast: Client, content: list[dict[str, Any]], action: str) -> None:
    assert anyfast.task(anyfast.generate(*content))["action"] == action
