"""The images, videos and audios of a submission: where they come from, and whether they may be used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_anyfast.sandbox.api.responses import (
    ApiError,
    asset_not_usable,
    asset_still_processing,
    upstream_error,
)
from airflow_provider_anyfast.sandbox.generations.generation import Reference, ReferenceKind
from airflow_provider_anyfast.sandbox.generations.requests import AudioItem, ImageItem, VideoItem, invalid
from airflow_provider_anyfast.sandbox.media.data_uris import DataUri, shortened
from airflow_provider_anyfast.sandbox.media.limits import check_media
from airflow_provider_anyfast.sandbox.media.probe import Media, MediaKind, read_media

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.generations.catalog import Model
    from airflow_provider_anyfast.sandbox.generations.requests import Submission
    from airflow_provider_anyfast.sandbox.library.asset_library import AssetLibrary

_ASSET = "asset://"
_DATA = "data:"
_KIND: dict[ReferenceKind, MediaKind] = {"image": "Image", "video": "Video", "audio": "Audio"}


def read_references(submission: Submission, model: Model, library: AssetLibrary, now: float) -> tuple[Reference, ...]:
    """Return the references of a submission in their order.

    Raises:
        ApiError: 400, an asset that the key does not have, that is not ready or of another type; a URL that cannot be
            used; content that breaks a limit.
    """
    reader = _Reader(model, library, now)
    return tuple(
        reader.read(item, f"content[{index}]")
        for index, item in enumerate(submission.content)
        if isinstance(item, ImageItem | VideoItem | AudioItem)
    )


@dataclass(frozen=True)
class _Reader:
    model: Model
    library: AssetLibrary
    now: float

    def read(self, item: ImageItem | VideoItem | AudioItem, place: str) -> Reference:
        kind, url = _kind_and_url(item)
        place = f"{place}.{kind}_url"
        if url.startswith(_ASSET):
            return self._asset(kind, item.role or "first_frame", url.removeprefix(_ASSET), place)
        if url.startswith(_DATA):
            return _inline(kind, item.role or "first_frame", url, place)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ApiError(
                invalid(place, "the URL must be a public one, a data URI, or asset:// in lower case with an id")
            )
        return Reference(kind, item.role or "first_frame", parts.path.rsplit("/", 1)[-1] or parts.hostname, url)

    def _asset(self, kind: ReferenceKind, role: str, asset_id: str, place: str) -> Reference:
        asset = self.library.assets.get(asset_id)
        if asset is None or self.now < asset.visible_at or asset.status(self.now) == "Failed":
            raise ApiError(asset_not_usable(asset_id))
        verified_person = self.library.groups[asset.group_id].group_type == "LivenessFace"
        if verified_person and not self.model.liveness_assets:
            raise ApiError(asset_not_usable(asset_id))
        if asset.status(self.now) == "Processing":
            raise ApiError(asset_still_processing(asset_id))
        if asset.asset_type != _KIND[kind]:
            raise ApiError(invalid(place, f"the asset {asset_id} is of type {asset.asset_type}, not {_KIND[kind]}"))
        name = asset.name or asset.id
        return _known(Reference(kind, role, name, f"{_ASSET}{asset_id}", asset_id=asset_id), asset.media)


def _inline(kind: ReferenceKind, role: str, url: str, place: str) -> Reference:
    if kind == "video":
        raise ApiError(invalid(place, "a video is taken as a URL or an asset, not as Base64"))
    try:
        data = DataUri.parse(url)
    except ValueError as error:
        raise ApiError(invalid(place, str(error))) from None
    media = read_media(data.content)
    if failure := check_media(media, _KIND[kind]):
        raise ApiError(upstream_error(400, f"InvalidParameter.{failure.code}", f"{place}: {failure.message}"))
    return _known(Reference(kind, role, f"{kind} of {len(data.content)} bytes", shortened(url)), media)


def _kind_and_url(item: ImageItem | VideoItem | AudioItem) -> tuple[ReferenceKind, str]:
    if isinstance(item, ImageItem):
        return "image", item.image_url.url
    if isinstance(item, VideoItem):
        return "video", item.video_url.url
    return "audio", item.audio_url.url


def _known(reference: Reference, media: Media | None) -> Reference:
    """Return ``reference`` with what is known of its content."""
    if media is None:
        return reference
    return replace(reference, width=media.width, height=media.height, seconds=media.seconds, thumbnail=media.thumbnail)
