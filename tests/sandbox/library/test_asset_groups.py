"""Groups of assets: made, listed, renamed, deleted, and seen by their own key only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.sandbox.client import JSON, gateway_message, ok_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock

PREFIX = "[u-1]-[t-1]"


def names(page: dict[str, Any]) -> list[str]:
    return [item["Name"] for item in page["Items"]]


def test_a_new_group_has_a_dated_id_and_is_billed(anyfast: Client) -> None:
    body = anyfast.ok("CreateAssetGroup", model="volc-asset", Name="my-group")

    assert set(body) == {"Id"}
    assert re.fullmatch(r"group-\d{14}-[a-z0-9]{5}", body["Id"])
    assert anyfast.billed() == {
        "asset_groups": 1,
        "assets": 0,
        "generations": 0,
        "refunded_generations": 0,
        "tokens": 0,
    }


def test_the_date_in_an_id_is_beijing_time_and_the_create_time_is_utc(anyfast: Client, clock: FakeClock) -> None:
    group_id = anyfast.group()

    shown = anyfast.ok("GetAssetGroup", Id=group_id)
    utc = shown["CreateTime"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", utc)
    assert (int(group_id[14:16]) - int(utc[11:13])) % 24 == 8


def test_a_group_is_read_back_with_the_prefix_of_its_user_and_token(anyfast: Client) -> None:
    group_id = anyfast.ok("CreateAssetGroup", model="volc-asset", Name="faces", Description="people")["Id"]

    (item,) = anyfast.list("ListAssetGroups")["Items"]
    assert item["Id"] == group_id
    assert item["Name"] == PREFIX + "faces"
    assert (item["GroupType"], item["Description"], item["ProjectName"]) == ("AIGC", "people", "default")


def test_two_groups_may_have_the_same_name(anyfast: Client) -> None:
    assert anyfast.group("twin") != anyfast.group("twin")
    assert anyfast.list("ListAssetGroups")["TotalCount"] == 2


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "[***.Name] The required parameter Name is missing."),
        ({"Name": ""}, "[***.Name] The required parameter Name is missing."),
        ({"Name": None}, "[***.Name] The required parameter Name is missing."),
        ({"Name": "n" * 65}, "[***.Name] The parameter Name is not valid"),
        ({"Name": 5}, "[***.Name] The parameter Name is not valid"),
        ({"Name": "n", "Description": "d" * 301}, "[***.Description] The parameter Description is not valid"),
        ({"Name": "n", "GroupType": "LivenessFace"}, "GroupType must be one of [AIGC]"),
    ],
)
def test_a_group_with_a_bad_field_is_refused_and_not_billed(anyfast: Client, body: dict[str, Any], part: str) -> None:
    response = anyfast.asset_call("CreateAssetGroup", **body)

    assert response.status_code == 400
    assert part in gateway_message(response)
    assert anyfast.billed()["asset_groups"] == 0


def test_a_group_with_an_unknown_billing_model_finds_no_channel(anyfast: Client) -> None:
    response = anyfast.asset_call("CreateAssetGroup", model="volc-thing", Name="n")

    assert response.status_code == 503
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b""])
def test_a_body_that_is_not_a_json_object_is_refused(anyfast: Client, body: bytes) -> None:
    response = anyfast.http.post("/volc/asset/CreateAssetGroup", content=body, headers=JSON)

    assert response.status_code == 400
    assert gateway_message(response).startswith("Invalid request")


def test_another_key_sees_none_of_it(
    anyfast: Client, configure: Callable[..., None], client_with: Callable[[str | None], Client]
) -> None:
    configure(api_keys=({"value": "sandbox-key", "account": "a"}, {"value": "second-key", "account": "a"}))
    group_id = anyfast.group("mine")
    other = client_with("second-key")

    assert other.list("ListAssetGroups")["Items"] == []
    for call in ("GetAssetGroup", "DeleteAssetGroup"):
        assert other.asset_call(call, Id=group_id).status_code == 404
    foreign = other.create_asset(group_id)
    assert foreign.status_code == 404
    assert f"upstream_error: [NotFound.group_id] The specified asset_group {group_id} is not found." in foreign.text
    other.group("yours")
    assert names(other.list("ListAssetGroups")) == ["[u-1]-[t-2]yours"]


def test_lists_come_newest_first_in_pages(anyfast: Client, clock: FakeClock) -> None:
    for number in range(5):
        anyfast.group(f"group {number}")
        clock.advance(1)

    first = anyfast.list("ListAssetGroups", PageSize=2)
    last = anyfast.list("ListAssetGroups", PageSize=2, PageNumber=3)
    beyond = anyfast.list("ListAssetGroups", PageSize=2, PageNumber=4)
    assert (first["PageNumber"], first["PageSize"], first["TotalCount"]) == (1, 2, 5)
    assert names(first) == [PREFIX + "group 4", PREFIX + "group 3"]
    assert names(last) == [PREFIX + "group 0"]
    assert beyond["Items"] == []
    assert beyond["TotalCount"] == 5


def test_a_page_has_ten_groups_by_default(anyfast: Client) -> None:
    for number in range(11):
        anyfast.group(f"group {number}")

    page = anyfast.list("ListAssetGroups")
    assert (len(page["Items"]), page["PageSize"]) == (10, 10)


def test_groups_are_sorted_as_requested(anyfast: Client, clock: FakeClock) -> None:
    first, second = anyfast.group("first"), anyfast.group("second")
    clock.advance(5)
    anyfast.ok("UpdateAssetGroup", model="volc-asset", Id=first, Name="renamed")

    assert names(anyfast.list("ListAssetGroups", SortOrder="Asc")) == [PREFIX + "renamed", PREFIX + "second"]
    newest_change = anyfast.list("ListAssetGroups", SortBy="UpdateTime", SortOrder="Desc")
    assert names(newest_change) == [PREFIX + "renamed", PREFIX + "second"]
    by_id = anyfast.list("ListAssetGroups", SortBy="GroupId", SortOrder="Asc")
    assert [item["Id"] for item in by_id["Items"]] == sorted([first, second])


def test_groups_are_filtered_by_a_part_of_the_name_by_id_and_by_type(anyfast: Client) -> None:
    red, blue = anyfast.group("Red things"), anyfast.group("blue things")

    assert names(anyfast.list("ListAssetGroups", filtered={"Name": "red"})) == [PREFIX + "Red things"]
    assert anyfast.list("ListAssetGroups", filtered={"Name": "things"})["TotalCount"] == 2
    assert names(anyfast.list("ListAssetGroups", filtered={"Id": blue})) == [PREFIX + "blue things"]
    assert names(anyfast.list("ListAssetGroups", filtered={"GroupIds": [red]})) == [PREFIX + "Red things"]
    assert anyfast.list("ListAssetGroups", filtered={"GroupType": "LivenessFace"})["Items"] == []


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"PageSize": 101}, "PageSize"),
        ({"PageSize": 0}, "PageSize"),
        ({"PageNumber": 0}, "PageNumber"),
        ({"PageNumber": "1"}, "PageNumber"),
        ({"PageNumber": 101, "PageSize": 100}, "must not exceed 10000"),
        ({"SortBy": "Name"}, "SortBy"),
        ({"SortOrder": "Up"}, "SortOrder"),
        ({"Filter": None}, "The required parameter Filter is missing."),
        ({"model": None}, "The required parameter model is missing."),
        ({"Filter": {"GroupType": "Cats"}}, "GroupType must be one of [AIGC]"),
        ({"Filter": {"GroupIds": "group-1"}}, "***.GroupIds is not valid"),
    ],
)
def test_a_list_with_a_bad_field_is_refused(anyfast: Client, fields: dict[str, Any], part: str) -> None:
    body = {"model": "volc-asset", "Filter": {}, **fields}
    response = anyfast.asset_call("ListAssetGroups", **body)

    assert response.status_code == 400
    assert part in gateway_message(response)


def test_groups_can_be_listed_without_a_group_type(anyfast: Client) -> None:
    anyfast.group()

    assert anyfast.ok("ListAssetGroups", model="volc-asset", Filter={})["TotalCount"] == 1


def test_a_renamed_group_keeps_the_prefix(anyfast: Client) -> None:
    group_id = anyfast.group("old")

    assert anyfast.ok("UpdateAssetGroup", model="volc-asset", Id=group_id, Name="new") == {"Id": group_id}
    assert anyfast.ok("GetAssetGroup", Id=group_id)["Name"] == PREFIX + "new"


def test_deleting_a_group_deletes_its_assets_and_refunds_nothing(anyfast: Client) -> None:
    group_id = anyfast.group()
    asset_id = anyfast.asset(group_id)
    elsewhere = anyfast.asset(anyfast.group())

    assert anyfast.ok("DeleteAssetGroup", Id=group_id) == {"Id": group_id, "Deleted": True}
    assert anyfast.asset_call("GetAsset", Id=asset_id).status_code == 404
    assert ok_json(anyfast.asset_call("GetAsset", Id=elsewhere))["Id"] == elsewhere
    assert anyfast.billed()["asset_groups"] == 2
    assert anyfast.billed()["assets"] == 2


def test_a_new_group_can_stay_unknown_for_a_while_in_lists_and_to_new_assets(
    anyfast: Client, configure: Callable[..., None], clock: FakeClock
) -> None:
    configure(group_index_seconds=15)
    group_id = anyfast.group("late")
    clock.advance(14.9)

    assert anyfast.list("ListAssetGroups")["TotalCount"] == 0
    refused = [
        anyfast.create_asset(group_id),
        anyfast.asset_call("GetAssetGroup", Id=group_id),
        anyfast.asset_call("UpdateAssetGroup", Id=group_id, Name="n"),
    ]
    for response in refused:
        assert response.status_code == 404
        assert f"[NotFound.group_id] The specified asset_group {group_id} is not found." in gateway_message(response)
    assert anyfast.billed()["asset_groups"] == 1
    clock.advance(0.1)
    assert names(anyfast.list("ListAssetGroups")) == [PREFIX + "late"]
    assert anyfast.create_asset(group_id).status_code == 200
