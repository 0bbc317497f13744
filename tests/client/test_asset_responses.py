"""Assets, groups, ids and lists of models are read from every known response format."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_anyfast.client.errors import UnexpectedAnswerError
from airflow_provider_anyfast.client.responses import (
    Asset,
    AssetGroup,
    Outcome,
    groups_named,
    parse_asset,
    parse_asset_groups,
    parse_assets,
    parse_id,
    parse_models,
)

ASSET = {
    "Id": "asset-20260528140922-d9646",
    "Name": "character-reference",
    "URL": "https://ark-media-asset.tos-cn-beijing.volces.com/x",
    "AssetType": "Video",
    "GroupId": "group-20260528140601-tp9hw",
    "Status": "Active",
    "ProjectName": "default",
    "CreateTime": "2026-05-28T06:09:22Z",
    "UpdateTime": "2026-05-28T06:09:31Z",
}
GROUP = {"Id": "group-20260427160000-abcde", "Name": "my-group", "GroupType": "AIGC"}


def in_envelope(result: Any) -> dict[str, Any]:
    return {"ResponseMetadata": {"RequestId": "r", "Action": "a"}, "Result": result}


@pytest.mark.parametrize("body", [ASSET, in_envelope(ASSET)], ids=["flat", "in the upstream's envelope"])
def test_every_field_of_an_asset_is_read(body: dict[str, Any]) -> None:
    assert parse_asset(body) == Asset(
        id="asset-20260528140922-d9646",
        name="character-reference",
        group_id="group-20260528140601-tp9hw",
        asset_type="Video",
        status="Active",
        url="https://ark-media-asset.tos-cn-beijing.volces.com/x",
        created_at="2026-05-28T06:09:22Z",
        updated_at="2026-05-28T06:09:31Z",
    )


def test_an_asset_is_referenced_by_its_uri() -> None:
    assert parse_asset(ASSET).uri == "asset://asset-20260528140922-d9646"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("Active", Outcome.SUCCEEDED),
        ("ACTIVE", Outcome.SUCCEEDED),
        ("Failed", Outcome.FAILED),
        ("failed", Outcome.FAILED),
        ("Processing", Outcome.PENDING),
        ("Inactive", Outcome.PENDING),
        ("", Outcome.PENDING),
        (None, Outcome.PENDING),
        ("Something", Outcome.PENDING),
    ],
)
def test_an_asset_is_ready_when_active_and_final_when_failed(status: str | None, outcome: Outcome) -> None:
    assert parse_asset({**ASSET, "Status": status}).outcome is outcome


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"Code": "FaceMismatch", "Message": "Face verification failed."}, "FaceMismatch", "Face verification failed."),
        ({"Code": None}, "", ""),
        ({"Code": 5, "Message": 7}, "5", "7"),
        ("broken", "", "broken"),
        (None, "", ""),
        ("", "", ""),
    ],
)
def test_the_reason_of_a_failed_asset_is_read(error: Any, code: str, message: str) -> None:
    asset = parse_asset({**ASSET, "Status": "Failed", "Error": error})
    assert (asset.error.code, asset.error.message) == (code, message)


@pytest.mark.parametrize(
    ("times", "changed_at"),
    [
        ({"CreateTime": "2026-05-28T06:09:22Z", "UpdateTime": "2026-05-28T06:09:31Z"}, 1779948571.0),
        ({"CreateTime": "2026-05-28T06:09:22Z", "UpdateTime": ""}, 1779948562.0),
        ({"UpdateTime": 1779948571}, 1779948571.0),
        ({"UpdateTime": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_time_of_an_assets_last_change_is_read(times: dict[str, Any], changed_at: float) -> None:
    assert parse_asset({"Id": "asset-1", **times}).changed_at == changed_at


@pytest.mark.parametrize(
    ("value", "created"),
    [("2026-05-28T06:09:22Z", 1779948562.0), (1779948562, 1779948562.0), ("soon", 0.0), (None, 0.0)],
)
def test_the_time_of_a_groups_creation_is_read(value: Any, created: float) -> None:
    assert parse_asset_groups({"Items": [{**GROUP, "CreateTime": value}]}).items[0].created == created


def test_an_asset_only_needs_an_id() -> None:
    asset = parse_asset({"Id": "asset-1"})
    assert (asset.id, asset.name, asset.status, asset.error.code) == ("asset-1", "", "", "")


@pytest.mark.parametrize("body", [None, [], "x", 5, {}, {"Id": ""}, {"Id": None}, {"Id": []}, {"Result": {}}])
def test_an_asset_without_an_id_is_an_error(body: Any) -> None:
    with pytest.raises(UnexpectedAnswerError, match="GetAsset"):
        parse_asset(body)


@pytest.mark.parametrize("value", [None, 1777288506, 1.5])
def test_a_field_of_an_unknown_type_does_not_fail_a_listing(value: Any) -> None:
    body = {"Items": [{**GROUP, "CreateTime": value, "Description": value, "Name": value, "New": [value]}]}
    assert parse_asset_groups(body).items[0].id == GROUP["Id"]


@pytest.mark.parametrize(
    ("shown", "plain"),
    [
        ("my-group", "my-group"),
        ("[u-12]-[t-34]my-group", "my-group"),
        ("[u-12]-[t-34]-my-group", "my-group"),
        ("[u-12]-[t-34]_my-group", "my-group"),
        ("[u-12]-[t-34] my-group", "my-group"),
        ("[u-12]-[t-34]--my-group", "-my-group"),
        ("about [u-12]-[t-34]", "about [u-12]-[t-34]"),
        ("[u-12] my-group", "[u-12] my-group"),
        ("[u-12]-[t-34]", ""),
    ],
)
def test_the_services_prefix_is_not_part_of_a_groups_name(shown: str, plain: str) -> None:
    group = parse_asset_groups({"Items": [{"Id": "group-1", "Name": shown}]}).items[0]
    assert (group.name, group.plain_name) == (shown, plain)


@pytest.mark.parametrize("separator", ["", "-", "_", " "])
@pytest.mark.parametrize("name", ["faces", "-", "_faces", "-faces", " faces"])
def test_a_group_is_found_by_its_name_whatever_separates_the_prefix(separator: str, name: str) -> None:
    items = [
        {"Id": f"group-{number}", "Name": f"[u-12]-[t-34]{separator}{given}"}
        for number, given in enumerate([name, "other"])
    ]
    found = groups_named(parse_asset_groups({"Items": items}).items, name)
    assert [group.id for group in found] == ["group-0"]


@pytest.mark.parametrize("wrap", [lambda body: body, in_envelope], ids=["flat", "in the upstream's envelope"])
def test_a_page_of_groups_is_read(wrap: Any) -> None:
    page = parse_asset_groups(wrap({"PageNumber": 1, "PageSize": 1, "TotalCount": 2, "Items": [GROUP]}))
    assert page.items == (AssetGroup(id="group-20260427160000-abcde", name="my-group", group_type="AIGC"),)
    assert page.total == 2


@pytest.mark.parametrize(
    ("body", "ids", "total"),
    [
        ({"Items": [ASSET], "TotalCount": 1}, [ASSET["Id"]], 1),
        ({"Items": [ASSET], "TotalCount": "1"}, [ASSET["Id"]], 1),
        ({"Items": [ASSET]}, [ASSET["Id"]], None),
        ({"Items": [], "TotalCount": 0}, [], 0),
        ({"Items": None, "TotalCount": 0}, [], 0),
        ({"TotalCount": 0}, [], 0),
        ({"Items": [], "TotalCount": None}, [], None),
        ({"Items": [], "TotalCount": 1e999}, [], None),
    ],
)
def test_a_page_of_assets_is_read(body: dict[str, Any], ids: list[str], total: int | None) -> None:
    page = parse_assets(body)
    assert [asset.id for asset in page.items] == ids
    assert page.total == total


@pytest.mark.parametrize("body", [None, [], "x", {}, {"Items": None}, {"Items": {}}, {"Items": [None]}, {"Result": 5}])
@pytest.mark.parametrize(("parse", "call"), [(parse_assets, "ListAssets"), (parse_asset_groups, "ListAssetGroups")])
def test_a_response_without_items_is_not_an_empty_list(body: Any, parse: Any, call: str) -> None:
    with pytest.raises(UnexpectedAnswerError, match=call):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        {"Id": "x1"},
        {"id": "x1", "task_id": "x1", "object": "video", "status": "", "progress": 0},
        {"id": "x1", "status": "submitted", "created_at": "2024-01-01T00:00:00Z"},
        {"task_id": "x1", "status": "queued"},
        {"code": "success", "data": {"task_id": "x1"}},
        {"data": {"id": "x1"}},
        in_envelope({"Id": "x1"}),
        {"result": {"id": "x1"}},
        {"id": "", "task_id": None, "data": {"id": " x1 "}},
        {"id": 5, "task_id": "x1"},
        [{"id": "x1"}],
        {"data": [{"task_id": "x1"}]},
        {"data": {"data": {"id": "x1"}}},
        {"Data": {"TaskId": "x1"}},
        {"output": {"task_id": "x1"}},
    ],
)
def test_an_id_is_found_in_any_shape(body: dict[str, Any]) -> None:
    assert parse_id(body, "the call") == "x1"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"data": "asyntask_h81efT0q"}, "asyntask_h81efT0q"),
        ("asyntask_h81efT0q", "asyntask_h81efT0q"),
        ({"id": 4711}, "4711"),
        ({"data": {"id": 5}}, "5"),
    ],
)
def test_an_id_without_a_field_and_one_that_is_a_number_are_found(body: Any, found: str) -> None:
    assert parse_id(body, "the call") == found


@pytest.mark.parametrize("id_", ["../../outside/evil", "a/b", "..", ".", "a\\b", "a b", "x\x00", "-rf", "x" * 300, "é"])
def test_a_path_is_not_an_id(id_: str) -> None:
    with pytest.raises(UnexpectedAnswerError):
        parse_id({"id": id_}, "the call")
    with pytest.raises(UnexpectedAnswerError):
        parse_asset({"Id": id_})


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "x1",
        "success",
        5,
        {},
        {"id": ""},
        {"id": "  "},
        {"data": "x1"},
        {"data": "ok"},
        {"id": 0},
        {"id": True},
    ],
)
def test_a_response_without_an_id_is_an_error(body: Any) -> None:
    with pytest.raises(UnexpectedAnswerError, match="the call"):
        parse_id(body, "the call")


def test_the_models_of_a_key_are_read() -> None:
    body = {"data": [{"id": "seedance", "object": "model"}, {"id": "seedance-fast"}, {"id": ""}, {}, "odd", None]}
    assert parse_models(body) == ("seedance", "seedance-fast")


@pytest.mark.parametrize(
    ("body", "shape"), [(None, "nothing"), ({}, "no fields"), ({"data": 5}, "the fields data"), ([], "a list")]
)
def test_a_response_without_models_is_an_error(body: Any, shape: str) -> None:
    with pytest.raises(UnexpectedAnswerError, match=shape):
        parse_models(body)
