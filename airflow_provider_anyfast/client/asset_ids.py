"""How people write the ids of assets."""

from __future__ import annotations


def bare_asset_id(reference: str) -> str:
    """``asset-…`` of any spelling of a reference to an asset, such as ``Asset://asset-…``."""
    reference = reference.strip()
    return reference[len("asset://") :] if reference.lower().startswith("asset://") else reference
