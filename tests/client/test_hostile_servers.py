"""Whatever a server or a proxy does on the wire, every call of both drivers ends in time with the right error."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_anyfast.client import endpoints, errors, network
from airflow_provider_anyfast.client.body import LARGEST_RESPONSE
from airflow_provider_anyfast.client.endpoints import Call, Upload
from airflow_provider_anyfast.client.evidence import read_response
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import FIRST_REQUESTS, AnyFastClient, AsyncAnyFastClient
from tests.client.hostile_server import LOST_CONNECTIONS, Peer, hostile_server

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = LOST_CONNECTIONS

LIMIT = 2.0
"""Seconds to connect, and again for the response, in tests that wait for the limit."""
LONG_LIMIT = 15.0
"""Seconds to connect, and again for the response, in other tests."""
SOON = 40.0
"""Seconds in which every call must end, even on a busy machine."""
CALLS: dict[str, Call[Any]] = {
    "submit": endpoints.submit_generation({"model": "seedance"}),
    "create a group": endpoints.create_asset_group("g"),
    "create an asset": endpoints.create_asset(group_id="g", name="a", asset_type="Image", url="https://h/a.png"),
    "upload": endpoints.create_asset(
        group_id="g", name="a", asset_type="Video", upload=Upload("a.mp4", io.BytesIO(b"a video"), "video/mp4")
    ),
    "query": endpoints.query_generation("asyntask_1"),
    "get an asset": endpoints.get_asset("asset-1"),
    "list assets": next(endpoints.list_assets()),
    "list groups": next(endpoints.list_asset_groups()),
    "delete an asset": endpoints.delete_asset("asset-1"),
    "list models": endpoints.list_models(),
}
BILLED = {"submit", "create a group", "create an asset", "upload"}
ZLIB_BOMB = zlib.compress(bytes(LARGEST_RESPONSE + 1))
BOMB = gzip.compress(bytes(2 * LARGEST_RESPONSE), 1)
"""Small on the wire, but above the limit after decompression."""
GOOD = json.dumps({"id": "asyntask_1", "Id": "asset-1", "status": "QUEUED", "Items": [], "data": []}).encode()


def http_response(content: bytes, *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content) if length is None else length}", *fields, "", ""]
    return "\r\n".join(lines).encode() + content


def outcomes(settings: Settings, calls: dict[str, Call[Any]] | None = None) -> dict[str, Any]:
    """The result or error of each call with each driver. All run at once, so this takes as long as one call."""
    calls = CALLS if calls is None else calls

    def send(client: AnyFastClient, call: Call[Any]) -> Any:
        try:
            return client.send_once(call)
        except errors.AnyFastError as error:
            return error

    async def send_async(client: AsyncAnyFastClient, call: Call[Any]) -> Any:
        try:
            return await client.send_once(call)
        except errors.AnyFastError as error:
            return error

    async def send_all() -> list[Any]:
        async with AsyncAnyFastClient(settings) as client:
            return await asyncio.gather(*(send_async(client, call) for call in calls.values()))

    begun = time.monotonic()
    with AnyFastClient(settings) as client, ThreadPoolExecutor(len(calls) + 1) as pool:
        in_a_loop = pool.submit(lambda: asyncio.run(send_all()))
        results = dict(zip(calls, pool.map(lambda call: send(client, call), calls.values()), strict=True))
        results |= {f"{name}, async": each for name, each in zip(calls, in_a_loop.result(), strict=True)}
    assert time.monotonic() - begun < SOON
    return results


def through(proxy: str, limit: float) -> Settings:
    return Settings("sk-1", "https://anyfast.test", timeout=limit, submit_timeout=limit, verify=False, proxy=proxy)


def at(address: str, *, scheme: str = "http", limit: float = LONG_LIMIT) -> Settings:
    return Settings("sk-1", f"{scheme}://{address}", timeout=limit, submit_timeout=limit, verify=False)


def after_the_request(then: Callable[[Peer], None]) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        while peer.request():
            then(peer)

    return behave


def dripping(data: bytes) -> Callable[[Peer], None]:
    return lambda peer: peer.drip_for_ever(data)


def first(data: bytes, then: Callable[[Peer], None]) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        peer.send(data)
        then(peer)

    return behave


HANDSHAKE = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"
"""The first bytes of a TLS server's response, which announce 16 kB more."""
WAITED_FOR: dict[str, Callable[[Peer], None]] = {
    "sends nothing": Peer.hang,
    "drips its first line": dripping(b"H"),
    "drips its headers": first(b"HTTP/1.1 200 OK\r\nX: ", dripping(b"x")),
    "sends 100 Continue for ever": lambda peer: peer.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips its body": first(http_response(b"", length=10**6), dripping(b" ")),
    "drips chunks": first(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", dripping(b"1\r\n \r\n")),
    "drips an error": first(http_response(b"", status="500 Oops", length=10**6), dripping(b" ")),
    "drips a refusal": first(http_response(b"", status="400 Bad", length=10**6), dripping(b" ")),
}
AT_ONCE: dict[str, Callable[[Peer], None]] = {
    "sends endless headers": first(b"HTTP/1.1 200 OK\r\nX: ", lambda peer: peer.flood(b"x" * 65536)),
    "sends an endless body": first(b"HTTP/1.1 200 OK\r\n\r\n", lambda peer: peer.flood(b" " * 65536)),
    "sends a small bomb": lambda peer: peer.send(http_response(BOMB, "Content-Encoding: gzip")),
    "sends a bomb in a bomb": lambda peer: peer.send(
        http_response(gzip.compress(BOMB), "Content-Encoding: gzip, gzip")
    ),
    "sends a bomb as deflate": lambda peer: peer.send(http_response(ZLIB_BOMB, "Content-Encoding: deflate")),
    "truncates its headers": first(b"HTTP/1.1 200 OK\r\nConte", Peer.reset),
    "truncates its body": first(http_response(GOOD[:9], length=len(GOOD)), Peer.reset),
    "closes": Peer.reset,
    "sends garbage": lambda peer: peer.send(b"\x00\xffgarbage\r\n\r\n"),
    "names an encoding that was not requested": lambda peer: peer.send(
        http_response(b"\x1b\x03", "Content-Encoding: br")
    ),
    "truncates its compressed body": lambda peer: peer.send(
        http_response(gzip.compress(GOOD)[:-9], "Content-Encoding: gzip")
    ),
}


@pytest.mark.parametrize(
    ("behave", "limit"),
    [*((behave, LIMIT) for behave in WAITED_FOR.values()), *((behave, LONG_LIMIT) for behave in AT_ONCE.values())],
    ids=[*WAITED_FOR, *AT_ONCE],
)
def test_no_wait_for_a_response_exceeds_its_limit(behave: Callable[[Peer], None], limit: float) -> None:
    with hostile_server(after_the_request(behave)) as address:
        results = outcomes(at(address, limit=limit))
    for name, error in results.items():
        if name.removesuffix(", async") in BILLED:
            assert type(error) is errors.LostAnswerError, name
        else:
            assert type(error) is errors.NoAnswerError, name
            assert error.retryable


WAITED_FOR_AT_CONNECT: dict[str, Callable[[Peer], None]] = {
    "sends nothing": Peer.hang,
    "drips": dripping(b"H"),
    "drips headers": first(b"HTTP/1.1 200 OK\r\nX: ", dripping(b"x")),
    "connects to a silent host": first(b"HTTP/1.1 200 OK\r\n\r\n", Peer.hang),
    "connects to a dripping handshake": first(b"HTTP/1.1 200 OK\r\n\r\n" + HANDSHAKE, dripping(b"x")),
}
AT_ONCE_AT_CONNECT: dict[str, Callable[[Peer], None]] = {
    "closes": lambda peer: None,
    "resets": Peer.reset,
    "sends garbage": lambda peer: peer.send(b"\x00\x01 what?\r\n\r\n"),
    "sends endless headers": first(b"HTTP/1.1 200 OK\r\nX: ", lambda peer: peer.flood(b"x" * 65536)),
    "requires a password": lambda peer: peer.send(http_response(b"", status="407 Proxy Authentication Required")),
    "cannot reach the host": lambda peer: peer.send(http_response(b"no", status="502 Bad Gateway")),
    "connects and closes": lambda peer: peer.send(b"HTTP/1.1 200 OK\r\n\r\n"),
    "connects to garbage": first(b"HTTP/1.1 200 OK\r\n\r\n", lambda peer: peer.send(b"garbage" * 99)),
}


def once(then: Callable[[Peer], None]) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        if peer.request():
            then(peer)

    return behave


@pytest.mark.parametrize(
    ("behave", "limit"),
    [
        *((behave, LIMIT) for behave in WAITED_FOR_AT_CONNECT.values()),
        *((behave, LONG_LIMIT) for behave in AT_ONCE_AT_CONNECT.values()),
    ],
    ids=[*WAITED_FOR_AT_CONNECT, *AT_ONCE_AT_CONNECT],
)
def test_a_request_that_a_proxy_stopped_is_never_reported_as_lost(behave: Callable[[Peer], None], limit: float) -> None:
    with hostile_server(once(behave)) as address:
        results = outcomes(through(f"http://{address}", limit))
    for name, error in results.items():
        assert type(error) is errors.ConnectionFailedError, name


def test_a_dripping_handshake_ends_without_a_submission() -> None:
    with hostile_server(first(HANDSHAKE, dripping(b"x"))) as address:
        results = outcomes(at(address, scheme="https", limit=LIMIT))
    assert {type(error) for error in results.values()} == {errors.ConnectionFailedError}


@pytest.mark.parametrize(
    "behave",
    [lambda peer: peer.send(http_response(b"", status="400 Bad Request")), Peer.hang],
    ids=["responds", "waits"],
)
def test_a_host_without_tls_is_distinguished_from_an_unreachable_one(behave: Callable[[Peer], None]) -> None:
    with hostile_server(behave) as address:
        results = outcomes(at(address, scheme="https", limit=LIMIT), {"query": CALLS["query"]})
    for error in results.values():
        assert f"Did you mean http://{address}?" in error.what


def test_a_request_to_a_forwarding_proxy_may_have_reached_the_host() -> None:
    with hostile_server(once(Peer.reset)) as proxy:
        settings = Settings("sk-1", "http://anyfast.test", timeout=LONG_LIMIT, verify=False, proxy=f"http://{proxy}")
        results = outcomes(settings, {"submit": CALLS["submit"]})
    assert {type(error) for error in results.values()} == {errors.LostAnswerError}


def test_a_billed_call_whose_request_was_not_sent_to_its_end_is_never_reported_as_lost() -> None:
    video = Upload("a.mp4", io.BytesIO(bytes(10_000_000)), "video/mp4")
    calls = {
        "submit": endpoints.submit_generation({"prompt": "x" * 10_000_000}),
        "upload": endpoints.create_asset(group_id="g", name="a", asset_type="Video", upload=video),
    }

    def behave(peer: Peer) -> None:
        peer.receive(1000)
        peer.reset()

    with hostile_server(behave) as address, AnyFastClient(at(address)) as client:
        for call in calls.values():
            with pytest.raises(errors.ConnectionFailedError, match="before the whole request was sent"):
                client.send_once(call)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, errors.ConfigurationError), (413, errors.RequestTooLargeError), (502, errors.ServerError)],
)
def test_a_page_that_comes_before_the_whole_request_was_sent_proves_that_it_was_not_accepted(
    status: int, kind: type[errors.AnyFastError]
) -> None:
    page = httpx.Response(status, text="<html>Uploads are blocked</html>")
    cut = network.Exchange(1.0, 1.0, sent=True, is_cut=True)
    whole = network.Exchange(1.0, 1.0, sent=True)
    with pytest.raises(kind):
        read_response(CALLS["upload"], page, cut, at("127.0.0.1"))
    if status != 413:
        with pytest.raises(errors.LostAnswerError):
            read_response(CALLS["upload"], page, whole, at("127.0.0.1"))


@pytest.mark.parametrize(
    ("head", "end"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", Peer.close),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(GOOD), Peer.close),
        (b"HTTP/1.1 200 OK\r\n\r\n", Peer.hang),
    ],
    ids=["a wrong length", "no last chunk", "no end"],
)
def test_a_response_that_has_arrived_whole_counts_however_it_ends(head: bytes, end: Callable[[Peer], None]) -> None:
    def behave(peer: Peer) -> None:
        if peer.request():
            peer.send(head + GOOD)
            end(peer)

    with hostile_server(behave) as address:
        results = outcomes(at(address, limit=1.0), {name: CALLS[name] for name in ("submit", "query")})
    assert results["submit"] == results["submit, async"] == "asyntask_1"
    assert results["query"].status == results["query, async"].status == "QUEUED"


def test_a_server_that_does_not_read_times_out() -> None:
    video = Upload("a.mp4", io.BytesIO(bytes(30_000_000)), "video/mp4")
    upload = endpoints.create_asset(group_id="g", name="a", asset_type="Video", upload=video)
    with hostile_server(Peer.hang) as address:
        results = outcomes(at(address, limit=LIMIT), {"upload": upload})
    assert {type(error) for error in results.values()} == {errors.LostAnswerError}


def test_a_slow_response_within_the_limit_is_read() -> None:
    slowly = after_the_request(lambda peer: peer.drip(http_response(GOOD), 0.001))
    with hostile_server(slowly) as address:
        results = outcomes(at(address), {"submit": CALLS["submit"]})
    assert set(results.values()) == {"asyntask_1"}


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(GOOD)),
        ("x-gzip", gzip.compress(GOOD)),
        ("deflate", zlib.compress(GOOD)),
        ("deflate", zlib.compressobj(wbits=-zlib.MAX_WBITS)),
        ("gzip, gzip", gzip.compress(gzip.compress(GOOD))),
        ("identity", GOOD),
        ("GZip ", gzip.compress(GOOD)),
        ("gzip", GOOD),
        ("br", GOOD),
        ("utf-8", GOOD),
    ],
    ids=[
        *("gzip", "x-gzip", "deflate", "raw deflate", "twice", "identity", "capitals"),
        *("not compressed", "not compressed with Brotli", "a charset"),
    ],
)
def test_a_compressed_response_is_read(encoding: str, packed: Any) -> None:
    if not isinstance(packed, bytes):
        packed = packed.compress(GOOD) + packed.flush()
    behave = after_the_request(lambda peer: peer.send(http_response(packed, f"Content-Encoding: {encoding}")))
    with hostile_server(behave) as address:
        results = outcomes(at(address), {"submit": CALLS["submit"]})
    assert set(results.values()) == {"asyntask_1"}


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_what_arrived_of_a_broken_response_to_a_billed_call_is_logged(
    caplog: pytest.LogCaptureFixture, encoding: str
) -> None:
    packed = gzip.compress(GOOD) if encoding == "gzip" else GOOD
    cut = http_response(packed[:-9], f"Content-Encoding: {encoding}", length=len(packed))

    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(cut)

    with hostile_server(behave) as address:
        results = outcomes(at(address), {"submit": CALLS["submit"]})
    assert {type(error) for error in results.values()} == {errors.LostAnswerError}
    assert caplog.text.count("asyntask_1") == len(results)


def test_an_empty_error_may_claim_an_encoding() -> None:
    behave = after_the_request(
        lambda peer: peer.send(http_response(b"", "Content-Encoding: gzip", status="429 Too Many Requests"))
    )
    with hostile_server(behave) as address:
        results = outcomes(at(address), {"query": CALLS["query"]})
    assert {type(error) for error in results.values()} == {errors.RateLimitError}


def test_an_endless_list_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MAX_PAGES", 5)

    def page(peer: Peer) -> None:
        items = [{"Id": f"asset-{id(peer)}-{time.monotonic_ns()}-{number}"} for number in range(100)]
        peer.send(http_response(json.dumps({"Items": items, "TotalCount": 10**9}).encode()))

    async def read(settings: Settings) -> None:
        async with AsyncAnyFastClient(settings) as client:
            await client.run(endpoints.list_assets())

    with hostile_server(after_the_request(page)) as address:
        with AnyFastClient(at(address)) as client, pytest.raises(errors.UnexpectedAnswerError, match="does not end"):
            client.run(endpoints.list_asset_groups())
        with pytest.raises(errors.UnexpectedAnswerError, match="does not end"):
            asyncio.run(read(at(address)))


def test_slow_responses_release_their_connections() -> None:
    def behave(peer: Peer) -> None:
        while head := peer.request():
            if "slow" in head:
                peer.drip_for_ever(b"H")
            peer.send(http_response(GOOD))

    async def run(settings: Settings) -> float:
        async with AsyncAnyFastClient(settings) as client:
            slow = [
                asyncio.ensure_future(client.send_once(endpoints.query_generation(f"slow_{number}")))
                for number in range(FIRST_REQUESTS)
            ]
            await asyncio.sleep(0)
            begun = time.monotonic()
            generation = await client.send_once(endpoints.query_generation("asyntask_1"))
            assert generation.status == "QUEUED"
            waited = time.monotonic() - begun
            results = await asyncio.gather(*slow, return_exceptions=True)
            assert {type(error) for error in results} == {errors.NoAnswerError}
            return waited

    with hostile_server(behave) as address:
        assert asyncio.run(run(at(address, limit=LIMIT))) < SOON


def test_a_response_about_another_generation_is_not_accepted() -> None:
    others = json.dumps({"data": {"task_id": "asyntask_2", "status": "SUCCESS", "result_url": "https://h/2.mp4"}})
    with hostile_server(after_the_request(lambda peer: peer.send(http_response(others.encode())))) as address:
        results = outcomes(at(address), {"query": CALLS["query"]})
    for error in results.values():
        assert type(error) is errors.UnexpectedAnswerError
        assert error.retryable


def test_the_limits_apply_to_every_connection_of_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a new version of httpx keeps its connections elsewhere."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with AnyFastClient(Settings("sk-1")) as client:
        pools = [each._pool for each in (client._http._transport, *client._http._mounts.values()) if each]  # type: ignore[attr-defined]
        assert len(pools) == 2
        assert all(isinstance(pool._network_backend, network._Backend) for pool in pools)


def test_the_limit_of_a_body_exceeds_any_real_response() -> None:
    item = {"Id": "asset-20260320120147-pqwhc", "Name": "n" * 64, "URL": "https://h/" + "u" * 2000}
    assert len(json.dumps({"Items": [item] * 100})) * 10 < LARGEST_RESPONSE
