"""Finals that are made from a draft. AnyFast does not document them; the service behind it and resellers do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_anyfast.sandbox.api.responses import ApiError
from airflow_provider_anyfast.sandbox.generations.catalog import MODELS, size_of, tokens_of
from airflow_provider_anyfast.sandbox.generations.requests import DraftTaskItem, invalid

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.generations.generation import Generation, GenerationSpec
    from airflow_provider_anyfast.sandbox.generations.requests import Submission

_KEPT_SECONDS = 7 * 24 * 3600


def draft_id(submission: Submission) -> str | None:
    """The id of the draft that a submission names, if it names one."""
    return next((item.draft_task.id for item in submission.content if isinstance(item, DraftTaskItem)), None)


def final_of(draft: Generation | None, submission: Submission, now: float) -> GenerationSpec:
    """Return the final of a draft: the draft's request at the resolution of the submission.

    Args:
        draft: the generation of this key that the submission names; ``None`` if there is none.
        submission: names the draft and no other content.
        now: Unix seconds.

    Raises:
        ApiError: 400, naming what is wrong.
    """
    if len(submission.content) > 1:
        raise _broken("content", "a draft_task stands alone: prompt and references are those of the draft")
    if draft is None or not draft.spec.draft:
        raise _broken("content[0].draft_task.id", "there is no such draft")
    if draft.progress(now).status != "SUCCESS":
        raise _broken("content[0].draft_task.id", "the draft has not succeeded")
    if now - draft.finishes_at > _KEPT_SECONDS:
        raise _broken("content[0].draft_task.id", "the draft is older than 7 days")
    if draft.spec.model != submission.model:
        raise _broken("model", f"the draft was made by {draft.spec.model}")
    resolution = submission.resolution or "720p"
    if resolution == draft.spec.resolution or resolution not in MODELS[submission.model].resolutions:
        raise _broken("resolution", "a final is made at a higher resolution than its draft")
    size = size_of(resolution, draft.spec.ratio)
    return replace(
        draft.spec,
        resolution=resolution,
        rendered_resolution=resolution,
        size=size,
        rendered_size=size,
        return_last_frame=submission.return_last_frame,
        draft=False,
        tokens=tokens_of(draft.spec.frames, size),
    )


def _broken(parameter: str, reason: str) -> ApiError:
    return ApiError(invalid(parameter, reason))
