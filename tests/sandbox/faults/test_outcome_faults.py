"""Faults that decide how a generation ends."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import av
import pytest

from tests.sandbox.client import fetch, text

if TYPE_CHECKING:
    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle


def test_a_generation_can_be_made_to_fail(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    sandbox.fault("fail_generation", reason="the lamp broke", code="LampError")
    sandbox.fault("fail_generation")
    chosen, plain = anyfast.generate(), anyfast.generate()
    clock.advance(8)

    shown = anyfast.task(chosen)
    assert (shown["status"], shown["fail_reason"]) == ("FAILURE", "the lamp broke")
    assert shown["data"]["error"] == {"code": "LampError", "message": "the lamp broke"}
    assert anyfast.task(plain)["data"]["error"]["code"] == "InternalServiceError"
    assert sandbox.billed.refunded_generations == 2


def test_a_generation_can_be_stuck_or_unknown_forever(
    anyfast: Client, sandbox: SandboxHandle, clock: FakeClock
) -> None:
    sandbox.fault("stuck")
    sandbox.fault("unknown_status", value="ARCHIVED")
    stuck, unknown = anyfast.generate(), anyfast.generate()
    clock.advance(1_000_000)

    assert (anyfast.task(stuck)["status"], anyfast.task(stuck)["progress"]) == ("IN_PROGRESS", "30%")
    assert anyfast.task(unknown)["status"] == "ARCHIVED"


def test_a_single_query_can_show_a_wrong_status(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    generation_id = anyfast.generate()
    clock.advance(8)
    sandbox.fault("stuck", on="query")
    sandbox.fault("unknown_status", on="query")

    assert [anyfast.task(generation_id)["status"] for _ in range(3)] == ["IN_PROGRESS", "UNKNOWN", "SUCCESS"]


def test_a_fault_of_another_call_changes_nothing(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    sandbox.fault("slow_answer", on="query", seconds=0)
    generation_id = anyfast.generate(text("[sandbox:fail]"))
    clock.advance(8)

    assert anyfast.task(generation_id)["status"] == "FAILURE"


def test_a_generation_can_be_cancelled_upstream_while_the_gateway_says_in_progress(
    anyfast: Client, sandbox: SandboxHandle, clock: FakeClock
) -> None:
    sandbox.fault("upstream_cancelled")
    sandbox.fault("upstream_cancelled", value="expired")
    cancelled, expired = anyfast.generate(), anyfast.generate()
    clock.advance(1000)

    for generation_id, upstream in ((cancelled, "cancelled"), (expired, "expired")):
        shown = anyfast.task(generation_id)
        assert (shown["status"], shown["progress"]) == ("IN_PROGRESS", "30%")
        assert shown["data"]["status"] == upstream
    assert sandbox.billed.refunded_generations == 0


def test_a_status_can_go_back_once_after_its_success(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    sandbox.fault("status_goes_back")
    generation_id = anyfast.generate()
    early = anyfast.task(generation_id)["status"]
    clock.advance(8)

    assert early == "NOT_START"
    assert [anyfast.task(generation_id)["status"] for _ in range(4)] == [
        "SUCCESS", "IN_PROGRESS", "SUCCESS", "SUCCESS",
    ]  # fmt: skip


def test_a_single_query_can_go_back(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    generation_id = anyfast.generate()
    clock.advance(8)
    sandbox.fault("status_goes_back", on="query", skip=1)

    assert [anyfast.task(generation_id)["status"] for _ in range(3)] == ["SUCCESS", "IN_PROGRESS", "SUCCESS"]


@pytest.mark.parametrize(
    ("fault", "facts"),
    [
        ("", (864, 496, 96, 1)),
        ("short_video", (864, 496, 48, 1)),
        ("turned_video", (496, 864, 96, 1)),
        ("silent_video", (864, 496, 96, 0)),
    ],
)
def test_a_file_can_differ_from_what_was_requested_and_billed(
    anyfast: Client, sandbox: SandboxHandle, clock: FakeClock, fault: str, facts: tuple[int, ...]
) -> None:
    if fault:
        sandbox.fault(fault)
    generation_id = anyfast.generate(resolution="480p", ratio="16:9", duration=4, generate_audio=True)
    clock.advance(8)
    shown = anyfast.task(generation_id)
    assert (shown["data"]["duration"], shown["data"]["ratio"], sandbox.billed.tokens) == (4, "16:9", 40594)
    with av.open(io.BytesIO(fetch(shown["result_url"]).content)) as file:
        (pictures,) = file.streams.video
        assert (pictures.width, pictures.height, pictures.frames, len(file.streams.audio)) == facts
