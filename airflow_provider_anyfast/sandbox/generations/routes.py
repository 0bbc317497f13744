"""Submitting a generation, querying its status, and listing the models of a key."""

from __future__ import annotations

import json
from dataclasses import replace
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
    to_response,
)
from airflow_provider_anyfast.sandbox.api.routing import (
    SUBMIT_PATH,
    AnyFastRoute,
    CallingKey,
    RequestFault,
    TheSandbox,
    calling_key,
)
from airflow_provider_anyfast.sandbox.generations.catalog import MODELS
from airflow_provider_anyfast.sandbox.generations.drafts import draft_id, final_of
from airflow_provider_anyfast.sandbox.generations.generation import (
    RUNNING,
    Generation,
    GenerationSpec,
    Progress,
    seconds_to_complete,
)
from airflow_provider_anyfast.sandbox.generations.outcomes import made_by_fault, outcome_by_fault, outcome_of
from airflow_provider_anyfast.sandbox.generations.query_shapes import shape_query
from airflow_provider_anyfast.sandbox.generations.requests import read_body, read_submission
from airflow_provider_anyfast.sandbox.generations.results import result_of
from airflow_provider_anyfast.sandbox.generations.rules import check_submission, spec_for_unknown_model
from airflow_provider_anyfast.sandbox.media.data_uris import shortened

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.faults import Fault
    from airflow_provider_anyfast.sandbox.generations.results import Result
    from airflow_provider_anyfast.sandbox.settings import SandboxSettings
    from airflow_provider_anyfast.sandbox.state import Key, Sandbox

_MODERATION_MARKER = "[sandbox:moderation]"

router = APIRouter(route_class=AnyFastRoute)


@router.post(SUBMIT_PATH, name="submit")
async def submit(request: Request, sandbox: TheSandbox, key: CallingKey, fault: RequestFault) -> Response:
    """Accept a generation, and bill it."""
    fields = await read_body(request)
    _check_plan(fields["model"], sandbox.settings)
    spec = await run_in_threadpool(_read_spec, fields, sandbox, key)
    if _MODERATION_MARKER in spec.prompt:
        raise ApiError(moderated("InputTextSensitiveContentDetected", _marked_item(fields)))
    with sandbox.lock:
        _check_quota(spec, sandbox, key)
        shown_id = _unused_id(fault, sandbox) if fault and fault.name == "odd_id" else sandbox.ids.task()
        generation = _new_generation(
            str(shown_id), spec, key, sandbox, fault, body=fields, base_url=str(request.base_url)
        )
        sandbox.generations[generation.id] = generation
        key.billing.charge_generation(generation, sandbox.settings)
    accepted = {
        "id": shown_id,
        "task_id": shown_id,
        "object": "video",
        "model": spec.model,
        "status": sandbox.settings.submit_status,
        "progress": 0,
        "created_at": int(generation.submitted_at),
    }
    ratios = json.dumps({"seconds": spec.duration})
    return to_response(json_response(accepted, headers={"X-New-Api-Other-Ratios": ratios}))


def _check_quota(spec: GenerationSpec, sandbox: Sandbox, key: Key) -> None:
    quota = sandbox.settings.quota_tokens
    if quota is not None and sandbox.tokens_spent(key.account) + spec.tokens > quota:
        raise ApiError(out_of_quota())


def _new_generation(
    task_id: str,
    spec: GenerationSpec,
    key: Key,
    sandbox: Sandbox,
    fault: Fault | None,
    *,
    body: dict[str, Any],
    base_url: str,
) -> Generation:
    now, settings = sandbox.clock.now(), sandbox.settings
    hit_by = fault.name if fault else ""
    return Generation(
        id=task_id,
        upstream_id=sandbox.ids.upstream_task(now),
        request_id=current_request_id.get(),
        key=key.value,
        account=key.account,
        spec=made_by_fault(spec, fault),
        request=_without_content(body),
        base_url=base_url.rstrip("/"),
        submitted_at=now,
        seconds=seconds_to_complete(settings.completion_seconds, settings.completion_spread, task_id),
        outcome=outcome_of(spec.prompt, fault),
        keyed_link=hit_by == "keyed_link",
        goes_back=hit_by == "status_goes_back",
        aged_by=settings.expired_age if hit_by == "link_expired" else 0,
    )


@router.get(SUBMIT_PATH + "/{task_id}", name="query")
async def query(task_id: str, sandbox: TheSandbox, key: CallingKey, fault: RequestFault) -> Response:
    """Return the status of a generation of the key's account."""
    hit_by = fault.name if fault else ""
    with sandbox.lock:
        generation = sandbox.generations.get(task_id)
        if generation is None or generation.account != key.account:
            raise ApiError(task_not_found(sandbox.settings.unknown_task))
        if hit_by == "link_expired":
            generation.aged_by = sandbox.settings.expired_age
        shown = _another(generation, sandbox) if hit_by == "another_task" else generation
        progress = _progress(shown, fault, sandbox.clock.now())
        result = None
        if progress.status == "SUCCESS":
            # A task with a made-up id has no files; its links are those of the real one.
            real = shown if shown.id in sandbox.generations else generation
            result = _result(real, sandbox, keyed=real.keyed_link or hit_by == "keyed_link")
        return to_response(json_response(shape_query(shown, progress, result, sandbox.settings)))


def _result(generation: Generation, sandbox: Sandbox, *, keyed: bool) -> Result:
    result = result_of(generation, sandbox.signer, sandbox.settings.link_seconds)
    if not keyed:
        return result
    return replace(result, video_url=f"{generation.base_url}/v1/videos/{generation.id}/content")


def _progress(generation: Generation, fault: Fault | None, now: float) -> Progress:
    """Return the result of this one query."""
    if fault is not None and fault.name == "status_goes_back":
        return RUNNING
    decided = outcome_by_fault(fault) if fault is not None else None
    return (decided and decided.shows) or generation.observe(now)


def _another(generation: Generation, sandbox: Sandbox) -> Generation:
    """Return the account's newest other generation, as a faulty cache would, or the same one with a new id."""
    others = [
        other
        for other in sandbox.generations.values()
        if other.account == generation.account and other.id != generation.id
    ]
    return others[-1] if others else replace(generation, id=sandbox.ids.task())


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


def _unused_id(fault: Fault, sandbox: Sandbox) -> str | int:
    """Return the fault's id, or a variant of it for a later submission, since each is its own generation."""
    value = "../../x" if fault.value is None else fault.value
    taken = len(sandbox.generations) if str(value) in sandbox.generations else 0
    if isinstance(value, int):
        return value + taken
    return f"{value}{taken}" if taken else value


def _marked_item(fields: dict[str, Any]) -> int:
    """Return the index of the content item with the marker; 0 for a prompt outside of a content."""
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
        if named := draft_id(submission):
            draft = sandbox.generations.get(named)
            return final_of(draft if draft and draft.key == key.value else None, submission, now)
    # Reading inline media takes time, so it is done outside of the lock.
    return check_submission(submission, library, now)


def _without_content(value: Any) -> Any:
    """Return a request's JSON with its data URIs cut short."""
    if isinstance(value, dict):
        return {name: _without_content(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_content(item) for item in value]
    return shortened(value) if isinstance(value, str) else value
