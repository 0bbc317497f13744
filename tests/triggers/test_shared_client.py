"""Many triggers in one event loop share one client for each connection."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.errors import ConfigurationError
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import FIRST_REQUESTS, SOCKETS, STREAMS, AsyncAnyFastClient
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.triggers import shared_client as module
from airflow_provider_anyfast.triggers.shared_client import shared_client
from tests.client.driving import SentBody

if TYPE_CHECKING:
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle


@pytest.fixture
def looked_up(sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The connections that were looked up, in order."""
    for name in ("ONE", "TWO"):
        value = json.dumps({"conn_type": "anyfast", "host": sandbox.url, "password": sandbox.api_key})
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", value)
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", json.dumps({"conn_type": "anyfast"}))
    seen: list[str] = []
    look_up = AnyFastHook.get_async_conn

    async def counted(hook: AnyFastHook) -> AsyncAnyFastClient:
        seen.append(hook.anyfast_conn_id)
        return await look_up(hook)

    monkeypatch.setattr(AnyFastHook, "get_async_conn", counted)
    return seen


def is_open(client: AsyncAnyFastClient) -> bool:
    return not client._http.is_closed


def test_a_hundred_users_make_one_look_up_and_few_sockets(looked_up: list[str], sandbox: SandboxHandle) -> None:
    async def one() -> None:
        async with shared_client("one") as client:
            await client.send(endpoints.list_models())

    async def everyone() -> None:
        await asyncio.gather(*(one() for _ in range(100)))

    asyncio.run(everyone())
    assert looked_up == ["one"]
    assert len(sandbox.requests("models")) == 100


def test_the_client_is_closed_when_the_last_user_leaves_and_recreated_for_the_next(looked_up: list[str]) -> None:
    async def run() -> None:
        async with shared_client("one") as first:
            async with shared_client("one") as second:
                assert first is second
            assert is_open(first)
        assert not is_open(first)
        async with shared_client("one") as third:
            assert third is not first

    asyncio.run(run())
    assert looked_up == ["one", "one"]
    assert not any(module._clients.values())


def test_each_connection_and_each_event_loop_has_its_own_client(looked_up: list[str]) -> None:
    async def run() -> None:
        async with shared_client("one") as one, shared_client("two") as two:
            assert one is not two

    asyncio.run(run())
    asyncio.run(run())
    assert looked_up == ["one", "two", "one", "two"]


def test_a_connection_is_looked_up_again_after_a_while_and_the_old_client_serves_its_users(
    looked_up: list[str], fake_clock: FakeClock
) -> None:
    async def run() -> None:
        async with shared_client("one") as old:
            fake_clock.advance(module.MAX_CLIENT_AGE + 1)
            async with shared_client("one") as new:
                assert new is not old
                assert await old.send(endpoints.list_models())
            assert not is_open(new)
        assert not is_open(old)

    asyncio.run(run())
    assert looked_up == ["one", "one"]


def test_a_broken_connection_fails_every_user_and_is_looked_up_again_by_the_next(looked_up: list[str]) -> None:
    async def use() -> None:
        async with shared_client("broken"):
            raise AssertionError("a client without a key")

    async def run() -> None:
        failures = await asyncio.gather(use(), use(), return_exceptions=True)
        assert all(isinstance(failure, ConfigurationError) for failure in failures)
        with pytest.raises(ConfigurationError):
            await use()

    asyncio.run(run())
    assert looked_up == ["broken", "broken"]


def test_a_cancelled_user_does_not_take_the_client_from_the_others(looked_up: list[str]) -> None:
    async def wait() -> None:
        async with shared_client("one"):
            await asyncio.Event().wait()

    async def run() -> None:
        cancelled = asyncio.create_task(wait())
        async with shared_client("one") as client:
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert await client.send(endpoints.list_models())

    asyncio.run(run())
    assert looked_up == ["one"]


def test_the_number_of_requests_in_flight_is_limited(
    looked_up: list[str], sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("FIRST_REQUESTS", "SOCKETS"):
        monkeypatch.setattr(f"airflow_provider_anyfast.client.transport.{limit}", 2)
    flying, most = 0, 0

    async def run() -> None:
        async with shared_client("one") as client:
            exchange = client._exchange

            async def counted(call: endpoints.Call[object]) -> object:
                nonlocal flying, most
                flying += 1
                most = max(most, flying)
                try:
                    return await exchange(call)
                finally:
                    flying -= 1

            monkeypatch.setattr(client, "_exchange", counted)
            await asyncio.gather(*(client.send_once(endpoints.list_models()) for _ in range(20)))

    asyncio.run(run())
    assert most == 2
    assert len(sandbox.requests("models")) == 20
    assert looked_up == ["one"]


@pytest.mark.parametrize(("version", "most", "sockets"), [(b"HTTP/1.1", SOCKETS, SOCKETS + 1), (b"HTTP/2", STREAMS, 1)])
def test_http_2_sends_all_requests_on_one_client_and_http_1_each_on_its_own(
    version: bytes, most: int, sockets: int
) -> None:
    flying, seen = 0, 0
    per_client: Counter[int] = Counter()

    class Mocked(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal flying, seen
            flying += 1
            per_client[id(self)] += 1
            seen = max(seen, flying)
            await asyncio.sleep(0)
            flying -= 1
            return httpx.Response(200, stream=SentBody(b'{"data": []}'), extensions={"http_version": version})

    class Client(AsyncAnyFastClient):
        def _http_options(self) -> dict[str, Any]:
            return {"base_url": "https://anyfast.test", "transport": Mocked()}

    async def run() -> None:
        async with Client(Settings("key", "https://anyfast.test", verify=False)) as client:
            await client.send_once(endpoints.list_models())
            await asyncio.gather(*(client.send_once(endpoints.list_models()) for _ in range(500)))
            per_client.clear()
            await client.send_once(endpoints.list_models())
            assert len(per_client) == 1
            made = [client._http, *client._singles]
            assert len(made) == sockets
        assert all(http.is_closed for http in made)

    asyncio.run(run())
    assert seen == most


def test_the_first_requests_do_not_wait_for_the_protocol_to_be_known() -> None:
    flying, seen = 0, 0

    async def answer(_request: httpx.Request) -> httpx.Response:
        nonlocal flying, seen
        flying += 1
        seen = max(seen, flying)
        await asyncio.sleep(0)
        flying -= 1
        raise httpx.ReadTimeout("slow")

    async def run() -> None:
        async with AsyncAnyFastClient(Settings("key", "https://anyfast.test", verify=False)) as client:
            await client._http.aclose()
            client._http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="https://anyfast.test")
            requests = [client.send_once(endpoints.list_models()) for _ in range(100)]
            await asyncio.gather(*requests, return_exceptions=True)

    asyncio.run(run())
    assert seen == FIRST_REQUESTS
