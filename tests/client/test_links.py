"""The storage host of finished videos gets no key, and no request for a compressed response."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient
from tests.client.driving import KEY, SETTINGS
from tests.client.hostile_server import Peer, hostile_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LINK = "https://storage.test/x.mp4?X-Tos-Signature=ab12&n=%2F"


@contextmanager
def storing(handle: Callable[[httpx.Request], httpx.Response]) -> Iterator[AnyFastClient]:
    """A client whose links lead to a storage host that responds with ``handle``."""
    with AnyFastClient(SETTINGS) as client, pytest.MonkeyPatch.context() as patch:
        options = {
            name: value for name, value in client._links._http_options().items() if name not in ("verify", "proxy")
        }
        patch.setattr(client._links, "_http_options", lambda: {**options, "transport": httpx.MockTransport(handle)})
        yield client


def test_a_link_is_requested_without_the_key() -> None:
    requests: list[httpx.Request] = []

    def store(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, content=b"video")

    with storing(store) as client, client.open_link(LINK) as response:
        assert response.read() == b"video"
    assert "authorization" not in requests[0].headers
    assert KEY not in repr(requests[0].headers)
    assert requests[0].headers["accept-encoding"] == "identity"
    assert str(requests[0].url) == LINK


def test_a_part_of_a_link_can_be_requested() -> None:
    def store(request: httpx.Request) -> httpx.Response:
        return httpx.Response(206, text=request.headers["range"])

    with storing(store) as client, client.open_link(LINK, headers={"Range": "bytes=5-"}) as response:
        assert response.read() == b"bytes=5-"


def test_a_redirect_of_a_link_is_followed_without_the_key() -> None:
    requests: list[httpx.Request] = []

    def store(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if request.url.host == "storage.test":
            return httpx.Response(302, headers={"Location": "https://elsewhere.test/x.mp4"})
        return httpx.Response(200, content=b"video")

    with storing(store) as client, client.open_link(LINK) as response:
        assert response.read() == b"video"
    assert [request.url.host for request in requests] == ["storage.test", "elsewhere.test"]
    assert all("authorization" not in request.headers for request in requests)


def test_threads_that_start_at_once_share_the_connections_to_the_storage_host(
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

    with storing(lambda _: httpx.Response(200, content=b"video")) as client, ThreadPoolExecutor(8) as pool:
        monkeypatch.setattr(httpx, "Client", SlowToBegin)
        assert list(pool.map(fetch, [client] * 8)) == [b"video"] * 8
    assert [each.is_closed for each in made] == [True]


OWN = f"{SETTINGS.base_url}/v1/videos/asyntask_1/content"


@pytest.mark.parametrize("status", [401, 403])
def test_a_link_to_anyfast_itself_gets_the_key_if_it_is_required(status: int) -> None:
    requests: list[httpx.Request] = []

    def store(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if request.headers.get("authorization") == f"Bearer {KEY}":
            return httpx.Response(200, content=b"video")
        return httpx.Response(status)

    with storing(store) as client, client.open_link(OWN, headers={"Range": "bytes=5-"}) as response:
        assert response.read() == b"video"
    assert ["authorization" in request.headers for request in requests] == [False, True]
    assert {request.headers["range"] for request in requests} == {"bytes=5-"}


@pytest.mark.parametrize("status", [200, 400, 404, 429, 500])
def test_a_link_to_anyfast_itself_gets_no_key_otherwise(status: int) -> None:
    requests: list[httpx.Request] = []

    def store(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(status)

    with storing(store) as client, client.open_link(OWN):
        pass
    assert ["authorization" in request.headers for request in requests] == [False]


@pytest.mark.parametrize(
    "link",
    [
        "https://storage.test/x.mp4",
        "http://anyfast.test/x.mp4",
        "https://anyfast.test:8443/x.mp4",
        "https://anyfast.test.evil/x.mp4",
        "https://anyfast.test@evil.test/x.mp4",
    ],
)
def test_no_other_host_gets_the_key_even_if_it_requires_one(link: str) -> None:
    requests: list[httpx.Request] = []

    def store(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(401, headers={"WWW-Authenticate": "Bearer"})

    with storing(store) as client, client.open_link(link) as response:
        assert response.status_code == 401
    assert all(KEY not in str(request.headers.get("authorization", "")) for request in requests)


def test_a_redirect_from_or_to_anyfast_gets_no_key() -> None:
    requests: list[httpx.Request] = []

    def store(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if request.url.host == "anyfast.test" and "authorization" in request.headers:
            return httpx.Response(302, headers={"Location": "https://storage.test/x.mp4"})
        return httpx.Response(401 if request.url.host == "anyfast.test" else 200, content=b"video")

    with storing(store) as client, client.open_link(OWN) as response:
        assert response.read() == b"video"
    assert [(request.url.host, "authorization" in request.headers) for request in requests] == [
        ("anyfast.test", False),
        ("anyfast.test", True),
        ("storage.test", False),
    ]


def test_a_refusal_that_the_key_does_not_change_is_returned() -> None:
    def store(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400 if "authorization" in request.headers else 403)

    with storing(store) as client, client.open_link(OWN) as response:
        assert response.status_code == 403


def test_a_storage_host_that_drips_its_headers_times_out() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.drip_for_ever(b"H")

    with hostile_server(behave) as address, AnyFastClient(Settings("sk-1", timeout=0.5)) as client:
        begun = time.monotonic()
        with pytest.raises(httpx.ReadTimeout), client.open_link(f"http://{address}/x.mp4"):
            pass
        assert time.monotonic() - begun < 10


def test_the_body_of_a_link_may_take_as_long_as_its_reader_allows() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
        peer.drip(b"x" * 40)

    with (
        hostile_server(behave) as address,
        AnyFastClient(Settings("sk-1", timeout=1.0)) as client,
        client.open_link(f"http://{address}/x.mp4") as response,
    ):
        assert response.read() == b"x" * 40


def test_the_storage_host_is_verified_with_the_default_cas_and_the_connections_own(tmp_path: Path) -> None:
    own = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(own))
    settings = Settings("sk-1", verify=str(own))
    usual = len(Settings("sk-1").ssl_context.get_ca_certs())
    assert len(settings.ssl_context.get_ca_certs()) == 1
    assert len(settings.storage_ssl_context.get_ca_certs()) == usual + 1
    with AnyFastClient(settings) as client:
        assert client._links._http_options()["verify"] is settings.storage_ssl_context
        assert client._http_options()["verify"] is settings.ssl_context
