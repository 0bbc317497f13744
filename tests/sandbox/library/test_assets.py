"""Assets: made, read, listed, changed, deleted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.sandbox.client import CLIP, PICTURE, gateway_message, ok_json
from tests.sandbox.media_files import data_uri, picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock

READY_AFTER = 2.0


def test_a_new_asset_is_billed_processing_first_and_active_later(anyfast: Client, clock: FakeClock) -> None:
    group_id = anyfast.group()
    body = ok_json(anyfast.create_asset(group_id, Name="hero"))

    assert set(body) == {"Id"}
    assert re.fullmatch(r"asset-\d{14}-[a-z0-9]{5}", body["Id"])
    assert anyfast.billed()["assets"] == 1
    before = anyfast.ok("GetAsset", Id=body["Id"])
    assert (before["Status"], before["URL"]) == ("Processing", "")
    clock.advance(READY_AFTER)
    after = anyfast.ok("GetAsset", Id=body["Id"])
    assert after["Status"] == "Active"
    assert set(after) == {
        "Id", "Name", "URL", "AssetType", "GroupId", "Status", "ProjectName", "CreateTime", "UpdateTime",
    }  # fmt: skip
    assert (after["Name"], after["GroupId"], after["AssetType"]) == ("hero", group_id, "Image")
    assert after["CreateTime"] < after["UpdateTime"]


def test_the_link_of_an_asset_is_signed_on_every_read_and_expires_after_twelve_hours(
    anyfast: Client, clock: FakeClock
) -> None:
    asset_id = anyfast.asset(anyfast.group(), URL=data_uri(picture()))
    clock.advance(READY_AFTER)
    first = anyfast.ok("GetAsset", Id=asset_id)["URL"]
    clock.advance(60)
    second = anyfast.ok("GetAsset", Id=asset_id)["URL"]

    assert first != second
    clock.advance(12 * 3600 - 60)
    assert httpx.get(first).status_code == 403
    assert httpx.get(second).status_code == 200


def test_uploaded_content_is_served_and_content_at_a_url_is_redirected_to(anyfast: Client, clock: FakeClock) -> None:
    content = picture()
    group_id = anyfast.group()
    here = anyfast.asset(group_id, URL=data_uri(content), Name="here")
    there = anyfast.asset(group_id, Name="there")
    clock.advance(READY_AFTER)

    served = httpx.get(anyfast.ok("GetAsset", Id=here)["URL"])
    assert served.content == content
    assert served.headers["Content-Type"] == "image/png"
    pointed = httpx.get(anyfast.ok("GetAsset", Id=there)["URL"])
    assert (pointed.status_code, pointed.headers["Location"]) == (302, PICTURE)


def test_the_content_of_an_asset_needs_its_link_and_is_gone_after_its_deletion(
    anyfast: Client, clock: FakeClock
) -> None:
    asset_id = anyfast.asset(anyfast.group(), URL=data_uri(picture()))
    clock.advance(READY_AFTER)
    link = anyfast.ok("GetAsset", Id=asset_id)["URL"]

    assert httpx.get(link.partition("?")[0]).status_code == 403
    assert anyfast.http.get(link).status_code == 400  # it sends the key
    anyfast.ok("DeleteAsset", Id=asset_id)
    assert httpx.get(link).status_code == 404


def test_a_duplicate_name_gets_the_404_of_a_missing_group(anyfast: Client) -> None:
    group_id = anyfast.group()
    anyfast.asset(group_id, Name="hero")

    response = anyfast.create_asset(group_id, Name="hero")
    assert response.status_code == 404
    expected = f"upstream_error: [NotFound.group_id] The specified asset_group {group_id} is not found."
    assert gateway_message(response).startswith(expected)
    assert anyfast.billed()["assets"] == 1


def test_the_same_name_is_fine_in_another_group_and_so_are_several_assets_without_one(anyfast: Client) -> None:
    group_id = anyfast.group()

    anyfast.asset(group_id, Name="hero")
    anyfast.asset(anyfast.group(), Name="hero")
    anyfast.asset(group_id, Name="")
    anyfast.asset(group_id, Name=None)
    assert anyfast.billed()["assets"] == 4


@pytest.mark.parametrize("group_id", ["group-20260101000000-aaaaa", "nonsense"])
def test_an_unknown_group_is_not_found(anyfast: Client, group_id: str) -> None:
    response = anyfast.create_asset(group_id)

    assert response.status_code == 404
    assert f"[NotFound.group_id] The specified asset_group {group_id} is not found." in gateway_message(response)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"GroupId": None}, "[***.GroupId] The required parameter GroupId is missing."),
        ({"AssetType": None}, "[***.AssetType] The required parameter AssetType is missing."),
        ({"AssetType": "Text"}, "[***.AssetType]"),
        ({"URL": None}, "[***.URL] The required parameter URL is missing."),
        ({"URL": "file:///etc/hosts"}, "invalid url scheme"),
        ({"URL": "ftp://example.com/a.png"}, "invalid url scheme"),
        ({"URL": "https:///a.png"}, "invalid url scheme"),
        ({"URL": "asset:thing"}, "invalid url scheme"),
        ({"URL": "not Base64 at all!"}, "[***.URL]"),
        ({"URL": "data:image/png,plain"}, "[***.URL]"),
        ({"URL": "data:image/png;base64,"}, "[***.URL]"),
        ({"AssetType": "Video", "URL": CLIP}, "AssetType Video needs model volc-asset-video, not volc-asset"),
        ({"model": "volc-asset-audio"}, "AssetType Image needs model volc-asset, not volc-asset-audio"),
    ],
)
def test_an_asset_with_a_bad_field_is_refused_and_not_billed(
    anyfast: Client, fields: dict[str, Any], part: str
) -> None:
    response = anyfast.create_asset(anyfast.group(), **fields)

    assert response.status_code == 400
    assert part in gateway_message(response)
    assert anyfast.billed()["assets"] == 0


def test_an_unknown_billing_model_finds_no_channel(anyfast: Client) -> None:
    response = anyfast.create_asset(anyfast.group(), model="volc-asset-text")

    assert response.status_code == 503
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("call", ["GetAsset", "DeleteAsset", "UpdateAsset"])
def test_an_unknown_asset_is_not_found(anyfast: Client, call: str) -> None:
    response = anyfast.asset_call(call, Id="asset-20260101000000-aaaaa", Name="n")

    assert response.status_code == 404
    assert "[NotFound.asset_id]" in gateway_message(response)


def test_an_asset_of_another_key_is_not_found(
    anyfast: Client, configure: Callable[..., None], client_with: Callable[[str | None], Client]
) -> None:
    configure(api_keys=({"value": "sandbox-key"}, {"value": "second-key"}))
    asset_id = anyfast.asset(anyfast.group())

    assert client_with("second-key").asset_call("GetAsset", Id=asset_id).status_code == 404


def test_a_new_asset_can_stay_unknown_for_a_while(
    anyfast: Client, configure: Callable[..., None], clock: FakeClock
) -> None:
    configure(asset_index_seconds=3)
    asset_id = anyfast.asset(anyfast.group())

    assert anyfast.asset_call("GetAsset", Id=asset_id).status_code == 404
    assert anyfast.list("ListAssets")["Items"] == []
    clock.advance(3)
    assert anyfast.ok("GetAsset", Id=asset_id)["Status"] == "Active"
    assert anyfast.list("ListAssets")["TotalCount"] == 1


def test_assets_are_filtered_by_name_id_group_and_status(anyfast: Client, clock: FakeClock) -> None:
    one, other = anyfast.group("one"), anyfast.group("other")
    red = anyfast.asset(one, Name="Red hat")
    bad = anyfast.asset(one, Name="[sandbox:fail:FaceMismatch]")
    clock.advance(READY_AFTER)
    young = anyfast.asset(other, Name="red shoe")

    def found(**filtered: Any) -> set[str]:
        return {item["Id"] for item in anyfast.list("ListAssets", filtered=filtered)["Items"]}

    assert found() == {red, bad, young}
    assert found(Name="RED") == {red, young}
    assert found(GroupIds=[one]) == {red, bad}
    assert found(GroupIds=[]) == set()
    assert found(Ids=[bad, young]) == {bad, young}
    assert found(Statuses=["Active"]) == {red}
    assert found(Statuses=["Processing", "Failed"]) == {bad, young}
    assert found(Name="red", GroupIds=[other], Statuses=["Processing"]) == {young}
    assert found(GroupType="LivenessFace") == set()


def test_assets_come_newest_first_and_in_pages(anyfast: Client, clock: FakeClock) -> None:
    group_id = anyfast.group()
    made = []
    for number in range(3):
        made.append(anyfast.asset(group_id, Name=f"picture {number}"))
        clock.advance(1)

    page = anyfast.list("ListAssets", PageSize=2)
    assert [item["Id"] for item in page["Items"]] == [made[2], made[1]]
    assert page["TotalCount"] == 3
    oldest_first = anyfast.list("ListAssets", SortBy="GroupId", SortOrder="Asc")
    assert [item["Id"] for item in oldest_first["Items"]] == made


def test_listing_assets_needs_a_group_type_by_default(anyfast: Client, configure: Callable[..., None]) -> None:
    refused = anyfast.asset_call("ListAssets", model="volc-asset", Filter={})
    assert refused.status_code == 400
    assert gateway_message(refused).startswith("GroupType is missing")

    configure(require_group_type=False)
    assert anyfast.ok("ListAssets", model="volc-asset", Filter={})["TotalCount"] == 0


def test_assets_may_be_paged_deeper_than_groups_but_only_to_a_limit(anyfast: Client) -> None:
    assert anyfast.list("ListAssets", PageNumber=200, PageSize=100)["Items"] == []
    body = {"model": "volc-asset", "Filter": {"GroupType": "AIGC"}, "PageNumber": 201, "PageSize": 100}
    assert anyfast.asset_call("ListAssets", **body).status_code == 400


def test_an_asset_can_be_renamed_and_moved(anyfast: Client, clock: FakeClock) -> None:
    one, other = anyfast.group("one"), anyfast.group("other")
    asset_id = anyfast.asset(one, Name="old")
    clock.advance(10)

    assert anyfast.ok("UpdateAsset", model="volc-asset", Id=asset_id, Name="new") == {"Id": asset_id}
    anyfast.ok("UpdateAsset", model="volc-asset", Id=asset_id, GroupId=other)
    shown = anyfast.ok("GetAsset", Id=asset_id)
    assert (shown["Name"], shown["GroupId"]) == ("new", other)
    assert anyfast.billed()["assets"] == 1


def test_an_asset_cannot_take_a_name_that_is_taken_but_keeps_its_own(anyfast: Client) -> None:
    group_id = anyfast.group()
    anyfast.asset(group_id, Name="taken")
    asset_id = anyfast.asset(group_id, Name="mine")

    assert anyfast.asset_call("UpdateAsset", Id=asset_id, Name="taken").status_code == 404
    assert anyfast.asset_call("UpdateAsset", Id=asset_id, Name="mine").status_code == 200
    assert anyfast.asset_call("UpdateAsset", Id=asset_id, GroupId="group-none").status_code == 404


def test_a_deleted_asset_is_gone_and_its_name_is_free_again(anyfast: Client) -> None:
    group_id = anyfast.group()
    asset_id = anyfast.asset(group_id, Name="hero", URL=data_uri(picture()))

    assert anyfast.ok("DeleteAsset", Id=asset_id) == {"Id": asset_id, "Deleted": True}
    assert anyfast.asset_call("GetAsset", Id=asset_id).status_code == 404
    assert anyfast.create_asset(group_id, Name="hero").status_code == 200
    assert anyfast.billed()["assets"] == 2
