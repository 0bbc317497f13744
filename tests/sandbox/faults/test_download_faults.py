"""Faults of downloads and their links."""

from __future__ import annotations

import gzip
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.sandbox.client import fetch, gateway_message

if TYPE_CHECKING:
    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle


@pytest.fixture
def link(anyfast: Client, clock: FakeClock) -> str:
    generation_id = anyfast.generate()
    clock.advance(8)
    url: str = anyfast.task(generation_id)["result_url"]
    return url


@pytest.mark.parametrize("fraction", [0, 0.3])
def test_a_truncated_download_announces_more_than_it_sends(link: str, sandbox: SandboxHandle, fraction: float) -> None:
    whole = fetch(link).content
    sandbox.fault("truncate_download", fraction=fraction)
    received: list[bytes] = []

    with httpx.stream("GET", link) as response:
        assert response.status_code == 200
        assert int(response.headers["Content-Length"]) == len(whole)
        chunks = response.iter_raw()
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(chunks)
    assert b"".join(received) == whole[: int(len(whole) * fraction)]
    assert fetch(link).content == whole


def test_a_stalled_download_continues_after_a_while(link: str, sandbox: SandboxHandle) -> None:
    whole = fetch(link).content
    sandbox.fault("stall_download", seconds=0.3)
    begun = time.monotonic()

    assert fetch(link).content == whole
    assert time.monotonic() - begun >= 0.3


def test_a_stalled_download_runs_into_a_short_read_timeout(link: str, sandbox: SandboxHandle) -> None:
    fetch(link)
    sandbox.fault("stall_download", seconds=1)

    with pytest.raises(httpx.ReadTimeout):
        fetch(link, timeout=0.3)


def test_a_truncated_range_keeps_its_status(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("truncate_download")

    with httpx.stream("GET", link, headers={"Range": "bytes=0-99"}) as response:
        assert response.status_code == 206
        with pytest.raises(httpx.RemoteProtocolError):
            response.read()


def test_a_corrupt_download_is_a_200_without_a_video(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("corrupt_download")
    response = fetch(link)

    assert (response.status_code, response.headers["Content-Type"]) == (200, "video/mp4")
    assert b"ftyp" not in response.content


def test_a_good_link_can_be_refused_once(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("link_refused")

    assert fetch(link).status_code == 403
    assert fetch(link).status_code == 200


@pytest.mark.parametrize("on", ["submit", "query", "download"])
def test_an_expired_link_is_as_old_as_the_finish_time_says(
    anyfast: Client, sandbox: SandboxHandle, clock: FakeClock, on: str
) -> None:
    sandbox.fault("link_expired", on=on)
    generation_id = anyfast.generate()
    clock.advance(8)
    first_link = anyfast.task(generation_id)["result_url"]

    refused = fetch(first_link)
    assert (refused.status_code, "Request has expired" in refused.text) == (403, True)
    shown = anyfast.task(generation_id)
    assert shown["submit_time"] < shown["start_time"] < shown["finish_time"] == int(clock.now()) - 25 * 3600
    assert fetch(shown["result_url"]).status_code == 403


def test_a_download_can_be_compressed_without_being_requested(link: str, sandbox: SandboxHandle) -> None:
    whole = fetch(link).content
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
    whole = fetch(link).content
    sandbox.fault("cut_download", **cut)
    response = fetch(link)

    assert response.status_code == 200
    assert "Content-Length" not in response.headers
    assert response.content == whole[: len(whole) // 4 if expected is None else expected]


def test_the_storage_host_has_its_own_errors(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("video_not_ready")
    sandbox.fault("rate_limited", on="download", retry_after=7)
    sandbox.fault("rate_limited", on="download", empty=True)
    sandbox.fault("server_error", on="download")
    sandbox.fault("forbidden", on="download")

    responses = [fetch(link) for _ in range(5)]
    assert [response.status_code for response in responses] == [400, 429, 429, 500, 403]
    assert "<Code>video_not_ready</Code>" in responses[0].text
    assert responses[1].headers["Retry-After"] == "7"
    assert responses[2].content == b""
    assert not [response for response in responses if "X-Oneapi-Request-Id" in response.headers]
    assert fetch(link).status_code == 200


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
    assert fetch(link).status_code == 401
    assert anyfast.http.get(link).content[4:8] == b"ftyp"
    assert anyfast.http.get("/v1/videos/nothing/content").status_code == 404


def test_the_storage_host_can_fail_too(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("bad_gateway", on="download")
    sandbox.fault("drop_request", on="download")

    assert fetch(link).status_code == 502
    with pytest.raises(httpx.RemoteProtocolError):
        fetch(link)
    assert fetch(link).status_code == 200


def test_a_download_can_drip(link: str, sandbox: SandboxHandle) -> None:
    sandbox.fault("drip", on="download", seconds=0, part="body")

    assert fetch(link).content[4:8] == b"ftyp"
