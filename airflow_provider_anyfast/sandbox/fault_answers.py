"""The answers of the faults that refuse a request, or garble its answer, without doing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_anyfast.sandbox.answers import (
    Answer,
    asset_error,
    asset_not_found,
    gateway_error,
    group_not_found,
    html_error,
    json_answer,
    task_error,
    task_not_found,
    upstream_error,
)
from airflow_provider_anyfast.sandbox.links import expired_link
from airflow_provider_anyfast.sandbox.references import asset_not_usable, asset_still_processing

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_anyfast.sandbox.faults import Fault
    from airflow_provider_anyfast.sandbox.settings import SandboxSettings

_SOME_ASSET = "asset-20260101000000-abcde"
_SOME_GROUP = "group-20260101000000-abcde"
_TASK_CALLS = ("submit", "query")
_SATURATED = "当前分组上游负载已饱和，请稍后再试"  # noqa: RUF001 - as the gateway says it
_TOO_MANY = "您已达到请求数限制：1分钟内最多请求60次"  # noqa: RUF001 - as the gateway says it


def refusal_of(fault: Fault, call: str, settings: SandboxSettings) -> Answer | None:
    """Return the answer that ``fault`` gives to ``call`` instead of acting; ``None`` for a fault of another nature."""
    if fault.name == "not_found_yet":
        return task_not_found(settings.unknown_task) if call in _TASK_CALLS else asset_not_found(_SOME_ASSET)
    make = _REFUSALS.get(fault.name)
    return make(fault, call) if make else None


def _unauthorized(_fault: Fault, _call: str) -> Answer:
    return gateway_error(401, "Invalid token")


def _forbidden(_fault: Fault, _call: str) -> Answer:
    return gateway_error(403, "Your IP is not in the list that this token allows", code="access_denied")


def _no_quota(_fault: Fault, _call: str) -> Answer:
    return out_of_quota()


def out_of_quota() -> Answer:
    """Return the 403 of an account that has no money left."""
    return task_error(403, "insufficient_user_quota", "user quota is not enough")


def _moderation(fault: Fault, _call: str) -> Answer:
    return moderated(fault.code or "InputTextSensitiveContentDetected")


def moderated(code: str) -> Answer:
    """Return the 400 of an input that is held for sensitive."""
    return upstream_error(
        400, code, "The request failed because content[0] of the input may contain sensitive information."
    )


def _bad_request(fault: Fault, call: str) -> Answer:
    reason = fault.reason or "The parameter `duration` specified in the request is not valid."
    if call in _TASK_CALLS:
        return upstream_error(400, "InvalidParameter", reason)
    return asset_error(400, "InvalidParameter", reason)


def _model_not_found(_fault: Fault, _call: str) -> Answer:
    return no_channel("seedance")


def no_channel(model: str) -> Answer:
    """Return the 503 for a model that no channel of the key's group serves."""
    message = f"No available channel for model {model} under group default (distributor)"
    return gateway_error(503, message, code="model_not_found")


def _endpoint_not_available(_fault: Fault, _call: str) -> Answer:
    return plan_lacks_model()


def plan_lacks_model() -> Answer:
    """Return the 404 for a model that the key's plan does not include."""
    return gateway_error(404, "endpoint not available", error_type="invalid_request_error")


def _rate_limited(fault: Fault, _call: str) -> Answer:
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if fault.empty:
        return Answer(429, b"", headers=headers)
    if fault.shape == "A":
        return gateway_error(429, _TOO_MANY, headers=headers)
    if fault.shape == "B":
        return upstream_error(429, "QuotaExceeded", _SATURATED, error_type="TooManyRequests", headers=headers)
    return task_error(429, "rate_limit_exceeded", _SATURATED, headers=headers)


def _asset_copy_not_ready(_fault: Fault, _call: str) -> Answer:
    message = f'asset "{_SOME_ASSET}" copy on channel 391 is not ready (status="Processing")'
    return task_error(503, "asset_copy_not_ready", message)


def _asset_processing(_fault: Fault, _call: str) -> Answer:
    return asset_still_processing(_SOME_ASSET)


def _asset_not_found(_fault: Fault, call: str) -> Answer:
    return asset_not_usable(_SOME_ASSET) if call == "submit" else asset_not_found(_SOME_ASSET)


def _invalid_url_scheme(_fault: Fault, _call: str) -> Answer:
    return upstream_error(400, "InvalidParameter", "invalid url scheme.")


def _group_not_found(_fault: Fault, _call: str) -> Answer:
    return group_not_found(_SOME_GROUP)


def _server_error(fault: Fault, call: str) -> Answer:
    code = fault.code or "do_request_failed"
    if call in _TASK_CALLS:
        return task_error(500, code, "upstream error: do request failed")
    return gateway_error(500, "upstream error: do request failed", code=code)


def _status(fault: Fault, _call: str) -> Answer:
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if isinstance(fault.body, str):
        return Answer(fault.status, fault.body.encode(), "text/plain; charset=utf-8", headers)
    return json_answer(fault.body, fault.status, headers)


_REFUSALS: dict[str, Callable[[Fault, str], Answer]] = {
    "unauthorized": _unauthorized,
    "forbidden": _forbidden,
    "no_quota": _no_quota,
    "moderation": _moderation,
    "bad_request": _bad_request,
    "model_not_found": _model_not_found,
    "endpoint_not_available": _endpoint_not_available,
    "rate_limited": _rate_limited,
    "asset_copy_not_ready": _asset_copy_not_ready,
    "asset_processing": _asset_processing,
    "asset_not_found": _asset_not_found,
    "invalid_url_scheme": _invalid_url_scheme,
    "group_not_found": _group_not_found,
    "server_error": _server_error,
    "bad_gateway": lambda _fault, _call: html_error(502, "Bad Gateway"),
    "gateway_timeout": lambda _fault, _call: html_error(504, "Gateway Time-out"),
    "empty_answer": lambda _fault, _call: Answer(200, b""),
    "html_answer": lambda _fault, _call: html_error(200, "Welcome"),
    "odd_json": lambda _fault, _call: json_answer({"hello": ["world", 1, None]}),
    "status": _status,
    "link_expired": lambda _fault, _call: expired_link(),
}
