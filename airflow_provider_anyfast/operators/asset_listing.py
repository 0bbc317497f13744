"""Listing asset groups and assets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.sdk import BaseOperator

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.responses import Asset, AssetGroup
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook, AnyFastHookMixin
from airflow_provider_anyfast.parameters import TaskParameters, check_literals, read
from airflow_provider_anyfast.seedance.result import asset_facts
from airflow_provider_anyfast.values import Ids, OptionalText

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk import Context, XComArg

    from airflow_provider_anyfast.values import TemplatedText

ItemT = TypeVar("ItemT", Asset, AssetGroup)


class ListParameters(TaskParameters):
    """The filters of a list."""

    meant_if_given: ClassVar[frozenset[str]] = frozenset({"name", "group_ids"})

    name: OptionalText = None
    group_ids: Ids = ()
    group_type: OptionalText = None


class _ListOperator(BaseOperator, AnyFastHookMixin):
    """What both lists have in common."""

    template_fields: Sequence[str] = ("name", "group_ids", "group_type", "anyfast_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"group_ids": "json"}
    ui_color = "#f0ffe8"

    def __init__(
        self,
        *,
        name: TemplatedText | None = None,
        group_ids: Sequence[TemplatedText] | XComArg | str = (),
        group_type: TemplatedText | None = "AIGC",
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.group_ids = group_ids
        self.group_type = group_type
        self.anyfast_conn_id = anyfast_conn_id
        check_literals(self, ListParameters)

    def _read(self, context: Context, list_all: Callable[..., endpoints.Flow[list[ItemT]]]) -> list[ItemT]:
        with fail_fast(context, self.anyfast_conn_id):
            filters = read(self, ListParameters)
            return self.hook.run(
                list_all(group_ids=filters.group_ids, name=filters.name, group_type=filters.group_type)
            )


class ListAssetGroupsOperator(_ListOperator):
    """Lists the asset groups of the key, every page. Not billed.

    Args:
        name: part of the name; None lists all.
        group_ids: only these groups; one id, or several.
        group_type: ``AIGC``, ``LivenessFace``, or None to leave the filter out.
        anyfast_conn_id: the connection.

    Returns:
        A list of ``{"id", "name", "group_type", "description", "created_at"}``; names come without the prefix that
        AnyFast adds.
    """

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Reads every page."""
        return [
            {**group.model_dump(), "name": group.plain_name}
            for group in self._read(context, endpoints.list_asset_groups)
        ]


class ListAssetsOperator(_ListOperator):
    """Lists the assets of the key, every page. Not billed.

    Args:
        name: part of the name; None lists all.
        group_ids: only what is in these groups; one id, or several.
        group_type: ``AIGC``, ``LivenessFace``, or None to leave the filter out, which AnyFast has refused at times.
        anyfast_conn_id: the connection.

    Returns:
        A list of ``{"id", "uri", "name", "group_id", "asset_type", "status", "created_at", "updated_at", "error"}``.
    """

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Reads every page."""
        return [asset_facts(asset) for asset in self._read(context, endpoints.list_assets)]
