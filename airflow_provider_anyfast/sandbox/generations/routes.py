"""Submitting a generation, asking about it, and the models of a key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from airflow_provider_anyfast.sandbox.api.identifiers import current_request_id
from airflow_provider_anyfast.sandbox.api.responses import (
    ApiError,
    json_response,
    moderated,
    no_channel,
    out_of_quota,
    plan_lacks_model,
    task_not_found,
)
from airflow_provider_anyfast.sandbox.api.routing import (
    SUBMIT_PATH,
    AnyFastRoute,
    CallingKey,
    RequestFault,
    TheSandbox,
    calling_key,
    to_response,
)
from airflow_provider_anyfast.sandbox.generations.catalog import MODELS
from airflow_provider_anyfast.sandbox.generations.generation import (
    Generation,
    GenerationSpec,
    Outcome,
    permanent_progress,
    seconds_to_complete,
)
from airflow_provider_anyfast.sandbox.generations.query_shapes import shape_query
from airflow_provider_anyfast.sandbox.generations.requests import read_body, read_submission
from airflow_provider_anyfast.sandbox.generations.results import result_of
from airflow_provider_anyfast.sandbox.generations.rules import check_submission, spec_for_unknown_model
from airflow_provider_anyfast.sandbox.media.data_uris import shortened

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.faults import Fault
    from airflow_provider_anyfast.sandbox.settings import SandboxSettings
    from airflow_provider_anyfast.sandbox.state import Key, Sandbox

_MODERATION_MARKER = "[sandbox:moderation]"
_OUTPUT_MODERATION = Outcome(
    "failure",
    code="OutputVideoSensitiveContentDetected",
    reason="The request failed because the output video may contain sensitive information.",
)
_INTERNAL_ERROR = Outcome(
    "failure", code="InternalServiceError", reason="The service encountered an unexpected internal error."
)
_STUCK = Outcome("stuck")
_OUTCOME_MARKERS = {
    "[sandbox:output-moderation]": _OUTPUT_MODERATION,
    "[sandbox:fail]": _INTERNAL_ERROR,
    "[sandbox:stuck]": _STUCK,
    "[sandbox:unknown-status]": Outcome("unknown_status", status="UNKNOWN"),
}

router = APIRouter(route_class=AnyFastRoute)


@router.post(SUBMIT_PATH, name="submit")
async def submit(request: Request, sandbox: TheSandbox, key: CallingKey, fault: RequestFault) -> Response:
    """Accept a generation, and bill it."""
    fields = read_body(await request.body())
    _check_plan(fields["model"], sandbox.settings)
    spec = await run_in_threadpool(_read_spec, fields, sandbox, key)
    if _MODERATION_MARKER in spec.prompt:
        raise ApiError(moderated("InputTextSensitiveContentDetected", _marked_item(fields)))
    with sandbox.lock:
        now = sandbox.clock.now()
        quota = sandbox.settings.quota_tokens
        if quota is not None and sandbox.tokens_spent(key.account) + spec.tokens > quota:
            raise ApiError(out_of_quota())
        task_id = sandbox.ids.task()
        sandbox.generations[task_id] = Generation(
            id=task_id,
            upstream_id=sandbox.ids.upstream_task(now),
            request_id=current_request_id.get(),
            key=key.value,
            account=key.account,
            spec=spec,
            request=_without_content(fields),
            base_url=str(request.base_url).rstrip("/"),
            submitted_at=now,
            seconds=seconds_to_complete(
                sandbox.settings.completion_seconds, sandbox.settings.completion_spread, task_id
            ),
            outcome=_outcome(spec.prompt, fault),
        )
    answer = {
        "id": task_id,
        "task_id": task_id,
        "object": "video",
        "model": spec.model,
        "status": sandbox.settings.submit_status,
        "progress": 0,
        "created_at": int(now),
    }
    ratios = json.dumps({"seconds": spec.duration})
    return to_response(json_response(answer, headers={"X-New-Api-Other-Ratios": ratios}))


@router.get(SUBMIT_PATH + "/{task_id}", name="query")
async def query(task_id: str, sandbox: TheSandbox, key: CallingKey, fault: RequestFault) -> Response:
    """Show a generation of the key's account."""
    with sandbox.lock:
        generation = sandbox.generations.get(task_id)
        if generation is None or generation.account != key.account:
            raise ApiError(task_not_found(sandbox.settings.unknown_task))
        shown_instead = permanent_progress(_outcome_of_fault(fault)) if fault is not None else None
        progress = shown_instead or generation.progress(sandbox.clock.now())
        lifetime = sandbox.settings.link_hours * 3600
        result = result_of(generation, sandbox.signer, lifetime) if progress.status == "SUCCESS" else None
        return to_response(json_response(shape_query(generation, progress, result, sandbox.settings)))


@router.get("/v1/models", name="models", dependencies=[Depends(calling_key)])
async def models(sandbox: TheSandbox) -> Response:
    """Show the models of a key's plan."""
    names = sandbox.settings.models or tuple(MODELS)
    data = [
        {
            "id": name,
            "object": "model",
            "created": 1_626_777_600,
            "owned_by": "doubao-video" if name in MODELS else "custom",
            "supported_endpoint_types": ["openai-video"],
        }
        for name in names
    ]
    return to_response(json_response({"data": data, "object": "list", "success": True}))


def _marked_item(fields: dict[str, Any]) -> int:
    """Return the place of the marker in the content; 0 for a prompt that is no part of a content."""
    return next((index for index, item in enumerate(fields.get("content", [])) if _MODERATION_MARKER in str(item)), 0)


def _check_plan(model: str, settings: SandboxSettings) -> None:
    in_plan = model in settings.models if settings.models is not None else model in MODELS
    if not in_plan:
        raise ApiError(plan_lacks_model() if model in MODELS else no_channel(model))


def _read_spec(fields: dict[str, Any], sandbox: Sandbox, key: Key) -> GenerationSpec:
    if fields["model"] not in MODELS:
        return spec_for_unknown_model(fields["model"], fields)
    submission = read_submission(fields)
    with sandbox.lock:
        library, now = key.library.snapshot(), sandbox.clock.now()
    # Inline media are read outside of the lock: that takes its time.
    return check_submission(submission, library, now)


def _outcome(prompt: str, fault: Fault | None) -> Outcome:
    if fault is not None and (outcome := _outcome_of_fault(fault)).kind != "success":
        return outcome
    return next((outcome for marker, outcome in _OUTCOME_MARKERS.items() if marker in prompt), Outcome())


def _outcome_of_fault(fault: Fault) -> Outcome:
    if fault.name == "stuck":
        return _STUCK
    if fault.name == "unknown_status":
        return Outcome("unknown_status", status=fault.value)
    if fault.name == "fail_generation":
        code, reason = fault.code or _INTERNAL_ERROR.code, fault.reason or _INTERNAL_ERROR.reason
        return Outcome("failure", code=code, reason=reason)
    return Outcome()


def _without_content(value: Any) -> Any:
    """Return a request's JSON with its data URIs cut short."""
    if isinstance(value, dict):
        return {name: _without_content(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_content(item) for item in value]
    return shortened(value) if isinstance(value, str) else value
