"""Faults of the connection: dropped, slow, one byte at a time; and what is billed all the same."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from scripts.processes import wait_until
from tests.sandbox.client import ok_json, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.sandbox import SandboxHandle


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
    wait_until(lambda: sandbox.billed.generations == 1, "the bill", seconds=60, pause=0.01)


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
    sandbox.fault("slow", seconds=1)

    with pytest.raises(httpx.ReadTimeout):
        anyfast.http.post("/v1/video/generations", json={"model": "seedance", "content": [text()]}, timeout=0.3)
    wait_until(lambda: [sent.status for sent in sandbox.requests("submit")] == [499], "its end", seconds=60, pause=0.01)
    assert sandbox.billed.generations == 0


def test_slow_requests_do_not_hold_up_others(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("slow", seconds=10, on="models")
    begun = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        anyfast.http.get("/v1/models", timeout=0.05)

    ok_json(anyfast.submit())
    assert time.monotonic() - begun < 8


@pytest.mark.parametrize(("part", "headers_are_whole"), [("headers", False), ("body", True)])
def test_a_drip_begins_with_the_status_line_or_with_the_body(
    sandbox: SandboxHandle, part: str, *, headers_are_whole: bool
) -> None:
    sandbox.fault("drip", on="models", seconds=1, part=part)
    address = urlsplit(sandbox.url)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port or 0), timeout=60) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        first, second = connection.recv(10_000), connection.recv(10_000)

    assert first.startswith(b"H")
    assert (b"\r\n\r\n" in first) == headers_are_whole
    assert len(second) == 1


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_dripping_response_arrives_whole(anyfast: Client, sandbox: SandboxHandle, part: str) -> None:
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
    assert len(ok_json(anyfast.http.get("/v1/models", timeout=httpx.Timeout(5, read=1.5)))["data"]) > 10
    assert time.monotonic() - begun > 1.5
