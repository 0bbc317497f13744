"""The asset operators under the real task runner against the sandbox."""

from __future__ import annotations

import base64
import io
from functools import partial
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient
from airflow_provider_anyfast.operators.asset import (
    CreateAssetGroupOperator,
    CreateAssetOperator,
    ListAssetGroupsOperator,
    ListAssetsOperator,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])


def group_of(**parameters: Any) -> Callable[[], CreateAssetGroupOperator]:
    return partial(CreateAssetGroupOperator, **{"task_id": "group", "name": "lamps", "retries": 2, **parameters})


def asset_of(**parameters: Any) -> Callable[[], CreateAssetOperator]:
    return partial(CreateAssetOperator, **{"task_id": "asset", "retries": 2, **parameters})


@pytest.fixture
def group(runner: TaskRunner) -> str:
    return str(runner.fresh().attempt(group_of()).result)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "lamp.png"
    Image.new("RGB", (400, 400), "orange").save(path)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for _ in range(72):
            container.mux(stream.encode(av.VideoFrame(1280, 720, "yuv420p")))
        container.mux(stream.encode())
    return path


def test_a_group_is_paid_once_and_then_found_behind_the_prefix_of_the_service(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    first = runner.attempt(group_of()).result
    assert runner.fresh().attempt(group_of(name=" lamps ")).result == first
    assert sandbox.billed.asset_groups == 1
    assert sandbox.account().groups[0].name == "lamps" or sandbox.account().groups[0].name.endswith("lamps")


def test_a_group_whose_name_only_contains_the_other_is_another_group(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    first = runner.attempt(group_of(name="lamps 2026")).result
    assert runner.fresh().attempt(group_of(name="lamps")).result != first
    assert sandbox.billed.asset_groups == 2


def test_of_several_groups_of_one_name_the_oldest_is_used(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: Any
) -> None:
    oldest = runner.attempt(group_of()).result
    fake_clock.advance(60)
    runner.fresh().attempt(group_of(if_exists="create"))
    attempt = runner.fresh().attempt(group_of())
    assert attempt.result == oldest
    assert "2 groups are named 'lamps'" in attempt.log_text
    assert sandbox.billed.asset_groups == 2


def test_if_a_group_must_be_new_an_existing_one_fails_the_task_for_free(
    runner: TaskRunner, sandbox: SandboxHandle, group: str
) -> None:
    attempt = runner.attempt(group_of(if_exists="fail"))
    assert attempt.state == "failed"
    assert isinstance(attempt.error, exceptions.InvalidRequestError)
    assert group in str(attempt.error)
    assert sandbox.billed.asset_groups == 1


@pytest.mark.parametrize("if_exists", ["reuse", "create", "fail"])
def test_a_group_whose_creation_has_no_answer_is_found_by_the_retry(
    runner: TaskRunner, sandbox: SandboxHandle, if_exists: str
) -> None:
    sandbox.fault("drop_answer", on="CreateAssetGroup")
    make = group_of(if_exists=if_exists)
    first = runner.attempt(make)
    assert isinstance(first.error, exceptions.LostAnswerError)
    assert first.state == "up_for_retry"
    assert runner.retry(make).result == sandbox.account().groups[0].id
    assert sandbox.billed.asset_groups == 1


@pytest.mark.parametrize("name", ["", "  ", "x" * 65])
def test_a_name_that_anyfast_would_refuse_is_never_sent(runner: TaskRunner, sandbox: SandboxHandle, name: str) -> None:
    attempt = runner.attempt(group_of(name=name))
    assert attempt.state == "failed"
    assert "1 to 64" in str(attempt.error)
    assert sandbox.requests() == []


@BOTH_WAYS
def test_a_picture_becomes_an_active_asset_and_the_same_content_is_never_paid_twice(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, picture: Path, *, deferrable: bool
) -> None:
    first = runner.attempt(asset_of(group_id=group, file=str(picture), deferrable=deferrable))
    assert first.state == "success", first.log_text
    (asset,) = sandbox.account().assets
    assert (asset.id, asset.status, asset.asset_type) == (first.result, "Active", "Image")
    copy = picture.rename(picture.with_name("lamp.bin"))
    again = runner.fresh().attempt(asset_of(group_id=group, file=f"file://{copy}"))
    assert again.result == first.result
    assert sandbox.billed.assets == 1


def test_the_type_and_the_billing_model_follow_the_content(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, clip: Path
) -> None:
    disguised = clip.rename(clip.with_suffix(".png"))
    assert runner.attempt(asset_of(group_id=group, file=str(disguised))).state == "success"
    (asset,) = sandbox.account().assets
    assert (asset.asset_type, asset.billing_model) == ("Video", "volc-asset-video")


@pytest.mark.parametrize(
    ("url", "asset_type"),
    [
        ("https://example.com/cat.jpeg?x=1", "Image"),
        ("https://example.com/cat.mp4", "Video"),
        ("https://example.com/cat.mp3", "Audio"),
        ("https://example.com/cat", "Image"),
    ],
)
def test_a_public_link_is_handed_on(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, url: str, asset_type: str
) -> None:
    given = None if "." in url.rpartition("/")[2] else asset_type
    attempt = runner.attempt(asset_of(group_id=group, url=url, asset_type=given))
    assert attempt.state == "success", attempt.log_text
    assert sandbox.account().assets[0].asset_type == asset_type


@pytest.mark.parametrize("prefix", ["data:image/png;base64,", ""])
def test_a_data_uri_or_raw_base64_becomes_an_image(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, prefix: str
) -> None:
    content = io.BytesIO()
    Image.new("RGB", (400, 400)).save(content, "PNG")
    url = prefix + base64.b64encode(content.getvalue()).decode()
    assert runner.attempt(asset_of(group_id=group, url=url)).state == "success"
    assert runner.fresh().attempt(asset_of(group_id=group, url=url)).state == "success"
    assert sandbox.billed.assets == 1


@pytest.mark.parametrize(
    ("parameters", "phrase"),
    [
        ({}, "either url or file"),
        ({"url": "https://example.com/a.png", "file": "a.png"}, "either url or file"),
        ({"file": "nowhere.png"}, "cannot be read"),
        ({"url": "https://example.com/a"}, "asset_type cannot be told"),
        ({"url": "https://example.com/a.png", "asset_type": "Picture"}, "asset_type='Picture'"),
        ({"url": "https://example.com/a.png", "if_exists": "maybe"}, "if_exists='maybe'"),
        ({"url": "https://example.com/a.png", "group_id": " "}, "group_id is empty"),
        ({"file": __file__}, "neither an image, a video nor audio"),
    ],
)
def test_what_anyfast_would_refuse_is_never_sent(
    runner: TaskRunner, sandbox: SandboxHandle, parameters: dict[str, Any], phrase: str
) -> None:
    attempt = runner.attempt(asset_of(**{"group_id": "group-1", **parameters}))
    assert attempt.state == "failed"
    assert phrase in str(attempt.error)
    assert sandbox.requests() == []


def test_a_file_that_is_not_what_the_user_said_is_never_sent(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, picture: Path
) -> None:
    attempt = runner.attempt(asset_of(group_id=group, file=str(picture), asset_type="Video"))
    assert attempt.state == "failed"
    assert "image/png" in str(attempt.error)
    assert sandbox.billed.assets == 0


@BOTH_WAYS
def test_an_asset_that_fails_is_final_and_says_why_in_words(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, *, deferrable: bool
) -> None:
    make = asset_of(
        group_id=group, url="https://example.com/a.png", name="[sandbox:fail:FaceMismatch]", deferrable=deferrable
    )
    attempt = runner.attempt(make)
    assert attempt.state == "failed"
    assert isinstance(attempt.error, exceptions.AssetFailedError)
    assert "FaceMismatch" in str(attempt.error)
    assert "person who was verified" in str(attempt.error)
    assert sandbox.billed.assets == 1


def test_a_failed_asset_is_not_reused_and_its_name_is_freed(
    runner: TaskRunner, sandbox: SandboxHandle, group: str
) -> None:
    make = asset_of(group_id=group, url="https://example.com/a.png", name="[sandbox:fail:DownloadFailed]")
    failed = runner.attempt(make)
    assert failed.state == "failed"
    runner.clear()
    runner.attempt(make)
    (asset,) = sandbox.account().assets
    assert asset.id not in str(failed.error)
    assert sandbox.billed.assets == 2


def test_a_creation_that_has_no_answer_is_found_by_the_retry(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, picture: Path
) -> None:
    sandbox.fault("drop_answer", on="CreateAsset")
    make = asset_of(group_id=group, file=str(picture), if_exists="fail")
    assert isinstance(runner.attempt(make).error, exceptions.LostAnswerError)
    assert runner.retry(make).result == sandbox.account().assets[0].id
    assert sandbox.billed.assets == 1


def test_two_tasks_that_create_the_same_at_the_same_moment_pay_once(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = asset_of(group_id=group, url="https://example.com/a.png", name="same")
    first = runner.attempt(make).result
    find = CreateAssetOperator._find
    answers = iter([None])
    monkeypatch.setattr(
        CreateAssetOperator, "_find", lambda self, *given: next(answers, find(self, *given)), raising=True
    )
    second = runner.fresh().attempt(make)
    assert second.result == first
    assert "at the same moment" in second.log_text
    assert sandbox.billed.assets == 1


def test_a_group_that_was_created_a_moment_ago_is_waited_for(
    runner: TaskRunner, sandbox: SandboxHandle, group: str
) -> None:
    sandbox.fault("group_not_found", times=2)
    assert runner.attempt(asset_of(group_id=group, url="https://example.com/a.png")).state == "success"
    assert sandbox.billed.assets == 1


def test_a_group_of_another_key_is_named_and_costs_nothing(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    attempt = runner.attempt(asset_of(group_id="group-20260101000000-aaaaa", url="https://example.com/a.png"))
    assert attempt.state == "failed"
    assert isinstance(attempt.error, exceptions.AssetGroupNotFoundError)
    assert "group-20260101000000-aaaaa" in str(attempt.error)
    assert sandbox.billed.assets == 0


def test_an_asset_that_is_not_active_in_time_is_found_again_by_a_retry(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: Any, group: str
) -> None:
    sandbox.reset(clock=fake_clock.now, asset_seconds=100)
    group = runner.fresh().attempt(group_of()).result
    make = asset_of(group_id=group, url="https://example.com/a.png", timeout=60)
    first = runner.attempt(make)
    assert isinstance(first.error, exceptions.AssetTimeoutError)
    assert runner.retry(make).state == "success"
    assert sandbox.billed.assets == 1


def test_the_lists_return_every_page(runner: TaskRunner, sandbox: SandboxHandle, group: str) -> None:
    with AnyFastClient(Settings(sandbox.api_key, sandbox.url)) as client:
        for number in range(103):
            url = f"https://example.com/{number}.png"
            client.send(endpoints.create_asset(group_id=group, name=f"a-{number}", asset_type="Image", url=url))
    assets = runner.attempt(partial(ListAssetsOperator, task_id="list", group_ids=[group])).result
    assert len({asset["id"] for asset in assets}) == 103
    assert all(asset["uri"] == f"asset://{asset['id']}" and "url" not in asset for asset in assets)
    assert len(sandbox.requests("ListAssets")) == 2
    groups = runner.fresh().attempt(partial(ListAssetGroupsOperator, task_id="list", name="lamp")).result
    assert [(found["id"], found["name"]) for found in groups] == [(group, "lamps")]
