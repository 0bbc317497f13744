"""Submits a generation, and waits for its assets that have only just become Active."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import billing_pages, clock, endpoints
from airflow_provider_anyfast.client.asset_ids import bare_asset_id
from airflow_provider_anyfast.client.consistency import ACTIVE_ASSET_APPEARS, ACTIVE_ASSET_PAUSE
from airflow_provider_anyfast.client.errors import AnyFastError, AssetNotFoundError, ModelUnavailableError, QuotaError
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.seedance.catalog import MODELS

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.transport import AnyFastClient, Guard
    from airflow_provider_anyfast.seedance.request import VideoRequest

log = subject_logger(__name__)


def submit(client: AnyFastClient, request: VideoRequest, guard: Guard) -> str:
    """Submits a generation and returns its id. Billed once.

    A model may not find an asset for a while after the asset library lists it. This waits and submits again.

    Args:
        client: its key pays.
        request: the generation to submit.
        guard: surrounds each submission, and none of the waits between them.

    Raises:
        AssetNotFoundError: this key has no such asset, or the asset did not become Active just now.
        QuotaError: no money is left; it names the balance if that can be read.
        ModelUnavailableError: this key has no such model; it names a known model that is spelled almost like it.
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
        except ModelUnavailableError as error:
            similar = difflib.get_close_matches(request.model, MODELS, n=1)
            if request.model in MODELS or not similar:
                raise
            raise error.with_context(f"Did you mean model={similar[0]!r}?") from error
        except AssetNotFoundError as error:
            if clock.now() >= give_up_at or not _any_fresh(client, request):
                raise
            log.warning(
                "%s An asset has only just become Active: trying again in %.0f s.", error.what, ACTIVE_ASSET_PAUSE
            )
            clock.sleep(ACTIVE_ASSET_PAUSE)


def _any_fresh(client: AnyFastClient, request: VideoRequest) -> bool:
    """Whether an asset of the request became Active a moment ago. Sends free calls."""
    ids = [bare_asset_id(reference) for reference in request.references if "asset-" in reference]
    return any(_is_fresh(client, asset_id) for asset_id in ids)


def _is_fresh(client: AnyFastClient, asset_id: str) -> bool:
    try:
        asset = client.send(endpoints.get_asset(asset_id))
    except AnyFastError as error:
        return error.retryable  # a lookup that failed says nothing; the error of the submission is the one to show
    return asset.outcome is Outcome.SUCCEEDED and clock.now() - asset.changed_at < ACTIVE_ASSET_APPEARS
