"""Over HTTP/2 all requests share one connection: slow responses also time out there, and no log contains the key."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import hpack

from airflow_provider_anyfast.client import endpoints, network
from airflow_provider_anyfast.client.errors import AnyFastError, NoAnswerError
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import STREAMS, AnyFastClient, AsyncAnyFastClient
from tests.client.hostile_server import LOST_CONNECTIONS, Peer, hostile_server
from tests.client.http2_server import Stream, http2_server
from tests.support.secrets import forms_of

if TYPE_CHECKING:
    import pytest

pytestmark = LOST_CONNECTIONS

KEY = "sk-canary-0123456789"
GOOD = b'{"data": {"status": "QUEUED"}}'
PAUSE = 0.4
"""Seconds between two bytes of a slow response: far below the limit of one read, and little work with 100 streams."""


def settings(base_url: str, timeout: float = 15.0) -> Settings:
    return Settings(KEY, base_url, timeout=timeout, verify=False)


async def serve(stream: Stream) -> None:
    stream.headers()
    while "slow" in stream.path:
        stream.data(b" ")
        await asyncio.sleep(PAUSE)
    stream.data(GOOD, last=True)


def test_slow_responses_end_and_the_connection_serves_others_again() -> None:
    async def send(client: AsyncAnyFastClient, generation_id: str) -> str:
        try:
            return (await client.send_once(endpoints.query_generation(generation_id))).status
        except AnyFastError as error:
            return type(error).__name__

    async def run() -> None:
        async with http2_server(serve) as url, AsyncAnyFastClient(settings(url, timeout=2.5)) as client:
            assert await send(client, "asyntask_0") == "QUEUED"
            begun = time.monotonic()
            slow = await asyncio.gather(*(send(client, f"slow_{number}") for number in range(STREAMS)))
            assert set(slow) == {NoAnswerError.__name__}
            assert time.monotonic() - begun < 40.0
            assert await send(client, "asyntask_1") == "QUEUED"

    asyncio.run(run())


def everything(caplog: pytest.LogCaptureFixture) -> str:
    """Everything that was logged, except the header blocks that the server in this process reads."""
    messages = (record.getMessage() for record in caplog.records)
    return "\n".join(message for message in messages if not message.startswith("Decod"))


def test_no_log_of_any_library_contains_the_key_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with http2_server(serve) as url:
            caplog.set_level(logging.DEBUG)
            async with AsyncAnyFastClient(settings(url)) as client:
                await client.send_once(endpoints.query_generation("asyntask_1"))

    def behave(peer: Peer) -> None:
        while peer.request():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD))

    forms = forms_of(KEY)
    asyncio.run(run())
    with hostile_server(behave) as address, AnyFastClient(settings(f"http://{address}")) as client:
        client.send_once(endpoints.query_generation("asyntask_1"))
    sent = [record for record in caplog.records if record.name.startswith(("httpcore", "httpx"))]
    assert all("request" not in record.getMessage() for record in sent)
    for form in forms:
        assert form not in everything(caplog)


def test_only_this_client_silences_the_log_of_header_compression(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with AnyFastClient(settings("https://anyfast.test")):
        pass
    with network.exchange(1.0):
        hpack.Encoder().encode([("authorization", f"Bearer {KEY}")])
    assert [record for record in caplog.records if record.name.startswith("hpack")] == []
    hpack.Encoder().encode([("x-mine", "mine")])
    assert [record for record in caplog.records if record.name.startswith("hpack")] != []
