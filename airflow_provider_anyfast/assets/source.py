"""The source of an asset, a file or a URL: inspected and named before anything is billed."""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.endpoints import Upload
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.files.paths import stored_file
from airflow_provider_anyfast.ledger.fingerprint import short_digest
from airflow_provider_anyfast.media.file import ASSET_TYPES, MediaFile, read_media
from airflow_provider_anyfast.media.limits import RULES, Measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyfast.assets.parameters import UploadMethod
    from airflow_provider_anyfast.client.transport import AnyFastClient, Guard
    from airflow_provider_anyfast.files.paths import Place

_LARGEST_FILE = max(rules.limits[Measure.SIZE].highest for rules in RULES.values())
_SPELLINGS = {"audio/x-wav": "audio/wav", "image/x-ms-bmp": "image/bmp", "video/x-m4v": "video/mp4"}
"""Other names of media types that AnyFast accepts."""
_DATA_URI = re.compile(r"data:(?P<type>[\w.+/-]*)(?:;[\w.+=-]+)*;base64,(?P<content>.*)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class AssetSource:
    """The source of an asset: a URL, or a file of which there is a temporary local copy.

    Attributes:
        upload: how a file is sent; ``auto`` sends images as data URIs and other files as multipart forms, since images
            sent as forms have been seen to get ids that never resolve.
    """

    name: str
    asset_type: str
    url: str | None = None
    media: MediaFile | None = None
    upload: UploadMethod = "auto"

    def create(self, client: AnyFastClient, group_id: str, guard: Guard) -> str:
        """Creates the asset and returns its id. Billed. Each request is sent inside ``guard``."""
        create = partial(endpoints.create_asset, group_id=group_id, name=self.name, asset_type=self.asset_type)
        if self.media is None:
            return client.send(create(url=self.url), guard)
        if self.upload == "data_uri" or (self.upload == "auto" and self.asset_type == "Image"):
            return client.send(create(url=self.media.data_uri()), guard)
        with self.media.open() as content:
            upload = Upload(self.media.file_name, content, self.media.media_type)
            return client.send(create(upload=upload), guard)


@contextmanager
def file_source(
    file: Place, *, name: str | None = None, asset_type: str | None = None, upload: UploadMethod = "auto"
) -> Iterator[AssetSource]:
    """A local or stored file, inspected before anything is billed, for the duration of the block.

    Raises:
        InvalidRequestError: it does not exist, or AnyFast would refuse it; lists every problem found.
        StorageError: the storage does not respond.
    """
    stored = stored_file(file, "file")
    shown = f"file={str(file)!r}"
    size = stored.size()
    if size is not None and size > _LARGEST_FILE:
        raise InvalidRequestError(
            f"{shown} has {size:,} bytes, but AnyFast accepts at most {_LARGEST_FILE:,.0f} of any type."
        )
    with stored.local_copy() as path:
        media = read_media(path, asset_type, shown=shown)
        yield AssetSource(name or media.default_name, media.asset_type, media=media, upload=upload)


def url_source(url: str, *, name: str | None = None, asset_type: str | None = None) -> AssetSource:
    """A public link, a data URI, or the raw Base64 of an image.

    Content that is part of ``url`` is checked as that of a file.

    Raises:
        InvalidRequestError: it is none of these, AnyFast would refuse its content, or its type cannot be determined.
    """
    url = url.strip()
    if _is_link(url):
        return AssetSource(name or _name_of_link(url), asset_type or _type_of_link(url), url=url)
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder) / "content"
        content.write_bytes(_content_of(url))
        media = read_media(content, asset_type, shown="url")
    return AssetSource(name or f"asset-{_url_digest(url)}", media.asset_type, url=url)


def _content_of(url: str) -> bytes:
    """The bytes that a data URI or raw Base64 holds."""
    data_uri = _DATA_URI.fullmatch(url)
    try:
        return base64.b64decode("".join((data_uri["content"] if data_uri else url).split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequestError(
            f"url={redact(url)[:100]!r} is neither a link (http://… or https://…), nor a data URI "
            "(data:image/png;base64,…), nor Base64. Pass a path, or an address such as s3://bucket/key, as file."
        ) from None


def _is_link(url: str) -> bool:
    if not url.lower().startswith(("http://", "https://")):
        return False
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host or re.search(r"\s", url):
        raise InvalidRequestError(f"url={redact(url)[:100]!r} is not an address: it has no host, or contains spaces.")
    return True


def _type_of_link(url: str) -> str:
    media_type = mimetypes.guess_type(urlsplit(url).path)[0] or ""
    asset_type = media_type.partition("/")[0].capitalize()
    if asset_type not in ASSET_TYPES:
        raise InvalidRequestError(
            f"asset_type cannot be determined from url={redact(url)[:100]!r}; give one of {', '.join(ASSET_TYPES)}."
        )
    formats = RULES[asset_type].formats
    if _SPELLINGS.get(media_type, media_type) not in formats:
        raise InvalidRequestError(
            f"url={redact(url)[:100]!r} seems to be {media_type}, but AnyFast accepts {', '.join(formats.values())} as "
            f"{asset_type}. If it is one of these, give asset_type={asset_type!r}."
        )
    return asset_type


def _name_of_link(url: str) -> str:
    """The file's name in the link, and a digest of everything in the link that identifies the file."""
    stem = PurePosixPath(urlsplit(url).path).stem[:40]
    return f"{stem or 'asset'}-{_url_digest(_unsigned(url))}"


def _url_digest(url: str) -> str:
    """12 hex digits for the name of an asset. Assets are found again by their names, so it must never change."""
    identity = json.dumps([{"url": url}, ""], ensure_ascii=False)
    return short_digest(identity.encode("utf-8", "replace").decode())[:12]


_SCHEMES: dict[str, str] = {
    "x-amz-signature": r"x-amz-.*",
    "x-goog-signature": r"x-goog-.*",
    "x-tos-signature": r"x-tos-.*",
    "x-oss-signature": r"x-oss-.*",
    "q-signature": r"q-.*|x-cos-.*",
    "x-bce-signature": r"x-bce-.*",
    "awsaccesskeyid": r"awsaccesskeyid|signature|expires|x-amz-security-token",
    "ossaccesskeyid": r"ossaccesskeyid|signature|expires|security-token",
    "googleaccessid": r"googleaccessid|signature|expires",
    "key-pair-id": r"key-pair-id|signature|expires|policy",
    "sig": r"sig|se|sp|sv|sr|st|spr|skoid|sktid|skt|ske|sks|skv",
}
"""What to leave out of a link that a well-known service has signed, by the parameter that identifies such links.

A single parameter, such as ``token`` or ``sp``, may just as well identify the file."""


def _unsigned(url: str) -> str:
    """A link without the parts that differ each time that it is signed, so that one file has one name."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    names = {name.lower() for name, _ in query}
    for mark, pattern in _SCHEMES.items():
        if mark in names and (mark != "sig" or {"se", "sv"} <= names):
            query = [(name, value) for name, value in query if not re.fullmatch(pattern, name, re.IGNORECASE)]
    return urlunsplit(parts._replace(query=urlencode(query)))
