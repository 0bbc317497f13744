"""The storage host of finished videos gets a plain request: never the key, never a compressed answer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_anyfast.client.transport import AnyFastClient
from tests.client.driving import KEY, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINK = "https://storage.test/x.mp4?X-Tos-Signature=ab12&n=%2F"


@contextmanager
def storing(answer: Callable[[httpx.Request], httpx.Response]) -> Iterator[AnyFastClient]:
    """A client whose links lead to a storage host that gives ``answer``."""
    with AnyFastClient(SETTINGS) as client, pytest.MonkeyPatch.context() as patch:
        options = {name: value for name, value in client._storage_options().items() if name not in ("verify", "proxy")}
        patch.setattr(client, "_storage_options", lambda: {**options, "transport": httpx.MockTransport(answer)})
        yield client


def test_a_link_is_asked_for_without_the_key() -> None:
    asked: list[httpx.Request] = []

    def store(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=b"film")

    with storing(store) as client, client.open_link(LINK) as response:
        assert response.read() == b"film"
    assert "authorization" not in asked[0].headers
    assert KEY not in repr(asked[0].headers)
    assert asked[0].headers["accept-encoding"] == "identity"
    assert str(asked[0].url) == LINK


def test_a_link_can_be_asked_for_a_part() -> None:
    def store(request: httpx.Request) -> httpx.Response:
        return httpx.Response(206, text=request.headers["range"])

    with storing(store) as client, client.open_link(LINK, headers={"Range": "bytes=5-"}) as response:
        assert response.read() == b"bytes=5-"


def test_a_link_that_leads_on_is_followed_without_the_key() -> None:
    asked: list[httpx.Request] = []

    def store(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.host == "storage.test":
            return httpx.Response(302, headers={"Location": "https://elsewhere.test/x.mp4"})
        return httpx.Response(200, content=b"film")

    with storing(store) as client, client.open_link(LINK) as response:
        assert response.read() == b"film"
    assert [request.url.host for request in asked] == ["storage.test", "elsewhere.test"]
    assert all("authorization" not in request.headers for request in asked)


def test_threads_that_begin_at_once_share_the_connections_to_the_storage_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[httpx.Client] = []
    begin = threading.Barrier(8)

    class SlowToBegin(httpx.Client):
        def __init__(self, **options: Any) -> None:
            time.sleep(0.02)
            super().__init__(**options)
            made.append(self)

    def fetch(client: AnyFastClient) -> bytes:
        begin.wait(timeout=10)
        with client.open_link(LINK) as response:
            return response.read()

    with storing(lambda _: httpx.Response(200, content=b"film")) as client, ThreadPoolExecutor(8) as pool:
        monkeypatch.setattr(httpx, "Client", SlowToBegin)
        assert list(pool.map(fetch, [client] * 8)) == [b"film"] * 8
    assert [each.is_closed for each in made] == [True]
