"""The gateway's pages about money; whether AnyFast serves the first two is not known, so they are off by default.

Source: the gateway's own code (controllers of logs, tokens and prices); the limit was seen on other gateways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from airflow_provider_anyfast.sandbox.api.responses import (
    ApiError,
    ApiResponse,
    gateway_error,
    html_error,
    json_response,
    rate_limited,
    to_response,
    unknown_url,
)
from airflow_provider_anyfast.sandbox.api.routing import AnyFastRoute, TheSandbox, key_of
from airflow_provider_anyfast.sandbox.generations.catalog import MODELS

if TYPE_CHECKING:
    from collections import deque

    from airflow_provider_anyfast.sandbox.state import Key, Sandbox

LIMIT = 20
"""How many requests a key may send within :data:`LIMIT_SECONDS`."""
LIMIT_SECONDS = 1_200
_MOST_ROWS = 1_000
# List prices that the gateway has built in for Seedance 2.0, in CNY per million tokens; AnyFast's own are not known.
_OUTPUT_PRICE = 46

router = APIRouter(route_class=AnyFastRoute)


@router.get("/api/log/token", name="billing_log")
async def show_billing_log(request: Request, sandbox: TheSandbox) -> Response:
    """Show the charges and refunds of the key, the newest first, 1,000 at most."""
    with sandbox.lock:
        key = _key_of_request(request, sandbox)
        generations = [generation for generation in sandbox.generations.values() if generation.key == key.value]
        rows = key.billing.rows(generations, sandbox.clock.now(), sandbox.settings.billing_log_delay)
        data = [row.as_json(key.account) for row in rows[:_MOST_ROWS]]
    return to_response(json_response({"success": True, "message": "", "data": data}))


@router.get("/api/usage/token/", name="usage")
async def show_usage(request: Request, sandbox: TheSandbox) -> Response:
    """Show the balance of the key, counted in tokens."""
    with sandbox.lock:
        key = _key_of_request(request, sandbox)
        used, granted = sandbox.tokens_spent(key.account), sandbox.settings.quota_tokens
    data = {
        "object": "token_usage",
        "name": key.account,
        "total_granted": granted or 0,
        "total_used": used,
        "total_available": 0 if granted is None else granted - used,
        "unlimited_quota": granted is None,
        "model_limits": {},
        "model_limits_enabled": False,
        "expires_at": 0,
    }
    return to_response(json_response({"code": True, "message": "ok", "data": data}))


@router.get("/api/pricing", name="pricing")
async def show_prices(sandbox: TheSandbox) -> Response:
    """Show the price list; it needs no key."""
    names = sandbox.settings.models or tuple(MODELS)
    data = [
        {
            "model_name": name,
            "quota_type": 0,
            "enable_groups": ["default"],
            "billing_config": {"rules": [{"type": "fixed", "inputPrice": 0, "outputPrice": _OUTPUT_PRICE}]},
        }
        for name in names
        if name in MODELS
    ]
    prices = {"success": True, "data": data, "vendors": [], "group_ratio": {"default": 1}}
    return to_response(json_response({**prices, "usable_group": {"default": "default"}}))


def _key_of_request(request: Request, sandbox: Sandbox) -> Key:
    """Return the key of a request, if the page is offered to it.

    Raises:
        ApiError: 404, 401, 403 or 429, as the settings choose; 401 without a key; 429 after too many requests.
    """
    if refusal := _switched_off(request, sandbox.settings.billing_pages):
        raise ApiError(refusal)
    key = key_of(request, sandbox)
    if key is None:
        raise ApiError(json_response({"success": False, "message": "无效的令牌"}, 401))
    _count(key.billing_requests, sandbox.clock.now())
    return key


def _switched_off(request: Request, mode: str) -> ApiResponse | None:
    if mode == "off":
        return unknown_url(request.method, request.url.path)
    if mode == "off-html":
        return html_error(404, "Not Found")
    if mode == "unauthorized":
        return gateway_error(401, "Invalid token")
    if mode == "forbidden":
        return gateway_error(403, "This token may not read logs", code="access_denied")
    return rate_limited() if mode == "limited" else None


def _count(earlier: deque[float], now: float) -> None:
    while earlier and earlier[0] <= now - LIMIT_SECONDS:
        earlier.popleft()
    if len(earlier) >= LIMIT:
        raise ApiError(rate_limited())
    earlier.append(now)
