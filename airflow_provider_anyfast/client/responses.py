"""AnyFast's responses as types. Tolerant: unknown fields are ignored, missing ones are empty."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Generic, TypeVar

import pendulum
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from airflow_provider_anyfast.client.body import LARGEST_INTEGER, integer_of
from airflow_provider_anyfast.client.error_parsing import code_and_message
from airflow_provider_anyfast.client.errors import UnexpectedAnswerError

ItemT = TypeVar("ItemT")


_SERVICE_PREFIX = re.compile(r"^\[u-[^\]]*\]-\[t-[^\]]*\]")
_SEPARATOR = re.compile(r"^[-_ ]")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@=+~-]{0,199}")
"""What an id may be. It becomes a part of addresses and of file names, so it has no slash, and is not ``..``."""
_BARE_ID = re.compile(r"(?=.*\d)[A-Za-z0-9_-]{8,200}")
"""What an id looks like where no field marks it as one."""


class Outcome(Enum):
    """How far a job is: all that waiting needs to know."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


def is_id(value: Any) -> bool:
    """Whether ``value`` can be an id of AnyFast."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _validated_id(value: str) -> str:
    if not is_id(value):
        raise ValueError("not an id")
    return value


_ValidId = Annotated[str, AfterValidator(_validated_id)]


class _Response(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, coerce_numbers_to_str=True, defer_build=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _null_is_missing(cls, value: Any) -> Any:
        return "" if value is None else value


class AssetGroup(_Response):
    """A group of assets. ``name`` is as the service shows it, sometimes with its prefix ``[u-…]-[t-…]``."""

    id: _ValidId = Field(alias="Id")
    name: str = Field(default="", alias="Name")
    group_type: str = Field(default="", alias="GroupType")
    description: str = Field(default="", alias="Description")
    created_at: str = Field(default="", alias="CreateTime")

    @property
    def created(self) -> float:
        """Unix seconds of its creation; 0 if AnyFast does not report it."""
        return seconds_of(self.created_at) or 0.0

    @property
    def plain_name(self) -> str:
        """The name as it was given, without the prefix ``[u-{user}]-[t-{token}]`` that the service adds."""
        unprefixed = _SERVICE_PREFIX.sub("", self.name)
        return unprefixed if unprefixed == self.name else _SEPARATOR.sub("", unprefixed)


def groups_named(groups: Iterable[AssetGroup], name: str) -> list[AssetGroup]:
    """The groups that were given exactly this name.

    It is not documented whether the service separates its prefix from the name, which may begin like a separator.
    """
    groups = list(groups)
    exact = [group for group in groups if _SERVICE_PREFIX.sub("", group.name) == name]
    return exact or [group for group in groups if group.plain_name == name]


class AssetError(_Response):
    """Why an asset failed."""

    code: str = Field(default="", alias="Code")
    message: str = Field(default="", alias="Message")


class Asset(_Response):
    """A reference image, video or audio in the library.

    ``url`` is a signed link of 12 hours that changes with every read: refer to the asset as ``asset://<id>``.
    """

    id: _ValidId = Field(alias="Id")
    name: str = Field(default="", alias="Name")
    group_id: str = Field(default="", alias="GroupId")
    asset_type: str = Field(default="", alias="AssetType")
    status: str = Field(default="", alias="Status")
    url: str = Field(default="", alias="URL")
    created_at: str = Field(default="", alias="CreateTime")
    updated_at: str = Field(default="", alias="UpdateTime")
    error: AssetError = Field(default_factory=AssetError, alias="Error")

    @field_validator("error", mode="before")
    @classmethod
    def _any_error_shape(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping | AssetError) else AssetError(Message=str(value or ""))

    @property
    def outcome(self) -> Outcome:
        """``Active`` is ready, ``Failed`` is final; any other status (Processing, empty, unknown) is pending."""
        status = self.status.lower()
        return {"active": Outcome.SUCCEEDED, "failed": Outcome.FAILED}.get(status, Outcome.PENDING)

    @property
    def lacks_link(self) -> bool:
        """False: an Active asset is used by its id."""
        return False

    @property
    def changed_at(self) -> float:
        """Unix seconds of the last change, such as becoming Active; 0 if AnyFast does not report it."""
        return seconds_of(self.updated_at or self.created_at) or 0.0

    @property
    def uri(self) -> str:
        """How a generation refers to this asset."""
        return f"asset://{self.id}"


@dataclass(frozen=True)
class Page(Generic[ItemT]):
    """One page of a list."""

    items: tuple[ItemT, ...]
    total: int | None


Tokens = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]


class Usage(BaseModel):
    """What a generation used, in tokens. Fields that AnyFast adds later are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    completion_tokens: Tokens | None = None
    total_tokens: Tokens | None = None
    super_resolution_tokens: Tokens | None = None


_SUCCESS = frozenset({"success", "succeeded", "succeed", "completed", "complete", "finished", "done"})
_FAILURE = frozenset({"failure", "failed", "fail", "error", "cancelled", "canceled", "expired"})


@dataclass(frozen=True)
class Generation:
    """One generation, as AnyFast reports it.

    Attributes:
        generation_id: AnyFast's task id.
        status: as AnyFast spells it (``NOT_START``, ``QUEUED``, ``IN_PROGRESS``, ``SUCCESS``, ``FAILURE``, …); empty
            if AnyFast was not queried.
        progress: percent, 0 to 100.
        outcome: a success without a link to the video is still pending.
        video_url: signed link that expires 24 hours after ``finished_at``; None unless it has succeeded.
        failure_code, failure_message: why it failed; empty unless it did.
        submitted_at, finished_at: Unix seconds.
    """

    generation_id: str
    status: str = ""
    outcome: Outcome = Outcome.PENDING
    progress: int | None = None
    model: str | None = None
    video_url: str | None = None
    original_video_url: str | None = None
    last_frame_url: str | None = None
    failure_code: str = ""
    failure_message: str = ""
    duration: int | None = None
    resolution: str | None = None
    ratio: str | None = None
    seed: int | None = None
    prompt: str | None = None
    usage: Usage = field(default_factory=Usage)
    submitted_at: float | None = None
    finished_at: float | None = None
    request_id: str = ""

    @property
    def lacks_link(self) -> bool:
        """Whether AnyFast reports success without a link to the video, which it may add a moment later."""
        return self.outcome is Outcome.PENDING and _outcome(self.status) is Outcome.SUCCEEDED


def parse_id(body: Any, call: str) -> str:
    """The id that the response to a create or a submission contains, in any field and of any type.

    Raises:
        UnexpectedAnswerError: nothing in it can be an id.
    """
    parts = _parts(body)
    fields = [part[key] for part in parts if isinstance(part, dict) for key in _ID_FIELDS if key in part]
    texts = [field.strip() for field in fields if isinstance(field, str)]
    numbers = [str(field) for field in fields if isinstance(field, int) and not isinstance(field, bool) and field > 0]
    bare = [part.strip() for part in parts if isinstance(part, str) and _BARE_ID.fullmatch(part.strip())]
    for candidate in (*texts, *numbers, *bare):
        if is_id(candidate):
            return candidate
    raise UnexpectedAnswerError(f"{call}: AnyFast's response contains no id (it has {_shape(body)}).")


_ID_FIELDS = ("id", "task_id", "Id", "ID", "taskId", "TaskId", "generation_id")
_WRAPPERS = ("data", "Data", "Result", "result", "output", "task")


def _parts(body: Any) -> list[Any]:
    """The body, what it wraps, and what that wraps, from the outside in; a list of one item counts as the item."""
    parts, level = [], [body]
    for _ in range(3):
        level = [part[0] if isinstance(part, list) and len(part) == 1 else part for part in level]
        parts += level
        level = [part[key] for part in level if isinstance(part, dict) for key in _WRAPPERS if key in part]
    return parts


def parse_asset(body: Any) -> Asset:
    """An asset, flat or inside ``Result``."""
    return _validated(Asset, _result(body), "GetAsset")


def parse_queried_asset(body: Any, asset_id: str) -> Asset:
    """The asset with this id; a cache may return another one."""
    asset = parse_asset(body)
    if asset.id != asset_id:
        raise UnexpectedAnswerError(f"GetAsset: AnyFast's response about {asset_id} is about {asset.id}.")
    return asset


def parse_assets(body: Any) -> Page[Asset]:
    """A page of assets."""
    return _page(Asset, body, "ListAssets")


def parse_asset_groups(body: Any) -> Page[AssetGroup]:
    """A page of asset groups."""
    return _page(AssetGroup, body, "ListAssetGroups")


def parse_models(body: Any) -> tuple[str, ...]:
    """The ids of the models that a key may use."""
    items = body.get("data") if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise UnexpectedAnswerError(
            f"list models: AnyFast's response contains no list of models (it has {_shape(body)})."
        )
    return tuple(str(item["id"]) for item in items if isinstance(item, dict) and item.get("id"))


def parse_generation(body: Any, generation_id: str) -> Generation:
    """A generation, from any response format that has been seen.

    The status is read before links and reasons: a failed generation can have its error in ``result_url``, and a
    finished one its link in ``fail_reason``.
    """
    task = body.get("data") if isinstance(body, dict) and isinstance(body.get("data"), dict) else body
    if not isinstance(task, dict) or not isinstance(task.get("status"), str):
        raise UnexpectedAnswerError(
            f"query a generation: AnyFast's response about {generation_id} contains no status (it has {_shape(body)})."
        )
    if not _is_about(task, generation_id, wrapped=task is not body):
        raise UnexpectedAnswerError(
            f"query a generation: AnyFast's response about {generation_id} is about another generation."
        )
    upstream = _dict(task.get("data")) or task
    content, output = _dict(upstream.get("content")), _dict(upstream.get("output"))
    outcome = _outcome(task["status"])
    succeeded, failed = outcome is Outcome.SUCCEEDED, outcome is Outcome.FAILED
    code, message = _failure(task, upstream) if failed else ("", "")
    places = (
        task.get("result_url"),
        content.get("video_url"),
        upstream.get("video_url"),
        output.get("video_url"),
        task.get("video_url"),
        task.get("fail_reason"),
    )
    link = next(filter(None, map(_link, places)), None) if succeeded else None
    return Generation(
        generation_id=generation_id,
        status=task["status"],
        outcome=Outcome.PENDING if succeeded and link is None else outcome,
        progress=_percent(task.get("progress")),
        model=_text(upstream.get("model")),
        video_url=link,
        original_video_url=_link(task.get("original_result_url")) if succeeded else None,
        last_frame_url=_link(content.get("last_frame_url")) if succeeded else None,
        failure_code=code,
        failure_message=message,
        duration=integer_of(upstream.get("duration")),
        resolution=_text(upstream.get("resolution")),
        ratio=_text(upstream.get("ratio")),
        seed=integer_of(upstream.get("seed")),
        prompt=_text(_dict(task.get("properties")).get("input") or task.get("prompt") or upstream.get("prompt")),
        usage=_usage(upstream.get("usage")),
        submitted_at=seconds_of(task.get("submit_time") or task.get("created_at") or upstream.get("created_at")),
        finished_at=seconds_of(task.get("finish_time") or task.get("completed_at")),
        request_id=_text(task.get("request_id")) or "",
    )


def _is_about(task: dict[str, Any], generation_id: str, *, wrapped: bool) -> bool:
    """Whether a response does not name another generation than the one that was queried.

    A wrapped response has AnyFast's id in ``task_id``. A flat one may have the upstream's own id in ``id``, which has
    another format.
    """
    said = task.get("task_id")
    if not said and not wrapped:
        said = task.get("id")
        if str(said).partition("_")[0] != generation_id.partition("_")[0]:
            return True
    return not isinstance(said, str) or said.strip() in ("", generation_id)


def _outcome(status: str) -> Outcome:
    """The gateway's outcome. The gateway bills, so the upstream's own status does not count."""
    status = status.strip().lower()
    if status in _SUCCESS:
        return Outcome.SUCCEEDED
    return Outcome.FAILED if status in _FAILURE else Outcome.PENDING


def _failure(task: dict[str, Any], upstream: dict[str, Any]) -> tuple[str, str]:
    code, message = code_and_message({"error": upstream.get("error")} if upstream.get("error") else {})
    for given in (task.get("fail_reason"), task.get("result_url"), message, upstream.get("status")):
        reason = json.dumps(given) if isinstance(given, dict) else given  # usually it is JSON as text
        if isinstance(reason, str) and reason.strip() and not _link(reason):
            inner_code, inner_message = code_and_message({"message": reason})
            return code or inner_code, inner_message
    return code, ""


def _result(body: Any) -> Any:
    return body["Result"] if isinstance(body, dict) and isinstance(body.get("Result"), dict) else body


ModelT = TypeVar("ModelT", bound=BaseModel)


def _validated(model: type[ModelT], body: Any, call: str) -> ModelT:
    try:
        return model.model_validate(body)
    except ValueError as error:
        raise UnexpectedAnswerError(f"{call}: AnyFast's response cannot be parsed (it has {_shape(body)}).") from error


def _page(model: type[ModelT], body: Any, call: str) -> Page[ModelT]:
    result = _result(body)
    items = result.get("Items") if isinstance(result, dict) else None
    if items is None and isinstance(result, dict) and "TotalCount" in result:
        items = []
    if not isinstance(items, list):
        raise UnexpectedAnswerError(f"{call}: AnyFast's response contains no Items (it has {_shape(body)}).")
    return Page(tuple(_validated(model, item, call) for item in items), integer_of(result.get("TotalCount")))


def _shape(body: Any) -> str:
    """The fields or the type of a body, without its values, which may be secret."""
    if isinstance(body, dict):
        return f"the fields {', '.join(map(str, body))}" if body else "no fields"
    return "nothing" if body is None else f"a {type(body).__name__}"


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None


def _percent(value: Any) -> int | None:
    return integer_of(value.strip().removesuffix("%")) if isinstance(value, str) else integer_of(value)


_EARLIEST, _LATEST = 1_577_836_800.0, 4_102_444_800.0
"""The years 2020 and 2100 in Unix seconds. Go writes an unset time as the year 1."""


def seconds_of(value: Any) -> float | None:
    """Unix seconds of a number or of an ISO 8601 text; None if it cannot be a time at AnyFast."""
    try:
        if isinstance(value, str) and not value.strip().isdigit():
            moment = pendulum.parse(value.strip())
            seconds = moment.timestamp() if isinstance(moment, pendulum.DateTime) else 0.0
        else:
            seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if _EARLIEST <= seconds <= _LATEST else None


def _usage(value: Any) -> Usage:
    try:
        return Usage.model_validate(_dict(value))
    except ValueError:
        return Usage()


def _link(value: Any) -> str | None:
    """An http(s) link, without the blanks that may stand around it."""
    link = value.strip() if isinstance(value, str) else ""
    return link if _LINK.fullmatch(link) else None


_LINK = re.compile(r"https?://[^\s/?#]\S*", re.IGNORECASE)
