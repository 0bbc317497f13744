"""The files behind links: videos at ``/files/…``, or through the gateway, and assets at ``/ark-media-asset/…``."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from airflow_provider_anyfast.sandbox.api.responses import (
    ApiError,
    ApiResponse,
    expired_link,
    gateway_error,
    storage_error,
)
from airflow_provider_anyfast.sandbox.api.routing import (
    STORAGE_CALL,
    AnyFastRoute,
    CallingKey,
    RequestFault,
    TheSandbox,
)
from airflow_provider_anyfast.sandbox.faults.wire import CutDownload, DamagedDownload, corrupted
from airflow_provider_anyfast.sandbox.generations.results import file_name, files_of, video_of

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.generations.generation import Generation
    from airflow_provider_anyfast.sandbox.state import Sandbox

downloads = APIRouter(route_class=AnyFastRoute)
asset_contents = APIRouter()
_DAMAGING = ("truncate_download", "stall_download")
_VIDEO_TYPES = {"mp4": "video/mp4", "mov": "video/quicktime"}


@downloads.api_route("/files/{name}", methods=["GET", "HEAD"], name=STORAGE_CALL)
async def download(name: str, request: Request, sandbox: TheSandbox, fault: RequestFault) -> Response:
    """Send a file of a finished generation; the first download renders it."""
    hit_by = fault.name if fault else ""
    with sandbox.lock:
        _check_link(request, sandbox)
        generation = _generation_of(name, sandbox)
        if hit_by == "link_expired":
            generation.aged_by = sandbox.settings.expired_age
        if generation.aged_by:
            raise ApiError(expired_link())
    if fault is None:
        return await _file(generation, name, sandbox)
    if hit_by == "corrupt_download":
        return corrupted()
    whole = await _file(generation, name, sandbox)
    if hit_by == "cut_download":
        return CutDownload(whole, fault)
    return DamagedDownload(whole, fault) if hit_by in _DAMAGING else whole


@downloads.get("/v1/videos/{task_id}/content", name="content")
async def content(task_id: str, sandbox: TheSandbox, key: CallingKey) -> Response:
    """Send the video of a generation through the gateway, which requires the key."""
    with sandbox.lock:
        generation = sandbox.generations.get(task_id)
        if generation is None or generation.account != key.account:
            raise ApiError(gateway_error(404, "Task not found", error_type="invalid_request_error"))
        status = generation.progress(sandbox.clock.now()).status
    if status != "SUCCESS":
        message = f"Task is not completed yet, current status: {status}"
        raise ApiError(gateway_error(400, message, error_type="invalid_request_error"))
    return await _file(generation, file_name(generation, "video"), sandbox)


async def _file(generation: Generation, name: str, sandbox: Sandbox) -> FileResponse:
    part = files_of(generation)[name]
    video = video_of(generation, part)
    file = sandbox.videos.last_frame(video) if part == "last-frame" else sandbox.videos.file(video)
    path = await asyncio.wrap_future(file)
    media_type = "image/png" if part == "last-frame" else _VIDEO_TYPES[video.container]
    return FileResponse(path, media_type=media_type, headers={"ETag": f'"{path.stem}"'}, stat_result=path.stat())


@asset_contents.get("/ark-media-asset/{asset_id}")
async def asset_content(asset_id: str, request: Request, sandbox: TheSandbox) -> Response:
    """Send the content of an asset, or redirect to its URL."""
    with sandbox.lock:
        _check_link(request, sandbox)
        asset = sandbox.find_asset(asset_id)
    if asset is None:
        raise ApiError(_no_such_key())
    if asset.file is None:
        return RedirectResponse(asset.remote_url or "", status_code=302)
    media_type = f"{asset.media.kind.lower()}/{asset.media.format}" if asset.media else None
    return FileResponse(asset.file, media_type=media_type)


def _check_link(request: Request, sandbox: Sandbox) -> None:
    if request.method != "GET":
        raise ApiError(storage_error(403, "SignatureDoesNotMatch", "The link is signed for GET."))
    sandbox.signer.check(request.url.path, request.query_params, request.headers, sandbox.clock.now())


def _generation_of(name: str, sandbox: Sandbox) -> Generation:
    generation = sandbox.generations.get(re.split(r"[.-]", name)[0])
    if generation is None or name not in files_of(generation):
        raise ApiError(_no_such_key())
    return generation


def _no_such_key() -> ApiResponse:
    return storage_error(404, "NoSuchKey", "The specified key does not exist.")
