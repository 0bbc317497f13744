"""Deleting assets and asset groups, also as a teardown task."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_anyfast.assets.parameters import DeletionParameters, GroupDeletionParameters
from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.asset_ids import bare_asset_id
from airflow_provider_anyfast.client.errors import NotFoundError
from airflow_provider_anyfast.client.responses import groups_named
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook, AnyFastHookMixin
from airflow_provider_anyfast.parameters import check_literals, read
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.values import Templated, TemplatedText

log = logging.getLogger(__name__)


class DeleteAssetOperator(BaseOperator, AnyFastHookMixin):
    """Deletes assets. One that does not exist is no error, so it also works as a teardown task. Not billed.

    Args:
        asset_id: the id of an asset, or a list of ids as ``CreateAssetsOperator`` returns them, which may be empty; or
        group_id, name: the asset of exactly this name in this group. A whole group is ``DeleteAssetGroupOperator``'s.
        anyfast_conn_id: the connection; assets belong to its key.

    Returns:
        The ids that were deleted.

    Raises:
        InvalidRequestError: nothing is named, as when a template renders an empty string; nothing was deleted. Values
            without a template are checked while the DAG is parsed.
    """

    template_fields: Sequence[str] = ("asset_id", "group_id", "name", "anyfast_conn_id")
    ui_color = "#ffece8"

    def __init__(
        self,
        *,
        asset_id: Templated[Sequence[str]] | None = None,
        group_id: TemplatedText | None = None,
        name: TemplatedText | None = None,
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.asset_id = asset_id
        self.group_id = group_id
        self.name = name
        self.anyfast_conn_id = anyfast_conn_id
        check_literals(self, DeletionParameters)

    def execute(self, context: Context) -> list[str]:
        """Finds the assets, and deletes them."""
        with fail_fast(context, self.anyfast_conn_id):
            given = read(self, DeletionParameters)
            with self.hook.get_conn() as client:
                ids = _assets_of(client, given)
                return [asset_id for asset_id in ids if _is_deleted(client, endpoints.delete_asset(asset_id))]


class DeleteAssetGroupOperator(BaseOperator, AnyFastHookMixin):
    """Deletes a group with every asset in it. One that does not exist is no error. Not billed.

    Args:
        group_id: the id of the group; or
        name: the name of the group; all groups of exactly this name are deleted.
        anyfast_conn_id: the connection; groups belong to its key.

    Returns:
        The ids of the groups that were deleted.

    Raises:
        InvalidRequestError: nothing is named, as when a template renders an empty string; nothing was deleted. Values
            without a template are checked while the DAG is parsed.
    """

    template_fields: Sequence[str] = ("group_id", "name", "anyfast_conn_id")
    ui_color = "#ffece8"

    def __init__(
        self,
        *,
        group_id: TemplatedText | None = None,
        name: TemplatedText | None = None,
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.group_id = group_id
        self.name = name
        self.anyfast_conn_id = anyfast_conn_id
        check_literals(self, GroupDeletionParameters)

    def execute(self, context: Context) -> list[str]:
        """Finds the groups, and deletes their assets and then the groups."""
        with fail_fast(context, self.anyfast_conn_id):
            given = read(self, GroupDeletionParameters)
            with self.hook.get_conn() as client:
                return [group_id for group_id in _groups_of(client, given) if self._delete(client, group_id)]

    def _delete(self, client: AnyFastClient, group_id: str) -> bool:
        """Deletes the assets first: whether AnyFast deletes them with their group is not documented."""
        assets = client.run(endpoints.list_assets(group_ids=[group_id]))
        mine = [asset.id for asset in assets if asset.group_id == group_id]
        for asset_id in mine:
            _is_deleted(client, endpoints.delete_asset(asset_id))
        self.log.info("Group %s contained %s.", group_id, counted(len(mine), "asset"))
        return _is_deleted(client, endpoints.delete_asset_group(group_id))


def _assets_of(client: AnyFastClient, given: DeletionParameters) -> list[str]:
    if given.asset_id is not None:
        return [bare_asset_id(asset_id) for asset_id in given.asset_id]
    assets = client.run(endpoints.list_assets(group_ids=[given.group_id or ""], name=given.name))
    return [asset.id for asset in assets if asset.name == given.name]


def _groups_of(client: AnyFastClient, given: GroupDeletionParameters) -> list[str]:
    if given.group_id is not None:
        return [given.group_id]
    groups = client.run(endpoints.list_asset_groups(name=given.name))
    return [group.id for group in groups_named(groups, given.name or "")]


def _is_deleted(client: AnyFastClient, call: endpoints.Call[str]) -> bool:
    """Whether this call deleted something; what does not exist is no error."""
    try:
        client.send(call)
    except NotFoundError as error:
        log.info("Already gone: %s", error.what)
        return False
    return True
