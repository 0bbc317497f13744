"""The responses of AnyFast's gateway, and the shapes of its errors.

Errors come in three JSON shapes: the gateway's own error object (authentication, routing, rates, assets), an
upstream refusal carried as a JSON string inside a task error, and a plain task error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from airflow_provider_anyfast.sandbox.api.identifiers import current_request_id
from airflow_provider_anyfast.sandbox.api.masking import mask

if TYPE_CHECKING:
    from collections.abc import Mapping

# The gateway masks a relayed task error only when its text seems to contain an address.
_ADDRESS_WORDS = ("post", "dial", "http")
_TASK_NOT_FOUND = {404: "task does not exist"}


@dataclass(frozen=True)
class ApiResponse:
    """One HTTP response."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """A request that is refused.

    Args:
        response: what the client gets.
    """

    def __init__(self, response: ApiResponse) -> None:
        super().__init__(response.body.decode())
        self.response = response


def to_response(response: ApiResponse) -> Response:
    """Return ``response`` as the web framework sends it."""
    return Response(response.body, response.status, dict(response.headers), response.media_type)


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> ApiResponse:
    """Return ``value`` as a JSON response."""
    return ApiResponse(status, _compact(value).encode(), headers=headers or {})


def gateway_error(
    status: int,
    message: str,
    *,
    error_type: str = "new_api_error",
    code: str = "",
    headers: Mapping[str, str] | None = None,
) -> ApiResponse:
    """Return shape A: ``{"error": {"message", "type", "code"}}``; the message ends with the request's id."""
    text = f"{message} (request id: {current_request_id.get()})"
    return json_response({"error": {"message": text, "type": error_type, "code": code}}, status, headers)


def upstream_error(
    status: int, code: str, message: str, *, error_type: str = "BadRequest", headers: Mapping[str, str] | None = None
) -> ApiResponse:
    """Return shape B: the upstream error as a JSON string in ``message``, under the upstream's own status."""
    text = f"{message} Request id: {current_request_id.get()}"
    relayed = _compact({"error": {"code": code, "message": text, "type": error_type}})
    if any(word in relayed.lower() for word in _ADDRESS_WORDS):
        relayed = mask(relayed)
    return task_error(status, "fail_to_fetch_task", relayed, headers=headers)


def task_error(status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> ApiResponse:
    """Return shape C: ``{"code", "message", "data": null}``."""
    return json_response({"code": code, "message": message, "data": None}, status, headers)


def asset_error(status: int, code: str, message: str) -> ApiResponse:
    """Return a refusal of the asset library, relayed and so masked: ``upstream_error: [NotFound.group_id] …``."""
    return gateway_error(status, mask(f"upstream_error: [{code}] {message}"), error_type="upstream_error")


def group_not_found(group_id: str) -> ApiResponse:
    """Return the 404 of a group that is absent or another key's; a duplicate asset name gets the same response."""
    return asset_error(404, "NotFound.group_id", f"The specified asset_group {group_id} is not found.")


def asset_not_found(asset_id: str) -> ApiResponse:
    """Return the 404 of an asset that is absent, another key's, or not indexed yet."""
    return asset_error(404, "NotFound.asset_id", f"The specified asset {asset_id} is not found.")


def missing_parameter(name: str) -> ApiResponse:
    """Return the asset library's 400 for a parameter that must be there."""
    return asset_error(400, f"MissingParameter.{name}", f"The required parameter {name} is missing.")


def invalid_parameter(name: str, reason: str) -> ApiResponse:
    """Return the asset library's 400 for a parameter with a value that it does not accept."""
    return asset_error(400, f"InvalidParameter.{name}", f"The parameter {name} is not valid: {reason}")


def task_not_found(status: int) -> ApiResponse:
    """Return the response about an unknown task: the gateway's source says 400, the documentation 404."""
    return task_error(status, "task_not_exist", _TASK_NOT_FOUND.get(status, "task_not_exist"))


def out_of_quota() -> ApiResponse:
    """Return the 403 of an account that has no money left."""
    return task_error(403, "insufficient_user_quota", "user quota is not enough")


def moderated(code: str, item: int = 0) -> ApiResponse:
    """Return the 400 of an input that moderation refuses because of one ``item`` of its content."""
    message = f"The request failed because content[{item}] of the input may contain sensitive information."
    return upstream_error(400, code, message)


def no_channel(model: str) -> ApiResponse:
    """Return the 503 for a model that no channel of the key's group serves."""
    message = f"No available channel for model {model} under group default (distributor)"
    return gateway_error(503, message, code="model_not_found")


def plan_lacks_model() -> ApiResponse:
    """Return the 404 for a model that the key's plan does not include."""
    return gateway_error(404, "endpoint not available", error_type="invalid_request_error")


def asset_not_usable(asset_id: str) -> ApiResponse:
    """Return the refusal of an asset that is absent, another key's, failed, or not for this model."""
    return upstream_error(400, "InvalidParameter", f"The specified asset {asset_id} is not found.")


def asset_still_processing(asset_id: str) -> ApiResponse:
    """Return the refusal of an asset that is not Active yet."""
    return upstream_error(
        400, "InvalidParameter", f"The asset {asset_id} is invalid: asset is still processing and is not available yet."
    )


def rate_limited() -> ApiResponse:
    """Return the gateway's 429: an empty body and no ``Retry-After``."""
    return ApiResponse(429, b"")


def unknown_url(method: str, path: str) -> ApiResponse:
    """Return the 404 of a path that the gateway does not have."""
    return gateway_error(404, f"Invalid URL ({method} {path})", error_type="invalid_request_error")


def html_error(status: int, title: str) -> ApiResponse:
    """Return the HTML page of a proxy in front of the gateway."""
    heading = f"{status} {title}"
    page = f"<html>\n<head><title>{heading}</title></head>\n<body><center><h1>{heading}</h1></center></body>\n</html>\n"
    return ApiResponse(status, page.encode(), media_type="text/html")


def storage_error(status: int, code: str, message: str) -> ApiResponse:
    """Return an XML error as object storage gives for a signed link."""
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>\n'
    return ApiResponse(status, xml.encode(), media_type="application/xml")


def expired_link() -> ApiResponse:
    """Return the 403 of an expired link."""
    return storage_error(403, "AccessDenied", "Request has expired")


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
