"""The shapes of a status response: the current wrapper, the older flat ones, and Alibaba's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.sandbox.generations.catalog import FRAME_RATE

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.generations.generation import Generation, Progress
    from airflow_provider_anyfast.sandbox.generations.results import Result
    from airflow_provider_anyfast.sandbox.settings import SandboxSettings

_UPSTREAM_STATUS = {"QUEUED": "queued", "IN_PROGRESS": "running", "SUCCESS": "succeeded", "FAILURE": "failed"}
_OLD_STATUS = {"SUCCESS": "completed", "FAILURE": "failed"}


def shape_query(generation: Generation, progress: Progress, result: Result | None, settings: SandboxSettings) -> object:
    """Return the JSON of a status query; ``result`` exists once the generation has succeeded."""
    if settings.query_shape == "flat":
        return _flat(generation, progress, result)
    if settings.query_shape == "flat-content":
        return _flat_content(generation, progress, result)
    aged = generation.aged_by if progress.finished_at else 0
    inner = _alibaba if settings.query_shape == "alibaba" else _upstream
    return {
        "code": "success",
        "message": "",
        "data": {
            "task_id": generation.id,
            "action": generation.spec.action,
            "status": progress.status,
            **_links(generation, progress, result, settings),
            "submit_time": int(generation.submitted_at - aged),
            "start_time": int(generation.started_at - aged) if progress.started else 0,
            "finish_time": int(progress.finished_at - aged) if progress.finished_at else 0,
            "progress": f"{progress.percent}%",
            "request_id": generation.request_id,
            "data": inner(generation, progress, result) if progress.started else None,
        },
    }


def _links(
    generation: Generation, progress: Progress, result: Result | None, settings: SandboxSettings
) -> dict[str, str]:
    if result is not None:
        links = {"result_url": result.video_url}
        if result.original_url is not None:
            links["original_result_url"] = result.original_url
        return {**links, "fail_reason": result.video_url if settings.fail_reason_copies_url else ""}
    reason = generation.outcome.reason if progress.status == "FAILURE" else ""
    if progress.status != "FAILURE" or settings.result_url_on_failure == "omit":
        return {"fail_reason": reason}
    return {"result_url": reason if settings.result_url_on_failure == "reason" else "", "fail_reason": reason}


def _upstream(generation: Generation, progress: Progress, result: Result | None) -> dict[str, Any]:
    spec = generation.spec
    raw: dict[str, Any] = {
        "id": generation.upstream_id,
        "model": spec.upstream_model,
        "status": progress.upstream or _UPSTREAM_STATUS.get(progress.status, progress.status.lower()),
        "created_at": int(generation.submitted_at),
        "updated_at": int(progress.finished_at or generation.started_at),
        "service_tier": spec.service_tier,
    }
    if progress.status == "FAILURE":
        raw["error"] = {"code": generation.outcome.code, "message": generation.outcome.reason}
    if result is None:
        return raw
    content = {"video_url": result.original_url or result.video_url}
    if result.last_frame_url is not None:
        content["last_frame_url"] = result.last_frame_url
    usage = {"completion_tokens": spec.tokens, "total_tokens": spec.tokens}
    raw |= {
        "content": content,
        "draft": spec.draft,
        "duration": spec.duration,
        "framespersecond": FRAME_RATE,
        "generate_audio": spec.audio,
        "ratio": spec.ratio,
        "resolution": spec.rendered_resolution,
        "seed": spec.seed,
        "usage": usage,
    }
    if spec.super_resolution_tokens is not None:
        raw["super_resolution"] = spec.resolution
        usage["super_resolution_tokens"] = spec.super_resolution_tokens
    return raw


def _alibaba(generation: Generation, progress: Progress, result: Result | None) -> dict[str, Any]:
    spec = generation.spec
    output: dict[str, Any] = {
        "task_id": generation.upstream_id,
        "task_status": {"SUCCESS": "SUCCEEDED", "FAILURE": "FAILED", "IN_PROGRESS": "RUNNING"}.get(
            progress.status, progress.status
        ),
    }
    if progress.status == "FAILURE":
        output |= {"code": generation.outcome.code, "message": generation.outcome.reason}
    if result is None:
        return {"output": output, "request_id": generation.request_id}
    output["video_url"] = result.video_url
    usage = {"SR": spec.resolution.upper(), "duration": spec.duration, "ratio": spec.ratio, "video_count": 1}
    return {"output": output, "request_id": generation.request_id, "usage": usage}


def _flat(generation: Generation, progress: Progress, result: Result | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": generation.id,
        "model": generation.spec.model,
        "status": _OLD_STATUS.get(progress.status, "processing"),
        "created_at": int(generation.submitted_at),
    }
    if progress.status == "FAILURE":
        body["error"] = generation.outcome.reason
    if result is not None:
        body["video_url"] = result.video_url
    return body


def _flat_content(generation: Generation, progress: Progress, result: Result | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": generation.id,
        "status": _UPSTREAM_STATUS.get(progress.status, "queued" if progress.percent == 0 else progress.status.lower()),
    }
    if progress.status == "FAILURE":
        body["error"] = {"code": generation.outcome.code, "message": generation.outcome.reason}
    if result is not None:
        body["content"] = {"video_url": result.video_url}
    return body
