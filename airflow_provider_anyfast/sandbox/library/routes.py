"""The asset library: ``POST /volc/asset/…``."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from airflow_provider_anyfast.sandbox.api.identifiers import current_request_id
from airflow_provider_anyfast.sandbox.api.responses import (
    ApiError,
    gateway_error,
    json_response,
    no_channel,
    to_response,
)
from airflow_provider_anyfast.sandbox.api.routing import AnyFastRoute, CallingKey, TheSandbox
from airflow_provider_anyfast.sandbox.generations.catalog import ASSET_MODELS, GROUP_MODEL
from airflow_provider_anyfast.sandbox.library.asset_library import Asset, AssetGroup, in_order
from airflow_provider_anyfast.sandbox.library.requests import (
    ById,
    CreateGroup,
    CreateSession,
    ListAssets,
    ListGroups,
    Page,
    SessionResult,
    UpdateAsset,
    UpdateGroup,
    read_json,
)
from airflow_provider_anyfast.sandbox.library.uploads import read_upload, validate_upload

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.state import Sandbox

ASSET_LINK_SECONDS = 12 * 3600
"""Seconds until the link in an asset's ``URL`` expires."""
_DEEPEST_GROUP = 10_000
_DEEPEST_ASSET = 20_000

router = APIRouter(prefix="/volc/asset", route_class=AnyFastRoute)


@router.post("/CreateAssetGroup", name="CreateAssetGroup")
async def create_asset_group(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Make a group; billed."""
    body = await read_json(CreateGroup, request)
    _check_billing_model(body.model)
    if body.model != GROUP_MODEL:
        raise ApiError(gateway_error(400, f"CreateAssetGroup needs model {GROUP_MODEL}, not {body.model}"))
    if body.GroupType != "AIGC":
        raise ApiError(gateway_error(400, "GroupType must be one of [AIGC]"))
    with sandbox.lock:
        now = sandbox.clock.now()
        name = key.library.name_prefix + body.Name
        group = AssetGroup(
            id=sandbox.ids.group(now),
            name=name,
            group_type="AIGC",
            description=body.Description,
            project=body.ProjectName,
            created_at=now,
            updated_at=now,
            visible_at=now + sandbox.settings.group_index_seconds,
        )
        key.library.add_group(group)
        key.billing.charge_request(body.model, current_request_id.get(), now)
    return _ok({"Id": group.id})


@router.post("/CreateAsset", name="CreateAsset")
async def create_asset(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Make an asset; billed. A bad file fails later, while it is processed."""
    upload = await read_upload(request)
    body = upload.request
    _check_billing_model(body.model)
    if body.model != ASSET_MODELS[body.AssetType]:
        wanted = ASSET_MODELS[body.AssetType]
        raise ApiError(gateway_error(400, f"AssetType {body.AssetType} needs model {wanted}, not {body.model}"))
    with sandbox.lock:
        group = key.library.group(body.GroupId, sandbox.clock.now())
        key.library.refuse_taken_name(group.id, body.Name)
    check = await validate_upload(upload, group.group_type)
    with sandbox.lock:
        key.library.group(group.id, sandbox.clock.now())
        key.library.refuse_taken_name(group.id, body.Name)
        now = sandbox.clock.now()
        asset_id = sandbox.ids.asset(now)
        asset = Asset(
            id=asset_id,
            name=body.Name,
            group_id=group.id,
            asset_type=body.AssetType,
            billing_model=body.model,
            project=group.project,
            created_at=now,
            updated_at=now,
            visible_at=now + sandbox.settings.asset_index_seconds,
            ready_at=now + sandbox.settings.asset_seconds,
            media=check.media,
            remote_url=upload.remote_url,
            failure=check.failure,
        )
        if upload.content is not None:
            asset.bytes = len(upload.content)
            asset.file = sandbox.uploads / asset_id
            asset.file.write_bytes(upload.content)
        key.library.add_asset(asset)
        key.billing.charge_request(body.model, current_request_id.get(), now)
    return _ok({"Id": asset_id})


@router.post("/GetAsset", name="GetAsset")
async def get_asset(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Show one asset."""
    body = await read_json(ById, request)
    with sandbox.lock:
        asset = key.library.asset(body.Id, sandbox.clock.now())
        return _ok(_asset_item(asset, sandbox, str(request.base_url)))


@router.post("/ListAssets", name="ListAssets")
async def list_assets(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Show a page of assets."""
    body = await read_json(ListAssets, request)
    body.refuse_deep_paging(_DEEPEST_ASSET)
    if body.Filter.GroupType is None and sandbox.settings.require_group_type:
        raise ApiError(gateway_error(400, "GroupType is missing"))
    with sandbox.lock:
        found = in_order(key.library.find_assets(body.Filter, sandbox.clock.now()), body)
        items = [_asset_item(asset, sandbox, str(request.base_url)) for asset in _on_page(found, body)]
    return _page(body, len(found), items)


@router.post("/ListAssetGroups", name="ListAssetGroups")
async def list_asset_groups(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Show a page of groups."""
    body = await read_json(ListGroups, request)
    body.refuse_deep_paging(_DEEPEST_GROUP)
    with sandbox.lock:
        found = in_order(key.library.find_groups(body.Filter, sandbox.clock.now()), body)
        return _page(body, len(found), [_group_item(group) for group in _on_page(found, body)])


@router.post("/GetAssetGroup", name="GetAssetGroup")
async def get_asset_group(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Show one group."""
    body = await read_json(ById, request)
    with sandbox.lock:
        return _ok(_group_item(key.library.group(body.Id, sandbox.clock.now())))


@router.post("/UpdateAsset", name="UpdateAsset")
async def update_asset(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Rename an asset or move it to another group."""
    body = await read_json(UpdateAsset, request)
    with sandbox.lock:
        now = sandbox.clock.now()
        asset = key.library.asset(body.Id, now)
        name, group_id = body.Name or asset.name, body.GroupId or asset.group_id
        key.library.group(group_id, now)
        if (name, group_id) != (asset.name, asset.group_id):
            key.library.refuse_taken_name(group_id, name)
        asset.name, asset.group_id, asset.updated_at = name, group_id, now
    return _ok({"Id": asset.id})


@router.post("/UpdateAssetGroup", name="UpdateAssetGroup")
async def update_asset_group(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Rename a group."""
    body = await read_json(UpdateGroup, request)
    with sandbox.lock:
        group = key.library.group(body.Id, sandbox.clock.now())
        group.name, group.updated_at = key.library.name_prefix + body.Name, sandbox.clock.now()
    return _ok({"Id": group.id})


@router.post("/DeleteAsset", name="DeleteAsset")
async def delete_asset(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Delete an asset."""
    body = await read_json(ById, request)
    with sandbox.lock:
        key.library.delete_asset(key.library.asset(body.Id, sandbox.clock.now()))
    return _ok({"Id": body.Id, "Deleted": True})


@router.post("/DeleteAssetGroup", name="DeleteAssetGroup")
async def delete_asset_group(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Delete a group and the assets in it."""
    body = await read_json(ById, request)
    with sandbox.lock:
        key.library.delete_group(key.library.group(body.Id, sandbox.clock.now()))
    return _ok({"Id": body.Id, "Deleted": True})


@router.post("/CreateVisualValidateSession", name="CreateVisualValidateSession")
async def create_visual_validate_session(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Start the check that a person is real; opening the link in a browser passes it."""
    body = await read_json(CreateSession, request)
    with sandbox.lock:
        session = sandbox.liveness.start(key.value, body.CallbackURL, sandbox.clock.now())
    link = f"{request.base_url}sandbox/liveness/{session.token}"
    return _ok({"BytedToken": session.token, "H5Link": link, "CallbackURL": session.callback_url})


@router.post("/GetVisualValidateResult", name="GetVisualValidateResult")
async def get_visual_validate_result(request: Request, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Show the group of a verified person; the id is empty until the check is passed."""
    body = await read_json(SessionResult, request)
    with sandbox.lock:
        session = sandbox.liveness.find(body.BytedToken)
        mine = session is not None and session.key == key.value
        return _ok({"GroupId": session.group_id if session is not None and mine else ""})


def asset_link(sandbox: Sandbox, asset: Asset, base_url: str) -> str:
    """Return a freshly signed link to the content of an asset; empty unless the asset is Active."""
    now = sandbox.clock.now()
    if asset.status(now) != "Active":
        return ""
    return sandbox.signer.sign(base_url.rstrip("/"), f"/ark-media-asset/{asset.id}", now, ASSET_LINK_SECONDS)


def _check_billing_model(model: str) -> None:
    if model not in ASSET_MODELS.values():
        raise ApiError(no_channel(model))


def _on_page(found: list[Any], page: Page) -> list[Any]:
    start = (page.PageNumber - 1) * page.PageSize
    return found[start : start + page.PageSize]


def _page(page: Page, total: int, items: list[dict[str, object]]) -> Response:
    return _ok({"PageNumber": page.PageNumber, "PageSize": page.PageSize, "TotalCount": total, "Items": items})


def _asset_item(asset: Asset, sandbox: Sandbox, base_url: str) -> dict[str, object]:
    status = asset.status(sandbox.clock.now())
    item: dict[str, object] = {
        "Id": asset.id,
        "Name": asset.name,
        "URL": asset_link(sandbox, asset, base_url),
        "AssetType": asset.asset_type,
        "GroupId": asset.group_id,
        "Status": status,
        "ProjectName": asset.project,
        "CreateTime": _utc(asset.created_at),
        "UpdateTime": _utc(asset.updated_at if status == "Processing" else max(asset.updated_at, asset.ready_at)),
    }
    if status == "Failed" and asset.failure is not None:
        item["Error"] = {"Code": asset.failure.code, "Message": asset.failure.message}
    return item


def _group_item(group: AssetGroup) -> dict[str, object]:
    return {
        "Id": group.id,
        "Name": group.name,
        "GroupType": group.group_type,
        "Description": group.description,
        "ProjectName": group.project,
        "CreateTime": _utc(group.created_at),
        "UpdateTime": _utc(group.updated_at),
    }


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ok(value: dict[str, Any]) -> Response:
    return to_response(json_response(value))
