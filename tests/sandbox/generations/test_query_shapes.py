"""The options for points on which the sources about a status query disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox.client import ok_json, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock

PROMPTS = {"success": "a fox", "failure": "a fox [sandbox:fail]", "odd": "a fox [sandbox:unknown-status]"}


def test_a_success_can_carry_its_link_in_fail_reason(
    anyfast: Client, configure: Callable[..., None], clock: FakeClock
) -> None:
    configure(fail_reason_copies_url=True)
    generation_id = anyfast.generate()
    assert anyfast.task(generation_id)["fail_reason"] == ""
    clock.advance(8)

    shown = anyfast.task(generation_id)
    assert shown["fail_reason"] == shown["result_url"]


@pytest.mark.parametrize("way", ["omit", "empty", "reason"])
def test_a_failure_can_have_a_result_url(
    anyfast: Client, configure: Callable[..., None], clock: FakeClock, way: str
) -> None:
    configure(result_url_on_failure=way)
    generation_id = anyfast.generate(text(PROMPTS["failure"]))
    assert "result_url" not in anyfast.task(generation_id)
    clock.advance(8)

    shown = anyfast.task(generation_id)
    expected = {"omit": None, "empty": "", "reason": shown["fail_reason"]}
    assert shown.get("result_url") == expected[way]
    assert shown["fail_reason"]


def test_the_flat_shape(anyfast: Client, configure: Callable[..., None], clock: FakeClock) -> None:
    configure(query_shape="flat")
    good, bad = anyfast.generate(), anyfast.generate(text(PROMPTS["failure"]))
    early = ok_json(anyfast.query(good))
    clock.advance(8)
    success, failure = ok_json(anyfast.query(good)), ok_json(anyfast.query(bad))

    assert early == {"id": good, "model": "seedance", "status": "processing", "created_at": early["created_at"]}
    assert success["status"] == "completed"
    assert success["video_url"].startswith("http")
    assert failure["status"] == "failed"
    assert "video_url" not in failure
    assert failure["error"]


def test_the_flat_shape_with_content(anyfast: Client, configure: Callable[..., None], clock: FakeClock) -> None:
    configure(query_shape="flat-content")
    good, bad = anyfast.generate(), anyfast.generate(text(PROMPTS["failure"]))
    odd = anyfast.generate(text(PROMPTS["odd"]))
    assert ok_json(anyfast.query(good)) == {"id": good, "status": "queued"}
    clock.advance(4)
    assert ok_json(anyfast.query(good))["status"] == "running"
    assert ok_json(anyfast.query(odd))["status"] == "unknown"
    clock.advance(4)
    success, failure = ok_json(anyfast.query(good)), ok_json(anyfast.query(bad))

    assert success["status"] == "succeeded"
    assert success["content"]["video_url"].startswith("http")
    assert failure == {"id": bad, "status": "failed", "error": failure["error"]}
    assert failure["error"]["code"] == "InternalServiceError"


def test_the_alibaba_shape(anyfast: Client, configure: Callable[..., None], clock: FakeClock) -> None:
    configure(query_shape="alibaba")
    good, bad = anyfast.generate(ratio="16:9"), anyfast.generate(text(PROMPTS["failure"]))
    clock.advance(4)
    assert anyfast.task(good)["data"]["output"]["task_status"] == "RUNNING"
    clock.advance(4)
    success, failure = anyfast.task(good), anyfast.task(bad)

    assert success["status"] == "SUCCESS"
    assert success["data"]["output"]["task_status"] == "SUCCEEDED"
    assert success["data"]["output"]["video_url"] == success["result_url"]
    assert success["data"]["usage"] == {"SR": "480P", "duration": 4, "ratio": "16:9", "video_count": 1}
    assert failure["status"] == "FAILURE"
    assert failure["data"]["output"]["task_status"] == "FAILED"
    assert failure["data"]["output"]["code"] == "InternalServiceError"
