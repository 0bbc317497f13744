"""The answers of AnyFast's gateway, and the shapes in which it says no.

Three JSON shapes are met on the wire: the gateway's own error object (authentication, routing, rates, assets), an
upstream refusal carried as a JSON string inside a task error, and a plain task error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.sandbox.identifiers import current_request_id
from airflow_provider_anyfast.sandbox.masking import mask

if TYPE_CHECKING:
    from collections.abc import Mapping

# The gateway masks a relayed task error only when its text seems to speak of an address.
_ADDRESS_WORDS = ("post", "dial", "http")
_TASK_NOT_FOUND = {400: "task_not_exist", 404: "task does not exist"}


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, complete."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818 - it carries an answer; refusing is no error of the sandbox
    """The request is refused.

    Args:
        answer: what the caller gets instead.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body.decode())
        self.answer = answer


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return ``value`` as a JSON answer."""
    return Answer(status, _compact(value).encode(), headers=headers or {})


def gateway_error(
    status: int,
    message: str,
    *,
    error_type: str = "new_api_error",
    code: str = "",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Return shape A: ``{"error": {"message", "type", "code"}}``; the message ends with the request's id."""
    text = f"{message} (request id: {current_request_id.get()})"
    return json_answer({"error": {"message": text, "type": error_type, "code": code}}, status, headers)


def upstream_error(
    status: int, code: str, message: str, *, error_type: str = "BadRequest", headers: Mapping[str, str] | None = None
) -> Answer:
    """Return shape B: the upstream error as a JSON string in ``message``, under the upstream's own status."""
    text = f"{message} Request id: {current_request_id.get()}"
    relayed = _compact({"error": {"code": code, "message": text, "type": error_type}})
    if any(word in relayed.lower() for word in _ADDRESS_WORDS):
        relayed = mask(relayed)
    return task_error(status, "fail_to_fetch_task", relayed, headers=headers)


def task_error(status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> Answer:
    """Return shape C: ``{"code", "message", "data": null}``."""
    return json_answer({"code": code, "message": message, "data": None}, status, headers)


def asset_error(status: int, code: str, message: str) -> Answer:
    """Return a refusal of the asset library, relayed and so masked: ``upstream_error: [NotFound.group_id] …``."""
    return gateway_error(status, mask(f"upstream_error: [{code}] {message}"), error_type="upstream_error")


def group_not_found(group_id: str) -> Answer:
    """Return the 404 of a group that is absent or another key's; a duplicate asset name is answered so too."""
    return asset_error(404, "NotFound.group_id", f"The specified asset_group {group_id} is not found.")


def asset_not_found(asset_id: str) -> Answer:
    """Return the 404 of an asset that is absent, another key's, or not indexed yet."""
    return asset_error(404, "NotFound.asset_id", f"The specified asset {asset_id} is not found.")


def missing_parameter(name: str) -> Answer:
    """Return the asset library's 400 for a parameter that must be there."""
    return asset_error(400, f"MissingParameter.{name}", f"The required parameter {name} is missing.")


def invalid_parameter(name: str, reason: str) -> Answer:
    """Return the asset library's 400 for a parameter with a value that it does not take."""
    return asset_error(400, f"InvalidParameter.{name}", f"The parameter {name} is not valid: {reason}")


def task_not_found(status: int) -> Answer:
    """Return the answer about an unknown task: the gateway's source says 400, the documentation 404."""
    return task_error(status, "task_not_exist", _TASK_NOT_FOUND[status])


def html_error(status: int, title: str) -> Answer:
    """Return the HTML page of a proxy in front of the gateway."""
    heading = f"{status} {title}"
    page = f"<html>\n<head><title>{heading}</title></head>\n<body><center><h1>{heading}</h1></center></body>\n</html>\n"
    return Answer(status, page.encode(), media_type="text/html")


def storage_error(status: int, code: str, message: str) -> Answer:
    """Return an XML error as object storage gives for a signed link."""
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>\n'
    return Answer(status, xml.encode(), media_type="application/xml")


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
