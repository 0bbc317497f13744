"""The asset library of one API key: its groups, its assets, and how many of each were billed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, TypeVar

from airflow_provider_anyfast.sandbox.api.responses import ApiError, asset_not_found, gateway_error, group_not_found

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_anyfast.sandbox.library.requests import AssetFilter, AssetType, GroupFilter, GroupType, Page
    from airflow_provider_anyfast.sandbox.media.limits import Failure
    from airflow_provider_anyfast.sandbox.media.probe import Media

_SORTED_BY = {"CreateTime": "created_at", "UpdateTime": "updated_at", "GroupId": "group_id"}

Status = Literal["Processing", "Active", "Failed"]


@dataclass
class AssetGroup:
    """A group; ``name`` has the prefix that the service adds. Times are Unix seconds."""

    id: str
    name: str
    group_type: GroupType
    description: str
    project: str
    created_at: float
    updated_at: float
    visible_at: float

    @property
    def group_id(self) -> str:
        """Its own id, for sorting by ``GroupId``."""
        return self.id


@dataclass
class Asset:
    """An asset.

    ``media``, ``bytes`` and ``file`` are set for uploaded content, ``remote_url`` for content at a URL.
    """

    id: str
    name: str
    group_id: str
    asset_type: AssetType
    billing_model: str
    project: str
    created_at: float
    updated_at: float
    visible_at: float
    ready_at: float
    media: Media | None = None
    bytes: int | None = None
    file: Path | None = None
    remote_url: str | None = None
    failure: Failure | None = None

    def status(self, now: float) -> Status:
        """Return the asset's status at time ``now``."""
        if now < self.ready_at:
            return "Processing"
        return "Failed" if self.failure else "Active"


@dataclass
class AssetLibrary:
    """The groups and assets of one key; no other key can see them.

    Args:
        name_prefix: the prefix that the service adds to the names of the key's groups.
    """

    name_prefix: str
    groups: dict[str, AssetGroup] = field(default_factory=dict)
    assets: dict[str, Asset] = field(default_factory=dict)
    billed_groups: int = 0
    billed_assets: int = 0

    def snapshot(self) -> AssetLibrary:
        """Return a snapshot that later additions and deletions do not change."""
        return replace(self, groups=dict(self.groups), assets=dict(self.assets))

    def add_group(self, group: AssetGroup) -> None:
        """Add a new group, and bill it."""
        self.groups[group.id] = group
        self.billed_groups += 1

    def add_asset(self, asset: Asset) -> None:
        """Add a new asset, and bill it."""
        self.assets[asset.id] = asset
        self.billed_assets += 1

    def group(self, group_id: str, now: float) -> AssetGroup:
        """Return a group of this key; raise an ApiError (404) when there is none, or it is not indexed yet."""
        group = self.groups.get(group_id)
        if group is None or now < group.visible_at:
            raise ApiError(group_not_found(group_id))
        return group

    def asset(self, asset_id: str, now: float) -> Asset:
        """Return an asset of this key; raise an ApiError (404) when there is none, or it is not indexed yet."""
        asset = self.assets.get(asset_id)
        if asset is None or now < asset.visible_at:
            raise ApiError(asset_not_found(asset_id))
        return asset

    def refuse_taken_name(self, group_id: str, name: str) -> None:
        """Raise an ApiError when the group has an asset of that name; it says that the group is missing."""
        if name and any(asset.name == name for asset in self.assets.values() if asset.group_id == group_id):
            raise ApiError(group_not_found(group_id))

    def delete_asset(self, asset: Asset) -> None:
        """Delete an asset and its file."""
        del self.assets[asset.id]
        if asset.file:
            asset.file.unlink(missing_ok=True)

    def delete_group(self, group: AssetGroup) -> None:
        """Delete a group and every asset in it."""
        for asset in [asset for asset in self.assets.values() if asset.group_id == group.id]:
            self.delete_asset(asset)
        del self.groups[group.id]

    def find_groups(self, wanted: GroupFilter, now: float) -> list[AssetGroup]:
        """Return the indexed groups that match; no list includes a verified person's group."""
        group_type = _listed_type(wanted.GroupType)
        return [
            group
            for group in self.groups.values()
            if group.group_type == "AIGC"
            and now >= group.visible_at
            and group_type in (None, group.group_type)
            and _has(wanted.Name, group.name)
            and wanted.Id in (None, group.id)
            and (wanted.GroupIds is None or group.id in wanted.GroupIds)
        ]

    def find_assets(self, wanted: AssetFilter, now: float) -> list[Asset]:
        """Return the indexed assets that match."""
        group_type = _listed_type(wanted.GroupType)
        return [
            asset
            for asset in self.assets.values()
            if now >= asset.visible_at
            and group_type in (None, self.groups[asset.group_id].group_type)
            and _has(wanted.Name, asset.name)
            and (wanted.Ids is None or asset.id in wanted.Ids)
            and (wanted.GroupIds is None or asset.group_id in wanted.GroupIds)
            and (wanted.Statuses is None or asset.status(now) in wanted.Statuses)
        ]


Item = TypeVar("Item", AssetGroup, Asset)


def in_order(items: list[Item], page: Page) -> list[Item]:
    """Return ``items`` in the order that ``page`` requests."""
    ascending = sorted(items, key=attrgetter(_SORTED_BY[page.SortBy]))
    return ascending[::-1] if page.SortOrder == "Desc" else ascending


def _listed_type(group_type: str | None) -> str | None:
    if group_type is None or group_type in ("AIGC", "LivenessFace"):
        return group_type
    raise ApiError(gateway_error(400, "GroupType must be one of [AIGC]"))


def _has(part: str, name: str) -> bool:
    return part.lower() in name.lower()
