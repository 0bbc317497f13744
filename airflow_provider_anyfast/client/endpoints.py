"""Every supported call to AnyFast, described once: its path, its body, what it costs and what it returns.

This module sends nothing. ``transport`` sends these calls, synchronously or asynchronously.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

from airflow_provider_anyfast.client import responses
from airflow_provider_anyfast.client.asset_ids import bare_asset_id
from airflow_provider_anyfast.client.errors import (
    AssetNotFoundError,
    GenerationNotFoundError,
    InvalidRequestError,
    NotFoundError,
    UnexpectedAnswerError,
)
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.client.responses import Asset, AssetGroup, Generation, Page

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.billing import KeyUsage, LogRow, ModelPrice

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT", Asset, AssetGroup)

PAGE_SIZE = 100
"""The largest page that AnyFast's clients have requested."""
MAX_PAGES = 200
"""Pages of a list. The upstream allows at most 20,000 assets (and 10,000 groups), so a longer list never ends."""

BILLING_MODELS = {"Image": "volc-asset", "Video": "volc-asset-video", "Audio": "volc-asset-audio"}
"""What an asset's creation is billed as, by its type (docs.anyfast.ai, guide volc-asset)."""


@dataclass(frozen=True)
class Upload:
    """A file in a multipart form. ``content`` is read from its start, as it is sent."""

    name: str
    content: IO[bytes] = field(repr=False)
    media_type: str


@dataclass(frozen=True)
class Call(Generic[ResultT]):
    """One request and how its response is read.

    Attributes:
        name: the call's name in messages.
        billed: whether an accepted request costs money. A billed call whose response is lost is never sent again.
        long_poll: whether the gateway may take minutes to respond, as it does to a submission.
        limited_apart: whether the gateway limits its rate separately, so that its 429 does not slow down other calls.
        refused_by_5xx: whether a 5xx can also mean that the gateway refused a file or a group before doing anything.
        unknown: the class of every refusal that concerns the request, of a call whose only parameter is an id.
        parse: converts the decoded body to the typed result.
    """

    name: str
    method: str
    path: str
    parse: Callable[[Any], ResultT] = field(repr=False)
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    upload: Upload | None = field(default=None, repr=False)
    billed: bool = False
    long_poll: bool = False
    limited_apart: bool = False
    refused_by_5xx: bool = False
    unknown: type[NotFoundError] | None = None


Flow = Generator[Call[Any], Any, ResultT]
"""Several calls with one result, as a generator that yields calls and receives their results."""


def create_asset_group(name: str) -> Call[str]:
    """Creates an asset group and returns its id. Billed."""
    return _asset_call(
        "CreateAssetGroup", {"model": "volc-asset", "Name": name}, _id_of("CreateAssetGroup"), billed=True
    )


def create_asset(
    *, group_id: str, name: str, asset_type: str, url: str | None = None, upload: Upload | None = None
) -> Call[str]:
    """Creates an asset and returns its id; the file is checked afterwards. Billed.

    Args:
        group_id: the group that receives it.
        name: unique in the group.
        asset_type: ``Image``, ``Video`` or ``Audio``.
        url: a public URL, a data URI or raw Base64 (an image); or
        upload: a file, sent as a multipart form.
    """
    fields = {"model": BILLING_MODELS[asset_type], "GroupId": group_id, "Name": name, "AssetType": asset_type}
    if upload is None:
        fields["URL"] = url or ""
    call = _asset_call("CreateAsset", fields, _id_of("CreateAsset"), upload=upload, billed=True)
    return replace(call, refused_by_5xx=True)


def get_asset(asset_id: str) -> Call[Asset]:
    """One asset. Not billed."""
    asset_id = bare_asset_id(asset_id)
    call = _asset_call("GetAsset", {"Id": asset_id}, partial(responses.parse_queried_asset, asset_id=asset_id))
    return replace(call, unknown=AssetNotFoundError)


def list_assets(
    *, group_ids: Sequence[str] = (), name: str | None = None, group_type: str | None = "AIGC"
) -> Flow[list[Asset]]:
    """All pages of assets; ``name`` matches in part. Not billed.

    ``group_type=None`` omits the filter; AnyFast sometimes refuses such a call.
    """
    filters = _filters(GroupIds=list(group_ids), Name=name, GroupType=group_type)
    assets = yield from _all_pages("ListAssets", filters, responses.parse_assets)
    # AnyFast has been seen to ignore filters, and another group may have an asset of the same name.
    return [asset for asset in assets if not group_ids or asset.group_id in ("", *group_ids)]


def list_asset_groups(
    *, group_ids: Sequence[str] = (), name: str | None = None, group_type: str | None = "AIGC"
) -> Flow[list[AssetGroup]]:
    """All pages of asset groups; ``name`` matches in part. Not billed."""
    filters = _filters(GroupIds=list(group_ids), Name=name, GroupType=group_type)
    return _all_pages("ListAssetGroups", filters, responses.parse_asset_groups)


def update_asset(asset_id: str, *, name: str) -> Call[str]:
    """Renames an asset and returns its id. Not billed."""
    body = {"model": "volc-asset", "Id": bare_asset_id(asset_id), "Name": name}
    return _asset_call("UpdateAsset", body, _id_of("UpdateAsset"))


def update_asset_group(group_id: str, *, name: str) -> Call[str]:
    """Renames an asset group and returns its id. Not billed."""
    body = {"model": "volc-asset", "Id": group_id, "Name": name}
    return _asset_call("UpdateAssetGroup", body, _id_of("UpdateAssetGroup"))


def delete_asset(asset_id: str) -> Call[str]:
    """Deletes an asset and returns its id. Not billed."""
    body = {"model": "volc-asset", "Id": bare_asset_id(asset_id)}
    return _asset_call("DeleteAsset", body, _id_of("DeleteAsset"))


def delete_asset_group(group_id: str) -> Call[str]:
    """Deletes an asset group with the assets in it and returns its id. Not billed."""
    return _asset_call("DeleteAssetGroup", {"model": "volc-asset", "Id": group_id}, _id_of("DeleteAssetGroup"))


def submit_generation(body: Mapping[str, Any]) -> Call[str]:
    """Submits a generation and returns its id. Billed; there are no idempotency keys, and it cannot be cancelled."""
    call = "submit a generation"
    return Call(call, "POST", "/v1/video/generations", _id_of(call), json=body, billed=True, long_poll=True)


def query_generation(generation_id: str) -> Call[Generation]:
    """Queries the state of a generation. Not billed.

    Raises:
        InvalidRequestError: the id is empty, or not an id.
    """
    generation_id = generation_id.strip()
    if not generation_id:
        raise InvalidRequestError("generation_id is empty: pass the one that GenerateVideoOperator pushed.")
    if not responses.is_id(generation_id):
        raise InvalidRequestError(f"generation_id {redact(generation_id)!r} is not an id such as asyntask_h81efT0q.")
    return Call(
        name="query a generation",
        method="GET",
        path=f"/v1/video/generations/{quote(generation_id, safe='')}",
        parse=partial(responses.parse_generation, generation_id=generation_id),
        unknown=GenerationNotFoundError,
    )


def list_models() -> Call[tuple[str, ...]]:
    """The ids of the models that the key may use. Not billed, and so used to test a connection."""
    return Call("list models", "GET", "/v1/models", responses.parse_models)


def billing_log() -> Call[tuple[LogRow, ...]]:
    """The last 1,000 charges and refunds of the key, the newest first. Not billed; AnyFast may not offer it.

    Source: new-api, ``GetLogByKey``. It allows 20 requests within 20 minutes: use ``client.billing_pages``.
    """
    from airflow_provider_anyfast.client import billing  # noqa: PLC0415 - not while a DAG is parsed

    return Call("read the billing log", "GET", "/api/log/token", billing.parse_billing_log, limited_apart=True)


def key_usage() -> Call[KeyUsage]:
    """What the key has spent and may spend. Not billed; AnyFast may not offer it.

    Source: new-api, ``GetTokenUsage``, under the same limit as the billing log.
    """
    from airflow_provider_anyfast.client import billing  # noqa: PLC0415 - not while a DAG is parsed

    return Call("read the balance", "GET", "/api/usage/token/", billing.parse_key_usage, limited_apart=True)


def list_prices() -> Call[tuple[ModelPrice, ...]]:
    """AnyFast's price list. Not billed; needs no key. Source: new-api, ``GetPricing``; AnyFast's rows contain rules."""
    from airflow_provider_anyfast.client import billing  # noqa: PLC0415 - not while a DAG is parsed

    return Call("read the prices", "GET", "/api/pricing", billing.parse_prices, limited_apart=True)


def _asset_call(
    action: str,
    body: Mapping[str, Any],
    parse: Callable[[Any], ResultT],
    *,
    upload: Upload | None = None,
    billed: bool = False,
) -> Call[ResultT]:
    return Call(action, "POST", f"/volc/asset/{action}", parse, json=body, upload=upload, billed=billed)


def _id_of(call: str) -> Callable[[Any], str]:
    return partial(responses.parse_id, call=call)


def _filters(**filters: Any) -> dict[str, Any]:
    return {key: value for key, value in filters.items() if value}


def _all_pages(action: str, filters: Mapping[str, Any], parse: Callable[[Any], Page[ItemT]]) -> Flow[list[ItemT]]:
    """Every item. After a full page the next one is requested, whatever ``TotalCount`` says.

    Raises:
        UnexpectedAnswerError: the list does not end.
    """
    found: dict[str, ItemT] = {}  # by id: an asset created meanwhile can move an item to the next page
    for number in range(1, MAX_PAGES + 1):
        body = {"model": "volc-asset", "PageNumber": number, "PageSize": PAGE_SIZE, "Filter": dict(filters)}
        page: Page[ItemT] = yield _asset_call(action, body, parse)
        known = len(found)
        found.update((item.id, item) for item in page.items)
        complete = page.total is not None and len(found) >= page.total and len(page.items) < PAGE_SIZE
        if len(found) == known or complete:
            return list(found.values())
    raise UnexpectedAnswerError(
        f"{action}: the list does not end; page {MAX_PAGES} still held {len(page.items)} new items."
    )
