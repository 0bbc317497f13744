"""AnyFast's answers as types. Tolerant: unknown fields are ignored, missing ones are empty."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

import pendulum
from pydantic import BaseModel, ConfigDict, Field, field_validator

from airflow_provider_anyfast.client.error_parsing import code_and_message
from airflow_provider_anyfast.client.errors import UnexpectedAnswerError

ItemT = TypeVar("ItemT")


_SERVICE_PREFIX = re.compile(r"^\[u-[^\]]*\]-\[t-[^\]]*\][-_ ]?")


class Outcome(Enum):
    """How far a job is: the only thing that waiting needs to know."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class _Answer(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, coerce_numbers_to_str=True, defer_build=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _null_is_missing(cls, value: Any) -> Any:
        return "" if value is None else value


class AssetGroup(_Answer):
    """A group of assets. ``name`` is as the service shows it, maybe behind its ``[u-…]-[t-…]`` prefix."""

    id: str = Field(alias="Id", min_length=1)
    name: str = Field(default="", alias="Name")
    group_type: str = Field(default="", alias="GroupType")
    description: str = Field(default="", alias="Description")
    created_at: str = Field(default="", alias="CreateTime")

    @property
    def created(self) -> float:
        """Unix seconds of its creation; 0 where AnyFast does not tell."""
        return _seconds(self.created_at) or 0.0

    @property
    def plain_name(self) -> str:
        """The name as it was given, without the prefix ``[u-{user}]-[t-{token}]`` that the service adds."""
        return _SERVICE_PREFIX.sub("", self.name)


class AssetError(_Answer):
    """Why an asset failed."""

    code: str = Field(default="", alias="Code")
    message: str = Field(default="", alias="Message")


class Asset(_Answer):
    """A reference image, video or audio in the library.

    ``url`` is a signed link of 12 hours that changes with every read: refer to the asset as ``asset://<id>``.
    """

    id: str = Field(alias="Id", min_length=1)
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
        """``Active`` is ready, ``Failed`` is final; whatever else comes (Processing, empty, unknown) is pending."""
        status = self.status.lower()
        return {"active": Outcome.SUCCEEDED, "failed": Outcome.FAILED}.get(status, Outcome.PENDING)

    @property
    def changed_at(self) -> float:
        """Unix seconds of the last change, such as becoming Active; 0 where AnyFast does not tell."""
        return _seconds(self.updated_at or self.created_at) or 0.0

    @property
    def uri(self) -> str:
        """How a generation refers to this asset."""
        return f"asset://{self.id}"


@dataclass(frozen=True)
class Page(Generic[ItemT]):
    """One page of a list."""

    items: tuple[ItemT, ...]
    total: int | None


class Usage(BaseModel):
    """What a generation used, in tokens. Fields that AnyFast adds later are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    completion_tokens: int | None = None
    total_tokens: int | None = None
    super_resolution_tokens: int | None = None


_SUCCESS = frozenset({"success", "succeeded", "completed"})
_FAILURE = frozenset({"failure", "failed", "error", "cancelled", "canceled", "expired"})
_ENDED_UPSTREAM = frozenset({"cancelled", "canceled", "expired"})


@dataclass(frozen=True)
class Generation:
    """One generation, as AnyFast tells it.

    Attributes:
        generation_id: AnyFast's task id.
        status: as AnyFast spells it (``NOT_START``, ``QUEUED``, ``IN_PROGRESS``, ``SUCCESS``, ``FAILURE``, …).
        progress: percent, 0 to 100.
        video_url: signed link that dies 24 hours after ``finished_at``; None until then.
        failure_code, failure_message: why it failed; empty unless it did.
        submitted_at, finished_at: Unix seconds.
    """

    generation_id: str
    status: str
    outcome: Outcome
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
    usage: Usage = field(default_factory=Usage)
    submitted_at: float | None = None
    finished_at: float | None = None
    request_id: str = ""


def parse_id(body: Any, call: str) -> str:
    """The id that a create or a submission answers, in any of the shapes that have been seen."""
    if isinstance(body, dict):
        candidates = [body, body.get("data"), body.get("Result"), body.get("result")]
        for part in candidates:
            if isinstance(part, dict):
                for key in ("id", "task_id", "Id"):
                    if isinstance(part.get(key), str) and part[key].strip():
                        return str(part[key]).strip()
    raise UnexpectedAnswerError(f"{call}: AnyFast's answer holds no id (it has {_shape(body)}).")


def parse_asset(body: Any) -> Asset:
    """An asset, flat or inside ``Result``."""
    return _validated(Asset, _result(body), "GetAsset")


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
        raise UnexpectedAnswerError(f"list models: AnyFast's answer holds no list of models (it has {_shape(body)}).")
    return tuple(str(item["id"]) for item in items if isinstance(item, dict) and item.get("id"))


def parse_generation(body: Any, generation_id: str) -> Generation:
    """A generation, in any of the shapes that have been seen.

    The status decides first, and only then are links and reasons read: a failed generation can carry its
    error in ``result_url``, and a finished one its link in ``fail_reason``.
    """
    task = body.get("data") if isinstance(body, dict) and isinstance(body.get("data"), dict) else body
    if not isinstance(task, dict) or not isinstance(task.get("status"), str):
        raise UnexpectedAnswerError(
            f"query a generation: AnyFast's answer about {generation_id} holds no status (it has {_shape(body)})."
        )
    upstream = _dict(task.get("data")) or task
    content, output = _dict(upstream.get("content")), _dict(upstream.get("output"))
    outcome = _outcome(task["status"], upstream.get("status"))
    succeeded, failed = outcome is Outcome.SUCCEEDED, outcome is Outcome.FAILED
    code, message = _failure(task, upstream) if failed else ("", "")
    links = (
        task.get("result_url"),
        content.get("video_url"),
        upstream.get("video_url"),
        output.get("video_url"),
        task.get("video_url"),
        task.get("fail_reason"),
    )
    return Generation(
        generation_id=generation_id,
        status=task["status"],
        outcome=outcome,
        progress=_percent(task.get("progress")),
        model=_text(upstream.get("model")),
        video_url=next((link for link in links if _is_link(link)), None) if succeeded else None,
        original_video_url=_link(task.get("original_result_url")) if succeeded else None,
        last_frame_url=_link(content.get("last_frame_url")) if succeeded else None,
        failure_code=code,
        failure_message=message,
        duration=_integer(upstream.get("duration")),
        resolution=_text(upstream.get("resolution")),
        ratio=_text(upstream.get("ratio")),
        seed=_integer(upstream.get("seed")),
        usage=_usage(upstream.get("usage")),
        submitted_at=_seconds(task.get("submit_time") or task.get("created_at") or upstream.get("created_at")),
        finished_at=_seconds(task.get("finish_time") or task.get("completed_at")),
        request_id=_text(task.get("request_id")) or "",
    )


def _outcome(status: str, upstream_status: Any) -> Outcome:
    status = status.strip().lower()
    if status in _SUCCESS:
        return Outcome.SUCCEEDED
    if status in _FAILURE:
        return Outcome.FAILED
    # The gateway shows a cancelled or expired upstream task as running for up to a day.
    if str(upstream_status or "").lower() in _ENDED_UPSTREAM:
        return Outcome.FAILED
    return Outcome.PENDING


def _failure(task: dict[str, Any], upstream: dict[str, Any]) -> tuple[str, str]:
    code, message = code_and_message({"error": upstream.get("error")} if upstream.get("error") else {})
    for reason in (task.get("fail_reason"), task.get("result_url"), message, upstream.get("status")):
        if isinstance(reason, str) and reason.strip() and not _is_link(reason):
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
        raise UnexpectedAnswerError(
            f"{call}: AnyFast's answer cannot be understood (it has {_shape(body)})."
        ) from error


def _page(model: type[ModelT], body: Any, call: str) -> Page[ModelT]:
    result = _result(body)
    items = result.get("Items") if isinstance(result, dict) else None
    if items is None and isinstance(result, dict) and "TotalCount" in result:
        items = []
    if not isinstance(items, list):
        raise UnexpectedAnswerError(f"{call}: AnyFast's answer holds no Items (it has {_shape(body)}).")
    return Page(tuple(_validated(model, item, call) for item in items), _integer(result.get("TotalCount")))


def _shape(body: Any) -> str:
    """What a body consists of, without its values, which may be secret."""
    if isinstance(body, dict):
        return f"the fields {', '.join(map(str, body))}" if body else "no fields"
    return "nothing" if body is None else f"a {type(body).__name__}"


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _percent(value: Any) -> int | None:
    return _integer(value.strip().removesuffix("%")) if isinstance(value, str) else _integer(value)


_YEAR_3000 = 32_503_680_000.0


def _seconds(value: Any) -> float | None:
    """Unix seconds of a number or of an ISO 8601 text; 0, and what cannot be a time, means that it has not happened."""
    if isinstance(value, str) and not value.strip().isdigit():
        try:
            moment = pendulum.parse(value)
        except (ValueError, OverflowError):
            return None
        return moment.timestamp() if isinstance(moment, pendulum.DateTime) else None
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < _YEAR_3000 else None


def _usage(value: Any) -> Usage:
    try:
        return Usage.model_validate(_dict(value))
    except ValueError:
        return Usage()


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _link(value: Any) -> str | None:
    return value if _is_link(value) else None
