"""The responses of faults that refuse a request without acting on it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_provider_anyfast.sandbox.api.responses import (
    ApiResponse,
    asset_error,
    asset_not_found,
    asset_not_usable,
    asset_still_processing,
    gateway_error,
    group_not_found,
    html_error,
    json_response,
    moderated,
    no_channel,
    plan_lacks_model,
    storage_error,
    task_error,
    task_not_found,
    upstream_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_anyfast.sandbox.faults.fault import Fault
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
class ActiveFault:
    """A fault and the request that it hits: the call, its body, and the sandbox's settings."""

    fault: Fault
    call: str
    body: bytes
    settings: SandboxSettings

    @property
    def asset_id(self) -> str:
        """The first asset that the request names, or a made-up one."""
        return _first(_ASSET_ID, self.body, _SOME_ASSET)

    @property
    def group_id(self) -> str:
        """The first group that the request names, or a made-up one."""
        return _first(_GROUP_ID, self.body, _SOME_GROUP)

    @property
    def retry_after(self) -> dict[str, str]:
        """The ``Retry-After`` header, if the fault has one."""
        return {} if self.fault.retry_after is None else {"Retry-After": str(self.fault.retry_after)}


def refusal_for(active: ActiveFault) -> ApiResponse | None:
    """Return the refusal of the request; ``None`` for a fault of another kind."""
    on_storage_host = active.call == "download" and active.fault.name in _STORAGE_REFUSALS
    make = (_STORAGE_REFUSALS if on_storage_host else _REFUSALS).get(active.fault.name)
    return make(active) if make else None


def _first(pattern: re.Pattern[bytes], body: bytes, otherwise: bytes) -> str:
    found = pattern.search(body)
    return (found[0] if found else otherwise).decode()


def _unauthorized(_active: ActiveFault) -> ApiResponse:
    return gateway_error(401, "Invalid token")


def _forbidden(active: ActiveFault) -> ApiResponse:
    reason = active.fault.reason or "Your IP is not in the list that this token allows"
    return gateway_error(403, reason, code=_code(active.fault, "access_denied"))


def _no_quota(active: ActiveFault) -> ApiResponse:
    fault = active.fault
    status, code = fault.status or 403, _code(fault, "insufficient_user_quota")
    reason = fault.reason or "user quota is not enough"
    if fault.shape == "A":
        return gateway_error(status, reason, code=code)
    if fault.shape == "B":
        return upstream_error(status, code, reason)
    return task_error(status, code, reason)


def _code(fault: Fault, default: str) -> str:
    """Return the fault's code, which may be set to an empty text."""
    return default if fault.code is None else fault.code


def _moderation(active: ActiveFault) -> ApiResponse:
    return moderated(active.fault.code or "InputTextSensitiveContentDetected")


def _bad_request(active: ActiveFault) -> ApiResponse:
    reason = active.fault.reason or "The parameter `duration` specified in the request is not valid."
    if active.call in _TASK_CALLS:
        return upstream_error(400, "InvalidParameter", reason)
    return asset_error(400, "InvalidParameter", reason)


def _model_not_found(active: ActiveFault) -> ApiResponse:
    named = _MODEL.search(active.body)
    return no_channel(named[1].decode() if named else "seedance")


def _endpoint_not_available(_active: ActiveFault) -> ApiResponse:
    return plan_lacks_model()


def _rate_limited(active: ActiveFault) -> ApiResponse:
    if active.fault.empty:
        return ApiResponse(429, b"", headers=active.retry_after)
    if active.fault.shape == "A":
        return gateway_error(429, _TOO_MANY, headers=active.retry_after)
    if active.fault.shape == "B":
        return upstream_error(
            429, "QuotaExceeded", _SATURATED, error_type="TooManyRequests", headers=active.retry_after
        )
    return task_error(429, "rate_limit_exceeded", _SATURATED, headers=active.retry_after)


def _asset_copy_not_ready(active: ActiveFault) -> ApiResponse:
    message = f'asset "{active.asset_id}" copy on channel 391 is not ready (status="Processing")'
    return task_error(503, "asset_copy_not_ready", message)


def _asset_processing(active: ActiveFault) -> ApiResponse:
    return asset_still_processing(active.asset_id)


def _asset_not_found(active: ActiveFault) -> ApiResponse:
    return asset_not_usable(active.asset_id) if active.call == "submit" else asset_not_found(active.asset_id)


def _invalid_url_scheme(_active: ActiveFault) -> ApiResponse:
    return upstream_error(400, "InvalidParameter", "invalid url scheme.")


def _group_not_found(active: ActiveFault) -> ApiResponse:
    return group_not_found(active.group_id)


def _server_error(active: ActiveFault) -> ApiResponse:
    return server_error(active.call, active.fault.code)


def server_error(call: str, code: str | None) -> ApiResponse:
    """Return the gateway's 500 to ``call``; the code is ``do_request_failed`` unless another is given."""
    code = code or "do_request_failed"
    if call in _TASK_CALLS:
        return task_error(500, code, "upstream error: do request failed")
    return gateway_error(500, "upstream error: do request failed", code=code)


def error_as_200(fault: Fault) -> ApiResponse:
    """Return an error object under status 200."""
    error = {"code": fault.code or "do_request_failed", "message": fault.reason or "do request failed", "type": ""}
    return json_response({"error": error})


def _status(active: ActiveFault) -> ApiResponse:
    status, body = active.fault.status or 500, active.fault.body
    if isinstance(body, str):
        return ApiResponse(status, body.encode(), "text/plain; charset=utf-8", active.retry_after)
    return json_response(body, status, active.retry_after)


def _asset_refused(active: ActiveFault) -> ApiResponse:
    fault = active.fault
    status, reason = fault.status or 502, fault.reason or "Face consistency verification failed"
    if fault.code is None:
        return gateway_error(status, f"upstream asset error: {reason}", error_type="upstream_error")
    return asset_error(status, f"InvalidParameter.{fault.code}", reason)


def _task_not_exist(active: ActiveFault) -> ApiResponse:
    return task_not_found(active.fault.status or active.settings.unknown_task)


def _not_found_yet(active: ActiveFault) -> ApiResponse:
    if active.call in _TASK_CALLS:
        return task_not_found(active.settings.unknown_task)
    return asset_not_found(active.asset_id)


_REFUSALS: dict[str, Callable[[ActiveFault], ApiResponse]] = {
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
    "bad_gateway": lambda _active: html_error(502, "Bad Gateway"),
    "gateway_timeout": lambda _active: html_error(504, "Gateway Time-out"),
    "empty_answer": lambda _active: ApiResponse(200, b""),
    "html_answer": lambda _active: html_error(200, "Welcome"),
    "odd_json": lambda _active: json_response({"hello": ["world", 1, None]}),
    "status": _status,
    "asset_refused": _asset_refused,
    "task_not_exist": _task_not_exist,
    "error_as_200": lambda active: error_as_200(active.fault),
    "video_not_ready": lambda _active: storage_error(400, "video_not_ready", "The video is not ready yet."),
    "link_refused": lambda _active: storage_error(403, "AccessDenied", "Access Denied"),
}
# The storage host is not AnyFast's gateway, so its errors are XML.
_STORAGE_REFUSALS: dict[str, Callable[[ActiveFault], ApiResponse]] = {
    "unauthorized": lambda _active: storage_error(401, "InvalidAccessKeyId", "The access key is not valid."),
    "forbidden": lambda _active: storage_error(403, "AccessDenied", "Access Denied"),
    "rate_limited": lambda active: replace(
        ApiResponse(429, b"") if active.fault.empty else storage_error(429, "TooManyRequests", "Slow down."),
        headers=active.retry_after,
    ),
    "server_error": lambda active: storage_error(500, active.fault.code or "InternalError", "Internal error."),
}
