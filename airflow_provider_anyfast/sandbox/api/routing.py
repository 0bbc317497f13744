"""How a request to the AnyFast interface is handled: logged, checked for a fault, authorized, carried out."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from airflow_provider_anyfast.sandbox.api.identifiers import current_request_id, new_request_id
from airflow_provider_anyfast.sandbox.api.request_log import LoggedRequest
from airflow_provider_anyfast.sandbox.api.responses import ApiError, gateway_error, task_error, to_response
from airflow_provider_anyfast.sandbox.faults import Fault
from airflow_provider_anyfast.sandbox.faults.apply import respond_with_fault
from airflow_provider_anyfast.sandbox.faults.refusals import ActiveFault
from airflow_provider_anyfast.sandbox.faults.wire import NoResponse
from airflow_provider_anyfast.sandbox.state import Key, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from starlette.responses import Response

SUBMIT_PATH = "/v1/video/generations"
STORAGE_CALL = "download"
"""The only call that the storage host serves; AnyFast's gateway serves the others."""
SANDBOX_HEADER = "X-AnyFast-Sandbox"
"""Marks a response of the sandbox, whose videos take seconds. AnyFast sends no such header."""
_LARGEST_BODY = 128 * 1024 * 1024
_LARGEST_SUBMISSION = 64 * 1024 * 1024


async def the_sandbox(request: Request) -> Sandbox:
    """Return the sandbox that the application serves."""
    sandbox: Sandbox = request.app.state.sandbox
    return sandbox


async def request_fault(request: Request) -> Fault | None:
    """Return the fault that hits this request; the handler applies some faults itself."""
    fault: Fault | None = request.state.fault
    return fault


async def calling_key(request: Request) -> Key:
    """Return the key that a request came with.

    Raises:
        ApiError: 401, no key or an unknown one.
    """
    if not _bearer(request):
        raise ApiError(gateway_error(401, "No token provided"))
    key = key_of(request, await the_sandbox(request))
    if key is None:
        raise ApiError(gateway_error(401, "Invalid token"))
    return key


def key_of(request: Request, sandbox: Sandbox) -> Key | None:
    """Return the key that a request came with, ``None`` for an unknown one or none."""
    return sandbox.keys.get(_bearer(request))


TheSandbox = Annotated[Sandbox, Depends(the_sandbox)]
CallingKey = Annotated[Key, Depends(calling_key)]
RequestFault = Annotated[Fault | None, Depends(request_fault)]


class AnyFastRoute(APIRoute):
    """A route of the AnyFast interface; its name is the call's name in faults and in the request log."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, wrapped in logging and faults."""
        act = super().get_route_handler()

        async def carry_out(request: Request) -> Response:
            try:
                return await act(request)
            except ApiError as error:
                return to_response(error.response)

        async def handle(request: Request) -> Response:
            sandbox = await the_sandbox(request)
            request_id = new_request_id(sandbox.clock.now())
            current_request_id.set(request_id)
            body = await _read_body(request)
            with sandbox.lock:
                logged = _logged(self.name, request, sandbox)
                fault = sandbox.faults.take(self.name, str(request.url).encode() + b"\n" + (body or b""))
            request.state.fault = fault
            if body is None:
                response = to_response(task_error(413, "read_request_body_failed", "http: request body too large"))
            elif fault is None:
                response = await carry_out(request)
            else:
                active = ActiveFault(fault, self.name, body, sandbox.settings)
                response = await respond_with_fault(active, request, carry_out)
            if self.name != STORAGE_CALL:
                response.headers["X-Oneapi-Request-Id"] = request_id
            response.headers[SANDBOX_HEADER] = "1"
            response.headers["Date"] = formatdate(sandbox.clock.now(), usegmt=True)
            logged.status = response.logged_status if isinstance(response, NoResponse) else response.status_code
            return response

        return handle


def _bearer(request: Request) -> str:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


async def _read_body(request: Request) -> bytes | None:
    """Return the body, or ``None`` if it is too large for the gateway."""
    limit = _LARGEST_SUBMISSION if request.url.path == SUBMIT_PATH else _LARGEST_BODY
    if int(request.headers.get("content-length", 0)) > limit:
        async for _ in request.stream():
            pass
        return None
    body = await request.body()
    return body if len(body) <= limit else None


def _logged(call: str, request: Request, sandbox: Sandbox) -> LoggedRequest:
    key = key_of(request, sandbox)
    logged = LoggedRequest(
        at=sandbox.clock.now(),
        call=call,
        method=request.method,
        path=request.url.path,
        status=None,
        authorized=key is not None,
        key=key.masked if key else None,
    )
    sandbox.log.add(logged)
    return logged
