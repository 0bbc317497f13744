"""Submission: the response, what is refused, and in which format."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.sandbox.client import JSON, audio, gateway_message, image, ok_json, text, upstream_error, video

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock

FIRST = image(role="first_frame")
LAST = image(role="last_frame")
V15 = "doubao-seedance-1-5-pro-251215"
V10 = "doubao-seedance-1-0-pro-250528"
T2V = "doubao-seedance-1-0-lite-t2v-250428"
I2V = "doubao-seedance-1-0-lite-i2v-250428"


def test_an_accepted_submission_returns_the_documented_fields_and_is_billed(anyfast: Client, clock: FakeClock) -> None:
    response = anyfast.submit()

    body = ok_json(response)
    assert re.fullmatch(r"asyntask_[A-Za-z0-9]{32}", body["id"])
    assert body == {
        "id": body["id"],
        "task_id": body["id"],
        "object": "video",
        "model": "seedance",
        "status": "",
        "progress": 0,
        "created_at": int(clock.now()),
    }
    assert json.loads(response.headers["X-New-Api-Other-Ratios"]) == {"seconds": 4}
    assert anyfast.billed()["generations"] == 1


def test_the_status_of_a_submission_can_be_queued(anyfast: Client, configure: Callable[..., None]) -> None:
    configure(submit_status="queued")

    assert ok_json(anyfast.submit())["status"] == "queued"


def test_the_same_submission_twice_is_two_videos_and_billed_twice(anyfast: Client) -> None:
    assert anyfast.generate() != anyfast.generate()
    assert anyfast.billed()["generations"] == 2


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "Model name not specified"),
        (b'{"model": 5, "content": []}', "Model name not specified"),
    ],
)
def test_the_gateway_refuses_what_it_cannot_route(anyfast: Client, body: bytes, part: str) -> None:
    response = anyfast.http.post("/v1/video/generations", content=body, headers=JSON)

    assert response.status_code == 400
    assert part in gateway_message(response)


@pytest.mark.parametrize("body", [{}, {"content": []}, {"content": None}, {"prompt": "flat"}])
def test_a_submission_without_content_is_refused_by_the_gateway(anyfast: Client, body: dict[str, Any]) -> None:
    response = anyfast.http.post("/v1/video/generations", json={"model": "seedance", **body})

    assert response.status_code == 400
    assert (response.json()["code"], response.json()["data"]) == ("invalid_request", None)
    assert response.json()["message"].startswith("prompt is required: a Seedance model takes it as an item")


def test_an_unknown_model_finds_no_channel(anyfast: Client) -> None:
    response = anyfast.submit(model="seedance-9")

    assert response.status_code == 503
    assert response.json()["error"]["code"] == "model_not_found"
    assert "No available channel for model seedance-9" in gateway_message(response)


def test_a_body_of_more_than_64_megabytes_is_refused(anyfast: Client) -> None:
    response = anyfast.submit(text("x" * (64 * 1024 * 1024)))

    assert response.status_code == 413
    assert response.json()["code"] == "read_request_body_failed"
    assert anyfast.billed()["generations"] == 0


REFUSED: list[tuple[list[dict[str, Any]], dict[str, Any], str]] = [
    # Types and values of single parameters.
    ([], {"duration": "5"}, "`duration`"),
    ([], {"generate_audio": "true"}, "`generate_audio`"),
    ([], {"watermark": 1}, "`watermark`"),
    ([], {"return_last_frame": "yes"}, "`return_last_frame`"),
    ([], {"resolution": "720P"}, "`resolution`"),
    ([], {"ratio": "2:1"}, "`ratio`"),
    ([], {"seed": -2}, "`seed`"),
    ([], {"seed": 1.5}, "`seed`"),
    ([], {"service_tier": "fast"}, "`service_tier`"),
    ([], {"execution_expires_after": 59}, "`execution_expires_after`"),
    ([], {"safety_identifier": "x" * 65}, "`safety_identifier`"),
    ([], {"tools": [{"type": "calculator"}]}, "`tools.0.type`"),
    # What the model does not do.
    ([], {"duration": 3}, "takes 4 to 15 seconds, not 3"),
    ([], {"duration": 16}, "takes 4 to 15 seconds, not 16"),
    ([], {"duration": -1}, "takes 4 to 15 seconds, not -1"),
    ([], {"duration": 31, "model": "seedance-2.5"}, "takes 4 to 30 or -1 seconds, not 31"),
    ([], {"duration": 13, "model": V15}, "takes 4 to 12 seconds"),
    ([], {"duration": 1, "model": V10}, "takes 2 to 12 seconds"),
    ([], {"resolution": "2k"}, "takes 480p, 720p, 1080p, 4k"),
    ([], {"resolution": "1080p", "model": "seedance-fast"}, "takes 480p, 720p"),
    ([], {"resolution": "1080p", "model": "seedance-2.0-mini"}, "takes 480p, 720p"),
    ([], {"resolution": "480p", "model": "seedance-2.0-ultra"}, "takes 720p, 1080p, 2k"),
    ([], {"resolution": None, "model": "seedance-2.0-ultra"}, "requires it"),
    ([], {"resolution": "4k", "model": "seedance-2.5"}, "takes 480p, 720p, 1080p"),
    ([], {"camera_fixed": True}, "`camera_fixed`"),
    ([], {"draft": True}, "`draft`"),
    ([], {"frames": 29}, "`frames`"),
    ([], {"frames": 10, "model": V10}, "`frames`"),
    ([], {"output_format": "mov"}, "`output_format`"),
    ([], {"omni_reference_task_type": "edit"}, "`omni_reference_task_type`"),
    ([], {"tools": [{"type": "web_search"}], "model": V15}, "`tools`"),
    ([text(), image()], {"tools": [{"type": "web_search"}]}, "web_search works with text only"),
    ([text(), FIRST], {"model": "seedance-2.5", "ratio": "16:9"}, "`ratio`"),
    ([text(), image(role=None)], {"model": "seedance-2.5", "ratio": "16:9"}, "`ratio`"),
    ([text(), video()], {"model": "seedance-2.5", "omni_reference_task_type": "extend", "ratio": "1:1"}, "`ratio`"),
    ([text(), video()], {"model": "seedance-2.5", "omni_reference_task_type": "edit"}, "edit needs -1"),
    # The content.
    ([{"type": "text"}], {}, "`content[0].text`"),
    ([{"type": "poem", "text": "x"}], {}, "`content[0]`"),
    ([text("  ")], {}, "the text is empty"),
    ([{**text(), "role": "reference_image"}], {}, "`content[0].role`"),
    ([text(), image(role="middle_frame")], {}, "`content[1].role`"),
    ([text(), {**video(), "role": "first_frame"}], {}, "`content[1].role`"),
    ([text(), {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}], {}, "`content[1].role`"),
    ([text(), {"type": "image_url", "image_url": {"url": ""}}], {}, "`content[1].image_url.url`"),
    ([text(), LAST], {}, "a last_frame needs a first_frame"),
    ([text(), FIRST, FIRST], {}, "only one first_frame"),
    ([text(), FIRST, LAST, LAST], {}, "only one first_frame and one last_frame"),
    ([text(), FIRST, image()], {}, "cannot be mixed"),
    ([text(), FIRST, video()], {}, "cannot be mixed"),
    ([text(), image(role=None), image(role=None)], {}, "each one needs a role"),
    ([text(), *[image()] * 10], {}, "at most 9 items of role reference_image, not 10"),
    ([text(), *[video()] * 4], {}, "at most 3 items of role reference_video, not 4"),
    ([text(), image(), *[audio()] * 4], {}, "at most 3 items of role reference_audio, not 4"),
    ([text(), *[image()] * 31], {"model": "seedance-2.5"}, "at most 30 items"),
    (
        [text(), *[image()] * 30, *[video()] * 10, *[audio()] * 10, text()],
        {"model": "seedance-2.5"},
        "at most 51 items",
    ),
    ([text(), audio()], {}, "needs at least one reference_image or reference_video"),
    ([text(), image()], {"model": V15}, "at most 0 items of role reference_image"),
    ([text(), FIRST], {"model": T2V}, "takes text only"),
    ([text()], {"model": I2V}, "needs a first_frame"),
]


@pytest.mark.parametrize(("content", "fields", "part"), REFUSED)
def test_a_broken_rule_is_refused_upstream_with_a_message_inside_the_message(
    anyfast: Client, content: list[dict[str, Any]], fields: dict[str, Any], part: str
) -> None:
    response = anyfast.submit(*content, **fields)

    assert response.status_code == 400, response.text
    error = upstream_error(response)
    assert (error["code"], error["type"]) == ("InvalidParameter", "BadRequest")
    assert part in error["message"]
    assert anyfast.billed()["generations"] == 0


ACCEPTED: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    ([], {"duration": 15, "resolution": "4k"}),
    ([], {"model": "seedance-2.0-fast", "resolution": "720p", "duration": None}),
    ([], {"seed": -1, "watermark": True, "priority": 3, "callback_url": "https://example.com/hook"}),
    ([], {"something_new": {"of": "tomorrow"}, "safety_identifier": "user-1", "execution_expires_after": 60}),
    ([], {"tools": [{"type": "web_search"}]}),
    ([], {"model": "seedance-2.5", "duration": -1, "output_format": "mov"}),
    ([], {"model": "seedance-2.5-nsfw", "duration": 30, "resolution": "1080p"}),
    ([], {"model": V15, "draft": True, "camera_fixed": False, "duration": 12}),
    ([], {"model": V10, "frames": 29, "duration": 2}),
    ([], {"model": T2V, "duration": 2}),
    ([FIRST], {"model": I2V}),
    ([text(), FIRST], {}),
    ([text(), image(role=None)], {}),
    ([image(role=None), text()], {}),
    ([text(), FIRST, LAST], {"model": V15}),
    ([text(), FIRST, LAST], {"model": "seedance-2.5"}),
    ([text(), *[image()] * 9, *[video()] * 3, *[audio()] * 3], {}),
    ([text(), video(), image(), audio()], {}),
    ([text(), audio()], {"model": "seedance-2.5"}),
    ([image()], {"generate_audio": False, "return_last_frame": True}),
    ([text(), video()], {"model": "seedance-2.5", "omni_reference_task_type": "edit", "duration": -1}),
]


@pytest.mark.parametrize(("content", "fields"), ACCEPTED)
def test_what_the_documentation_allows_is_accepted(
    anyfast: Client, content: list[dict[str, Any]], fields: dict[str, Any]
) -> None:
    ok_json(anyfast.submit(*content, **fields))


def test_a_null_parameter_is_an_absent_one(anyfast: Client) -> None:
    body = {"model": "seedance", "content": [text()], "seed": None, "resolution": None, "watermark": None}

    ok_json(anyfast.http.post("/v1/video/generations", json=body))


def test_a_marked_prompt_is_refused_by_moderation_and_costs_nothing(anyfast: Client) -> None:
    response = anyfast.submit(image(), text("something [sandbox:moderation] bad"))

    assert response.status_code == 400
    error = upstream_error(response)
    assert error["code"] == "InputTextSensitiveContentDetected"
    assert "content[1]" in error["message"]
    assert anyfast.billed()["generations"] == 0


def test_an_exhausted_quota_is_a_403_and_not_a_402(anyfast: Client, configure: Callable[..., None]) -> None:
    configure(quota_tokens=81_000)
    anyfast.generate()

    refused = anyfast.submit()
    assert refused.status_code == 403
    assert refused.json() == {"code": "insufficient_user_quota", "message": "user quota is not enough", "data": None}
    assert anyfast.billed()["generations"] == 1


def test_a_failure_is_refunded_to_the_quota(anyfast: Client, configure: Callable[..., None], clock: FakeClock) -> None:
    configure(quota_tokens=81_000)
    anyfast.generate(text("[sandbox:fail]"))
    assert anyfast.submit().status_code == 403
    clock.advance(8)

    assert anyfast.submit().status_code == 200


def test_a_model_of_another_family_is_accepted_unchecked_when_the_plan_has_it(
    anyfast: Client, configure: Callable[..., None], clock: FakeClock
) -> None:
    configure(models=("wan2.2-t2v-a14b", "seedance-3"))
    body = {"model": "wan2.2-t2v-a14b", "prompt": "A fox", "duration": 3, "width": 832, "height": 480}
    flat = ok_json(anyfast.http.post("/v1/video/generations", json=body))["id"]
    new = anyfast.generate(text("An owl"), {"type": "mystery"}, model="seedance-3", duration="long")
    empty = ok_json(anyfast.http.post("/v1/video/generations", json={"model": "seedance-3", "duration": -1}))["id"]

    clock.advance(8)
    assert anyfast.task(flat)["data"]["duration"] == 3
    assert anyfast.task(new)["data"]["duration"] == 5
    assert anyfast.task(empty)["status"] == "SUCCESS"
    generations = ok_json(anyfast.http.get("/account"))["accounts"][0]["generations"]
    assert [generation["prompt"] for generation in generations] == ["A fox", "An owl", ""]
