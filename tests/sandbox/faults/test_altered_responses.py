"""Faults that carry out or refuse a request, with a misleading response."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.sandbox.faults.changes import merge_patch
from tests.sandbox.client import fetch, gateway_message, ok_json, upstream_error
from tests.sandbox.media_files import picture

if TYPE_CHECKING:
    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle


@pytest.mark.parametrize(("name", "billed"), [("error_as_200", 0), ("error_as_200_after", 1)])
def test_an_error_under_status_200_can_be_billed_or_not(
    anyfast: Client, sandbox: SandboxHandle, name: str, billed: int
) -> None:
    sandbox.fault(name)
    sandbox.fault(name, code="get_channel_failed", reason="no channel")

    plain, chosen = ok_json(anyfast.submit())["error"], ok_json(anyfast.submit())["error"]
    assert (plain["code"], plain["message"]) == ("do_request_failed", "do request failed")
    assert (chosen["code"], chosen["message"]) == ("get_channel_failed", "no channel")
    assert sandbox.billed.generations == 2 * billed


def test_a_server_error_can_be_billed(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("server_error_after", code="invalid_response")
    response = anyfast.submit()

    assert (response.status_code, response.json()["code"]) == (500, "invalid_response")
    assert sandbox.billed.generations == 1


@pytest.mark.parametrize(
    ("place", "shape"),
    [
        ("data", {"data": "ID"}),
        ("data.id", {"data": {"id": "ID"}}),
        ("data.task_id", {"data": {"task_id": "ID"}}),
        ("task_id", {"task_id": "ID"}),
        ("Result.Id", {"Result": {"Id": "ID"}}),
        ("list", [{"id": "ID"}]),
    ],
)
def test_a_new_id_can_be_in_an_odd_place(anyfast: Client, sandbox: SandboxHandle, place: str, shape: Any) -> None:
    sandbox.fault("odd_id_place", place=place)
    response = anyfast.submit()

    (generation,) = sandbox.account().generations
    assert response.text.replace(generation.id, "ID") == str(shape).replace("'", '"').replace(" ", "")


@pytest.mark.parametrize("call", ["CreateAssetGroup", "CreateAsset"])
def test_a_new_asset_or_group_can_have_its_id_in_an_odd_place(
    anyfast: Client, sandbox: SandboxHandle, call: str
) -> None:
    group_id = anyfast.group()
    sandbox.fault("odd_id_place", on=call, place="data")
    response = anyfast.create_asset(group_id) if call == "CreateAsset" else anyfast.asset_call(call, Name="n")

    assert list(ok_json(response)) == ["data"]


@pytest.mark.parametrize("value", ["../../x", "a/b", "with blanks"])
def test_a_new_task_can_have_an_odd_id_and_is_billed(anyfast: Client, sandbox: SandboxHandle, value: str) -> None:
    sandbox.fault("odd_id", value=value, times=2)

    assert [ok_json(anyfast.submit())["id"] for _ in range(2)] == [value, f"{value}1"]
    assert sandbox.billed.generations == 2


def test_a_new_task_can_have_a_number_as_its_id_and_is_found_by_it(
    anyfast: Client, sandbox: SandboxHandle, clock: FakeClock
) -> None:
    sandbox.fault("odd_id", value=417, times=2)
    first, second = (ok_json(anyfast.submit()) for _ in range(2))
    clock.advance(8)

    assert (first["id"], first["task_id"], second["id"]) == (417, 417, 418)
    assert anyfast.task("417")["status"] == "SUCCESS"
    assert anyfast.http.get(anyfast.task("418")["result_url"], headers={"Authorization": ""}).status_code == 400


def test_a_status_can_be_that_of_another_task(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    other, mine = anyfast.generate(), anyfast.generate()
    clock.advance(8)
    sandbox.fault("another_task")
    sandbox.fault("another_task", value="asyntask_of_a_cache")

    mixed_up, foreign, right = (anyfast.task(mine) for _ in range(3))
    assert (mixed_up["task_id"], other in mixed_up["result_url"]) == (other, True)
    assert foreign["task_id"] == "asyntask_of_a_cache"
    assert right["task_id"] == mine


def test_a_lone_task_can_be_shown_under_another_id(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    generation_id = anyfast.generate()
    clock.advance(8)
    sandbox.fault("another_task")

    shown = anyfast.task(generation_id)
    assert shown["task_id"] != generation_id
    assert fetch(shown["result_url"]).status_code == 200


@pytest.mark.parametrize(("chosen", "status"), [({}, 400), ({"status": 404}, 404)])
def test_a_known_task_of_any_age_can_be_said_not_to_exist(
    anyfast: Client, sandbox: SandboxHandle, clock: FakeClock, chosen: dict[str, int], status: int
) -> None:
    generation_id = anyfast.generate()
    clock.advance(100_000)
    sandbox.fault("task_not_exist", times=2, **chosen)

    responses = [anyfast.query(generation_id) for _ in range(3)]
    assert [response.status_code for response in responses] == [status, status, 200]
    assert responses[0].json()["code"] == "task_not_exist"


@pytest.mark.parametrize("value", [None, -62135596800])
def test_a_finish_time_can_be_the_zero_time(
    anyfast: Client, sandbox: SandboxHandle, clock: FakeClock, value: int | None
) -> None:
    generation_id = anyfast.generate()
    clock.advance(8)
    sandbox.fault("zero_time", **({} if value is None else {"value": value}))

    assert anyfast.task(generation_id)["finish_time"] == ("0001-01-01T00:00:00Z" if value is None else value)
    assert anyfast.task(generation_id)["finish_time"] == clock.now()


@pytest.mark.parametrize(
    ("chosen", "status", "code", "message"),
    [
        ({"code": "", "reason": "用户额度不足", "shape": "A"}, 403, "", "用户额度不足"),
        ({"code": "insufficient_quota", "shape": "A"}, 403, "insufficient_quota", "user quota is not enough"),
        ({"code": "insufficient_quota", "status": 429, "shape": "A"}, 429, "insufficient_quota", "user quota"),
    ],
)
def test_an_empty_account_is_refused_in_the_gateways_shape(
    anyfast: Client, sandbox: SandboxHandle, chosen: dict[str, Any], status: int, code: str, message: str
) -> None:
    sandbox.fault("no_quota", **chosen)
    response = anyfast.submit()

    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert gateway_message(response).startswith(message)
    assert sandbox.billed.generations == 0


def test_an_empty_account_is_refused_in_the_other_shapes_too(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("no_quota", status=429, code="insufficient_quota")
    sandbox.fault("no_quota", shape="B", code="AccountOverdueError", reason="overdue")

    limited, overdue = anyfast.submit(), anyfast.submit()
    assert (limited.status_code, limited.json()["code"]) == (429, "insufficient_quota")
    assert upstream_error(overdue)["code"] == "AccountOverdueError"


def test_a_key_can_be_kept_out_of_a_group(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("forbidden", on="submit", code="", reason="no access to group vip")
    response = anyfast.submit()

    assert (response.status_code, response.json()["error"]["code"]) == (403, "")
    assert gateway_message(response).startswith("no access to group vip")


def test_a_file_can_be_refused_by_anyfast_under_status_502(anyfast: Client, sandbox: SandboxHandle) -> None:
    group_id = anyfast.group()
    sandbox.fault("asset_refused")
    sandbox.fault("asset_refused", code="PixelCountTooSmall", reason="The frame has 292320 pixels.")
    sandbox.fault("asset_refused", status=400)

    face, pixels, other = (anyfast.create_asset(group_id) for _ in range(3))
    assert (face.status_code, pixels.status_code, other.status_code) == (502, 502, 400)
    assert gateway_message(face).startswith("upstream asset error: Face consistency verification failed")
    assert "[***.PixelCountTooSmall] The frame has 292320 pixels." in gateway_message(pixels)
    assert sandbox.billed.assets == 0


def test_a_list_can_say_that_it_is_empty(anyfast: Client, sandbox: SandboxHandle) -> None:
    anyfast.group()
    sandbox.fault("wrong_total")

    page = anyfast.list("ListAssetGroups")
    assert (page["TotalCount"], len(page["Items"])) == (0, 1)


def test_any_field_of_a_response_can_be_changed(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    generation_id = anyfast.generate()
    clock.advance(8)
    sandbox.fault("patch", on="query", body={"data": {"progress": None, "data": {"usage": {"total_tokens": "many"}}}})

    shown = anyfast.task(generation_id)
    assert "progress" not in shown
    assert shown["data"]["usage"]["total_tokens"] == "many"
    assert shown["data"]["usage"]["completion_tokens"] > 0
    assert anyfast.task(generation_id)["progress"] == "100%"


def test_a_refusal_and_a_file_are_not_patched(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    sandbox.fault("patch", on="query", body={"code": "patched"})
    sandbox.fault("patch", on="CreateAsset", body=[])
    asset = anyfast.create_asset(anyfast.group(), URL=base64.b64encode(picture()).decode())

    assert anyfast.query("asyntask_none").json()["code"] == "task_not_exist"
    assert asset.json() == []


@pytest.mark.parametrize(
    ("value", "patch", "expected"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}}, {"a": {"c": 2, "d": 3}}),
        ({"a": [1]}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 1}, ["x"], ["x"]),
        ({}, {"a": None}, {}),
    ],
)
def test_a_merge_patch_merges_objects_and_replaces_the_rest(value: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(value, patch) == expected
