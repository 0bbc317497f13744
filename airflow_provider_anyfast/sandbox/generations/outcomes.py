"""What decides the outcome of a generation: markers in its prompt, and faults."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_anyfast.sandbox.generations.generation import Outcome, Progress

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.faults import Fault
    from airflow_provider_anyfast.sandbox.generations.generation import GenerationSpec

_OUTPUT_MODERATION = Outcome(
    "failure",
    code="OutputVideoSensitiveContentDetected",
    reason="The request failed because the output video may contain sensitive information.",
)
_INTERNAL_ERROR = Outcome(
    "failure", code="InternalServiceError", reason="The service encountered an unexpected internal error."
)
_STUCK = Outcome("endless", shows=Progress("IN_PROGRESS", 30))
_MARKERS = {
    "[sandbox:output-moderation]": _OUTPUT_MODERATION,
    "[sandbox:fail]": _INTERNAL_ERROR,
    "[sandbox:stuck]": _STUCK,
    "[sandbox:unknown-status]": Outcome("endless", shows=Progress("UNKNOWN", 30)),
}


def outcome_of(prompt: str, fault: Fault | None) -> Outcome:
    """Return the outcome that the fault or a marker in the prompt decides, otherwise a success."""
    decided = outcome_by_fault(fault) if fault is not None else None
    return decided or next((outcome for marker, outcome in _MARKERS.items() if marker in prompt), Outcome())


def outcome_by_fault(fault: Fault) -> Outcome | None:
    """Return the outcome that a fault decides, ``None`` for a fault of another kind."""
    if fault.name == "stuck":
        return _STUCK
    if fault.name == "unknown_status":
        return Outcome("endless", shows=Progress(str(fault.value or "UNKNOWN"), 30))
    if fault.name == "upstream_cancelled":
        return Outcome("endless", shows=Progress("IN_PROGRESS", 30, upstream=str(fault.value or "cancelled")))
    if fault.name == "fail_generation":
        code, reason = fault.code or _INTERNAL_ERROR.code, fault.reason or _INTERNAL_ERROR.reason
        return Outcome("failure", code=code, reason=reason)
    return None


def made_by_fault(spec: GenerationSpec, fault: Fault | None) -> GenerationSpec:
    """Return what is rendered in place of ``spec``. Its charge, duration and ratio stay those of the request."""
    name = fault.name if fault is not None else ""
    if name == "short_video":
        return replace(spec, frames=spec.frames // 2)
    if name == "turned_video":
        (width, height), (rendered_width, rendered_height) = spec.size, spec.rendered_size
        return replace(spec, size=(height, width), rendered_size=(rendered_height, rendered_width))
    return replace(spec, audio=False) if name == "silent_video" else spec
