"""The faults by name: what each does, to which call, and which parameters it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Call = Literal[
    "submit",
    "query",
    "content",
    "download",
    "models",
    "billing_log",
    "usage",
    "pricing",
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
    """What a fault does, which call it hits by default, and which parameters it takes.

    ``only_on`` names the calls that it can hit; empty means every call.
    """

    on: Call | Literal["*"]
    effect: str
    parameters: frozenset[str] = frozenset()
    only_on: tuple[Call, ...] = ()


def _kind(on: Call | Literal["*"], effect: str, *parameters: str, only_on: tuple[Call, ...] = ()) -> FaultKind:
    return FaultKind(on, effect, frozenset(parameters), only_on)


_DOWNLOADS: tuple[Call, ...] = ("download",)
_TASKS: tuple[Call, ...] = ("submit", "query")
_CREATIONS: tuple[Call, ...] = ("submit", "CreateAssetGroup", "CreateAsset")
_LISTS: tuple[Call, ...] = ("ListAssetGroups", "ListAssets")

FAULT_KINDS: dict[str, FaultKind] = {
    # Refusals: nothing is done, nothing is billed.
    "unauthorized": _kind("*", "401, invalid token"),
    "forbidden": _kind("*", "403, access denied", "code", "reason"),
    "no_quota": _kind("submit", "403, the account has no money left", "status", "code", "reason", "shape"),
    "moderation": _kind("submit", "400, the input is refused as sensitive", "code"),
    "bad_request": _kind("submit", "400, invalid parameter", "reason"),
    "model_not_found": _kind("submit", "503, no channel serves the model"),
    "endpoint_not_available": _kind("submit", "404, the plan lacks the model"),
    "rate_limited": _kind("submit", "429", "retry_after", "empty", "shape"),
    "asset_copy_not_ready": _kind("submit", "503, an asset is still being copied to a channel"),
    "asset_processing": _kind("submit", "400, an asset is still being processed"),
    "asset_not_found": _kind("submit", "an asset is not found: 400 at submit, 404 in the asset library"),
    "invalid_url_scheme": _kind("submit", "400, the URL of an asset is not available yet"),
    "group_not_found": _kind("CreateAsset", "404, the asset group is not found"),
    "asset_refused": _kind("CreateAsset", "502, AnyFast's own refusal of the file", "status", "code", "reason"),
    "not_found_yet": _kind("query", "the task or asset is unknown"),
    "task_not_exist": _kind("query", "the task is said to be unknown", "status", only_on=("query",)),
    "server_error": _kind("*", "500", "code"),
    "error_as_200": _kind("submit", "200 with an error object", "code", "reason"),
    "bad_gateway": _kind("*", "502 with an HTML page"),
    "gateway_timeout": _kind("*", "504 with an HTML page"),
    "empty_answer": _kind("*", "200 with an empty body"),
    "html_answer": _kind("*", "200 with an HTML page"),
    "odd_json": _kind("*", "200 with JSON of another shape"),
    "status": _kind("*", "any status with any body", "status", "body", "retry_after"),
    # Before acting.
    "slow": _kind("*", "waits, then acts unless the client has disconnected", "seconds"),
    "drop_request": _kind("*", "closes the connection and does nothing"),
    # After acting: the request is carried out and billed, but the response is lost, late or altered.
    "drop_answer": _kind("submit", "acts, then closes the connection without a response"),
    "bad_gateway_after": _kind("submit", "acts, then responds 502 with an HTML page"),
    "server_error_after": _kind("submit", "acts, then responds 500", "code"),
    "error_as_200_after": _kind("submit", "acts, then responds 200 with an error object", "code", "reason"),
    "slow_answer": _kind("submit", "acts, then waits before it responds", "seconds"),
    "drip": _kind("*", "acts, then sends one byte at a time", "seconds", "part"),
    "gzip": _kind("download", "acts, then compresses the response, unasked"),
    "patch": _kind("*", "acts, then changes fields of the JSON response", "body"),
    "odd_id": _kind("submit", "the new task has this id", "value", only_on=("submit",)),
    "odd_id_place": _kind("submit", "the response has the new id in an odd place", "place", only_on=_CREATIONS),
    "wrong_total": _kind("ListAssetGroups", "a list says that it is empty", only_on=_LISTS),
    "another_task": _kind("query", "the status of another task, as from a cache", "value", only_on=("query",)),
    "zero_time": _kind("query", "the finish time is Go's zero time", "value", only_on=("query",)),
    # On the file.
    "truncate_download": _kind(
        "download", "announces the whole file, closes after a part of it", "fraction", only_on=_DOWNLOADS
    ),
    "cut_download": _kind(
        "download", "announces no length, sends a part as if it were all", "fraction", "bytes", only_on=_DOWNLOADS
    ),
    "stall_download": _kind(
        "download", "sends a part, waits, sends the rest", "fraction", "seconds", only_on=_DOWNLOADS
    ),
    "corrupt_download": _kind("download", "sends something that is no video", only_on=_DOWNLOADS),
    "video_not_ready": _kind("download", "400, the storage host does not have the video yet", only_on=_DOWNLOADS),
    "link_refused": _kind("download", "403, although the link has not expired", only_on=_DOWNLOADS),
    "link_expired": _kind(
        "submit", "the link has expired, and the finish time is as old", only_on=("submit", "query", "download")
    ),
    # The outcome of a generation: for good when it hits a submission, in one response when it hits a query.
    "stuck": _kind("submit", "the generation stays at IN_PROGRESS 30%", only_on=_TASKS),
    "unknown_status": _kind("submit", "the generation shows an unknown status", "value", only_on=_TASKS),
    "upstream_cancelled": _kind("submit", "IN_PROGRESS, but cancelled upstream", "value", only_on=_TASKS),
    "status_goes_back": _kind("submit", "IN_PROGRESS once more after SUCCESS", only_on=_TASKS),
    "keyed_link": _kind("submit", "the link is on the API's host and needs the key", only_on=_TASKS),
    "short_video": _kind("submit", "the file has half the seconds", only_on=("submit",)),
    "turned_video": _kind("submit", "the file has width and height exchanged", only_on=("submit",)),
    "silent_video": _kind("submit", "the file has no sound", only_on=("submit",)),
    "fail_generation": _kind("submit", "the generation fails after rendering", "reason", "code", only_on=("submit",)),
}
