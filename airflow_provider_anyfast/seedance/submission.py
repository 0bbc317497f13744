"""Submitting a generation, with patience for assets that are only just there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.errors import AssetNotFoundError
from airflow_provider_anyfast.client.responses import Outcome

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.seedance.request import VideoRequest

log = logging.getLogger(__name__)

FRESH_ASSET_PATIENCE = 180.0
"""Seconds after it became Active in which a model may not know an asset yet; clients have met two minutes."""
FRESH_ASSET_PAUSE = 10.0
"""Seconds between submissions meanwhile."""


def submit(client: AnyFastClient, request: VideoRequest) -> str:
    """Submits, and waits for assets that AnyFast's library knows already and its models do not yet."""
    give_up_at = clock.now() + FRESH_ASSET_PATIENCE
    while True:
        try:
            return client.send(endpoints.submit_generation(request.body()))
        except AssetNotFoundError as error:
            if clock.now() >= give_up_at or not _any_fresh(client, request):
                raise error.with_context(
                    "Assets belong to the key that created them, and can be deleted. Nothing was submitted or spent."
                ) from error
            log.warning("%s An asset has only just become Active: trying again in %.0f s.", error, FRESH_ASSET_PAUSE)
            clock.sleep(FRESH_ASSET_PAUSE)


def _any_fresh(client: AnyFastClient, request: VideoRequest) -> bool:
    """Whether an asset of the request has become Active a moment ago, as free calls tell."""
    ids = [endpoints.bare_asset_id(reference) for reference in request.references if "asset-" in reference]
    assets = [client.send(endpoints.get_asset(asset_id)) for asset_id in ids]
    return any(
        asset.outcome is Outcome.SUCCEEDED and clock.now() - asset.changed_at < FRESH_ASSET_PATIENCE for asset in assets
    )
