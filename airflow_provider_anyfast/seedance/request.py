"""A request for a generation, built from a user's parameters and checked before it is sent.

One error names every problem. A request to a model that is not in the catalog is sent unchecked, since AnyFast adds
models faster than this package lists them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from airflow_provider_anyfast.client.asset_ids import bare_asset_id
from airflow_provider_anyfast.parameters import Parameters, Problem, shown
from airflow_provider_anyfast.seedance.catalog import CHOSEN_BY_MODEL, MODELS, RATIOS, V2_5
from airflow_provider_anyfast.seedance.pricing import estimate_tokens
from airflow_provider_anyfast.values import (
    FilledText,
    Object,
    Objects,
    OptionalFlag,
    OptionalInteger,
    OptionalText,
    Texts,
    path_as_text,
)
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_anyfast.seedance.catalog import ModelSpec

LARGEST_REQUEST = 64 * 1024 * 1024
"""Bytes of a request body that AnyFast's clients have sent successfully."""
LARGEST_SEED = 2**32 - 1
"""The models' documentation: "-1 to 2^32-1"."""
LEFT_OUT = "data:left-out"
"""Replaces a data URI in a task's result, which Airflow would store with every copy of the result."""
_TYPES = {
    "first_frame": "Image",
    "last_frame": "Image",
    "reference_images": "Image",
    "reference_videos": "Video",
    "reference_audios": "Audio",
}
REFERENCES = frozenset(_TYPES)
"""Parameters that name images, videos and audios."""


Reference = Annotated[OptionalText, BeforeValidator(path_as_text)]


class VideoRequest(Parameters):
    """A user's request for one generation. Strings from templates are converted to what AnyFast expects.

    A reference is an asset id in any spelling, a public URL, a data URI (images and audio) or, where ``asset_group``
    names a group, a file.
    """

    meant_if_given: ClassVar[frozenset[str]] = REFERENCES
    may_render_none: ClassVar[frozenset[str]] = REFERENCES

    model: FilledText = "seedance"
    prompt: OptionalText = None
    first_frame: Reference = None
    last_frame: Reference = None
    reference_images: Texts = ()
    reference_videos: Texts = ()
    reference_audios: Texts = ()
    asset_group: OptionalText = None
    resolution: OptionalText = None
    ratio: OptionalText = None
    duration: OptionalInteger = None
    seed: OptionalInteger = None
    generate_audio: OptionalFlag = None
    watermark: OptionalFlag = None
    return_last_frame: OptionalFlag = None
    web_search: OptionalFlag = None
    content: Objects = ()
    extra_body: Object = Field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The JSON that AnyFast expects."""
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

    def given(self) -> dict[str, Any]:
        """The parameters that differ from their defaults, as plain JSON, to request the same video again."""
        given: dict[str, Any] = _without_data_uris(self.model_dump(mode="json", exclude_defaults=True))
        return {"model": self.model, **given}

    def estimated_tokens(self) -> int | None:
        """The tokens that will be billed, estimated by ``pricing``; None if there is no estimate."""
        spec = MODELS.get(self.model, V2_5)
        return estimate_tokens(self.body(), longest=spec.longest, reference_seconds=spec.reference_seconds)

    @property
    def kind(self) -> str:
        """The properties shared with other requests whose videos take about as long."""
        return f"{self.model} {self.resolution or ''} {self.duration or ''}"

    def describe(self) -> str:
        """The requested video, for a log line."""
        size = f"{self.resolution or 'default resolution'}, {self.ratio or 'default ratio'}"
        duration = {None: "default duration", -1: "a duration of its own choice"}.get(
            self.duration, f"{self.duration} s"
        )
        seed = "random seed" if self.seed in (None, -1) else f"seed {self.seed}"
        return f"{self.model}, {size}, {duration}, {seed}"

    @property
    def references(self) -> tuple[str, ...]:
        """Every reference, in the order of the request."""
        return tuple(reference for _, reference in self._named_references())

    @property
    def files(self) -> dict[str, str]:
        """The references that are files, and the asset type that each must have."""
        if not self.asset_group:
            return {}
        return {reference: _TYPES[name] for name, reference in self._named_references() if _is_file(reference)}

    def with_assets(self, ids: Mapping[str, str]) -> VideoRequest:
        """This request with assets in place of files."""
        changed: dict[str, Any] = {}
        for name in _TYPES:
            given = getattr(self, name)
            changed[name] = tuple(ids.get(each, each) for each in given) if isinstance(given, tuple) else given
            if isinstance(given, str):
                changed[name] = ids.get(given, given)
        return self.model_copy(update=changed)

    def _named_references(self) -> Iterator[tuple[str, str]]:
        for name in _TYPES:
            given = getattr(self, name)
            for reference in given if isinstance(given, tuple) else (given,):
                if reference:
                    yield name, reference

    def problems(self) -> Iterator[Problem]:
        """What AnyFast would refuse."""
        if not self.prompt and not self.content:
            yield _problem("prompt is empty", "prompt", "content")
        if "\x00" in (self.prompt or ""):
            yield _problem("prompt contains a NUL character", "prompt")
        yield from self._frame_problems()
        yield from self._reference_problems()
        if self.web_search and (self.references or self.content):
            yield _problem(
                "web_search=True works only with a prompt and no references", "web_search", "content", *REFERENCES
            )
        if clash := sorted(self.extra_body.keys() & self._named_options()):
            yield _problem(
                f"extra_body repeats {', '.join(clash)}, which {'is' if len(clash) == 1 else 'are'} already given",
                "extra_body",
            )
        yield from self._encoding_problems()
        spec = MODELS.get(self.model)
        if spec is not None:
            yield from self._model_problems(spec)

    def _named_options(self) -> set[str]:
        return set(self.model_copy(update={"extra_body": {}}).body())

    def _encoding_problems(self) -> Iterator[Problem]:
        """Encodes as httpx and the ledger do, so that nothing can fail between recording the intent and sending."""
        encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, sort_keys=True).encode
        try:
            size = len(encode(self.body()).encode())
        except (TypeError, ValueError, RecursionError) as error:
            yield _problem(f"the request is not JSON ({error})")
        else:
            if size > LARGEST_REQUEST:
                yield _problem(
                    f"the request has {size:,} bytes, but AnyFast accepts {LARGEST_REQUEST:,}: "
                    "upload references as assets"
                )

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

    def _frame_problems(self) -> Iterator[Problem]:
        if self.last_frame and not self.first_frame:
            yield _problem("last_frame is given without first_frame", "first_frame", "last_frame")
        if (self.first_frame or self.last_frame) and (
            self.reference_images or self.reference_videos or self.reference_audios
        ):
            yield _problem(
                "first_frame and last_frame cannot be mixed with reference_images, _videos or _audios", *REFERENCES
            )

    def _reference_problems(self) -> Iterator[Problem]:
        for name, reference in self._named_references():
            if self.asset_group and _is_file(reference):
                continue
            if sentence := _reference_problem(name, reference, _TYPES[name].lower()):
                yield _problem(sentence, name, "asset_group")

    def _model_problems(self, spec: ModelSpec) -> Iterator[Problem]:
        yield from self._format_problems(spec)
        for kind, given, most in (
            ("reference_images", self.reference_images, spec.images),
            ("reference_videos", self.reference_videos, spec.videos),
            ("reference_audios", self.reference_audios, spec.audios),
        ):
            if len(given) > most:
                takes = f"at most {most}" if most else "only first_frame and last_frame"
                yield _problem(
                    f"{kind} has {counted(len(given), 'item')}, but {self.model} accepts {takes}", "model", kind
                )
        if spec.items is not None and len(self.references) > spec.items:
            sentence = f"{len(self.references)} references are given, but {self.model} accepts {spec.items} in total"
            yield _problem(sentence, "model", *REFERENCES)
        only_audio = self.reference_audios and not (self.reference_images or self.reference_videos or self.content)
        if only_audio and spec.audios and not spec.lone_audio:
            sentence = f"reference_audios needs at least one reference image or video with {self.model}"
            yield _problem(sentence, "model", "content", *REFERENCES)

    def _format_problems(self, spec: ModelSpec) -> Iterator[Problem]:
        resolutions = spec.resolutions
        if self.resolution is None and spec.needs_resolution and "resolution" not in self.extra_body:
            sentence = f"resolution is required by {self.model}: one of {', '.join(resolutions or ())}"
            yield _problem(sentence, "model", "resolution", "extra_body")
        if self.resolution is not None and resolutions is not None and self.resolution not in resolutions:
            sentence = (
                f"resolution={self.resolution!r} is not one of {', '.join(resolutions)}, which {self.model} supports"
            )
            yield _problem(sentence, "model", "resolution")
        if self.ratio is not None and self.ratio not in RATIOS:
            yield _problem(f"ratio={self.ratio!r} is not one of {', '.join(RATIOS)}", "model", "ratio")
        if self.seed is not None and not -1 <= self.seed <= LARGEST_SEED:
            yield _problem(f"seed={self.seed} is outside -1 to {LARGEST_SEED:,}", "model", "seed")
        if self.first_frame and spec.frames_need_adaptive and self.ratio not in (None, "adaptive"):
            sentence = f"ratio={self.ratio!r}: with first_frame {self.model} accepts only 'adaptive'"
            yield _problem(sentence, "model", "ratio", "first_frame")
        if self.duration is not None and not self._duration_fits(spec):
            own = f" or {CHOSEN_BY_MODEL}" if spec.chooses_duration else ""
            yield _problem(
                f"duration={self.duration} is outside {spec.shortest} to {spec.longest} seconds{own} of {self.model}",
                "model",
                "duration",
            )

    def _duration_fits(self, spec: ModelSpec) -> bool:
        if self.duration == CHOSEN_BY_MODEL:
            return spec.chooses_duration
        return self.duration is not None and spec.shortest <= self.duration <= spec.longest


def _without_data_uris(value: Any) -> Any:
    if isinstance(value, str):
        return LEFT_OUT if value.startswith("data:") else value
    if isinstance(value, list):
        return [_without_data_uris(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_data_uris(item) for name, item in value.items()}
    return value


def _is_file(reference: str) -> bool:
    return not (_is_asset(reference) or reference.startswith(("http://", "https://", "data:")))


def _is_asset(reference: str) -> bool:
    return bare_asset_id(reference).startswith("asset-")


def _item(kind: str, reference: str, role: str) -> dict[str, Any]:
    url = f"asset://{bare_asset_id(reference)}" if _is_asset(reference) else reference
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}, "role": role}


def _reference_problem(name: str, reference: str, kind: str) -> str:
    """What is wrong with one reference; empty if AnyFast accepts it."""
    if reference.startswith("data:"):
        if kind == "video":
            return f"{name}: AnyFast does not accept a data URI for a video; upload it as an asset or give a public URL"
        if not reference.startswith(f"data:{kind}/"):
            return f"{name}={shown(reference)} is not a data URI of type {kind}/…"
    elif not (_is_asset(reference) or reference.startswith(("http://", "https://"))):
        kinds = "an asset id or a public URL" + ("" if kind == "video" else " or a data URI")
        cure = "to pass a file, set asset_group as well, or use CreateAssetOperator"
        return f"{name}={shown(reference)} is not {kinds}; {cure}"
    return ""


def _problem(sentence: str, *parameters: str) -> Problem:
    return Problem(frozenset(parameters), sentence)
