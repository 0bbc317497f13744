"""The faults by name: what each does, to which call, and which parameters it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Call = Literal[
    "submit",
    "query",
    "download",
    "models",
    "CreateAssetGroup",
    "CreateAsset",
    "GetAsset",
    "ListAssets",
    "ListAssetGroups",
    "UpdateAsset",
    "UpdateAssetGroup",
    "DeleteAsset",
    "DeleteAssetGroup",
]
CALLS: tuple[str, ...] = get_args(Call)


@dataclass(frozen=True)
class FaultKind:
    """Where a fault strikes unless told otherwise, what it does, which parameters it takes.

    ``only_on`` names the calls that it makes sense for; empty means all of them.
    """

    on: Call | Literal["*"]
    effect: str
    parameters: frozenset[str] = frozenset()
    only_on: tuple[Call, ...] = ()


def _kind(on: Call | Literal["*"], effect: str, *parameters: str, only_on: tuple[Call, ...] = ()) -> FaultKind:
    return FaultKind(on, effect, frozenset(parameters), only_on)


_FILES: tuple[Call, ...] = ("download",)
_OUTCOME_CALLS: tuple[Call, ...] = ("submit", "query")

FAULT_KINDS: dict[str, FaultKind] = {
    # Refusals: nothing is done, nothing is billed.
    "unauthorized": _kind("*", "401, invalid token"),
    "forbidden": _kind("*", "403, access denied"),
    "no_quota": _kind("submit", "403, the account's money is used up"),
    "moderation": _kind("submit", "400, the input is refused as sensitive", "code"),
    "bad_request": _kind("submit", "400, invalid parameter", "reason"),
    "model_not_found": _kind("submit", "503, no channel serves the model"),
    "endpoint_not_available": _kind("submit", "404, the plan lacks the model"),
    "rate_limited": _kind("submit", "429", "retry_after", "empty", "shape"),
    "asset_copy_not_ready": _kind("submit", "503, an asset is still copied to a channel"),
    "asset_processing": _kind("submit", "400, an asset is still processing"),
    "asset_not_found": _kind("submit", "an asset is not found: 400 at submit, 404 in the asset library"),
    "invalid_url_scheme": _kind("submit", "400, the URL of an asset is not there yet"),
    "group_not_found": _kind("CreateAsset", "404, the asset group is not found"),
    "not_found_yet": _kind("query", "the task or asset is unknown"),
    "server_error": _kind("*", "500", "code"),
    "bad_gateway": _kind("*", "502 with an HTML page"),
    "gateway_timeout": _kind("*", "504 with an HTML page"),
    "empty_answer": _kind("*", "200 with an empty body"),
    "html_answer": _kind("*", "200 with an HTML page"),
    "odd_json": _kind("*", "200 with JSON of another shape"),
    "status": _kind("*", "any status with any body", "status", "body", "retry_after"),
    # Before acting.
    "slow": _kind("*", "waits, then acts unless the caller has gone", "seconds"),
    "drop_request": _kind("*", "closes the connection and does nothing"),
    # After acting: what was asked is done and billed, but the answer is lost or late.
    "drop_answer": _kind("submit", "acts, then closes the connection without an answer"),
    "bad_gateway_after": _kind("submit", "acts, then answers 502 with an HTML page"),
    "slow_answer": _kind("submit", "acts, then waits before it answers", "seconds"),
    # On the file.
    "truncate_download": _kind(
        "download", "announces the whole file, closes after a part of it", "fraction", only_on=_FILES
    ),
    "stall_download": _kind("download", "sends a part, waits, sends the rest", "fraction", "seconds", only_on=_FILES),
    "corrupt_download": _kind("download", "sends something that is no video", only_on=_FILES),
    "link_expired": _kind("download", "403, the link has expired", only_on=_FILES),
    # The outcome of a generation: on submit for ever, on query in that one answer.
    "stuck": _kind("submit", "the generation stays at IN_PROGRESS 30%", only_on=_OUTCOME_CALLS),
    "unknown_status": _kind(
        "submit", "the generation shows a status that nobody knows", "value", only_on=_OUTCOME_CALLS
    ),
    "fail_generation": _kind("submit", "the generation fails after rendering", "reason", "code", only_on=("submit",)),
}
