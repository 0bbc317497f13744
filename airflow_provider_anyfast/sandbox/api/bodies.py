"""JSON bodies, as the gateway reads them before it checks a field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.sandbox.api.responses import ApiError, gateway_error

if TYPE_CHECKING:
    from fastapi import Request

_JSON = "application/json"


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object that is the body of ``request``.

    Raises:
        ApiError: 400, the Content-Type is not JSON, or the body is not a JSON object.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != _JSON:
        shown = content_type or "missing"
        raise ApiError(gateway_error(400, f"Invalid request: Content-Type must be {_JSON}; it is {shown}"))
    try:
        value = json.loads(await request.body())
    except ValueError:
        raise ApiError(gateway_error(400, "Invalid request: the body is not valid JSON")) from None
    if not isinstance(value, dict):
        raise ApiError(gateway_error(400, "Invalid request: the body is not a JSON object"))
    return value
