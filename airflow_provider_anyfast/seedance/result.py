"""What a task returns about a generation: the same fields from every operator and sensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.seedance.pricing import billed_tokens, money
from airflow_provider_anyfast.seedance.saved import saved_fields
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from airflow_provider_anyfast.client.responses import Asset, Generation
    from airflow_provider_anyfast.seedance.saved import SavedVideo

LINK_LIFETIME = 24 * 3600
"""Seconds for which AnyFast's link to a finished video works (docs.anyfast.ai, seedance-task-query)."""


def video_result(
    generation: Generation,
    *,
    prompt: str | None = None,
    parameters: dict[str, Any] | None = None,
    saved: SavedVideo | None = None,
    submitted_at: float | None = None,
    estimated_tokens: int | None = None,
    price: Decimal | None = None,
) -> dict[str, Any]:
    """The result as plain JSON. Missing facts are None, times are ISO 8601 in UTC.

    Args:
        generation: AnyFast's response.
        prompt: the request's prompt, if the task knows it.
        parameters: the request as the user gave it, if the task knows it.
        saved: the files, if there are any.
        submitted_at: Unix seconds, if AnyFast does not report them.
        estimated_tokens: the estimate before the submission, if the task knows it.
        price: of a million tokens, if the connection has one.
    """
    expires_at = generation.finished_at + LINK_LIFETIME if generation.finished_at and generation.video_url else None
    return {
        "generation_id": generation.generation_id or None,
        "status": generation.status or None,
        "model": generation.model,
        "prompt": prompt,
        "parameters": parameters,
        "video_url": generation.video_url,
        "expires_at": clock.iso(expires_at),
        "last_frame_url": generation.last_frame_url,
        **saved_fields(saved, parameters),
        "duration": generation.duration,
        "resolution": generation.resolution,
        "ratio": generation.ratio,
        "seed": generation.seed,
        "usage": generation.usage.model_dump(exclude_none=True),
        "estimated_tokens": estimated_tokens,
        "estimated_cost": money(estimated_tokens, price),
        "cost": money(billed_tokens(generation.usage), price),
        "submitted_at": clock.iso(generation.submitted_at or submitted_at),
        "finished_at": clock.iso(generation.finished_at),
    }


def describe_result(result: Mapping[str, Any]) -> str:
    """A finished video, for a log line."""
    tokens = result["usage"].get("total_tokens")
    billed = "an unknown number of tokens" if tokens is None else counted(tokens, "token")
    return f"seed {result['seed']}, {billed}" + (f", {result['cost']}" if result["cost"] else "")


def asset_facts(asset: Asset) -> dict[str, Any]:
    """An asset as plain JSON. Its link is omitted, since every read signs a new one; ``uri`` does not change."""
    return {**asset.model_dump(exclude={"url"}), "uri": asset.uri}
