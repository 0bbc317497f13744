"""Cleaning up the asset library, also as a teardown task."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.errors import InvalidRequestError, NotFoundError
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook, AnyFastHookMixin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.client.transport import AnyFastClient

log = logging.getLogger(__name__)


class DeleteAssetOperator(BaseOperator, AnyFastHookMixin):
    """Deletes assets; what is gone already is fine, so it serves as a teardown task too. Not billed.

    Args:
        asset_id: the id of an asset, or a list of ids as ``CreateAssetsOperator`` returns them; or
        group_id, name: the asset of exactly this name in this group. A whole group is ``DeleteAssetGroupOperator``'s.
        anyfast_conn_id: the connection; assets belong to its key.

    Returns:
        The ids that were deleted.

    Raises:
        InvalidRequestError: nothing is named, as when a template renders an empty string; nothing was deleted.
    """

    template_fields: Sequence[str] = ("asset_id", "group_id", "name", "anyfast_conn_id")
    ui_color = "#ffece8"

    def __init__(
        self,
        *,
        asset_id: str | Sequence[str] | None = None,
        group_id: str | None = None,
        name: str | None = None,
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.asset_id = asset_id
        self.group_id = group_id
        self.name = name
        self.anyfast_conn_id = anyfast_conn_id

    def execute(self, context: Context) -> list[str]:
        """Finds out which assets are meant, and deletes them."""
        with fail_fast(context, self.anyfast_conn_id), self.hook.get_conn() as client:
            return [
                asset_id for asset_id in self._meant(client) if _is_deleted(client, endpoints.delete_asset(asset_id))
            ]

    def _meant(self, client: AnyFastClient) -> list[str]:
        if self.asset_id is None:
            group_id, name = _given("group_id", self.group_id), _given("name", self.name)
            assets = client.run(endpoints.list_assets(group_ids=[group_id], name=name))
            return [asset.id for asset in assets if asset.name == name]
        if self.group_id is not None or self.name is not None:
            raise InvalidRequestError("Give either asset_id, or group_id and name. Nothing was deleted.")
        ids = [self.asset_id] if isinstance(self.asset_id, str) else self.asset_id
        return [endpoints.bare_asset_id(_one_id(asset_id)) for asset_id in ids]


class DeleteAssetGroupOperator(BaseOperator, AnyFastHookMixin):
    """Deletes a group with every asset in it; one that is gone already is fine, as for a teardown task. Not billed.

    Args:
        group_id: the id of the group; or
        name: the name of the group; all groups of exactly this name are deleted.
        anyfast_conn_id: the connection; groups belong to its key.

    Returns:
        The ids of the groups that were deleted.

    Raises:
        InvalidRequestError: nothing is named, as when a template renders an empty string; nothing was deleted.
    """

    template_fields: Sequence[str] = ("group_id", "name", "anyfast_conn_id")
    ui_color = "#ffece8"

    def __init__(
        self,
        *,
        group_id: str | None = None,
        name: str | None = None,
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.group_id = group_id
        self.name = name
        self.anyfast_conn_id = anyfast_conn_id

    def execute(self, context: Context) -> list[str]:
        """Finds out which groups are meant, and deletes their assets and then them."""
        with fail_fast(context, self.anyfast_conn_id), self.hook.get_conn() as client:
            return [group_id for group_id in self._meant(client) if self._delete(client, group_id)]

    def _meant(self, client: AnyFastClient) -> list[str]:
        if (self.group_id is None) == (self.name is None):
            raise InvalidRequestError("Give either group_id or name. Nothing was deleted.")
        if self.name is None:
            return [_given("group_id", self.group_id)]
        name = _given("name", self.name)
        return [group.id for group in client.run(endpoints.list_asset_groups(name=name)) if group.plain_name == name]

    def _delete(self, client: AnyFastClient, group_id: str) -> bool:
        """The assets first: whether AnyFast deletes them with their group is not documented."""
        assets = client.run(endpoints.list_assets(group_ids=[group_id]))
        mine = [asset.id for asset in assets if asset.group_id == group_id]
        for asset_id in mine:
            _is_deleted(client, endpoints.delete_asset(asset_id))
        self.log.info("Group %s held %d assets.", group_id, len(mine))
        return _is_deleted(client, endpoints.delete_asset_group(group_id))


def _given(parameter: str, value: str | None) -> str:
    value = (value or "").strip()
    if not value or value == "None":
        raise InvalidRequestError(f"{parameter} is empty, so nothing was deleted.")
    return value


def _one_id(value: str) -> str:
    """The id, if it can be one: AnyFast would say of anything else that it is gone already."""
    asset_id = _given("asset_id", value)
    if not re.fullmatch(r"[\w.:/-]+", asset_id):
        raise InvalidRequestError(
            f"asset_id={asset_id[:100]!r} is not an id, so nothing was deleted. To pass a list, use an output such as "
            "assets.output; a template turns it into text unless the DAG has render_template_as_native_obj=True."
        )
    return asset_id


def _is_deleted(client: AnyFastClient, call: endpoints.Call[str]) -> bool:
    """Whether this call deleted something; what is not there needs no deleting."""
    try:
        client.send(call)
    except NotFoundError as error:
        log.info("Already gone: %s", error.what)
        return False
    return True
