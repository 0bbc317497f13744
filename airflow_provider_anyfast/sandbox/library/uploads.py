"""The content of a new asset: from a form, a data URI or Base64, or at a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from fastapi.concurrency import run_in_threadpool

from airflow_provider_anyfast.sandbox.api.responses import ApiError, gateway_error, invalid_parameter
from airflow_provider_anyfast.sandbox.library.requests import CreateAsset, check_request, read_json
from airflow_provider_anyfast.sandbox.media.data_uris import DataUri, decode_base64
from airflow_provider_anyfast.sandbox.media.limits import Failure, check_media
from airflow_provider_anyfast.sandbox.media.probe import Media, read_media

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import Request

_MARKER = re.compile(rb"\[sandbox:fail:(\w+)]")
_SENTENCES = {"FaceMismatch": "Face consistency verification failed."}
# The value of the URL field in a form, whose content is in its file.
_IN_FORM = "form"


@dataclass(frozen=True)
class Upload:
    """A new asset's request, with its content or the URL of the content.

    ``bare`` content is Base64 without a type, which the service treats as a PNG whatever ``AssetType`` says.
    """

    request: CreateAsset
    content: bytes | None = None
    remote_url: str | None = None
    bare: bool = False


@dataclass(frozen=True)
class UploadCheck:
    """What the content is, and why the asset will fail, if so."""

    media: Media | None
    failure: Failure | None


async def read_upload(request: Request) -> Upload:
    """Return the content of a CreateAsset request, from JSON or from a form.

    Raises:
        ApiError: 400, a field is missing or wrong, or AnyFast does not accept the URL.
    """
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await _read_form(request)
    body = await read_json(CreateAsset, request)
    if body.URL.startswith("data:"):
        return Upload(body, _decoded(lambda: DataUri.parse(body.URL).content))
    scheme = urlsplit(body.URL).scheme if "://" in body.URL else ""
    if scheme in ("http", "https") and urlsplit(body.URL).hostname:
        return Upload(body, remote_url=body.URL)
    if scheme or ":" in body.URL:
        raise ApiError(gateway_error(400, "invalid url scheme"))
    return Upload(body, _decoded(lambda: decode_base64(body.URL)), bare=True)


async def _read_form(request: Request) -> Upload:
    async with request.form() as form:
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise ApiError(gateway_error(400, "Invalid request: the form has no file"))
        fields: dict[str, object] = {name: value for name, value in form.items() if isinstance(value, str) and value}
        # Without AssetType the service treats every upload as an image.
        fields = {"AssetType": "Image", **fields, "URL": _IN_FORM}
        return Upload(check_request(CreateAsset, fields), await file.read())


def _decoded(decode: Callable[[], bytes]) -> bytes:
    try:
        return decode()
    except ValueError as error:
        raise ApiError(invalid_parameter("URL", str(error))) from None


async def validate_upload(upload: Upload, group_type: str) -> UploadCheck:
    """Return the result of processing an upload. Content at a URL is never fetched.

    A marker like ``[sandbox:fail:FaceMismatch]`` in the name, the URL or the bytes of the file makes any asset fail
    with that code.
    """
    failure = _marked_failure(upload)
    if upload.content is None:
        return UploadCheck(None, failure)
    media = await run_in_threadpool(read_media, upload.content)
    expected = upload.request.AssetType
    if upload.bare and expected != "Image":
        failure = failure or Failure("TypeMismatch", f"The file is of type Image, but AssetType is {expected}.")
    return UploadCheck(media, failure or check_media(media, expected, group_type))


def _marked_failure(upload: Upload) -> Failure | None:
    text = f"{upload.request.Name} {unquote(upload.remote_url or '')}".encode("utf-8", "replace")
    marked = _MARKER.search(text) or _MARKER.search(upload.content or b"")
    if marked is None:
        return None
    code = marked[1].decode("utf-8", "replace")
    return Failure(code, _SENTENCES.get(code, "The file cannot be used."))
