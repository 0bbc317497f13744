"""Any JSON that AnyFast sends is parsed, or raises ``UnexpectedAnswerError``, but nothing else."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyfast.client import responses
from airflow_provider_anyfast.client.errors import UnexpectedAnswerError
from airflow_provider_anyfast.client.job_failures import asset_failure, generation_failure
from airflow_provider_anyfast.client.responses import Asset, Generation, Outcome
from airflow_provider_anyfast.seedance.result import asset_facts, video_result

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = (
    st.integers()
    | st.integers(min_value=10**12)
    | st.floats()
    | st.sampled_from([10**400, "50%", "0", "²", "1777288506"])
)
TEXTS = st.text(max_size=6) | st.sampled_from(
    ["https://host/x.mp4", "2026-05-28T06:09:22Z", "now", "expired", "Failed"]
)
VALUES = st.none() | st.booleans() | NUMBERS | TEXTS | st.just('{"error": {"code": 1}}')
FIELDS = [
    "Id",
    "id",
    "task_id",
    "Name",
    "Status",
    "status",
    "Error",
    "error",
    "Code",
    "code",
    "Message",
    "message",
    "video_url",
    "result_url",
    "fail_reason",
    "progress",
    "duration",
    "seed",
    "submit_time",
    "finish_time",
    "created_at",
    "completed_at",
    "request_id",
    "model",
    "total_tokens",
    "last_frame_url",
    "TotalCount",
    "original_result_url",
    "CreateTime",
    "UpdateTime",
]
CONTAINERS = ["data", "Result", "result", "Items", "content", "output", "usage", "error", "Error"]
FLAT = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, VALUES))
BODIES = st.recursive(
    VALUES | FLAT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(FLAT, st.dictionaries(st.sampled_from(CONTAINERS), inner, max_size=3)).map(
            lambda two: two[0] | two[1]
        )
    ),
    max_leaves=8,
)
TASKS = st.tuples(FLAT, st.dictionaries(st.sampled_from(CONTAINERS), FLAT, max_size=3)).map(lambda two: two[0] | two[1])
STATUSES = st.sampled_from(["SUCCESS", "FAILURE", "IN_PROGRESS", "", "new"])
PARSERS: tuple[Callable[[Any], Any], ...] = (
    partial(responses.parse_id, call="the call"),
    responses.parse_asset,
    responses.parse_assets,
    responses.parse_asset_groups,
    responses.parse_models,
    partial(responses.parse_generation, generation_id="asyntask_1"),
)


def over_the_wire(body: Any) -> Any:
    return json.loads(json.dumps(body))


@given(body=BODIES)
def test_any_response_is_parsed_or_unexpected(body: Any) -> None:
    for parse in PARSERS:
        try:
            parse(over_the_wire(body))
        except UnexpectedAnswerError as error:
            assert "AnyFast's response" in str(error)


@given(task=TASKS, status=STATUSES, upstream=TASKS | BODIES)
def test_any_generation_with_a_status_is_parsed_and_has_a_result(
    task: dict[str, Any], status: str, upstream: Any
) -> None:
    body = over_the_wire({"data": {**task, "task_id": "asyntask_1", "status": status, "data": upstream}})
    generation = responses.parse_generation(body, "asyntask_1")
    assert isinstance(generation, Generation)
    assert (generation.outcome is Outcome.SUCCEEDED) == (status == "SUCCESS" and not generation.lacks_link)
    assert generation.lacks_link == (status == "SUCCESS" and generation.video_url is None)
    assert generation.video_url is None or generation.video_url.startswith("http")
    json.dumps(video_result(generation))
    if generation.outcome is Outcome.FAILED:
        assert str(generation_failure(generation))


@given(fields=TASKS)
def test_any_parsed_asset_has_a_result(fields: dict[str, Any]) -> None:
    try:
        asset = responses.parse_asset(over_the_wire({**fields, "Id": "asset-1"}))
    except UnexpectedAnswerError:
        return
    assert isinstance(asset, Asset)
    json.dumps(asset_facts(asset))
    assert str(asset_failure(asset))
