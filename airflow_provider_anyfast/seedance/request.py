"""A request for a generation: built from what a user gives, and checked before it is sent.

A request is checked before it is sent, with every problem in one error. A model that is not in the table is
sent as it is, since AnyFast opens new ones faster than this package learns of them.
"""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from airflow_provider_anyfast.client.endpoints import bare_asset_id
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.seedance.catalog import CHOSEN_BY_MODEL, MODELS, RATIOS, V2_5
from airflow_provider_anyfast.seedance.pricing import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_anyfast.seedance.catalog import ModelSpec

LARGEST_BODY = 64 * 1024 * 1024
"""Bytes of a request body that AnyFast's clients have sent with success."""


def _blank_is_missing(value: Any) -> Any:
    """A template that renders nothing gives an empty string or the word None."""
    return None if isinstance(value, str) and value.strip() in ("", "None", "null") else value


def _as_list(value: Any) -> Any:
    """One reference, or the text that a template makes of a list, is a list too."""
    value = _blank_is_missing(value)
    if value is None:
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        return [item for item in _decoded(value) if _blank_is_missing(item) is not None]
    if isinstance(value, str):
        return [value]
    return [item for item in value if _blank_is_missing(item) is not None] if isinstance(value, list | tuple) else value


def _as_object(value: Any) -> Any:
    value = _blank_is_missing(value)
    return _decoded(value) if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") else value


def _decoded(text: str) -> Any:
    """JSON, or what ``str()`` makes of a Python list or dict."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("neither JSON nor a Python literal") from None


_Blank = BeforeValidator(_blank_is_missing)
Text = Annotated[str | None, _Blank]
Integer = Annotated[int | None, _Blank]
Flag = Annotated[bool | None, _Blank]
References = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class VideoRequest(BaseModel):
    """One generation as a user asks for it. Strings that a template made become what AnyFast expects.

    A reference is an asset id in any spelling, a public URL, or a data URI (images and audio).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, defer_build=True)

    model: str = "seedance"
    prompt: Text = None
    first_frame: Text = None
    last_frame: Text = None
    reference_images: References = ()
    reference_videos: References = ()
    reference_audios: References = ()
    resolution: Text = None
    ratio: Text = None
    duration: Integer = None
    seed: Integer = None
    generate_audio: Flag = None
    watermark: Flag = None
    return_last_frame: Flag = None
    web_search: Flag = None
    content: Annotated[tuple[dict[str, Any], ...], BeforeValidator(lambda value: _as_object(value) or ())] = ()
    extra_body: Annotated[dict[str, Any], BeforeValidator(lambda value: _as_object(value) or {})] = Field(
        default_factory=dict
    )

    @classmethod
    def parse(cls, **parameters: Any) -> VideoRequest:
        """The request, or one error that lists everything that is wrong with it.

        Raises:
            InvalidRequestError: naming each parameter, its value and what would do.
        """
        request, problems = cls.try_parse(**parameters)
        if request is None or problems:
            raise InvalidRequestError(
                f"This request would be refused, so nothing was sent and nothing was spent: {'; '.join(problems)}."
            )
        return request

    @classmethod
    def try_parse(cls, **parameters: Any) -> tuple[VideoRequest | None, list[str]]:
        """The request, if there can be one, and everything that is wrong with it."""
        try:
            request = cls.model_validate(parameters)
        except ValidationError as error:
            return None, [
                f"{'.'.join(map(str, part['loc']))}={_shown(part['input'])}: {part['msg']}" for part in error.errors()
            ]
        return request, list(request.problems())

    def body(self) -> dict[str, Any]:
        """The JSON that AnyFast takes."""
        options = {
            "resolution": self.resolution,
            "ratio": self.ratio,
            "duration": self.duration,
            "seed": self.seed,
            "generate_audio": self.generate_audio,
            "watermark": self.watermark,
            "return_last_frame": self.return_last_frame,
            "tools": [{"type": "web_search"}] if self.web_search else None,
        }
        return {
            "model": self.model,
            "content": [*self._items(), *self.content],
            **{name: value for name, value in options.items() if value is not None},
            **self.extra_body,
        }

    def estimated_tokens(self) -> int | None:
        """What the video will be billed at about, see ``cost``; None if that is not known."""
        spec = MODELS.get(self.model, V2_5)
        return estimate_tokens(self.body(), longest=spec.longest, reference_seconds=spec.reference_seconds)

    @property
    def references(self) -> tuple[str, ...]:
        """Every reference, in the order of the request."""
        frames = tuple(frame for frame in (self.first_frame, self.last_frame) if frame)
        return (*frames, *self.reference_images, *self.reference_videos, *self.reference_audios)

    def problems(self) -> Iterator[str]:
        """What AnyFast would refuse, one sentence each."""
        if not self.prompt and not self.content:
            yield "prompt is empty"
        if not self.model.strip():
            yield "model is empty"
        yield from self._frame_problems()
        yield from self._reference_problems()
        if self.web_search and (self.references or self.content):
            yield "web_search=True works with a prompt alone, without references"
        if clash := sorted(self.extra_body.keys() & self._named_options()):
            yield f"extra_body repeats {', '.join(clash)}, which {'is' if len(clash) == 1 else 'are'} given already"
        yield from self._encoding_problems()
        spec = MODELS.get(self.model)
        if spec is not None:
            yield from self._model_problems(spec)

    def _named_options(self) -> set[str]:
        return set(self.model_copy(update={"extra_body": {}}).body())

    def _encoding_problems(self) -> Iterator[str]:
        """Encodes as httpx does when it sends, so that nothing can go wrong between the intent and the payment."""
        try:
            size = len(json.dumps(self.body(), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())
        except (TypeError, ValueError, RecursionError) as error:
            yield f"the request is not JSON ({error})"
        else:
            if size > LARGEST_BODY:
                yield f"the request has {size:,} bytes, and AnyFast takes {LARGEST_BODY:,}: upload references as assets"

    def _items(self) -> Iterator[dict[str, Any]]:
        if self.prompt:
            yield {"type": "text", "text": self.prompt}
        for role, frame in (("first_frame", self.first_frame), ("last_frame", self.last_frame)):
            if frame:
                yield _item("image", frame, role)
        for kind, references in (
            ("image", self.reference_images),
            ("video", self.reference_videos),
            ("audio", self.reference_audios),
        ):
            for reference in references:
                yield _item(kind, reference, f"reference_{kind}")

    def _frame_problems(self) -> Iterator[str]:
        if self.last_frame and not self.first_frame:
            yield "last_frame is given without first_frame"
        if (self.first_frame or self.last_frame) and (
            self.reference_images or self.reference_videos or self.reference_audios
        ):
            yield "first_frame and last_frame cannot be mixed with reference_images, _videos or _audios"

    def _reference_problems(self) -> Iterator[str]:
        frames = (("first_frame", self.first_frame), ("last_frame", self.last_frame))
        named = [
            *((name, frame, "image") for name, frame in frames if frame),
            *(("reference_images", reference, "image") for reference in self.reference_images),
            *(("reference_videos", reference, "video") for reference in self.reference_videos),
            *(("reference_audios", reference, "audio") for reference in self.reference_audios),
        ]
        for name, reference, kind in named:
            if reference.startswith("data:"):
                if kind == "video":
                    yield f"{name}: AnyFast takes no data URI for a video; upload it as an asset or give a public URL"
                elif not reference.startswith(f"data:{kind}/"):
                    yield f"{name}={_shown(reference)} is not a data URI of type {kind}/…"
            elif not (_is_asset(reference) or reference.startswith(("http://", "https://"))):
                kinds = "an asset id or a public URL" + ("" if kind == "video" else " or a data URI")
                yield f"{name}={_shown(reference)} is not {kinds}; upload a local file with CreateAssetOperator"

    def _model_problems(self, spec: ModelSpec) -> Iterator[str]:
        yield from self._format_problems(spec)
        for kind, given, most in (
            ("reference_images", self.reference_images, spec.images),
            ("reference_videos", self.reference_videos, spec.videos),
            ("reference_audios", self.reference_audios, spec.audios),
        ):
            if len(given) > most:
                takes = f"at most {most}" if most else "only first_frame and last_frame"
                yield f"{kind} holds {len(given)}, and {self.model} takes {takes}"
        if spec.items is not None and len(self.references) > spec.items:
            yield f"{len(self.references)} references are given, and {self.model} takes {spec.items} altogether"
        only_audio = self.reference_audios and not (self.reference_images or self.reference_videos or self.content)
        if only_audio and spec.audios and not spec.lone_audio:
            yield f"reference_audios needs at least one reference image or video with {self.model}"

    def _format_problems(self, spec: ModelSpec) -> Iterator[str]:
        resolutions = spec.resolutions
        if self.resolution is None and spec.needs_resolution and "resolution" not in self.extra_body:
            yield f"resolution is required by {self.model}: one of {', '.join(resolutions or ())}"
        if self.resolution is not None and resolutions is not None and self.resolution not in resolutions:
            yield f"resolution={self.resolution!r} is not one of {', '.join(resolutions)}, which {self.model} makes"
        if self.ratio is not None and self.ratio not in RATIOS:
            yield f"ratio={self.ratio!r} is not one of {', '.join(RATIOS)}"
        if self.first_frame and spec.frames_need_adaptive and self.ratio not in (None, "adaptive"):
            yield f"ratio={self.ratio!r}: with first_frame {self.model} takes only 'adaptive'"
        if self.duration is not None and not self._duration_fits(spec):
            own = f" or {CHOSEN_BY_MODEL}" if spec.chooses_duration else ""
            yield f"duration={self.duration} is outside {spec.shortest} to {spec.longest} seconds{own} of {self.model}"

    def _duration_fits(self, spec: ModelSpec) -> bool:
        if self.duration == CHOSEN_BY_MODEL:
            return spec.chooses_duration
        return self.duration is not None and spec.shortest <= self.duration <= spec.longest


def _is_asset(reference: str) -> bool:
    return bare_asset_id(reference).startswith("asset-")


def _item(kind: str, reference: str, role: str) -> dict[str, Any]:
    url = f"asset://{bare_asset_id(reference)}" if _is_asset(reference) else reference
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}, "role": role}


def _shown(value: Any) -> str:
    text = redact(repr(value))
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - a line of a log
