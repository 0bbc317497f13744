"""Waits for an asset in the triggerer."""

from __future__ import annotations

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.errors import AssetTimeoutError
from airflow_provider_anyfast.client.responses import Asset
from airflow_provider_anyfast.polling.schedule import ASSET_SCHEDULE
from airflow_provider_anyfast.triggers.base import JobTrigger
from airflow_provider_anyfast.triggers.multi import JobsTrigger


class AssetTrigger(JobTrigger[Asset]):
    """Fires when an asset is Active or Failed, or its deadline has passed."""

    label = "Asset"
    schedule = ASSET_SCHEDULE
    timeout_error = AssetTimeoutError
    hint = "It is paid for and may still become Active. The next attempt finds it again, and nothing is paid again."

    def call(self) -> endpoints.Call[Asset]:
        """How the asset is asked for."""
        return endpoints.get_asset(self.job_id)


class AssetsTrigger(JobsTrigger[Asset]):
    """Fires when all of these assets are Active or Failed, or their deadlines have passed."""

    trigger_class = AssetTrigger
