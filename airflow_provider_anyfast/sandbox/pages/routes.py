"""The sandbox's own pages: the account, and the switches. They ask for no key; the sandbox is for one machine."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict

from airflow_provider_anyfast.sandbox.api.request_log import LoggedRequest  # noqa: TC001 - FastAPI reads it at run time
from airflow_provider_anyfast.sandbox.api.routing import TheSandbox  # noqa: TC001 - FastAPI reads it at run time
from airflow_provider_anyfast.sandbox.faults import Fault  # noqa: TC001 - FastAPI reads it at run time
from airflow_provider_anyfast.sandbox.library.asset_library import AssetGroup
from airflow_provider_anyfast.sandbox.pages.account_page import account_page
from airflow_provider_anyfast.sandbox.pages.report import AccountReport, report

router = APIRouter()


class Advance(BaseModel):
    """How many seconds the clock moves ahead."""

    model_config = ConfigDict(extra="forbid")

    advance: float


@router.get("/", response_class=HTMLResponse)
async def show_page(request: Request, sandbox: TheSandbox) -> str:
    """Show the account as a page."""
    with sandbox.lock:
        return account_page(sandbox, report(sandbox), str(request.base_url))


@router.get("/console/task")
async def show_task_log() -> RedirectResponse:
    """Stand in for the task log of AnyFast's console, which links of other programs lead to."""
    return RedirectResponse("/")


@router.get("/account")
async def show_account(sandbox: TheSandbox) -> AccountReport:
    """Show the account as JSON."""
    return report(sandbox)


@router.get("/sandbox/faults")
async def list_faults(sandbox: TheSandbox) -> list[Fault]:
    """Show the faults that can still active."""
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
    """Move the sandbox's time ahead."""
    with sandbox.lock:
        sandbox.clock.advance(ahead.advance)
        return JSONResponse({"now": sandbox.clock.now()})


@router.get("/sandbox/requests")
async def list_requests(sandbox: TheSandbox, call: Annotated[str | None, Query()] = None) -> list[LoggedRequest]:
    """Show the last requests, the oldest first; of one call only, if asked."""
    with sandbox.lock:
        return sandbox.log.requests(call)


@router.post("/sandbox/reset")
async def reset(sandbox: TheSandbox) -> AccountReport:
    """Start anew, with the settings that the sandbox was started with."""
    with sandbox.lock:
        sandbox.reset(sandbox.settings)
        return report(sandbox)


@router.get("/sandbox/liveness/{token}")
async def pass_liveness_check(token: str, sandbox: TheSandbox) -> Response:
    """Be the person in front of the camera: verified at once, and sent back to where the session said."""
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
                session.group_id, name, "LivenessFace", "", "default", now, now
            )
        joint = "&" if "?" in session.callback_url else "?"
        return RedirectResponse(f"{session.callback_url}{joint}bytedToken={token}&resultCode=10000", status_code=302)
