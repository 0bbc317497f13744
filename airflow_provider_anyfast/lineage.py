"""Lineage: asset events for the outlets of a task, and datasets for OpenLineage."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage

_NO_FACTS = (
    "video_url",
    "expires_at",
    "last_frame_url",
    "prompt",
    "parameters",
    "path",
    "last_frame_path",
    "poster_path",
)
"""Fields that stay out of an event: links are signed, paths may name a connection, and prompts may be long."""


def emit_asset_events(context: Mapping[str, Any], outlets: Iterable[Any], uri: str, result: Mapping[str, Any]) -> None:
    """Adds the file's URI and the facts of ``result`` to the event of every Asset and AssetAlias among the outlets.

    An alias gets one asset with that URI. Signed links stay out.
    """
    from airflow.sdk import Asset, AssetAlias  # noqa: PLC0415 - only tasks with outlets need them

    facts = {name: value for name, value in result.items() if name not in _NO_FACTS and value is not None}
    extra = {"uri": uri, **facts}
    for outlet in outlets:
        event = context["outlet_events"][outlet]
        if isinstance(outlet, AssetAlias):
            event.add(Asset(uri), extra=extra)
        else:
            event.extra = {**event.extra, **extra}


def asset_uris(references: Sequence[str], base_url: str) -> list[str]:
    """A request's references as URIs: assets with their AnyFast host, links without secrets, and files."""
    from airflow_provider_anyfast.client.asset_ids import bare_asset_id  # noqa: PLC0415 - not while a DAG is parsed
    from airflow_provider_anyfast.client.errors import AnyFastError  # noqa: PLC0415 - likewise
    from airflow_provider_anyfast.files.paths import stored_file  # noqa: PLC0415 - likewise

    named = []
    for reference in references:
        asset_id = bare_asset_id(reference)
        if asset_id.startswith("asset-"):
            named.append(f"anyfast://{urlsplit(base_url).netloc}/{asset_id}")
        elif reference.startswith(("http://", "https://")):
            parts = urlsplit(reference)
            host = parts.netloc.rpartition("@")[2]
            named.append(parts._replace(netloc=host, query="", fragment="").geturl())
        elif not reference.startswith("data:"):
            with suppress(AnyFastError):  # lineage must not fail a task whose video is paid for
                named.append(stored_file(reference, "reference").uri)
    return named


def lineage_of(inputs: Iterable[str], outputs: Iterable[str]) -> OperatorLineage[Any, Any]:
    """The datasets behind these URIs, as OpenLineage names them. Only called by the OpenLineage provider."""
    from airflow.providers.common.compat.openlineage.facet import Dataset  # noqa: PLC0415 - an optional provider
    from airflow.providers.openlineage.extractors import OperatorLineage  # noqa: PLC0415 - likewise

    def dataset(uri: str) -> Dataset:
        parts = urlsplit(uri)
        namespace = f"{parts.scheme}://{parts.netloc}" if parts.netloc else parts.scheme
        path = parts.path if parts.scheme.startswith("http") else unquote(parts.path)
        return Dataset(namespace=namespace, name=path if parts.scheme == "file" else path.lstrip("/"))

    return OperatorLineage(inputs=[dataset(uri) for uri in inputs], outputs=[dataset(uri) for uri in outputs])
