"""Submits a generation, and waits for assets of it that have only just become Active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import billing_pages, clock, endpoints
from airflow_provider_anyfast.client.consistency import ACTIVE_ASSET_APPEARS, ACTIVE_ASSET_PAUSE
from airflow_provider_anyfast.client.errors import AnyFastError, AssetNotFoundError, QuotaError
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.client.responses import Outcome

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.transport import AnyFastClient, Guard
    from airflow_provider_anyfast.seedance.request import VideoRequest

log = subject_logger(__name__)


def submit(client: AnyFastClient, request: VideoRequest, guard: Guard) -> str:
    """Submits, and answers the generation's id. Billed once.

    An asset that AnyFast's library knows already may be unknown to its models for a while, which is waited for.

    Args:
        client: of the account that pays.
        request: what is to be made.
        guard: surrounds each submission, and none of the waits between them.

    Raises:
        AssetNotFoundError: a referenced asset is not there for this key, and has not just become Active.
        QuotaError: no money is left; it names the balance where that can be read.
        AnyFastError: as ``AnyFastClient.send`` does.
    """
    give_up_at = clock.now() + ACTIVE_ASSET_APPEARS
    while True:
        try:
            return client.send(endpoints.submit_generation(request.body()), guard)
        except QuotaError as error:
            usage = billing_pages.usage_of(client)
            if usage is None:
                raise
            raise error.with_context(str(usage)) from error
        except AssetNotFoundError as error:
            if clock.now() >= give_up_at or not _any_fresh(client, request):
                raise
            log.warning(
                "%s An asset has only just become Active: trying again in %.0f s.", error.what, ACTIVE_ASSET_PAUSE
            )
            clock.sleep(ACTIVE_ASSET_PAUSE)


def _any_fresh(client: AnyFastClient, request: VideoRequest) -> bool:
    """Whether an asset of the request has become Active a moment ago, as free calls tell."""
    ids = [endpoints.bare_asset_id(reference) for reference in request.references if "asset-" in reference]
    return any(_is_fresh(client, asset_id) for asset_id in ids)


def _is_fresh(client: AnyFastClient, asset_id: str) -> bool:
    try:
        asset = client.send(endpoints.get_asset(asset_id))
    except AnyFastError as error:
        return error.retryable  # a look-up that failed says nothing; the error of the submission is the one to show
    return asset.outcome is Outcome.SUCCEEDED and clock.now() - asset.changed_at < ACTIVE_ASSET_APPEARS
