"""Applies a fault to one request and its response."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from airflow_provider_anyfast.sandbox.api.responses import html_error, json_response, to_response
from airflow_provider_anyfast.sandbox.faults.changes import change_for
from airflow_provider_anyfast.sandbox.faults.refusals import error_as_200, refusal_for, server_error
from airflow_provider_anyfast.sandbox.faults.wire import CLIENT_GONE, Dripping, Gzipped, NoResponse

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.faults.refusals import ActiveFault

Act = Callable[[Request], Awaitable[Response]]
_OK = 200


async def respond_with_fault(active: ActiveFault, request: Request, act: Act) -> Response:
    """Return the response to ``request``, which ``act`` carries out, as the fault makes it."""
    fault = active.fault
    if refusal := refusal_for(active):
        return to_response(refusal)
    if fault.name == "drop_request":
        return NoResponse()
    if fault.name == "slow":
        await asyncio.sleep(fault.seconds)
        if await request.is_disconnected():
            return NoResponse(CLIENT_GONE)
    response = await act(request)
    if fault.name == "slow_answer":
        await asyncio.sleep(fault.seconds)
    return _altered(active, response)


def _altered(active: ActiveFault, response: Response) -> Response:
    if replacement := _REPLACEMENTS.get(active.fault.name):
        return replacement(active, response)
    change = change_for(active.fault)
    if change is None or response.status_code != _OK or isinstance(response, FileResponse):
        return response
    return to_response(json_response(change(json.loads(bytes(response.body)))))


_REPLACEMENTS: dict[str, Callable[[ActiveFault, Response], Response]] = {
    "drop_answer": lambda _active, _response: NoResponse(),
    "bad_gateway_after": lambda _active, _response: to_response(html_error(502, "Bad Gateway")),
    "server_error_after": lambda active, _response: to_response(server_error(active.call, active.fault.code)),
    "error_as_200_after": lambda active, _response: to_response(error_as_200(active.fault)),
    "drip": lambda active, response: Dripping(response, active.fault),
    "gzip": lambda active, response: Gzipped(response, active.fault),
}
