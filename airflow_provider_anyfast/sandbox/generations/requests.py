"""The body of a submission, checked field by field; rules across fields are in :mod:`.rules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from airflow_provider_anyfast.sandbox.api.bodies import read_object
from airflow_provider_anyfast.sandbox.api.responses import (
    ApiError,
    ApiResponse,
    gateway_error,
    task_error,
    upstream_error,
)

if TYPE_CHECKING:
    from fastapi import Request

_CONTENT_IS_MISSING = (
    "prompt is required: a Seedance model takes it as an item of `content`, "
    '[{"type": "text", "text": "..."}], and the request has no `content`'
)
ImageRole = Literal["first_frame", "last_frame", "reference_image"]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class Link(_Part):
    """Where a reference is: a public URL, a data URI, or ``asset://`` with an asset's id."""

    url: Annotated[str, StringConstraints(min_length=1)]


class TextItem(_Part):
    """The prompt."""

    type: Literal["text"]
    text: str
    role: None = None


class ImageItem(_Part):
    """An image: a frame of the video, or a reference."""

    type: Literal["image_url"]
    image_url: Link
    role: ImageRole | None = None


class VideoItem(_Part):
    """A reference video."""

    type: Literal["video_url"]
    video_url: Link
    role: Literal["reference_video"]


class AudioItem(_Part):
    """A reference audio."""

    type: Literal["audio_url"]
    audio_url: Link
    role: Literal["reference_audio"]


class DraftTask(_Part):
    """A draft, by the id of its generation."""

    id: Annotated[str, StringConstraints(min_length=1)]


class DraftTaskItem(_Part):
    """The draft whose final is to be made."""

    type: Literal["draft_task"]
    draft_task: DraftTask
    role: None = None


Item = Annotated[TextItem | ImageItem | VideoItem | AudioItem | DraftTaskItem, Field(discriminator="type")]


class Tool(_Part):
    """A tool that the model may use."""

    type: Literal["web_search"]


class Submission(_Part):
    """The body of ``POST /v1/video/generations``; unknown parameters are accepted and do nothing."""

    model: str
    content: list[Item]
    generate_audio: bool | None = None
    resolution: Literal["480p", "720p", "1080p", "2k", "4k"] | None = None
    ratio: Literal["16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "adaptive"] = "adaptive"
    duration: int | None = None
    watermark: bool = False
    seed: int = Field(default=-1, ge=-1, le=2**32 - 1)
    tools: list[Tool] | None = None
    return_last_frame: bool = False
    camera_fixed: bool | None = None
    draft: bool | None = None
    frames: int | None = Field(default=None, ge=29, le=289)
    service_tier: Literal["default", "flex"] = "default"
    execution_expires_after: int | None = Field(default=None, ge=60, le=172_800)
    safety_identifier: str | None = Field(default=None, max_length=64)
    priority: int | None = None
    output_format: Literal["mp4", "mov"] | None = None
    omni_reference_task_type: Literal["auto", "reference", "edit", "extend"] | None = None
    callback_url: str | None = None

    @property
    def prompt(self) -> str:
        """The texts of the content, one per line."""
        return "\n".join(item.text for item in self.content if isinstance(item, TextItem))


async def read_body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a submission, once the gateway's own checks pass.

    Raises:
        ApiError: 400, not a JSON object, or no model.
    """
    fields = await read_object(request)
    if not fields.get("model") or not isinstance(fields["model"], str):
        raise ApiError(gateway_error(400, "Model name not specified, model name cannot be empty"))
    return {name: value for name, value in fields.items() if value is not None}


def read_submission(fields: dict[str, Any]) -> Submission:
    """Return ``fields`` as a submission.

    Raises:
        ApiError: 400, from the gateway without content, otherwise from the service behind it, naming the field.
    """
    if not fields.get("content"):
        raise ApiError(task_error(400, "invalid_request", _CONTENT_IS_MISSING))
    try:
        return Submission.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise ApiError(invalid(_parameter(first["loc"]), first["msg"])) from None


def _parameter(place: tuple[int | str, ...]) -> str:
    """Return the name of a parameter, without the type that a content item's location also has."""
    match place:
        case ("content", int() as index, _, *rest):
            return ".".join([f"content[{index}]", *map(str, rest)])
        case ("content", int() as index):
            return f"content[{index}]"
        case _:
            return ".".join(map(str, place))


def invalid(parameter: str, reason: str) -> ApiResponse:
    """Return the upstream refusal of one parameter."""
    return upstream_error(
        400, "InvalidParameter", f"The parameter `{parameter}` specified in the request is not valid: {reason}."
    )
