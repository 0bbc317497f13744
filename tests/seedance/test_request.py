"""A request is checked before it is billed, with every problem in one error, and makes the documented body."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.seedance import request as seedance
from airflow_provider_anyfast.seedance.catalog import MODELS, RATIOS, KnownModel, Resolution
from airflow_provider_anyfast.seedance.request import VideoRequest

IMAGE, VIDEO, AUDIO = "asset-1", "https://host/a.mp4", "https://host/a.mp3"
UNKNOWN = "seedance-9.9"

# What docs.anyfast.ai says about each model: resolutions, shortest and longest seconds, images, videos, audios.
V2 = (("480p", "720p", "1080p", "4k"), 4, 15, 9, 3, 3)
SMALL = (("480p", "720p"), 4, 15, 9, 3, 3)
V2_5 = (("480p", "720p", "1080p"), 4, 30, 30, 10, 10)
V1 = (None, 2, 12, 0, 0, 0)
DOCUMENTED: dict[str, tuple[tuple[str, ...] | None, int, int, int, int, int]] = {
    "seedance": V2,
    "seedance-2.0": V2,
    "seedance-2.0-nsfw": V2,
    "seedance-fast": SMALL,
    "seedance-2.0-fast": SMALL,
    "seedance-2.0-fast-nsfw": SMALL,
    "seedance-2.0-mini": SMALL,
    "seedance-2.0-mini-nsfw": SMALL,
    "seedance-2.0-ultra": (("720p", "1080p", "2k"), 4, 15, 9, 3, 3),
    "seedance-2.5": V2_5,
    "seedance-2.5-nsfw": V2_5,
    "doubao-seedance-1-5-pro-251215": (("480p", "720p", "1080p"), 4, 12, 0, 0, 0),
    "doubao-seedance-1-0-pro-250528": V1,
    "doubao-seedance-1-0-pro-fast-251015": V1,
    "doubao-seedance-1-0-lite-t2v-250428": V1,
    "doubao-seedance-1-0-lite-i2v-250428": V1,
}
every_model = pytest.mark.parametrize("model", DOCUMENTED)


def checked(**parameters: Any) -> VideoRequest:
    given: dict[str, Any] = {"prompt": "A paper boat", **parameters}
    if given.get("model") == "seedance-2.0-ultra":
        given.setdefault("resolution", "720p")
    return VideoRequest.parse(**given)


def problems(**parameters: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        checked(**parameters)
    return str(caught.value)


def test_every_documented_model_is_known() -> None:
    assert set(MODELS) == set(DOCUMENTED)


# Limits of each model, one step on either side.


@every_model
def test_a_duration_within_the_models_range_passes(model: str) -> None:
    _, shortest, longest, *_ = DOCUMENTED[model]
    assert checked(model=model, duration=shortest).body()["duration"] == shortest
    assert checked(model=model, duration=longest).body()["duration"] == longest


@every_model
def test_a_duration_outside_the_models_range_is_refused(model: str) -> None:
    _, shortest, longest, *_ = DOCUMENTED[model]
    for duration in (shortest - 1, longest + 1, 0, -2):
        assert f"duration={duration} is outside {shortest} to {longest} seconds" in problems(
            model=model, duration=duration
        )


@every_model
def test_only_some_models_choose_the_duration_themselves(model: str) -> None:
    if model.startswith("seedance-2.5"):
        assert checked(model=model, duration=-1).body()["duration"] == -1
    else:
        assert "duration=-1 is outside" in problems(model=model, duration=-1)


@every_model
@pytest.mark.parametrize("resolution", ["360p", "480p", "720p", "1080p", "2k", "4k", "720P", "hd"])
def test_a_resolution_is_one_of_the_models(model: str, resolution: str) -> None:
    resolutions = DOCUMENTED[model][0]
    if resolutions is None or resolution in resolutions:
        assert checked(model=model, resolution=resolution).body()["resolution"] == resolution
    else:
        assert f"resolution={resolution!r} is not one of {', '.join(resolutions)}" in problems(
            model=model, resolution=resolution
        )


@every_model
@pytest.mark.parametrize(("kind", "position", "reference"), [("images", 3, IMAGE), ("videos", 4, VIDEO)])
def test_references_are_counted_by_the_model(model: str, kind: str, position: int, reference: str) -> None:
    most = DOCUMENTED[model][position]
    assert isinstance(most, int)
    name = f"reference_{kind}"
    if most:
        assert len(checked(model=model, **{name: [reference] * most}).references) == most
        assert f"{name} has {most + 1} items, but {model} accepts at most {most}" in problems(
            model=model, **{name: [reference] * (most + 1)}
        )
    else:
        assert "accepts only first_frame and last_frame" in problems(model=model, **{name: [reference]})


@every_model
def test_audio_references_are_counted_by_the_model(model: str) -> None:
    most = DOCUMENTED[model][5]
    if most:
        company = {"reference_images": [IMAGE]}
        checked(model=model, reference_audios=[AUDIO] * most, **company)
        assert f"reference_audios has {most + 1} items" in problems(
            model=model, reference_audios=[AUDIO] * (most + 1), **company
        )
    else:
        assert "accepts only first_frame and last_frame" in problems(model=model, reference_audios=[AUDIO])


@every_model
def test_some_models_accept_audio_alone(model: str) -> None:
    if model.startswith("seedance-2.5"):
        checked(model=model, reference_audios=[AUDIO])
    elif DOCUMENTED[model][5]:
        assert f"reference_audios needs at least one reference image or video with {model}" in problems(
            model=model, reference_audios=[AUDIO]
        )
        checked(model=model, reference_audios=[AUDIO], reference_videos=[VIDEO])
        checked(model=model, reference_audios=[AUDIO], content=[{"type": "image_url"}])


@pytest.mark.parametrize("model", ["seedance-2.5", "seedance-2.5-nsfw"])
def test_the_largest_model_counts_references_in_total(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    all_kinds = {"reference_images": [IMAGE] * 30, "reference_videos": [VIDEO] * 10, "reference_audios": [AUDIO] * 10}
    assert len(checked(model=model, **all_kinds).references) == 50
    monkeypatch.setattr(seedance, "MODELS", {model: replace(MODELS[model], items=50)})
    checked(model=model, **all_kinds)
    monkeypatch.setattr(seedance, "MODELS", {model: replace(MODELS[model], items=49)})
    assert f"50 references are given, but {model} accepts 49 in total" in problems(model=model, **all_kinds)
    assert MODELS[model].items == 51


@every_model
@pytest.mark.parametrize("ratio", [*RATIOS, "2:1", "16x9"])
def test_there_are_seven_ratios(model: str, ratio: str) -> None:
    if ratio in RATIOS:
        assert checked(model=model, ratio=ratio).body()["ratio"] == ratio
    else:
        assert f"ratio={ratio!r} is not one of" in problems(model=model, ratio=ratio)


@every_model
@pytest.mark.parametrize("ratio", ["16:9", "adaptive", None])
def test_a_first_frame_decides_the_ratio_of_some_models(model: str, ratio: str | None) -> None:
    if model.startswith("seedance-2.5") and ratio == "16:9":
        assert "accepts only 'adaptive'" in problems(model=model, ratio=ratio, first_frame=IMAGE)
    else:
        checked(model=model, ratio=ratio, first_frame=IMAGE)


def test_ultra_needs_a_resolution() -> None:
    with pytest.raises(InvalidRequestError, match=r"resolution is required by seedance-2\.0-ultra: one of 720p, 1080p"):
        VideoRequest.parse(prompt="A boat", model="seedance-2.0-ultra")
    given = VideoRequest.parse(prompt="A boat", model="seedance-2.0-ultra", extra_body={"resolution": "2k"})
    assert given.body()["resolution"] == "2k"


def test_a_request_to_an_unknown_model_is_sent_unchecked() -> None:
    request = checked(
        model=UNKNOWN,
        duration=500,
        resolution="16k",
        ratio="2:1",
        reference_images=[IMAGE] * 99,
        reference_audios=[AUDIO] * 99,
    )
    assert request.body()["duration"] == 500
    assert len(request.body()["content"]) == 199


# Rules of every model.


@pytest.mark.parametrize("model", ["seedance", UNKNOWN])
@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": None}, "prompt is empty"),
        ({"prompt": "  "}, "prompt is empty"),
        ({"prompt": "None"}, "prompt is empty"),
        ({"last_frame": IMAGE}, "last_frame is given without first_frame"),
        ({"first_frame": IMAGE, "reference_images": [IMAGE]}, "cannot be mixed"),
        ({"first_frame": IMAGE, "reference_videos": [VIDEO]}, "cannot be mixed"),
        ({"first_frame": IMAGE, "reference_images": [IMAGE], "reference_audios": [AUDIO]}, "cannot be mixed"),
        ({"first_frame": "hero.png"}, "first_frame='hero.png' is not an asset id or a public URL or a data URI"),
        ({"first_frame": IMAGE, "last_frame": "/data/x"}, "last_frame='/data/x' is not an asset id"),
        ({"reference_images": ["s3://bucket/x.png"]}, "reference_images='s3://bucket/x.png' is not"),
        ({"reference_images": ["group-1"]}, "reference_images='group-1' is not"),
        ({"reference_videos": ["x.mp4"]}, "reference_videos='x.mp4' is not an asset id or a public URL;"),
        ({"reference_videos": ["data:video/mp4;base64,AAAA"]}, "AnyFast does not accept a data URI for a video"),
        ({"reference_images": ["data:audio/mpeg;base64,AAAA"]}, "is not a data URI of type image/…"),
        ({"reference_images": [IMAGE], "reference_audios": ["data:image/png;base64,AA"]}, "of type audio/…"),
        (
            {"web_search": True, "reference_images": [IMAGE]},
            "web_search=True works only with a prompt and no references",
        ),
        ({"web_search": True, "first_frame": IMAGE}, "web_search=True works only with a prompt and no references"),
        (
            {"web_search": True, "content": [{"type": "text"}]},
            "web_search=True works only with a prompt and no references",
        ),
        ({"extra_body": {"prompt_extend": True, "model": "x"}}, "extra_body repeats model, which is already given"),
        ({"duration": 5, "extra_body": {"duration": 6}}, "extra_body repeats duration, which is already given"),
        (
            {"duration": 5, "seed": 1, "extra_body": {"duration": 6, "seed": 1}},
            "duration, seed, which are already given",
        ),
        ({"web_search": True, "extra_body": {"tools": []}}, "extra_body repeats tools"),
        ({"extra_body": {"a": float("nan")}}, "is not JSON"),
        ({"extra_body": '{"a": NaN}'}, "is not JSON"),
        ({"extra_body": {"a": {1}}}, "is not JSON"),
        ({"extra_body": {"a": {1: 2, "b": 3}}}, "is not JSON"),
        ({"prompt": float("nan")}, "prompt is empty"),
        ({"prompt": "nan"}, "prompt is empty"),
        ({"prompt": "\ud800"}, "is not JSON"),
        ({"duration": "five"}, "duration='five'"),
        ({"duration": "5.5"}, "duration='5.5'"),
        ({"seed": "x"}, "seed='x'"),
        ({"generate_audio": "perhaps"}, "generate_audio='perhaps'"),
        ({"reference_images": "[broken"}, "reference_images='[broken'"),
        ({"reference_images": [5, {}]}, "reference_images.1={}"),
        ({"reference_images": 5}, "reference_images=5"),
        ({"extra_body": "{broken"}, "extra_body='{broken'"),
        ({"extra_body": "{[1]: 2}"}, "extra_body='{[1]: 2}'"),
        ({"extra_body": "text"}, "extra_body='text'"),
        ({"content": "text"}, "content='text'"),
        ({"content": ["text"]}, "content.0='text'"),
        ({"colour": "red"}, "colour='red'"),
    ],
)
def test_a_request_that_anyfast_would_refuse_is_refused_before_it_is_billed(
    model: str, parameters: dict[str, Any], problem: str
) -> None:
    message = problems(model=model, **parameters)
    assert problem in message
    assert "invalid, so nothing was sent: " in message


def test_a_model_must_be_named() -> None:
    for blank in (" ", "None", None):
        assert "model=" in problems(model=blank)


def test_one_error_names_every_problem() -> None:
    message = problems(
        prompt="", model="seedance-fast", last_frame="x.png", resolution="4k", ratio="2:1", duration=3, web_search=True
    )
    for problem in ("prompt is empty", "last_frame is given", "x.png", "resolution=", "ratio=", "duration=3", "web_"):
        assert problem in message


def test_one_error_names_every_value_of_a_wrong_type() -> None:
    message = problems(duration="five", seed="x", generate_audio="perhaps")
    assert message.count("='") == 3


def test_a_message_shortens_a_long_value_and_omits_a_secret() -> None:
    message = problems(first_frame="x" * 500, reference_videos=["ftp://user:hunter2@host/x"])
    assert "x" * 100 not in message
    assert "hunter2" not in message


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_a_request_may_have_at_most_64_mb_as_sent(monkeypatch: pytest.MonkeyPatch, spare: int, *, fits: bool) -> None:
    prompt = "纸船" * 1000
    sent = json.dumps(checked(prompt=prompt).body(), ensure_ascii=False, separators=(",", ":")).encode()
    assert seedance.LARGEST_REQUEST == 64 * 1024**2
    monkeypatch.setattr(seedance, "LARGEST_REQUEST", len(sent) + spare)
    if fits:
        checked(prompt=prompt)
    else:
        assert f"the request has {len(sent):,} bytes, but AnyFast accepts {len(sent) - 1:,}" in problems(prompt=prompt)


# Values from templates.


@pytest.mark.parametrize("blank", ["", "  ", "None", "null", None, "\n"])
@pytest.mark.parametrize(
    "name",
    [
        "resolution",
        "ratio",
        "duration",
        "seed",
        "generate_audio",
        "watermark",
        "return_last_frame",
        "web_search",
        "content",
        "extra_body",
    ],
)
def test_a_value_that_renders_to_nothing_is_not_sent(name: str, blank: str | None) -> None:
    assert checked(**{name: blank}).body() == checked().body()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"duration": "5"}, {"duration": 5}),
        ({"duration": " 5 "}, {"duration": 5}),
        ({"duration": "5.0"}, {"duration": 5}),
        ({"duration": 5.0}, {"duration": 5}),
        ({"seed": "-1"}, {"seed": -1}),
        ({"seed": 0}, {"seed": 0}),
        ({"generate_audio": "true"}, {"generate_audio": True}),
        ({"generate_audio": "False"}, {"generate_audio": False}),
        ({"watermark": "0"}, {"watermark": False}),
        ({"return_last_frame": "yes"}, {"return_last_frame": True}),
        ({"web_search": "true"}, {"tools": [{"type": "web_search"}]}),
        ({"web_search": "false"}, {}),
        ({"extra_body": '{"priority": 1}'}, {"priority": 1}),
        ({"extra_body": "{'priority': 1, 'draft': True}"}, {"priority": 1, "draft": True}),
        ({"resolution": "720p", "ratio": "9:16"}, {"resolution": "720p", "ratio": "9:16"}),
    ],
)
def test_strings_from_templates_are_converted(given: dict[str, Any], expected: dict[str, Any]) -> None:
    base = checked().body()
    assert checked(**given).body() == {**base, **expected}


@pytest.mark.parametrize(
    "given",
    [
        ["asset-1", "asset-2"],
        ("asset-1", "asset-2"),
        '["asset-1", "asset-2"]',
        "['asset-1', 'asset-2']",
        " ['asset-1', 'asset-2'] ",
    ],
    ids=str,
)
def test_a_list_of_references_is_parsed_in_any_notation(given: Any) -> None:
    assert checked(reference_images=given).reference_images == ("asset-1", "asset-2")


@pytest.mark.parametrize("blank", ["", "  ", "None", "null", "[]", ["asset-1", None], ["", "asset-1"], "['a', None]"])
@pytest.mark.parametrize("name", ["reference_images", "reference_videos", "reference_audios"])
def test_given_references_that_render_to_nothing_are_refused(name: str, blank: Any) -> None:
    assert f"{name}" in problems(**{name: blank})


@pytest.mark.parametrize("blank", ["", "  ", "None", "null"])
@pytest.mark.parametrize("name", ["first_frame", "last_frame"])
def test_a_given_frame_that_renders_to_nothing_is_refused(name: str, blank: str) -> None:
    message = problems(**{"first_frame": "asset-1", name: blank})
    assert f"{name}={blank!r}: given but empty" in message


def test_omitted_references_may_be_empty() -> None:
    left_out: dict[str, Any] = {"first_frame": None, "reference_images": (), "reference_audios": []}
    assert checked(**left_out).body() == checked().body()


def test_an_unreadable_value_does_not_hide_other_problems() -> None:
    message = problems(
        model="seedance-fast", seed="abc", duration=99, resolution="4k", ratio="16x9", web_search="perhaps"
    )
    assert all(
        problem in message for problem in ("seed='abc'", "duration=99", "'4k'", "'16x9'", "web_search='perhaps'")
    )


def test_a_prompt_with_a_nul_is_refused() -> None:
    assert "NUL" in problems(prompt="A boat\x00")


def test_the_literal_types_list_every_known_model_ratio_and_resolution() -> None:
    assert set(get_args(KnownModel)) == set(MODELS)
    assert set(get_args(Resolution)) == {each for spec in MODELS.values() for each in spec.resolutions or ()}


def test_one_reference_counts_as_a_list() -> None:
    assert checked(reference_images="asset-1").reference_images == ("asset-1",)


def test_content_can_be_given_as_text() -> None:
    items = [{"type": "text", "text": "A boat"}]
    assert VideoRequest.parse(content=json.dumps(items)).body()["content"] == items
    assert VideoRequest.parse(content=str(items)).body()["content"] == items


def test_a_number_can_be_a_prompt() -> None:
    assert checked(prompt=2026).body()["content"][0]["text"] == "2026"


# The body.


def test_a_prompt_alone_makes_the_smallest_body() -> None:
    assert checked().body() == {"model": "seedance", "content": [{"type": "text", "text": "A paper boat"}]}


def test_a_full_request_makes_the_documented_body() -> None:
    request = checked(
        model="seedance-2.0",
        reference_images=["asset-20260320120147-pqwhc", "data:image/png;base64,AAAA"],
        reference_videos="https://example.com/motion.mp4",
        reference_audios=["https://example.com/music.mp3"],
        generate_audio=True,
        resolution="720p",
        ratio="adaptive",
        duration=5,
        watermark=False,
        return_last_frame=True,
        seed=-1,
        content=[{"type": "draft_task", "draft_task": {"id": "x"}}],
        extra_body={"service_tier": "default"},
    )
    assert request.body() == {
        "model": "seedance-2.0",
        "content": [
            {"type": "text", "text": "A paper boat"},
            {
                "type": "image_url",
                "image_url": {"url": "asset://asset-20260320120147-pqwhc"},
                "role": "reference_image",
            },
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "role": "reference_image"},
            {"type": "video_url", "video_url": {"url": "https://example.com/motion.mp4"}, "role": "reference_video"},
            {"type": "audio_url", "audio_url": {"url": "https://example.com/music.mp3"}, "role": "reference_audio"},
            {"type": "draft_task", "draft_task": {"id": "x"}},
        ],
        "generate_audio": True,
        "resolution": "720p",
        "ratio": "adaptive",
        "duration": 5,
        "watermark": False,
        "return_last_frame": True,
        "seed": -1,
        "service_tier": "default",
    }


def test_frames_have_their_roles_and_their_order() -> None:
    request = checked(first_frame="asset-1", last_frame="https://host/b.png")
    assert [(item["role"], item["image_url"]["url"]) for item in request.body()["content"][1:]] == [
        ("first_frame", "asset://asset-1"),
        ("last_frame", "https://host/b.png"),
    ]
    assert request.references == ("asset-1", "https://host/b.png")


@pytest.mark.parametrize("spelling", ["asset-1", "asset://asset-1", "Asset://asset-1", "ASSET://asset-1", " asset-1 "])
def test_an_asset_of_any_spelling_is_sent_in_lower_case(spelling: str) -> None:
    assert checked(first_frame=spelling).body()["content"][1]["image_url"] == {"url": "asset://asset-1"}


def test_web_search_is_a_tool() -> None:
    assert checked(web_search=True).body()["tools"] == [{"type": "web_search"}]


def test_content_alone_needs_no_prompt() -> None:
    content = [{"type": "text", "text": "x"}]
    assert VideoRequest.parse(content=content).body()["content"] == content


ANY_VALUE = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text() | st.none())


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(VideoRequest.model_fields, ANY_VALUE),
            "model": st.sampled_from(sorted(DOCUMENTED)) | st.text(),
            "extra_body": st.dictionaries(st.text(), ANY_VALUE) | st.text(),
            "content": st.lists(st.dictionaries(st.text(), ANY_VALUE)) | st.text(),
        },
    )
)
def test_any_parameters_make_a_body_or_one_clear_error(parameters: dict[str, Any]) -> None:
    try:
        request = VideoRequest.parse(**parameters)
    except InvalidRequestError as error:
        assert "nothing was sent" in str(error)
    else:
        assert json.dumps(request.body(), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "seedance, default resolution, default ratio, default duration, random seed"),
        ({"seed": -1, "duration": 5, "ratio": "16:9"}, "seedance, default resolution, 16:9, 5 s, random seed"),
        (
            {"seed": 0, "duration": -1, "resolution": "480p"},
            "seedance, 480p, default ratio, a duration of its own choice, seed 0",
        ),
    ],
)
def test_a_log_line_describes_a_request(given: dict[str, Any], line: str) -> None:
    assert VideoRequest(prompt="A boat", **given).describe() == line
