"""Putting one file or URL into a group, once: looking for it, creating it, and telling apart what can go wrong."""

from __future__ import annotations

import logging
import mimetypes
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlsplit

from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.endpoints import Upload
from airflow_provider_anyfast.client.errors import AssetGroupNotFoundError, InvalidRequestError
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.files.storage import stored_file
from airflow_provider_anyfast.ledger.purchase import submit_once
from airflow_provider_anyfast.ledger.record import Attach, Unconfirmed, fingerprint_of
from airflow_provider_anyfast.media.file import ASSET_TYPES, MediaFile, read_media
from airflow_provider_anyfast.media.limits import RULES, Measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyfast.client.responses import Asset
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.files.storage import Place
    from airflow_provider_anyfast.ledger.record import Ledger

log = logging.getLogger(__name__)

UploadWay = Literal["auto", "data_uri", "multipart"]
IfAssetExists = Literal["reuse", "fail"]

LONGEST_NAME = 64
"""Characters of a name."""
INDEX_LAG = 30.0
"""Seconds after which what was created is surely in the lists."""
FRESH_GROUP_PATIENCE = (2.0, 4.0, 8.0)
"""Seconds between tries while a group that is listed is not yet known to CreateAsset."""
_LARGEST_FILE = max(rules.limits[Measure.SIZE].highest for rules in RULES.values())


@dataclass(frozen=True)
class AssetSource:
    """What becomes an asset: a URL, or a file that is here for the moment.

    Attributes:
        upload: how a file is sent; ``auto`` sends images as data URIs and the rest as multipart forms, since images
            sent as forms have been seen to get ids that never resolve.
    """

    name: str
    asset_type: str
    url: str | None = None
    media: MediaFile | None = None
    upload: UploadWay = "auto"

    def create(self, client: AnyFastClient, group_id: str) -> str:
        """Creates the asset and returns its id. Billed."""
        create = partial(endpoints.create_asset, group_id=group_id, name=self.name, asset_type=self.asset_type)
        if self.media is None:
            return client.send(create(url=self.url))
        if self.upload == "data_uri" or (self.upload == "auto" and self.asset_type == "Image"):
            return client.send(create(url=self.media.data_uri()))
        with self.media.open() as content:
            return client.send(create(upload=Upload(self.media.path.name, content, self.media.media_type)))


@contextmanager
def file_source(
    file: Place, *, name: str | None = None, asset_type: str | None = None, upload: UploadWay = "auto"
) -> Iterator[AssetSource]:
    """A local or stored file, looked at before anything is paid, for as long as the block lasts.

    Raises:
        InvalidRequestError: it does not exist, or AnyFast would refuse it; with every problem that was found.
        StorageError: the storage does not answer.
    """
    stored = stored_file(file, "file")
    file = str(file)
    size = stored.size()
    if size is not None and size > _LARGEST_FILE:
        raise InvalidRequestError(
            f"file={file!r} has {size:,} bytes, and AnyFast takes at most {_LARGEST_FILE:,.0f} of any type. "
            "Nothing was sent and nothing was spent."
        )
    with stored.local_copy() as path:
        media = read_media(path, asset_type or None, shown=file)
        yield AssetSource(checked_name(name or media.default_name), media.asset_type, media=media, upload=upload)


def url_source(url: str, *, name: str | None = None, asset_type: str | None = None) -> AssetSource:
    """A public URL, a data URI or raw Base64 of a PNG.

    Raises:
        InvalidRequestError: its type cannot be told, or the name will not do.
    """
    url = url.strip()
    return AssetSource(checked_name(name or _name_of_url(url)), asset_type or _type_of_url(url), url=url)


@dataclass(frozen=True)
class AssetCreation:
    """Creating assets in one group."""

    client: AnyFastClient
    group_id: str
    if_exists: IfAssetExists = "reuse"

    def obtain(self, ledger: Ledger, source: AssetSource) -> tuple[str, bool]:
        """The asset's id, and whether it is known to be Active.

        Names are unique in a group, so AnyFast itself sees to it that a creation whose answer was lost is not repeated.

        Raises:
            InvalidRequestError: ``if_exists="fail"``, and there is an asset of that name.
            LostAnswerError: the answer is unknown; called again, this finds the asset.
            AnyFastError: AnyFast refused, and nothing was billed.
        """
        plan = ledger.plan()
        if isinstance(plan, Attach):
            log.info("Asset %s was created by an earlier attempt.", plan.id)
            return plan.id, False
        if isinstance(plan, Unconfirmed):
            wait_until_listed(plan.at)
        found = self.find(source.name)
        if found is not None and self.if_exists == "fail" and not isinstance(plan, Unconfirmed):
            raise InvalidRequestError(
                f"There is an asset named {source.name!r} in {self.group_id} already: {found.id}. Nothing was spent."
            )
        if found is not None and found.outcome is Outcome.FAILED:
            log.warning("Asset %s of that name has failed; it is deleted, which is free.", found.id)
            self.client.send(endpoints.delete_asset(found.id))
            found = None
        if found is None:
            return self._create(ledger, source), False
        log.info("Asset %s is named %r already: it is used, and nothing is paid.", found.id, source.name)
        ledger.record_submitted(found.id)
        return found.id, found.outcome is Outcome.SUCCEEDED

    def find(self, name: str) -> Asset | None:
        """The asset of exactly that name; where there are several, one that can be used."""
        assets = self.client.run(endpoints.list_assets(group_ids=[self.group_id], name=name))
        rank = {Outcome.SUCCEEDED: 0, Outcome.PENDING: 1, Outcome.FAILED: 2}
        named = sorted((asset for asset in assets if asset.name == name), key=lambda asset: rank[asset.outcome])
        return named[0] if named else None

    def _create(self, ledger: Ledger, source: AssetSource) -> str:
        """Creates the asset. A missing group can mean three things, and free calls tell which."""
        waits = iter(FRESH_GROUP_PATIENCE)
        while True:
            log.info("Creating the asset %r in %s, which is billed.", source.name, self.group_id)
            try:
                return submit_once(ledger, lambda: source.create(self.client, self.group_id))
            except AssetGroupNotFoundError as error:
                namesake = self.find(source.name)
                if namesake is not None and self.if_exists == "reuse":
                    log.info("Another task has created %s at the same moment: it is used.", namesake.id)
                    ledger.record_submitted(namesake.id)
                    return namesake.id
                groups = self.client.run(endpoints.list_asset_groups(group_ids=[self.group_id]))
                patience = next(waits, None)
                if patience is None or all(group.id != self.group_id for group in groups):
                    raise error.with_context(
                        f"This key sees no group {self.group_id}, or the name {source.name!r} is taken in it. Groups "
                        "belong to the key that created them. Nothing was spent."
                    ) from error
                clock.sleep(patience)


def wait_until_listed(created_at: float) -> None:
    """Waits until what may have been created at ``created_at``, Unix seconds of whichever host, is in the lists."""
    left = created_at + INDEX_LAG - clock.now()
    clock.sleep(min(max(0.0, left), INDEX_LAG))  # this host's clock may be behind


def checked_name(name: str) -> str:
    """A name that AnyFast takes.

    Raises:
        InvalidRequestError: it is empty or too long.
    """
    name = (name or "").strip()
    if not name or len(name) > LONGEST_NAME:
        raise InvalidRequestError(f"name={name!r} has {len(name)} characters; AnyFast takes 1 to {LONGEST_NAME}.")
    return name


def check_choice(parameter: str, value: str, choices: Any) -> None:
    """Raises an ``InvalidRequestError`` unless ``value`` is among the ``choices``, a ``Literal``."""
    if value not in get_args(choices):
        raise InvalidRequestError(f"{parameter}={value!r} is none of {', '.join(get_args(choices))}.")


def check_asset_type(asset_type: str | None) -> None:
    """Raises an ``InvalidRequestError`` for a type that AnyFast does not know; none at all is found out."""
    if asset_type and asset_type not in ASSET_TYPES:
        raise InvalidRequestError(f"asset_type={asset_type!r} is none of {', '.join(ASSET_TYPES)}.")


def check_group_id(group_id: str | None) -> None:
    """Raises an ``InvalidRequestError`` for a template that rendered nothing."""
    if not (group_id or "").strip():
        raise InvalidRequestError("group_id is empty: give the id that CreateAssetGroupOperator returns.")


def _type_of_url(url: str) -> str:
    """From the media type of a data URI, or the file ending of a link; raw Base64 is a PNG to AnyFast."""
    if url.startswith("data:"):
        media_type = url[len("data:") :].partition(";")[0].partition(",")[0]
    elif "://" in url:
        media_type = mimetypes.guess_type(urlsplit(url).path)[0] or ""
    else:
        media_type = "image/png"
    asset_type = media_type.partition("/")[0].capitalize()
    if asset_type not in ASSET_TYPES:
        raise InvalidRequestError(
            f"asset_type cannot be told from url={redact(url)[:100]!r}; give one of {', '.join(ASSET_TYPES)}."
        )
    return asset_type


def _name_of_url(url: str) -> str:
    """From the link without its signature, or from the content where it is in the URL itself."""
    digest = fingerprint_of({"url": url}, "")[:12]
    stem = PurePosixPath(urlsplit(url).path).stem if url.startswith(("http://", "https://")) else "asset"
    return f"{stem[:40] or 'asset'}-{digest}"
