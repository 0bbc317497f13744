"""Waits for an asset in the triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.errors import AssetTimeoutError
from airflow_provider_anyfast.client.responses import Asset
from airflow_provider_anyfast.polling.schedule import ASSET_SCHEDULE
from airflow_provider_anyfast.triggers.base import JobTrigger
from airflow_provider_anyfast.triggers.multi import JobsTrigger

if TYPE_CHECKING:
    from airflow_provider_anyfast.polling.schedule import Timing


class AssetTrigger(JobTrigger[Asset]):
    """Fires when an asset is Active or Failed, or its deadline has passed."""

    label = "Asset"
    creation = "creation"
    timeout_error = AssetTimeoutError

    @classmethod
    def call(cls, job_id: str) -> endpoints.Call[Asset]:
        """The request that polls an asset."""
        return endpoints.get_asset(job_id)

    @classmethod
    def timing(cls, anyfast_conn_id: str, kind: str) -> Timing:
        """The same for all assets."""
        del anyfast_conn_id, kind
        return ASSET_SCHEDULE


class AssetsTrigger(JobsTrigger[Asset]):
    """Fires when all of these assets are Active or Failed, or their deadlines have passed."""

    trigger_class = AssetTrigger
