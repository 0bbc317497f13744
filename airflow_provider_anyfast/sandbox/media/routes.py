"""The files behind the links: videos at ``/files/…``, the content of assets at ``/ark-media-asset/…``."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from airflow_provider_anyfast.sandbox.api.responses import ApiError, ApiResponse, storage_error
from airflow_provider_anyfast.sandbox.api.routing import AnyFastRoute, RequestFault, TheSandbox
from airflow_provider_anyfast.sandbox.faults.wire import DamagedDownload, corrupted
from airflow_provider_anyfast.sandbox.generations.results import files_of, video_of

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.generations.generation import Generation
    from airflow_provider_anyfast.sandbox.state import Sandbox

downloads = APIRouter(route_class=AnyFastRoute)
asset_contents = APIRouter()
_VIDEO_TYPES = {"mp4": "video/mp4", "mov": "video/quicktime"}


@downloads.api_route("/files/{name}", methods=["GET", "HEAD"], name="download")
async def download(name: str, request: Request, sandbox: TheSandbox, fault: RequestFault) -> Response:
    """Send a file of a finished generation, rendered now if it has not been downloaded before."""
    with sandbox.lock:
        _check_link(request, sandbox)
        generation = _generation_of(name, sandbox)
    if fault is not None and fault.name == "corrupt_download":
        return corrupted()
    part = files_of(generation)[name]
    video = video_of(generation, part)
    file = sandbox.videos.last_frame(video) if part == "last-frame" else sandbox.videos.file(video)
    path = await asyncio.wrap_future(file)
    media_type = "image/png" if part == "last-frame" else _VIDEO_TYPES[video.container]
    whole = FileResponse(path, media_type=media_type, headers={"ETag": f'"{path.stem}"'}, stat_result=path.stat())
    if fault is not None and fault.name in ("truncate_download", "stall_download"):
        return DamagedDownload(whole, fault)
    return whole


@asset_contents.get("/ark-media-asset/{asset_id}")
async def asset_content(asset_id: str, request: Request, sandbox: TheSandbox) -> Response:
    """Send the content of an asset, or redirect to where it is."""
    with sandbox.lock:
        _check_link(request, sandbox)
        assets = (key.library.assets.get(asset_id) for key in sandbox.keys.values())
        asset = next((asset for asset in assets if asset is not None), None)
    if asset is None:
        raise ApiError(_no_such_key())
    if asset.file is None:
        return RedirectResponse(asset.remote_url or "", status_code=302)
    media_type = f"{asset.media.kind.lower()}/{asset.media.format}" if asset.media else None
    return FileResponse(asset.file, media_type=media_type)


def _check_link(request: Request, sandbox: Sandbox) -> None:
    sandbox.signer.check(request.url.path, request.query_params, request.headers, sandbox.clock.now())


def _generation_of(name: str, sandbox: Sandbox) -> Generation:
    generation = sandbox.generations.get(re.split(r"[.-]", name)[0])
    if generation is None or name not in files_of(generation):
        raise ApiError(_no_such_key())
    return generation


def _no_such_key() -> ApiResponse:
    return storage_error(404, "NoSuchKey", "The specified key does not exist.")
