"""The sandbox's own pages: the account, and the routes that control it. They need no key."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict

from airflow_provider_anyfast.sandbox.api.request_log import LoggedRequest  # noqa: TC001 - FastAPI reads it at run time
from airflow_provider_anyfast.sandbox.api.routing import TheSandbox  # noqa: TC001 - FastAPI reads it at run time
from airflow_provider_anyfast.sandbox.faults import Fault  # noqa: TC001 - FastAPI reads it at run time
from airflow_provider_anyfast.sandbox.generations.results import poster_of
from airflow_provider_anyfast.sandbox.library.asset_library import AssetGroup
from airflow_provider_anyfast.sandbox.pages.account_page import account_page
from airflow_provider_anyfast.sandbox.pages.own_host import refuse_other_hosts
from airflow_provider_anyfast.sandbox.pages.report import AccountReport, report

router = APIRouter(dependencies=[Depends(refuse_other_hosts)])


class Advance(BaseModel):
    """How many seconds the clock moves ahead."""

    model_config = ConfigDict(extra="forbid")

    advance: float


@router.get("/")
async def show_page(sandbox: TheSandbox) -> HTMLResponse:
    """Show the account as a page."""
    with sandbox.lock:
        page = account_page(report(sandbox), sandbox.clock.now())
    return HTMLResponse(page.html, headers={"Content-Security-Policy": page.policy})


@router.get("/sandbox/posters/{generation_id}")
async def show_poster(generation_id: str, sandbox: TheSandbox) -> FileResponse:
    """Show a frame of a finished video as a small picture."""
    with sandbox.lock:
        generation = sandbox.generations.get(generation_id)
        if generation is None or generation.progress(sandbox.clock.now()).status != "SUCCESS":
            raise HTTPException(404, "No finished video with this id.")
    path = await asyncio.wrap_future(sandbox.videos.last_frame(poster_of(generation)))
    return FileResponse(path, media_type="image/png")


@router.get("/sandbox/thumbnails/{asset_id}")
async def show_thumbnail(asset_id: str, sandbox: TheSandbox) -> Response:
    """Show an uploaded image, or a frame of an uploaded video, as a small picture."""
    with sandbox.lock:
        asset = sandbox.find_asset(asset_id)
    if asset is None or asset.media is None or asset.media.thumbnail is None:
        raise HTTPException(404, "No thumbnail for this id.")
    return Response(asset.media.thumbnail, media_type="image/png")


@router.get("/console/task")
async def show_task_log() -> RedirectResponse:
    """Replace the task log of AnyFast's console, which other programs link to."""
    return RedirectResponse("/")


@router.get("/account")
async def show_account(sandbox: TheSandbox) -> AccountReport:
    """Show the account as JSON."""
    return report(sandbox)


@router.get("/sandbox/faults")
async def list_faults(sandbox: TheSandbox) -> list[Fault]:
    """Show the faults that are on."""
    with sandbox.lock:
        return sandbox.faults.active()


@router.post("/sandbox/faults")
async def add_fault(fault: Fault, sandbox: TheSandbox) -> list[Fault]:
    """Switch a fault on."""
    with sandbox.lock:
        sandbox.faults.add(fault)
        return sandbox.faults.active()


@router.delete("/sandbox/faults")
async def clear_faults(sandbox: TheSandbox) -> list[Fault]:
    """Switch all faults off."""
    with sandbox.lock:
        sandbox.faults.clear()
        return sandbox.faults.active()


@router.post("/sandbox/clock")
async def advance_clock(ahead: Advance, sandbox: TheSandbox) -> JSONResponse:
    """Move the sandbox's clock ahead."""
    with sandbox.lock:
        sandbox.clock.advance(ahead.advance)
        return JSONResponse({"now": sandbox.clock.now()})


@router.get("/sandbox/requests")
async def list_requests(sandbox: TheSandbox, call: Annotated[str | None, Query()] = None) -> list[LoggedRequest]:
    """Show the last requests, the oldest first; of one call only, if given."""
    with sandbox.lock:
        return sandbox.log.requests(call)


@router.post("/sandbox/reset")
async def reset(sandbox: TheSandbox) -> AccountReport:
    """Delete everything except the settings that the sandbox was started with."""
    with sandbox.lock:
        sandbox.reset(sandbox.settings)
        return report(sandbox)


@router.get("/sandbox/liveness/{token}")
async def pass_liveness_check(token: str, sandbox: TheSandbox) -> Response:
    """Pass the check at once, and redirect to the session's callback URL."""
    with sandbox.lock:
        now = sandbox.clock.now()
        session = sandbox.liveness.find(token)
        if session is None or session.link_has_expired(now):
            return HTMLResponse("<p>This link has expired. Start a new session.</p>", status_code=403)
        if not session.group_id:
            library = sandbox.keys[session.key].library
            session.group_id = sandbox.ids.group(now)
            name = library.name_prefix + "verified person"
            library.groups[session.group_id] = AssetGroup(
                session.group_id, name, "LivenessFace", "", "default", created_at=now, updated_at=now, visible_at=now
            )
        joint = "&" if "?" in session.callback_url else "?"
        return RedirectResponse(f"{session.callback_url}{joint}bytedToken={token}&resultCode=10000", status_code=302)
