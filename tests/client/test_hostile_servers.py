"""Whatever a server or a proxy does on the wire, every call of both drivers ends in time and says what is known."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.client import endpoints, errors, network
from airflow_provider_anyfast.client.body import LARGEST_BODY
from airflow_provider_anyfast.client.endpoints import Call, Upload
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import FIRST_REQUESTS, AnyFastClient, AsyncAnyFastClient
from tests.client.hostile_server import Peer, hostile_server

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 1.0
"""Seconds to connect, and again for the answer, where the test waits for them to pass."""
ENOUGH = 8.0
"""Where it does not."""
SOON = 20.0
"""Seconds in which everything has to be over, on a machine that is busy too."""
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
ZLIB_BOMB = zlib.compress(bytes(LARGEST_BODY + 1))
BOMB = gzip.compress(bytes(2 * LARGEST_BODY), 1)
"""Small on the wire, and larger than any honest answer once it is unpacked."""
GOOD = json.dumps({"id": "asyntask_1", "Id": "asset-1", "status": "QUEUED", "Items": [], "data": []}).encode()


def answer(content: bytes, *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content) if length is None else length}", *fields, "", ""]
    return "\r\n".join(lines).encode() + content


def outcomes(settings: Settings, calls: dict[str, Call[Any]] | None = None) -> dict[str, Any]:
    """What each call of each driver came to: its answer or its error. All run at once, so this takes as long as one."""
    calls = CALLS if calls is None else calls

    def ask(client: AnyFastClient, call: Call[Any]) -> Any:
        try:
            return client.send_once(call)
        except errors.AnyFastError as error:
            return error

    async def ask_async(client: AsyncAnyFastClient, call: Call[Any]) -> Any:
        try:
            return await client.send_once(call)
        except errors.AnyFastError as error:
            return error

    async def ask_all() -> list[Any]:
        async with AsyncAnyFastClient(settings) as client:
            return await asyncio.gather(*(ask_async(client, call) for call in calls.values()))

    begun = time.monotonic()
    with AnyFastClient(settings) as client, ThreadPoolExecutor(len(calls) + 1) as pool:
        in_a_loop = pool.submit(lambda: asyncio.run(ask_all()))
        results = dict(zip(calls, pool.map(lambda call: ask(client, call), calls.values()), strict=True))
        results |= {f"{name}, async": each for name, each in zip(calls, in_a_loop.result(), strict=True)}
    assert time.monotonic() - begun < SOON
    return results


def through(proxy: str) -> Settings:
    return Settings("sk-1", "https://anyfast.test", timeout=LIMIT, submit_timeout=LIMIT, verify=False, proxy=proxy)


def at(address: str, *, scheme: str = "http", limit: float = ENOUGH) -> Settings:
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
"""The first bytes of a TLS server's answer, which promise 16 kB more."""
WAITED_FOR: dict[str, Callable[[Peer], None]] = {
    "says nothing": Peer.hang,
    "drips its first line": dripping(b"H"),
    "drips its headers": first(b"HTTP/1.1 200 OK\r\nX: ", dripping(b"x")),
    "says to go on without end": lambda peer: peer.drip_for_ever(b"HTTP/1.1 100 Continue\r\n\r\n", 0.001),
    "drips its body": first(answer(b"", length=10**6), dripping(b" ")),
    "drips chunks": first(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", dripping(b"1\r\n \r\n")),
    "drips an error": first(answer(b"", status="500 Oops", length=10**6), dripping(b" ")),
    "drips a refusal": first(answer(b"", status="400 Bad", length=10**6), dripping(b" ")),
}
AT_ONCE: dict[str, Callable[[Peer], None]] = {
    "sends headers without end": first(b"HTTP/1.1 200 OK\r\nX: ", lambda peer: peer.flood(b"x" * 65536)),
    "sends a body without end": first(b"HTTP/1.1 200 OK\r\n\r\n", lambda peer: peer.flood(b" " * 65536)),
    "sends a small bomb": lambda peer: peer.send(answer(BOMB, "Content-Encoding: gzip")),
    "sends a bomb in a bomb": lambda peer: peer.send(answer(gzip.compress(BOMB), "Content-Encoding: gzip, gzip")),
    "sends a bomb as deflate": lambda peer: peer.send(answer(ZLIB_BOMB, "Content-Encoding: deflate")),
    "cuts its headers off": first(b"HTTP/1.1 200 OK\r\nConte", Peer.reset),
    "cuts its body off": first(answer(GOOD[:9], length=len(GOOD)), Peer.reset),
    "closes": Peer.reset,
    "sends garbage": lambda peer: peer.send(b"\x00\xffgarbage\r\n\r\n"),
    "names an encoding that nobody asked for": lambda peer: peer.send(answer(GOOD, "Content-Encoding: br")),
    "cuts what it compressed": lambda peer: peer.send(answer(gzip.compress(GOOD)[:-9], "Content-Encoding: gzip")),
}


@pytest.mark.parametrize(
    ("behave", "limit"),
    [*((behave, LIMIT) for behave in WAITED_FOR.values()), *((behave, ENOUGH) for behave in AT_ONCE.values())],
    ids=[*WAITED_FOR, *AT_ONCE],
)
def test_no_answer_is_waited_for_longer_than_its_limit(behave: Callable[[Peer], None], limit: float) -> None:
    with hostile_server(after_the_request(behave)) as address:
        results = outcomes(at(address, limit=limit))
    for name, error in results.items():
        if name.removesuffix(", async") in BILLED:
            assert type(error) is errors.LostAnswerError, name
        else:
            assert type(error) is errors.NoAnswerError, name
            assert error.retryable


AT_CONNECT: dict[str, Callable[[Peer], None]] = {
    "says nothing": Peer.hang,
    "closes": lambda peer: None,
    "resets": Peer.reset,
    "answers garbage": lambda peer: peer.send(b"\x00\x01 what?\r\n\r\n"),
    "drips": dripping(b"H"),
    "drips headers": first(b"HTTP/1.1 200 OK\r\nX: ", dripping(b"x")),
    "sends headers without end": first(b"HTTP/1.1 200 OK\r\nX: ", lambda peer: peer.flood(b"x" * 65536)),
    "wants a password": lambda peer: peer.send(answer(b"", status="407 Proxy Authentication Required")),
    "cannot reach it": lambda peer: peer.send(answer(b"no", status="502 Bad Gateway")),
    "lets through and closes": lambda peer: peer.send(b"HTTP/1.1 200 OK\r\n\r\n"),
    "lets through to silence": first(b"HTTP/1.1 200 OK\r\n\r\n", Peer.hang),
    "lets through to garbage": first(b"HTTP/1.1 200 OK\r\n\r\n", lambda peer: peer.send(b"garbage" * 99)),
    "lets through to a dripping handshake": first(b"HTTP/1.1 200 OK\r\n\r\n" + HANDSHAKE, dripping(b"x")),
}


def once(then: Callable[[Peer], None]) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        if peer.request():
            then(peer)

    return behave


@pytest.mark.parametrize("behave", AT_CONNECT.values(), ids=AT_CONNECT.keys())
def test_what_a_proxy_kept_from_being_sent_is_never_called_lost(behave: Callable[[Peer], None]) -> None:
    with hostile_server(once(behave)) as address:
        results = outcomes(through(f"http://{address}"))
    for name, error in results.items():
        assert type(error) is errors.ConnectionFailedError, name


def test_a_dripping_handshake_ends_and_was_not_a_submission() -> None:
    with hostile_server(first(HANDSHAKE, dripping(b"x"))) as address:
        results = outcomes(at(address, scheme="https", limit=LIMIT))
    assert {type(error) for error in results.values()} == {errors.ConnectionFailedError}


@pytest.mark.parametrize(
    "behave", [lambda peer: peer.send(answer(b"", status="400 Bad Request")), Peer.hang], ids=["answers", "waits"]
)
def test_a_host_without_tls_is_told_from_one_that_is_away(behave: Callable[[Peer], None]) -> None:
    with hostile_server(behave) as address:
        results = outcomes(at(address, scheme="https", limit=LIMIT), {"query": CALLS["query"]})
    for error in results.values():
        assert f"Did you mean http://{address}?" in error.what


def test_a_request_that_a_forwarding_proxy_has_taken_may_have_been_sent_on() -> None:
    with hostile_server(once(Peer.reset)) as proxy:
        settings = Settings("sk-1", "http://anyfast.test", timeout=LIMIT, verify=False, proxy=f"http://{proxy}")
        results = outcomes(settings, {"submit": CALLS["submit"]})
    assert {type(error) for error in results.values()} == {errors.LostAnswerError}


def test_a_server_that_does_not_read_is_left() -> None:
    video = Upload("a.mp4", io.BytesIO(bytes(30_000_000)), "video/mp4")
    upload = endpoints.create_asset(group_id="g", name="a", asset_type="Video", upload=video)
    with hostile_server(Peer.hang) as address:
        results = outcomes(at(address, limit=LIMIT), {"upload": upload})
    assert {type(error) for error in results.values()} == {errors.LostAnswerError}


def test_an_answer_that_comes_slowly_but_in_time_is_read() -> None:
    slowly = after_the_request(lambda peer: peer.drip(answer(GOOD), 0.001))
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
    ],
    ids=["gzip", "x-gzip", "deflate", "raw deflate", "twice", "identity", "capitals"],
)
def test_a_compressed_answer_is_read(encoding: str, packed: Any) -> None:
    if not isinstance(packed, bytes):
        packed = packed.compress(GOOD) + packed.flush()
    behave = after_the_request(lambda peer: peer.send(answer(packed, f"Content-Encoding: {encoding}")))
    with hostile_server(behave) as address:
        results = outcomes(at(address), {"submit": CALLS["submit"]})
    assert set(results.values()) == {"asyntask_1"}


def test_an_empty_error_may_call_itself_compressed() -> None:
    behave = after_the_request(
        lambda peer: peer.send(answer(b"", "Content-Encoding: gzip", status="429 Too Many Requests"))
    )
    with hostile_server(behave) as address:
        results = outcomes(at(address), {"query": CALLS["query"]})
    assert {type(error) for error in results.values()} == {errors.RateLimitError}


def test_a_list_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MOST_PAGES", 5)

    def page(peer: Peer) -> None:
        items = [{"Id": f"asset-{id(peer)}-{time.monotonic_ns()}-{number}"} for number in range(100)]
        peer.send(answer(json.dumps({"Items": items, "TotalCount": 10**9}).encode()))

    async def read(settings: Settings) -> None:
        async with AsyncAnyFastClient(settings) as client:
            await client.run(endpoints.list_assets())

    with hostile_server(after_the_request(page)) as address:
        with AnyFastClient(at(address)) as client, pytest.raises(errors.UnexpectedAnswerError, match="does not end"):
            client.run(endpoints.list_asset_groups())
        with pytest.raises(errors.UnexpectedAnswerError, match="does not end"):
            asyncio.run(read(at(address)))


def test_slow_answers_give_their_places_back() -> None:
    def behave(peer: Peer) -> None:
        while head := peer.request():
            if "slow" in head:
                peer.drip_for_ever(b"H")
            peer.send(answer(GOOD))

    async def run(settings: Settings) -> float:
        async with AsyncAnyFastClient(settings) as client:
            slow = [
                asyncio.ensure_future(client.send_once(endpoints.query_generation(f"slow_{number}")))
                for number in range(FIRST_REQUESTS)
            ]
            await asyncio.sleep(0)
            begun = time.monotonic()
            answered = await client.send_once(endpoints.query_generation("asyntask_1"))
            assert answered.status == "QUEUED"
            waited = time.monotonic() - begun
            results = await asyncio.gather(*slow, return_exceptions=True)
            assert {type(error) for error in results} == {errors.NoAnswerError}
            return waited

    with hostile_server(behave) as address:
        assert asyncio.run(run(at(address, limit=LIMIT))) < SOON


def test_an_answer_about_another_generation_is_not_taken() -> None:
    others = json.dumps({"data": {"task_id": "asyntask_2", "status": "SUCCESS", "result_url": "https://h/2.mp4"}})
    with hostile_server(after_the_request(lambda peer: peer.send(answer(others.encode())))) as address:
        results = outcomes(at(address), {"query": CALLS["query"]})
    for error in results.values():
        assert type(error) is errors.UnexpectedAnswerError
        assert error.retryable


def test_the_limits_reach_every_connection_of_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version of httpx that hides its connections elsewhere must not pass unnoticed."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with AnyFastClient(Settings("sk-1")) as client:
        pools = [each._pool for each in (client._http._transport, *client._http._mounts.values()) if each]  # type: ignore[attr-defined]
        assert len(pools) == 2
        assert all(isinstance(pool._network_backend, network._Backend) for pool in pools)


def test_a_body_has_a_limit_that_honest_answers_never_reach() -> None:
    item = {"Id": "asset-20260320120147-pqwhc", "Name": "n" * 64, "URL": "https://h/" + "u" * 2000}
    assert len(json.dumps({"Items": [item] * 100})) * 10 < LARGEST_BODY
