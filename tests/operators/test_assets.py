"""The asset operators under the real task runner against the sandbox."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
from datetime import timedelta
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import av
import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout
from PIL import Image

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.assets.creation import AssetCreation, GroupCreation
from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.consistency import LISTS_CATCH_UP
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient
from airflow_provider_anyfast.operators.asset import (
    CreateAssetGroupOperator,
    CreateAssetOperator,
    CreateAssetsOperator,
    ListAssetGroupsOperator,
    ListAssetsOperator,
)
from airflow_provider_anyfast.operators.asset_deletion import DeleteAssetGroupOperator, DeleteAssetOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])


def group_of(**parameters: Any) -> Callable[[], CreateAssetGroupOperator]:
    return partial(CreateAssetGroupOperator, **{"task_id": "group", "name": "lamps", "retries": 2, **parameters})


def asset_of(**parameters: Any) -> Callable[[], CreateAssetOperator]:
    return partial(CreateAssetOperator, **{"task_id": "asset", "retries": 2, **parameters})


def rendered(value: str) -> str:
    """A template that renders to ``value``."""
    return f"{{{{ '{value}' }}}}"


def encoded(side: int) -> bytes:
    """A PNG with this many pixels on each side."""
    content = io.BytesIO()
    Image.effect_noise((side, side), 80).save(content, "PNG")
    return content.getvalue()


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


def test_a_group_is_paid_once_and_then_found_despite_the_prefix_of_its_name(
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


def test_if_several_groups_have_the_name_the_oldest_is_used(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: Any
) -> None:
    oldest = runner.attempt(group_of()).result
    fake_clock.advance(60)
    runner.fresh().attempt(group_of(if_exists="create"))
    attempt = runner.fresh().attempt(group_of())
    assert attempt.result == oldest
    assert "2 groups are named 'lamps'" in attempt.log_text
    assert sandbox.billed.asset_groups == 2


def test_with_if_exists_fail_an_existing_group_fails_the_task_and_costs_nothing(
    runner: TaskRunner, sandbox: SandboxHandle, group: str
) -> None:
    attempt = runner.attempt(group_of(if_exists="fail"))
    assert attempt.state == "failed"
    assert isinstance(attempt.error, exceptions.InvalidRequestError)
    assert group in str(attempt.error)
    assert sandbox.billed.asset_groups == 1


@pytest.mark.parametrize("if_exists", ["reuse", "create", "fail"])
def test_a_retry_finds_a_group_whose_creation_got_no_response(
    runner: TaskRunner, sandbox: SandboxHandle, if_exists: str
) -> None:
    sandbox.fault("drop_answer", on="CreateAssetGroup")
    make = group_of(if_exists=if_exists)
    first = runner.attempt(make)
    assert isinstance(first.error, exceptions.LostAnswerError)
    assert first.state == "up_for_retry"
    assert runner.retry(make).result == sandbox.account().groups[0].id
    assert sandbox.billed.asset_groups == 1


@pytest.mark.parametrize(
    ("name", "phrase"),
    [("", "it is empty"), ("  ", "it is empty"), ("None", "it is empty"), ("x" * 65, "1 to 64")],
    ids=["nothing", "blanks", "None", "too long"],
)
def test_a_name_that_anyfast_would_refuse_is_never_sent(
    runner: TaskRunner, sandbox: SandboxHandle, name: str, phrase: str
) -> None:
    with pytest.raises(InvalidRequestError, match=phrase):
        group_of(name=name)()
    attempt = runner.attempt(group_of(name=rendered(name)))
    assert attempt.state == "failed"
    assert phrase in str(attempt.error)
    assert sandbox.requests() == []


@pytest.mark.parametrize("lost", ["CreateAssetGroup", "CreateAsset"])
def test_a_task_that_is_stopped_while_it_looks_for_what_it_created_ends_within_a_second(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, fake_clock: FakeClock, lost: str
) -> None:
    make: Any = group_of(name="more", retry_delay=timedelta(0))
    if lost == "CreateAsset":
        make = asset_of(group_id=group, url="https://example.com/a.png", retry_delay=timedelta(0))
    sandbox.fault("drop_request", on=lost)  # so there is nothing to be found
    assert isinstance(runner.attempt(make).error, exceptions.LostAnswerError)
    fake_clock.stop_task_at(fake_clock.now() + 10)
    stopped = runner.retry(make)
    assert isinstance(stopped.error, exceptions.WaitInterruptedError), stopped.log_text
    assert fake_clock.stopped_at is not None
    assert fake_clock.now() - fake_clock.stopped_at < 1
    billed = (sandbox.billed.asset_groups, sandbox.billed.assets)
    assert runner.retry(make).state == "success"
    assert (sandbox.billed.asset_groups, sandbox.billed.assets) == (
        billed[0] + (lost == "CreateAssetGroup"),
        billed[1] + (lost == "CreateAsset"),
    )


def test_a_task_that_is_stopped_while_it_waits_for_a_new_group_ends_within_a_second(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock
) -> None:
    sandbox.reset(clock=fake_clock.now, group_index_seconds=25)
    group = str(runner.fresh().attempt(group_of()).result)
    make = asset_of(group_id=group, url="https://example.com/a.png")
    fake_clock.stop_task_at(fake_clock.now() + 9)
    stopped = runner.attempt(make)
    assert isinstance(stopped.error, exceptions.WaitInterruptedError), stopped.log_text
    assert stopped.error.cost is exceptions.Cost.NOTHING
    assert fake_clock.stopped_at is not None
    assert fake_clock.now() - fake_clock.stopped_at < 1
    assert runner.retry(make).state == "success"
    assert sandbox.billed.assets == 1


def test_a_group_whose_creation_got_no_response_is_found_even_if_it_is_listed_late(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock
) -> None:
    sandbox.reset(clock=fake_clock.now, group_index_seconds=80)
    sandbox.fault("drop_answer", on="CreateAssetGroup")
    make = group_of(retry_delay=timedelta(0))
    assert isinstance(runner.attempt(make).error, exceptions.LostAnswerError)
    assert runner.retry(make).result == sandbox.account().groups[0].id
    assert sandbox.billed.asset_groups == 1


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
def test_a_public_link_is_passed_on(
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
        ({"url": "https://example.com/a.png", "asset_type": "Picture"}, "asset_type='Picture'"),
        ({"url": "https://example.com/a.png", "if_exists": "maybe"}, "if_exists='maybe'"),
        ({"url": "https://example.com/a.png", "group_id": " "}, "group_id=' ': it is empty"),
        ({"url": "https://example.com/a.png", "timeout": 0}, "timeout=0"),
        ({"url": "None"}, "url='None': given but empty"),
        ({"url": "https://example.com/a.png", "name": "x" * 65}, "1 to 64"),
    ],
)
def test_an_invalid_parameter_of_an_asset_is_refused_while_the_dag_is_parsed(
    parameters: dict[str, Any], phrase: str
) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(phrase)):
        asset_of(**{"group_id": "group-1", **parameters})()


@pytest.mark.parametrize(
    ("parameters", "phrase"),
    [
        ({"url": rendered("https://example.com/a.png"), "asset_type": rendered("Picture")}, "asset_type='Picture'"),
        ({"url": rendered("https://example.com/a.png"), "group_id": rendered(" ")}, "it is empty"),
        ({"url": rendered("https://example.com/a.png"), "name": rendered("None")}, "given but empty"),
        ({"url": rendered("None")}, "given but empty"),
        ({"file": rendered("")}, "given but empty"),
        ({"file": "nowhere.png"}, "cannot be read"),
        ({"file": __file__}, "neither image, video nor audio"),
        ({"url": "https://example.com/a"}, "asset_type cannot be determined"),
        ({"url": "https://example.com/a.svg"}, "seems to be image/svg+xml, but AnyFast accepts JPEG"),
        ({"url": "https://example.com/a.webm?x=1"}, "but AnyFast accepts MP4, MOV as Video"),
        ({"url": "s3://videos/cat.png"}, "is neither a link"),
        ({"url": "/data/cat.png"}, "is neither a link"),
        ({"url": "cat.png"}, "is neither a link"),
        ({"url": "http:///cat.png"}, "no host"),
        ({"url": "https://example.com/a cat.png"}, "contains spaces"),
        ({"url": "data:image/png;base64,###"}, "is neither a link"),
        ({"url": base64.b64encode(b"only text, and nothing else").decode()}, "url contains something unknown"),
        ({"url": "data:image/png;base64," + base64.b64encode(encoded(10)).decode()}, "url is 10 pixels wide"),
        ({"url": base64.b64encode(encoded(10)).decode()}, "url is 10 pixels wide"),
        ({"url": base64.b64encode(encoded(400)[:-200]).decode()}, "url is damaged"),
        ({"url": base64.b64encode(encoded(400)).decode(), "asset_type": "Video"}, "asset_type='Video' was given"),
    ],
)
def test_what_anyfast_would_refuse_is_never_sent(
    runner: TaskRunner, sandbox: SandboxHandle, parameters: dict[str, Any], phrase: str
) -> None:
    attempt = runner.attempt(asset_of(**{"group_id": "group-1", **parameters}))
    assert attempt.state == "failed"
    assert phrase in str(attempt.error)
    assert "Nothing was billed." in str(attempt.error)
    assert sandbox.requests() == []


@pytest.mark.parametrize(
    ("one", "other"),
    [("?token=AAA", "?token=BBB"), ("?sp=1001", "?sp=1002"), ("?id=1&X-Amz-Signature=s", "?id=2&X-Amz-Signature=s")],
)
def test_two_links_that_differ_in_what_may_identify_the_content_are_two_assets(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, one: str, other: str
) -> None:
    for query in (one, other):
        runner.fresh().attempt(asset_of(group_id=group, url=f"https://example.com/get{query}", asset_type="Image"))
    assert sandbox.billed.assets == 2


@pytest.mark.parametrize(
    "signature",
    [
        "X-Amz-Date={0}&X-Amz-Signature={0}",
        "X-Tos-Signature={0}&X-Tos-Date={0}",
        "Expires={0}&OSSAccessKeyId=k&Signature={0}",
        "se={0}&sv=2024&sp=r&sig={0}",
    ],
)
def test_a_link_with_a_new_signature_is_the_same_asset(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, signature: str
) -> None:
    for each in ("1", "2"):
        url = f"https://example.com/a.png?{signature.format(each)}"
        assert runner.fresh().attempt(asset_of(group_id=group, url=url)).state == "success"
    assert sandbox.billed.assets == 1


def test_a_file_of_another_type_than_given_is_never_sent(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, picture: Path
) -> None:
    attempt = runner.attempt(asset_of(group_id=group, file=str(picture), asset_type="Video"))
    assert attempt.state == "failed"
    assert "image/png" in str(attempt.error)
    assert sandbox.billed.assets == 0


@BOTH_WAYS
def test_a_failed_asset_fails_the_task_without_retries_and_the_message_says_why(
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


def test_a_failed_asset_is_deleted_and_created_again(runner: TaskRunner, sandbox: SandboxHandle, group: str) -> None:
    make = asset_of(group_id=group, url="https://example.com/a.png", name="[sandbox:fail:DownloadFailed]")
    failed = runner.attempt(make)
    assert failed.state == "failed"
    runner.clear()
    runner.attempt(make)
    (asset,) = sandbox.account().assets
    assert asset.id not in str(failed.error)
    assert sandbox.billed.assets == 2


def test_a_retry_finds_an_asset_whose_creation_got_no_response(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, picture: Path
) -> None:
    sandbox.fault("drop_answer", on="CreateAsset")
    make = asset_of(group_id=group, file=str(picture), if_exists="fail")
    assert isinstance(runner.attempt(make).error, exceptions.LostAnswerError)
    assert runner.retry(make).result == sandbox.account().assets[0].id
    assert sandbox.billed.assets == 1


@pytest.mark.parametrize("created", ["CreateAssetGroup", "CreateAsset"])
def test_a_retry_on_a_host_with_a_slow_clock_waits_no_longer_than_any_other(
    runner: TaskRunner,
    sandbox: SandboxHandle,
    group: str,
    fake_clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    created: str,
) -> None:
    make: Any = group_of(name="more")
    if created == "CreateAsset":
        make = asset_of(group_id=group, url="https://example.com/a.png", wait_until_active=False)
    sandbox.fault("drop_answer", on=created)
    with monkeypatch.context() as ahead:
        ahead.setattr(clock, "now", lambda: fake_clock.now() + 3600)
        assert isinstance(runner.attempt(make).error, exceptions.LostAnswerError)
    began = fake_clock.now()
    assert runner.retry(make).state == "success"
    assert fake_clock.now() - began <= LISTS_CATCH_UP


def test_two_tasks_that_create_the_same_at_the_same_moment_pay_once(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = asset_of(group_id=group, url="https://example.com/a.png", name="same")
    first = runner.attempt(make).result
    find = AssetCreation.find
    answers = iter([None])
    monkeypatch.setattr(AssetCreation, "find", lambda self, *given: next(answers, find(self, *given)), raising=True)
    second = runner.fresh().attempt(make)
    assert second.result == first
    assert "at the same moment" in second.log_text
    assert sandbox.billed.assets == 1


def test_a_group_that_was_just_created_is_waited_for(runner: TaskRunner, sandbox: SandboxHandle, group: str) -> None:
    sandbox.fault("group_not_found", times=2)
    assert runner.attempt(asset_of(group_id=group, url="https://example.com/a.png")).state == "success"
    assert sandbox.billed.assets == 1


@pytest.mark.parametrize("late", [3, 15, 25])
def test_a_group_that_neither_the_lists_nor_creations_know_yet_is_waited_for(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, late: int
) -> None:
    sandbox.reset(clock=fake_clock.now, group_index_seconds=late)
    group = runner.fresh().attempt(group_of(if_exists="create")).result
    assert runner.fresh().attempt(asset_of(group_id=group, url="https://example.com/a.png")).state == "success"
    assert (sandbox.billed.asset_groups, sandbox.billed.assets) == (1, 1)


def test_a_listed_group_that_accepts_no_asset_is_reported_as_such(
    runner: TaskRunner, sandbox: SandboxHandle, group: str
) -> None:
    sandbox.fault("group_not_found", times=50)
    attempt = runner.attempt(asset_of(group_id=group, url="https://example.com/a.png"))
    assert isinstance(attempt.error, exceptions.AssetGroupNotFoundError)
    assert f"The group {group} is in this key's list and contains no asset of this name" in str(attempt.error)


def test_a_group_of_another_key_is_named_and_costs_nothing(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    attempt = runner.attempt(asset_of(group_id="group-20260101000000-aaaaa", url="https://example.com/a.png"))
    assert attempt.state == "failed"
    assert isinstance(attempt.error, exceptions.AssetGroupNotFoundError)
    assert "This key's list contains no group group-20260101000000-aaaaa" in str(attempt.error)
    assert "Nothing" in str(attempt.error)
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


@BOTH_WAYS
def test_an_asset_that_anyfast_does_not_know_is_created_again_only_by_a_clear(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, *, deferrable: bool
) -> None:
    make = partial(asset_of, group_id=group, url="https://example.com/a.png")
    dead = runner.attempt(make(deferrable=True), run_trigger=False).xcoms["asset_id"]
    with AnyFastClient(Settings(sandbox.api_key, sandbox.url)) as client:
        client.send(endpoints.delete_asset(dead))
    runner.mark("failed")
    runner.clear()
    gone = runner.attempt(make(deferrable=deferrable))
    assert gone.state == "failed"
    assert isinstance(gone.error, exceptions.AssetNotFoundError)
    assert f"Asset {dead} was created and billed" in str(gone.error)
    assert sandbox.billed.assets == 1
    runner.clear()
    again = runner.run_to_end(make(deferrable=deferrable))
    assert (again.state, again.result) == ("success", sandbox.account().assets[0].id)
    assert sandbox.billed.assets == 2


def test_an_asset_that_anyfast_does_not_know_yet_when_its_trigger_fails_is_kept(
    runner: TaskRunner, sandbox: SandboxHandle, group: str
) -> None:
    make = asset_of(group_id=group, url="https://example.com/a.png", deferrable=True)
    runner.attempt(make, run_trigger=False)
    sandbox.fault("asset_not_found", on="GetAsset")
    assert isinstance(runner.resume(make, timed_out=True).error, exceptions.AssetNotFoundError)
    runner.clear()
    assert runner.run_to_end(make).state == "success"
    assert sandbox.billed.assets == 1


def test_the_time_to_appear_counts_from_the_creation_and_not_from_reading_the_file(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: Any, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    obtain = AssetCreation.get_or_create

    def slowly(self: AssetCreation, *given: Any) -> Any:
        fake_clock.advance(120)
        return obtain(self, *given)

    monkeypatch.setattr(AssetCreation, "get_or_create", slowly)
    sandbox.fault("asset_not_found", on="GetAsset", times=2)
    assert runner.attempt(asset_of(group_id=group, url="https://example.com/a.png")).state == "success"


def test_a_group_id_as_text_is_one_group(runner: TaskRunner, sandbox: SandboxHandle, group: str) -> None:
    runner.fresh().attempt(asset_of(group_id=group, url="https://example.com/a.png"))
    for given in (group, rendered(group), [group], f"['{group}']"):
        found = runner.fresh().attempt(partial(ListAssetsOperator, task_id="list", group_ids=given)).result
        assert [asset["group_id"] for asset in found] == [group]


@pytest.mark.parametrize("parameter", ["group_ids", "name"])
def test_a_filter_that_renders_to_nothing_does_not_list_everything(
    runner: TaskRunner, sandbox: SandboxHandle, parameter: str
) -> None:
    attempt = runner.attempt(partial(ListAssetsOperator, task_id="list", **{parameter: rendered("None")}))
    assert attempt.state == "failed"
    assert "given but empty" in str(attempt.error)
    assert sandbox.requests() == []


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


# Many files in one task.


def assets_of(**parameters: Any) -> Callable[[], CreateAssetsOperator]:
    return partial(CreateAssetsOperator, **{"task_id": "assets", "retries": 2, **parameters})


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (400, 400), (number, 0, 0)).save(folder / f"{number:02}.png")
    return folder


@BOTH_WAYS
def test_a_folder_becomes_a_list_of_active_assets_in_the_order_of_its_files(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, pictures: Path, *, deferrable: bool
) -> None:
    make = assets_of(group_id=group, files=str(pictures), deferrable=deferrable)
    attempt = runner.attempt(make)
    assert attempt.state == "success", attempt.log_text
    assert attempt.deferrals == int(deferrable)
    by_id = {asset.id: asset for asset in sandbox.account().assets}
    assert [by_id[asset_id].name[:2] for asset_id in attempt.result] == [f"{number:02}" for number in range(12)]
    assert {asset.status for asset in by_id.values()} == {"Active"}
    again = runner.fresh().attempt(make)
    assert again.result == attempt.result
    assert sandbox.billed.assets == 12


def test_every_bad_file_is_named_before_the_first_creation_is_billed(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, pictures: Path
) -> None:
    (pictures / "notes.txt").write_text("not a picture")
    Image.new("RGB", (100, 400)).save(pictures / "thin.png")
    attempt = runner.attempt(assets_of(group_id=group, files=str(pictures)))
    assert attempt.state == "failed"
    assert all(phrase in str(attempt.error) for phrase in ("2 of 14 files", "notes.txt", "thin.png", "100 pixels"))
    assert sandbox.billed.assets == 0


def test_creations_whose_responses_are_lost_are_found_again_in_the_same_attempt(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, pictures: Path
) -> None:
    sandbox.fault("drop_answer", on="CreateAsset", times=3)
    attempt = runner.attempt(assets_of(group_id=group, files=str(pictures), max_in_flight=1))
    assert attempt.state == "success", attempt.log_text
    assert len(set(attempt.result)) == 12
    assert sandbox.billed.assets == 12


def test_a_task_that_was_killed_between_two_creations_pays_only_for_the_rest(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, pictures: Path
) -> None:
    make = assets_of(group_id=group, files=str(pictures), max_in_flight=1)
    points = runner.fresh().attempt(make).crash_points
    creations = [point for point in points if "CreateAsset" in point.name and point.side == "after"]
    sandbox.reset(clock=sandbox.clock)
    group = str(runner.fresh().attempt(group_of()).result)
    make = assets_of(group_id=group, files=str(pictures), max_in_flight=1)
    runner.attempt(make, crash_at=creations[5])
    assert sandbox.billed.assets == 6
    assert runner.run_to_end(make).state == "success"
    assert sandbox.billed.assets == 12


def test_the_same_file_twice_is_one_asset(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, picture: Path
) -> None:
    attempt = runner.attempt(assets_of(group_id=group, files=[str(picture), str(picture)]))
    assert len(attempt.result) == 2
    assert len(set(attempt.result)) == 1
    assert sandbox.billed.assets == 1


@BOTH_WAYS
def test_every_failed_asset_is_named(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, pictures: Path, *, deferrable: bool
) -> None:
    for number in (3, 5):
        (pictures / f"{number:02}.png").rename(pictures / f"{number:02}[sandbox:fail:FaceMismatch].png")
    attempt = runner.attempt(assets_of(group_id=group, files=str(pictures), deferrable=deferrable))
    assert attempt.state == "failed"
    assert isinstance(attempt.error, exceptions.AssetFailedError)
    failed = [asset.id for asset in sandbox.account().assets if asset.status == "Failed"]
    assert len(failed) == 2
    assert all(asset_id in str(attempt.error) for asset_id in failed)


def test_a_task_that_runs_out_of_time_does_not_wait_for_its_threads(
    runner: TaskRunner, group: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, ended = Event(), Event()

    def create(*_: Any) -> tuple[str, bool]:
        released.wait(20)
        ended.set()
        return "asset-1", True

    def out_of_time(*_: Any) -> None:
        raise AirflowTaskTimeout

    monkeypatch.setattr(AssetCreation, "get_or_create", create)
    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, 3)
    try:
        attempt = runner.attempt(assets_of(group_id=group, files=str(pictures), deferrable=False))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not ended.is_set()
    released.set()
    assert attempt.state == "up_for_retry"
    assert isinstance(attempt.error, AirflowTaskTimeout)


@BOTH_WAYS
def test_many_assets_are_polled_together_and_active_ones_not_again(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, pictures: Path, fake_clock: FakeClock, *, deferrable: bool
) -> None:
    make = assets_of(group_id=group, files=str(pictures), deferrable=deferrable)
    ids = runner.attempt(make).result
    asked, began = len(sandbox.requests()), fake_clock.now()
    again = runner.fresh().attempt(make)
    assert (again.result, again.deferrals, fake_clock.now()) == (ids, 0, began)
    assert len(sandbox.requests()) - asked == 1
    if not deferrable:
        assert sandbox.requests("GetAsset") == []


@BOTH_WAYS
def test_assets_that_are_not_active_in_time_are_named_with_the_timeout(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, pictures: Path, *, deferrable: bool
) -> None:
    sandbox.reset(clock=fake_clock.now, asset_seconds=1000)
    group = str(runner.fresh().attempt(group_of()).result)
    make = assets_of(group_id=group, files=str(pictures), timeout="00:01:30", deferrable=deferrable)
    attempt = runner.attempt(make)
    assert isinstance(attempt.error, exceptions.AssetTimeoutError)
    assert "12 of 12 assets did not become Active within the timeout of 90 s: " in str(attempt.error)
    fake_clock.advance(1000)
    assert runner.retry(make).state == "success"
    assert sandbox.billed.assets == 12


def test_a_task_that_is_stopped_while_its_assets_are_processed_ends_within_a_second(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, pictures: Path
) -> None:
    sandbox.reset(clock=fake_clock.now, asset_seconds=300)
    group = str(runner.fresh().attempt(group_of()).result)
    make = assets_of(group_id=group, files=str(pictures), deferrable=False, retries=1)
    fake_clock.stop_task_at(fake_clock.now() + 45)
    attempt = runner.attempt(make)
    assert attempt.state == "up_for_retry", attempt.log_text
    assert isinstance(attempt.error, exceptions.WaitInterruptedError)
    assert "stopped while it waited for 12 new assets" in str(attempt.error)
    assert fake_clock.stopped_at is not None
    assert fake_clock.now() - fake_clock.stopped_at < 1
    assert runner.retry(make).state == "success"
    assert sandbox.billed.assets == 12


def test_created_assets_that_anyfast_never_shows_are_reported_as_paid(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, pictures: Path
) -> None:
    sandbox.reset(clock=fake_clock.now, asset_seconds=300)
    group = str(runner.fresh().attempt(group_of()).result)
    sandbox.fault("asset_not_found", on="GetAsset", times=0)
    sandbox.fault("patch", on="ListAssets", body={"Items": [], "TotalCount": 0}, times=0)
    attempt = runner.attempt(assets_of(group_id=group, files=str(pictures), deferrable=False))
    assert isinstance(attempt.error, exceptions.AssetFailedError)
    assert str(attempt.error).count("AnyFast still does not know it") == 12
    assert "The asset's creation is billed." in str(attempt.error)


def test_a_wrong_group_ends_a_folder_after_one_wait(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, pictures: Path
) -> None:
    began = fake_clock.now()
    attempt = runner.attempt(assets_of(group_id="group-20260101000000-aaaaa", files=str(pictures), max_in_flight=1))
    assert isinstance(attempt.error, exceptions.AssetGroupNotFoundError)
    assert fake_clock.now() - began < 3 * LISTS_CATCH_UP
    assert sandbox.billed.assets == 0


def test_a_file_whose_name_is_not_valid_text_is_sent_with_a_valid_name(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, pictures: Path
) -> None:
    odd = os.fsencode(pictures) + b"/\xb9\xab\xb9\xab.png"
    os.rename(pictures / "00.png", odd)  # noqa: PTH104 - the name is bytes
    attempt = runner.attempt(assets_of(group_id=group, files=str(pictures)))
    assert attempt.state == "success", attempt.log_text
    assert any(asset.name.startswith("????-") for asset in sandbox.account().assets)
    assert sandbox.billed.assets == 12


def test_two_groups_of_one_name_made_at_the_same_moment_end_as_the_older_one(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = runner.attempt(group_of()).result
    fake_clock.advance(2)
    find = GroupCreation.find
    answers = iter([None])
    monkeypatch.setattr(GroupCreation, "find", lambda self, *given: next(answers, find(self, *given)))
    attempt = runner.fresh().attempt(group_of())
    assert attempt.result == older
    assert "at the same moment" in attempt.log_text
    assert sandbox.billed.asset_groups == 2


# Deletion.


def delete(**parameters: Any) -> Callable[[], DeleteAssetOperator]:
    return partial(DeleteAssetOperator, task_id="delete", **parameters)


def as_templates(parameters: dict[str, Any]) -> dict[str, Any]:
    """Templates that render to the same value."""
    return {name: f"{{{{ {value!r} }}}}" for name, value in parameters.items()}


def delete_group(**parameters: Any) -> Callable[[], DeleteAssetGroupOperator]:
    return partial(DeleteAssetGroupOperator, task_id="delete", **parameters)


def test_assets_are_deleted_by_id_and_a_missing_one_is_no_error(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, pictures: Path
) -> None:
    ids = runner.fresh().attempt(assets_of(group_id=group, files=str(pictures))).result
    assert runner.fresh().attempt(delete(asset_id=f"asset://{ids[0]}")).result == [ids[0]]
    again = runner.fresh().attempt(delete(asset_id="{{ params.ids }}", params={"ids": ids}))
    assert (again.state, again.result) == ("success", ids[1:])
    assert sandbox.account().assets == []


def test_an_empty_list_of_assets_deletes_nothing_and_succeeds(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    attempt = runner.attempt(delete(asset_id=[]))
    assert (attempt.state, attempt.result) == ("success", [])
    assert sandbox.requests() == []


def test_an_asset_is_deleted_by_its_exact_name(runner: TaskRunner, sandbox: SandboxHandle, group: str) -> None:
    for name in ("lamp", "lamp 2"):
        runner.fresh().attempt(asset_of(group_id=group, url="https://example.com/a.png", name=name))
    assert len(runner.attempt(delete(group_id=group, name="lamp")).result) == 1
    assert [asset.name for asset in sandbox.account().assets] == ["lamp 2"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"asset_id": ""},
        {"asset_id": "None"},
        {"asset_id": ["asset-1", " "]},
        {"asset_id": "asset-1,asset-2"},
        {"asset_id": {"asset-1": 1}},
        {"group_id": "group-1"},
        {"group_id": "group-1", "name": ""},
        {"group_id": " ", "name": "lamp"},
        {"asset_id": "asset-1", "name": "lamp"},
    ],
)
def test_a_deletion_that_names_nothing_deletes_nothing(
    runner: TaskRunner, sandbox: SandboxHandle, parameters: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError, match="nothing was sent"):
        delete(**parameters)()
    attempt = runner.attempt(delete(**as_templates(parameters)))
    assert attempt.state == "failed"
    assert "nothing was sent" in str(attempt.error)
    assert sandbox.requests() == []


def test_a_group_is_deleted_with_its_assets_on_every_page(
    runner: TaskRunner, sandbox: SandboxHandle, group: str
) -> None:
    other = runner.fresh().attempt(group_of(name="lamps 2")).result
    with AnyFastClient(Settings(sandbox.api_key, sandbox.url)) as client:
        for number in range(103):
            url = f"https://example.com/{number}.png"
            client.send(endpoints.create_asset(group_id=group, name=f"a-{number}", asset_type="Image", url=url))
    attempt = runner.attempt(delete_group(name="lamps"))
    assert attempt.result == [group]
    assert "contained 103 assets" in attempt.log_text
    assert len(sandbox.requests("DeleteAsset")) == 103
    assert [found.id for found in sandbox.account().groups] == [other]
    assert runner.fresh().attempt(delete_group(group_id=group)).result == []


@pytest.mark.parametrize("make", [delete, delete_group])
def test_a_deletion_that_names_nothing_is_refused_while_the_dag_is_parsed(
    make: Callable[[], Callable[[], Any]],
) -> None:
    with pytest.raises(InvalidRequestError, match="Correct the DAG file"):
        make()()


@pytest.mark.parametrize("parameters", [{"name": ""}, {"group_id": " "}, {"group_id": "group-1", "name": "lamps"}])
def test_an_empty_name_never_deletes_a_group(
    runner: TaskRunner, sandbox: SandboxHandle, group: str, parameters: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError, match="nothing was sent"):
        delete_group(**parameters)()
    attempt = runner.attempt(delete_group(**as_templates(parameters)))
    assert attempt.state == "failed"
    assert "nothing was sent" in str(attempt.error)
    assert [found.id for found in sandbox.account().groups] == [group]
