"""The rules of each model across the fields of a submission, and the generation that results.

Sources: the model guides at docs.anyfast.ai and the parameter tables of the service behind it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.sandbox.api.responses import ApiError
from airflow_provider_anyfast.sandbox.generations.catalog import (
    FRAME_RATE,
    MODELS,
    SELECTIVE_PARAMETERS,
    Model,
    Ratio,
    Resolution,
    nearest_ratio,
    size_of,
    tokens_of,
)
from airflow_provider_anyfast.sandbox.generations.generation import GenerationSpec, Reference
from airflow_provider_anyfast.sandbox.generations.references import read_references
from airflow_provider_anyfast.sandbox.generations.requests import ImageItem, TextItem, invalid

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.generations.requests import Submission
    from airflow_provider_anyfast.sandbox.library.asset_library import AssetLibrary

_AUTOMATIC = -1
_AUTOMATIC_SECONDS = 5
_FRAME_ROLES = ("first_frame", "last_frame")
_DRAFT_RESOLUTION: Resolution = "480p"
_DRAFT_DIVISOR = 5
"""A draft is billed this many times less than other videos (resellers of the service behind AnyFast)."""
_LONGEST_SECONDS = 60
_SEEDS = 100_000
# A clip cut to whole seconds has a last frame or audio packet after its end.
_SLACK_SECONDS = 0.1


def check_submission(submission: Submission, library: AssetLibrary, now: float) -> GenerationSpec:
    """Return the generation that a submission to a Seedance model requests.

    Raises:
        ApiError: 400, naming the parameter that breaks a rule.
    """
    model = MODELS[submission.model]
    _check_parameters(submission, model)
    _check_roles(submission, model)
    references = read_references(submission, model, library, now)
    _check_lengths(references, model)
    return _spec(submission, model, references)


def _check_parameters(submission: Submission, model: Model) -> None:
    for name in sorted(SELECTIVE_PARAMETERS - model.only):
        if getattr(submission, name) is not None:
            raise _broken(name, f"the model {model.name} does not have it")
    if submission.resolution is None and model.resolution_required:
        raise _broken("resolution", f"the model {model.name} requires it, one of {', '.join(model.resolutions)}")
    if submission.resolution is not None and submission.resolution not in model.resolutions:
        raise _broken("resolution", f"the model {model.name} takes {', '.join(model.resolutions)}")
    if submission.draft and submission.resolution not in (None, _DRAFT_RESOLUTION):
        raise _broken("resolution", f"a draft is made at {_DRAFT_RESOLUTION}")
    if submission.duration is not None and not _takes_duration(model, submission.duration):
        range_ = f"{model.durations[0]} to {model.durations[-1]}{' or -1' if model.automatic_duration else ''}"
        raise _broken("duration", f"the model {model.name} takes {range_} seconds, not {submission.duration}")
    if submission.tools and _roles(submission):
        raise _broken("tools", "web_search works with text only")
    _check_omni_task(submission, model)


def _takes_duration(model: Model, duration: int) -> bool:
    return duration in model.durations or (model.automatic_duration and duration == _AUTOMATIC)


def _check_omni_task(submission: Submission, model: Model) -> None:
    task = submission.omni_reference_task_type
    frames = model.frames_need_adaptive and any(role in _FRAME_ROLES for role in _roles(submission))
    if (frames or task in ("edit", "extend")) and submission.ratio != "adaptive":
        raise _broken("ratio", "frames, edit and extend need adaptive")
    if task == "edit" and submission.duration != _AUTOMATIC:
        raise _broken("duration", "edit needs -1")


def _roles(submission: Submission) -> list[str]:
    """Return the roles of the references; an image without one is the first frame."""
    return [item.role or "first_frame" for item in submission.content if not isinstance(item, TextItem)]


def _check_roles(submission: Submission, model: Model) -> None:
    images = [item for item in submission.content if isinstance(item, ImageItem)]
    roles = _roles(submission)
    if len(images) > 1 and any(image.role is None for image in images):
        raise _broken("content", "with several images each one needs a role")
    frames = [role for role in roles if role in _FRAME_ROLES]
    if frames and len(frames) < len(roles):
        raise _broken("content", "first and last frames cannot be mixed with reference media")
    if len(set(frames)) < len(frames):
        raise _broken("content", "there can be only one first_frame and one last_frame")
    if frames == ["last_frame"]:
        raise _broken("content", "a last_frame needs a first_frame")
    if frames and model.frames == "none":
        raise _broken("content", f"the model {model.name} takes text only")
    if not frames and model.frames == "required":
        raise _broken("content", f"the model {model.name} needs a first_frame")
    _check_counts(roles, model, len(submission.content))
    if not roles and not submission.prompt.strip():
        raise _broken("content[0].text", "the text is empty")


def _check_counts(roles: list[str], model: Model, items: int) -> None:
    limits = model.references
    allowed = {
        "reference_image": limits.images,
        "reference_video": limits.videos,
        "reference_audio": limits.audios,
    }
    for role, most in allowed.items():
        if (count := roles.count(role)) > most:
            raise _broken("content", f"the model {model.name} takes at most {most} items of role {role}, not {count}")
    if limits.items is not None and items > limits.items:
        raise _broken("content", f"the model {model.name} takes at most {limits.items} items, not {items}")
    if set(roles) == {"reference_audio"} and not limits.audio_alone:
        raise _broken("content", "a reference_audio needs at least one reference_image or reference_video")


def _check_lengths(references: tuple[Reference, ...], model: Model) -> None:
    limit = model.references.seconds
    for kind in ("video", "audio"):
        known = [reference.seconds for reference in references if reference.kind == kind and reference.seconds]
        if sum(known) > limit + _SLACK_SECONDS * len(known):
            raise _broken("content", f"the {kind}s last {sum(known):.1f} s together, at most {limit:g} s are taken")


def _spec(submission: Submission, model: Model, references: tuple[Reference, ...]) -> GenerationSpec:
    resolution = submission.resolution or (_DRAFT_RESOLUTION if submission.draft else "720p")
    rendered = model.upscaled_from.get(resolution, resolution)
    ratio = _ratio(submission, references)
    frames, duration = _length(submission, references)
    rendered_tokens = tokens_of(frames, size_of(rendered, ratio)) // (_DRAFT_DIVISOR if submission.draft else 1)
    wants_audio = model.generate_audio if submission.generate_audio is None else submission.generate_audio
    return GenerationSpec(
        model=submission.model,
        upstream_model=model.upstream,
        prompt=submission.prompt,
        references=references,
        action=_action(submission, references),
        resolution=resolution,
        rendered_resolution=rendered,
        ratio=ratio,
        size=size_of(resolution, ratio),
        rendered_size=size_of(rendered, ratio),
        duration=duration,
        frames=frames,
        audio=wants_audio and not model.silent,
        seed=submission.seed if submission.seed >= 0 else random.randrange(_SEEDS),
        return_last_frame=submission.return_last_frame,
        container=submission.output_format or "mp4",
        service_tier=submission.service_tier,
        draft=bool(submission.draft),
        tokens=rendered_tokens,
        super_resolution_tokens=tokens_of(frames, size_of(resolution, ratio)) if model.upscaled_from else None,
    )


def _ratio(submission: Submission, references: tuple[Reference, ...]) -> Ratio:
    if submission.ratio != "adaptive":
        return submission.ratio
    first = next((reference for reference in references if reference.kind == "image"), None)
    if first is not None and first.width and first.height:
        return nearest_ratio(first.width, first.height)
    return "16:9"


def _length(submission: Submission, references: tuple[Reference, ...]) -> tuple[int, int]:
    """Return the frames and whole seconds of the video; an automatic one is as long as its first known video."""
    if submission.frames is not None:
        return submission.frames, submission.frames // FRAME_RATE
    duration = submission.duration or _AUTOMATIC_SECONDS
    if duration == _AUTOMATIC:
        known = [round(item.seconds) for item in references if item.kind == "video" and item.seconds]
        durations = MODELS[submission.model].durations
        duration = min(max(known[0], durations[0]), durations[-1]) if known else _AUTOMATIC_SECONDS
    return duration * FRAME_RATE, duration


def _action(submission: Submission, references: tuple[Reference, ...]) -> str:
    roles = {reference.role for reference in references}
    if submission.omni_reference_task_type is not None:
        return "omniGenerate"
    if "last_frame" in roles:
        return "firstTailGenerate"
    return "referenceGenerate" if any(role.startswith("reference") for role in roles) else "generate"


def _broken(parameter: str, reason: str) -> ApiError:
    return ApiError(invalid(parameter, reason))


def spec_for_unknown_model(model: str, fields: dict[str, Any]) -> GenerationSpec:
    """Return the generation of a model that the sandbox does not know: its prompt and duration, 720p at 16:9."""
    resolution: Resolution = "720p"
    ratio: Ratio = "16:9"
    size = size_of(resolution, ratio)
    duration = fields.get("duration")
    seconds = duration if isinstance(duration, int) and 0 < duration <= _LONGEST_SECONDS else _AUTOMATIC_SECONDS
    return GenerationSpec(
        model=model,
        upstream_model=model,
        prompt=_loose_prompt(fields),
        references=(),
        action="generate",
        resolution=resolution,
        rendered_resolution=resolution,
        ratio=ratio,
        size=size,
        rendered_size=size,
        duration=seconds,
        frames=seconds * FRAME_RATE,
        audio=False,
        seed=random.randrange(_SEEDS),
        return_last_frame=False,
        container="mp4",
        service_tier="default",
        draft=False,
        tokens=tokens_of(seconds * FRAME_RATE, size),
    )


def _loose_prompt(fields: dict[str, Any]) -> str:
    if "prompt" in fields:
        return str(fields["prompt"])
    content = fields.get("content")
    items = content if isinstance(content, list) else []
    return "\n".join(str(item["text"]) for item in items if isinstance(item, dict) and "text" in item)
