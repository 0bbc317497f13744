"""The answers of the faults that refuse a request, or garble its answer, without doing anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
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

_ASSET_ID = re.compile(rb"asset-\d{14}-[a-z0-9]{5}")
_GROUP_ID = re.compile(rb"group-\d{14}-[a-z0-9]{5}")
_MODEL = re.compile(rb'"model":\s*"([^"]+)"')
_SOME_ASSET = b"asset-20260101000000-abcde"
_SOME_GROUP = b"group-20260101000000-abcde"
_TASK_CALLS = ("submit", "query")
_SATURATED = "当前分组上游负载已饱和，请稍后再试"  # noqa: RUF001 - as the gateway says it
_TOO_MANY = "您已达到请求数限制：1分钟内最多请求60次"  # noqa: RUF001 - as the gateway says it


@dataclass(frozen=True)
class Strike:
    """A fault and the request that it strikes: the call, its body, and the sandbox's settings."""

    fault: Fault
    call: str
    body: bytes
    settings: SandboxSettings

    @property
    def asset_id(self) -> str:
        """The first asset that the request names, or one of nobody's."""
        return _first(_ASSET_ID, self.body, _SOME_ASSET)

    @property
    def group_id(self) -> str:
        """The first group that the request names, or one of nobody's."""
        return _first(_GROUP_ID, self.body, _SOME_GROUP)

    @property
    def retry_after(self) -> dict[str, str]:
        """The header that says when to come back, if there is one."""
        return {} if self.fault.retry_after is None else {"Retry-After": str(self.fault.retry_after)}


def refusal_of(strike: Strike) -> Answer | None:
    """Return what a request gets instead of being acted upon; ``None`` for a fault of another nature."""
    make = _REFUSALS.get(strike.fault.name)
    return make(strike) if make else None


def _first(pattern: re.Pattern[bytes], body: bytes, otherwise: bytes) -> str:
    found = pattern.search(body)
    return (found[0] if found else otherwise).decode()


def _unauthorized(_strike: Strike) -> Answer:
    return gateway_error(401, "Invalid token")


def _forbidden(_strike: Strike) -> Answer:
    return gateway_error(403, "Your IP is not in the list that this token allows", code="access_denied")


def _no_quota(_strike: Strike) -> Answer:
    return out_of_quota()


def out_of_quota() -> Answer:
    """Return the 403 of an account that has no money left."""
    return task_error(403, "insufficient_user_quota", "user quota is not enough")


def _moderation(strike: Strike) -> Answer:
    return moderated(strike.fault.code or "InputTextSensitiveContentDetected")


def moderated(code: str, item: int = 0) -> Answer:
    """Return the 400 of an input that is held for sensitive because of one ``item`` of its content."""
    message = f"The request failed because content[{item}] of the input may contain sensitive information."
    return upstream_error(400, code, message)


def _bad_request(strike: Strike) -> Answer:
    reason = strike.fault.reason or "The parameter `duration` specified in the request is not valid."
    if strike.call in _TASK_CALLS:
        return upstream_error(400, "InvalidParameter", reason)
    return asset_error(400, "InvalidParameter", reason)


def _model_not_found(strike: Strike) -> Answer:
    named = _MODEL.search(strike.body)
    return no_channel(named[1].decode() if named else "seedance")


def no_channel(model: str) -> Answer:
    """Return the 503 for a model that no channel of the key's group serves."""
    message = f"No available channel for model {model} under group default (distributor)"
    return gateway_error(503, message, code="model_not_found")


def _endpoint_not_available(_strike: Strike) -> Answer:
    return plan_lacks_model()


def plan_lacks_model() -> Answer:
    """Return the 404 for a model that the key's plan does not include."""
    return gateway_error(404, "endpoint not available", error_type="invalid_request_error")


def _rate_limited(strike: Strike) -> Answer:
    if strike.fault.empty:
        return Answer(429, b"", headers=strike.retry_after)
    if strike.fault.shape == "A":
        return gateway_error(429, _TOO_MANY, headers=strike.retry_after)
    if strike.fault.shape == "B":
        return upstream_error(
            429, "QuotaExceeded", _SATURATED, error_type="TooManyRequests", headers=strike.retry_after
        )
    return task_error(429, "rate_limit_exceeded", _SATURATED, headers=strike.retry_after)


def _asset_copy_not_ready(strike: Strike) -> Answer:
    message = f'asset "{strike.asset_id}" copy on channel 391 is not ready (status="Processing")'
    return task_error(503, "asset_copy_not_ready", message)


def _asset_processing(strike: Strike) -> Answer:
    return asset_still_processing(strike.asset_id)


def _asset_not_found(strike: Strike) -> Answer:
    return asset_not_usable(strike.asset_id) if strike.call == "submit" else asset_not_found(strike.asset_id)


def _invalid_url_scheme(_strike: Strike) -> Answer:
    return upstream_error(400, "InvalidParameter", "invalid url scheme.")


def _group_not_found(strike: Strike) -> Answer:
    return group_not_found(strike.group_id)


def _server_error(strike: Strike) -> Answer:
    code = strike.fault.code or "do_request_failed"
    if strike.call in _TASK_CALLS:
        return task_error(500, code, "upstream error: do request failed")
    return gateway_error(500, "upstream error: do request failed", code=code)


def _status(strike: Strike) -> Answer:
    if isinstance(strike.fault.body, str):
        return Answer(strike.fault.status, strike.fault.body.encode(), "text/plain; charset=utf-8", strike.retry_after)
    return json_answer(strike.fault.body, strike.fault.status, strike.retry_after)


def _not_found_yet(strike: Strike) -> Answer:
    if strike.call in _TASK_CALLS:
        return task_not_found(strike.settings.unknown_task)
    return asset_not_found(strike.asset_id)


_REFUSALS: dict[str, Callable[[Strike], Answer]] = {
    "not_found_yet": _not_found_yet,
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
    "bad_gateway": lambda _strike: html_error(502, "Bad Gateway"),
    "gateway_timeout": lambda _strike: html_error(504, "Gateway Time-out"),
    "empty_answer": lambda _strike: Answer(200, b""),
    "html_answer": lambda _strike: html_error(200, "Welcome"),
    "odd_json": lambda _strike: json_answer({"hello": ["world", 1, None]}),
    "status": _status,
    "link_expired": lambda _strike: expired_link(),
}
