"""A cancelled caller cancels its request only if the request does not end by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from airflow_provider_anyfast.client import endpoints, network
from airflow_provider_anyfast.client.transport import AsyncAnyFastClient
from tests.client.driving import SETTINGS, SentBody

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def cancel_one(handle: Callable[[httpx.Request], Coroutine[None, None, httpx.Response]], flying: asyncio.Event) -> None:
    """Cancel the caller of a request in flight, and wait until the caller has ended."""

    async def run() -> None:
        async with AsyncAnyFastClient(SETTINGS) as client:
            await client._http.aclose()
            client._http = httpx.AsyncClient(transport=httpx.MockTransport(handle), base_url=SETTINGS.base_url)
            caller = asyncio.create_task(client.send_once(endpoints.list_models()))
            await flying.wait()
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(caller, timeout=60)

    asyncio.run(run())


def test_a_request_in_flight_may_end() -> None:
    flying, ends = asyncio.Event(), []

    async def handle(_request: httpx.Request) -> httpx.Response:
        flying.set()
        await asyncio.sleep(0.05)
        ends.append("finished")
        return httpx.Response(200, stream=SentBody(b'{"data": []}'))

    cancel_one(handle, flying)
    assert ends == ["finished"]


def test_a_failure_after_the_cancellation_is_ignored() -> None:
    flying, ends = asyncio.Event(), []

    async def handle(_request: httpx.Request) -> httpx.Response:
        flying.set()
        await asyncio.sleep(0)
        ends.append("broken")
        raise httpx.ReadError("connection reset")

    cancel_one(handle, flying)
    assert ends == ["broken"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_request_that_does_not_end_is_cancelled_until_it_does(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "CANCEL_GRACE", 0.01)
    flying, ended = asyncio.Event(), []

    async def handle(_request: httpx.Request) -> httpx.Response:
        flying.set()
        for _ in range(times):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
        raise asyncio.CancelledError

    cancel_one(handle, flying)
    assert ended == ["cancelled"] * times
