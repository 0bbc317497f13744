"""The sandbox is as strict as the contract: it refuses what AnyFast would refuse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.sandbox.client import gateway_message, text

if TYPE_CHECKING:
    from tests.sandbox.client import Client

CALLS: dict[str, dict[str, Any]] = {
    "/v1/video/generations": {"model": "seedance", "content": [text()]},
    "/volc/asset/CreateAssetGroup": {"model": "volc-asset", "Name": "n"},
    "/volc/asset/CreateAsset": {"GroupId": "g", "AssetType": "Image", "URL": "https://example.com/a.png"},
    "/volc/asset/GetAsset": {"Id": "asset-1"},
    "/volc/asset/ListAssets": {"model": "volc-asset", "Filter": {"GroupType": "AIGC"}},
    "/volc/asset/ListAssetGroups": {"model": "volc-asset", "Filter": {"GroupType": "AIGC"}},
    "/volc/asset/UpdateAsset": {"Id": "asset-1", "Name": "n"},
    "/volc/asset/DeleteAsset": {"Id": "asset-1"},
    "/volc/asset/GetVisualValidateResult": {"BytedToken": "t"},
}


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "text/json"])
def test_a_json_call_needs_its_content_type(anyfast: Client, path: str, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = anyfast.http.post(path, content=json.dumps(CALLS[path]), headers=headers)

    assert response.status_code == 400
    expected = f"Invalid request: Content-Type must be application/json; it is {content_type or 'missing'}"
    assert gateway_message(response).startswith(expected)
    assert set(anyfast.billed().values()) == {0}


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_a_content_type_may_have_parameters_and_capitals(anyfast: Client, content_type: str) -> None:
    body = json.dumps(CALLS["/v1/video/generations"])
    response = anyfast.http.post("/v1/video/generations", content=body, headers={"Content-Type": content_type})

    assert response.status_code == 200


def test_the_name_of_an_asset_has_64_characters_at_most(anyfast: Client) -> None:
    group_id = anyfast.group()
    asset_id = anyfast.asset(group_id, Name="n" * 64)

    created = anyfast.create_asset(group_id, Name="m" * 65)
    renamed = anyfast.asset_call("UpdateAsset", Id=asset_id, Name="m" * 65)
    for response in (created, renamed):
        assert response.status_code == 400
        assert "[***.Name] The parameter Name is not valid" in gateway_message(response)
    assert anyfast.billed()["assets"] == 1


@pytest.mark.parametrize("model", ["volc-asset-video", "volc-asset-audio"])
def test_a_group_is_billed_as_volc_asset_and_as_nothing_else(anyfast: Client, model: str) -> None:
    response = anyfast.asset_call("CreateAssetGroup", model=model, Name="n")

    assert response.status_code == 400
    assert gateway_message(response).startswith(f"CreateAssetGroup needs model volc-asset, not {model}")
    assert anyfast.billed()["asset_groups"] == 0


def test_a_flat_prompt_is_refused_with_the_way_to_write_it(anyfast: Client) -> None:
    response = anyfast.http.post("/v1/video/generations", json={"model": "seedance", "prompt": "a fox"})

    assert response.status_code == 400
    message = response.json()["message"]
    assert message.startswith("prompt is required: ")
    assert '[{"type": "text", "text": "..."}]' in message
    assert anyfast.billed()["generations"] == 0
