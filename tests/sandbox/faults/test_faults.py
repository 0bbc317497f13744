"""Every fault, as a client sees it on the wire, and what was billed in spite of it."""

from __future__ import annotations

import gzip
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.sandbox.client import gateway_message, image, ok_json, text, upstream_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle

SHAPE_A, SHAPE_B, SHAPE_C, HTML = "A", "B", "C", "HTML"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def shape(response: httpx.Response) -> str:
    if response.headers["Content-Type"].startswith("text/html"):
        return HTML
    body = response.json()
    if "error" in body:
        return SHAPE_A
    assert set(body) == {"code", "message", "data"}
    return SHAPE_B if body["message"].startswith("{") else SHAPE_C


REFUSALS = {
    "unauthorized": (401, SHAPE_A, "Invalid token"),
    "forbidden": (403, SHAPE_A, "access_denied"),
    "no_quota": (403, SHAPE_C, "insufficient_user_quota"),
    "moderation": (400, SHAPE_B, "InputTextSensitiveContentDetected"),
    "bad_request": (400, SHAPE_B, "InvalidParameter"),
    "model_not_found": (503, SHAPE_A, "No available channel for model"),
    "endpoint_not_available": (404, SHAPE_A, "endpoint not available"),
    "rate_limited": (429, SHAPE_C, "当前分组上游负载已饱和"),
    "asset_copy_not_ready": (503, SHAPE_C, 'copy on channel 391 is not ready (status=\\"Processing\\")'),
    "asset_processing": (400, SHAPE_B, "asset is still processing and is not available yet"),
    "asset_not_found": (400, SHAPE_B, "The specified asset asset-20260101000000-abcde is not found."),
    "invalid_url_scheme": (400, SHAPE_B, "invalid url scheme"),
    "server_error": (500, SHAPE_C, "do_request_failed"),
    "bad_gateway": (502, HTML, "502 Bad Gateway"),
    "gateway_timeout": (504, HTML, "504 Gateway Time-out"),
    "html_answer": (200, HTML, "<html>"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_submission_is_billed_nothing_and_the_next_one_passes(
    anyfast: Client, sandbox: SandboxHandle, name: str
) -> None:
    status, expected, part = REFUSALS[name]
    sandbox.fault(name)
    response = anyfast.submit()

    assert response.status_code == status
    assert shape(response) == expected
    assert part in response.text
    assert response.headers["X-Oneapi-Request-Id"]
    assert sandbox.billed.generations == 0
    ok_json(anyfast.submit())
    assert sandbox.billed.generations == 1


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [({}, SHAPE_C), ({"shape": "A"}, SHAPE_A), ({"shape": "B"}, SHAPE_B), ({"retry_after": 7}, SHAPE_C)],
)
def test_too_many_requests_come_in_every_shape(
    anyfast: Client, sandbox: SandboxHandle, parameters: dict[str, Any], expected: str
) -> None:
    sandbox.fault("rate_limited", **parameters)
    response = anyfast.submit()

    assert response.status_code == 429
    assert shape(response) == expected
    assert response.headers.get("Retry-After") == ("7" if "retry_after" in parameters else None)


def test_too_many_requests_can_have_no_body(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("rate_limited", empty=True, retry_after="Wed, 21 Oct 2026 07:28:00 GMT")
    response = anyfast.submit()

    assert (response.status_code, response.content) == (429, b"")
    assert response.headers["Retry-After"].startswith("Wed")


def test_the_message_of_an_error_can_be_chosen(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("moderation", code="InputImageSensitiveContentDetected.PrivacyInformation")
    sandbox.fault("bad_request", reason="the `seed` is unlucky")
    sandbox.fault("server_error", code="get_channel_failed")

    assert upstream_error(anyfast.submit())["code"] == "InputImageSensitiveContentDetected.PrivacyInformation"
    assert upstream_error(anyfast.submit())["message"].startswith("the `seed` is unlucky")
    assert anyfast.submit().json()["code"] == "get_channel_failed"


def test_the_asset_library_has_its_own_shapes(anyfast: Client, sandbox: SandboxHandle) -> None:
    group_id = anyfast.group()
    for name, on in (
        ("bad_request", "CreateAsset"), ("server_error", "CreateAsset"), ("group_not_found", None),
        ("asset_not_found", "GetAsset"), ("not_found_yet", "GetAsset"),
    ):  # fmt: skip
        sandbox.fault(name, **({"on": on} if on else {}))

    bad, error, missing = (anyfast.create_asset(group_id) for _ in range(3))
    assert (bad.status_code, error.status_code, missing.status_code) == (400, 500, 404)
    assert "upstream_error: [InvalidParameter]" in gateway_message(bad)
    assert error.json()["error"]["code"] == "do_request_failed"
    assert "[NotFound.group_id]" in gateway_message(missing)
    for _ in range(2):
        response = anyfast.asset_call("GetAsset", Id="asset-20260101000000-abcde")
        assert response.status_code == 404
        assert "[NotFound.asset_id]" in gateway_message(response)
    assert sandbox.billed.assets == 0


def test_a_refusal_names_what_the_request_named(anyfast: Client, sandbox: SandboxHandle) -> None:
    group_id = anyfast.group()
    asset_id = anyfast.asset(group_id)
    for name in ("asset_not_found", "asset_processing", "asset_copy_not_ready"):
        sandbox.fault(name)
        assert asset_id in anyfast.submit(text(), image(f"asset://{asset_id}")).text
    sandbox.fault("model_not_found")
    assert "for model seedance-2.5 under" in anyfast.submit(model="seedance-2.5").text
    sandbox.fault("group_not_found")
    assert group_id in anyfast.create_asset(group_id, Name="other").text
    sandbox.fault("not_found_yet", on="GetAsset")
    assert asset_id in anyfast.asset_call("GetAsset", Id=asset_id).text
    sandbox.fault("model_not_found", on="models")
    assert "for model seedance under" in anyfast.http.get("/v1/models").text


def test_an_empty_response_and_an_odd_one_both_have_status_200(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("empty_answer")
    sandbox.fault("odd_json")

    empty, odd = anyfast.submit(), anyfast.submit()
    assert (empty.status_code, empty.content) == (200, b"")
    assert odd.status_code == 200
    assert not {"id", "task_id", "data"} & set(odd.json())
    assert sandbox.billed.generations == 0


def test_any_status_with_any_body(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("status", status=418, body="I am a teapot", retry_after=3)
    sandbox.fault("status", status=451, body={"reason": ["law"]})

    teapot, law = anyfast.submit(), anyfast.submit()
    assert (teapot.status_code, teapot.text, teapot.headers["Retry-After"]) == (418, "I am a teapot", "3")
    assert (law.status_code, law.json()) == (451, {"reason": ["law"]})


@pytest.mark.parametrize(("unknown_task", "status"), [(400, 400), (404, 404)])
def test_a_task_can_be_unknown_at_first(
    anyfast: Client, sandbox: SandboxHandle, configure: Callable[..., None], unknown_task: int, status: int
) -> None:
    configure(unknown_task=unknown_task)
    sandbox.fault("not_found_yet", times=2)
    generation_id = anyfast.generate()

    assert [anyfast.query(generation_id).status_code for _ in range(3)] == [status, status, 200]


# The connection.


def test_a_dropped_request_did_nothing(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("drop_request")

    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        anyfast.submit()
    assert sandbox.billed.generations == 0
    ok_json(anyfast.submit())


@pytest.mark.parametrize("call", ["submit", "CreateAsset", "CreateAssetGroup"])
def test_a_dropped_response_has_been_billed(anyfast: Client, sandbox: SandboxHandle, call: str) -> None:
    group_id = anyfast.group()
    sandbox.fault("drop_answer", on=call)

    calls: dict[str, Callable[[], object]] = {
        "submit": anyfast.submit,
        "CreateAsset": lambda: anyfast.create_asset(group_id),
        "CreateAssetGroup": anyfast.group,
    }
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        calls[call]()
    billed = sandbox.billed
    assert (billed.generations, billed.assets, billed.asset_groups - 1) == tuple(
        int(call == name) for name in ("submit", "CreateAsset", "CreateAssetGroup")
    )


def test_a_bad_gateway_can_be_billed(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("bad_gateway_after")

    assert anyfast.submit().status_code == 502
    assert sandbox.billed.generations == 1


def test_a_slow_response_has_been_billed_when_the_client_gives_up(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("slow_answer", seconds=1)

    anyfast.http.timeout = httpx.Timeout(5, read=0.2)
    with pytest.raises(httpx.ReadTimeout):
        anyfast.submit()
    assert sandbox.billed.generations == 1


def test_a_slow_response_does_arrive(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("slow_answer", seconds=0.2)
    begun = time.monotonic()

    ok_json(anyfast.submit())
    assert time.monotonic() - begun >= 0.2


def test_a_slow_start_acts_for_a_client_that_waits(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("slow", seconds=0.2)
    begun = time.monotonic()

    ok_json(anyfast.submit())
    assert time.monotonic() - begun >= 0.2
    assert sandbox.billed.generations == 1


def test_a_slow_start_does_nothing_for_a_client_that_has_disconnected(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("slow", seconds=0.3)

    with pytest.raises(httpx.ReadTimeout):
        anyfast.http.post("/v1/video/generations", json={"model": "seedance", "content": [text()]}, timeout=0.1)
    wait_until(lambda: sandbox.requests("submit")[0].status == 499)
    assert sandbox.billed.generations == 0


def test_slow_requests_do_not_hold_up_others(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("slow", seconds=3, on="models")
    begun = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        anyfast.http.get("/v1/models", timeout=0.05)

    ok_json(anyfast.submit())
    assert time.monotonic() - begun < 2


# The file.


@pytest.fixture
def link(anyfast: Client, clock: FakeClock) -> str:
    generation_id = anyfast.generate()
    clock.advance(8)
    url: str = anyfast.task(generation_id)["result_url"]
    return url


@pytest.mark.parametrize("fraction", [0, 0.3])
def test_a_truncated_download_announces_more_than_it_sends(link: str, sandbox: SandboxHandle, fraction: float) -> None:
    whole = httpx.get(link).content
    sandbox.fault("truncate_download", fraction=fraction)
    received: list[bytes] = []

    with httpx.stream("GET", link) as response:
        assert response.status_code == 200
        assert int(response.headers["Content-Length"]) == len(whole)
        chunks = response.iter_raw()
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(chunks)
    assert b"".join(received) == whole[: int(len(whole) * fraction)]
    assert httpx.get(link).content == whole


def test_a_stalled_download_goes_on_after_a_while(link: str, sandbox: SandboxHandle) -> None:
    whole = httpx.get(link).content
    sandbox.fault("stall_download", seconds=0.3)
    begun = time.monotonic()

    assert httpx.get(link).content == whole
    assert time.monotonic() - begun >= 0.3


def test_a_stalled_download_runs_into_a_short_read_timeout(link: str, sandbox: SandboxHandle) -> None:
    httpx.get(link)
    sandbox.fault("stall_download", seconds=1)

    with pytest.raises(httpx.ReadTimeout):
        httpx.get(link, timeout=0.3)


def test_a_truncated_range_keeps_its_status(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("truncate_download")

    with httpx.stream("GET", link, headers={"Range": "bytes=0-99"}) as response:
        assert response.status_code == 206
        with pytest.raises(httpx.RemoteProtocolError):
            response.read()


def test_a_corrupt_download_is_a_200_that_is_no_video(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("corrupt_download")
    response = httpx.get(link)

    assert (response.status_code, response.headers["Content-Type"]) == (200, "video/mp4")
    assert b"ftyp" not in response.content


def test_a_good_link_can_be_refused_once(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("link_refused")

    assert httpx.get(link).status_code == 403
    assert httpx.get(link).status_code == 200


@pytest.mark.parametrize("on", ["submit", "query", "download"])
def test_an_expired_link_is_as_old_as_the_finish_time_says(
    anyfast: Client, sandbox: SandboxHandle, clock: FakeClock, on: str
) -> None:
    sandbox.fault("link_expired", on=on)
    generation_id = anyfast.generate()
    clock.advance(8)
    first_link = anyfast.task(generation_id)["result_url"]

    refused = httpx.get(first_link)
    assert (refused.status_code, "Request has expired" in refused.text) == (403, True)
    shown = anyfast.task(generation_id)
    assert shown["submit_time"] < shown["start_time"] < shown["finish_time"] == int(clock.now()) - 25 * 3600
    assert httpx.get(shown["result_url"]).status_code == 403


def test_a_download_can_be_compressed_unasked(link: str, sandbox: SandboxHandle) -> None:
    whole = httpx.get(link).content
    sandbox.fault("gzip")

    with httpx.stream("GET", link, headers={"Accept-Encoding": "identity"}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        raw = b"".join(response.iter_raw())
    assert gzip.decompress(raw) == whole
    assert int(response.headers["Content-Length"]) == len(raw)


@pytest.mark.parametrize(("cut", "expected"), [({"bytes": 36}, 36), ({"fraction": 0.25}, None)])
def test_a_cut_download_announces_no_length_and_looks_complete(
    link: str, sandbox: SandboxHandle, cut: dict[str, Any], expected: int | None
) -> None:
    whole = httpx.get(link).content
    sandbox.fault("cut_download", **cut)
    response = httpx.get(link)

    assert response.status_code == 200
    assert "Content-Length" not in response.headers
    assert response.content == whole[: len(whole) // 4 if expected is None else expected]


def test_the_storage_host_has_its_own_errors(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("video_not_ready")
    sandbox.fault("rate_limited", on="download", retry_after=7)
    sandbox.fault("rate_limited", on="download", empty=True)
    sandbox.fault("server_error", on="download")
    sandbox.fault("forbidden", on="download")

    responses = [httpx.get(link) for _ in range(5)]
    assert [response.status_code for response in responses] == [400, 429, 429, 500, 403]
    assert "<Code>video_not_ready</Code>" in responses[0].text
    assert responses[1].headers["Retry-After"] == "7"
    assert responses[2].content == b""
    assert not [response for response in responses if "X-Oneapi-Request-Id" in response.headers]
    assert httpx.get(link).status_code == 200


def test_a_link_can_be_on_the_gateway_and_need_the_key(
    anyfast: Client, sandbox: SandboxHandle, clock: FakeClock
) -> None:
    sandbox.fault("keyed_link")
    generation_id = anyfast.generate()
    early = anyfast.http.get(f"/v1/videos/{generation_id}/content")
    clock.advance(8)
    link = anyfast.task(generation_id)["result_url"]

    assert link == f"{sandbox.url}/v1/videos/{generation_id}/content"
    assert gateway_message(early).startswith("Task is not completed yet, current status: NOT_START")
    assert httpx.get(link).status_code == 401
    assert anyfast.http.get(link).content[4:8] == b"ftyp"
    assert anyfast.http.get("/v1/videos/nothing/content").status_code == 404


# One byte at a time.


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_dripping_response_arrives_byte_by_byte_and_whole(anyfast: Client, sandbox: SandboxHandle, part: str) -> None:
    sandbox.fault("drip", on="query", seconds=0, part=part)

    assert anyfast.query("asyntask_none").json()["code"] == "task_not_exist"


def test_a_drip_keeps_a_read_timeout_from_ever_being_reached(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("drip", on="models", seconds=0.02)
    begun = time.monotonic()

    with (
        pytest.raises(httpx.ReadTimeout),
        anyfast.http.stream("GET", "/v1/models", timeout=httpx.Timeout(5, read=0.001)),
    ):
        pass
    sandbox.fault("drip", on="models", seconds=0.001, part="body")
    assert len(ok_json(anyfast.http.get("/v1/models", timeout=httpx.Timeout(5, read=0.5)))["data"]) > 10
    assert time.monotonic() - begun > 0.5


def test_a_download_can_drip(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("drip", on="download", seconds=0, part="body")

    assert httpx.get(link).content[4:8] == b"ftyp"


def test_the_storage_host_can_fail_too(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("bad_gateway", on="download")
    sandbox.fault("drop_request", on="download")

    assert httpx.get(link).status_code == 502
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(link)
    assert httpx.get(link).status_code == 200


# The outcome of a generation.


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
