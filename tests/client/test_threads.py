"""Threads that share a client do not disturb each other's requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import httpx

from airflow_provider_anyfast.client import endpoints, transport
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient
from tests.client.hostile_server import Peer, hostile_server

if TYPE_CHECKING:
    import pytest

THREADS = 100
"""As many as a batch may have."""
ACCEPTED = b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"id":"asyntask_1"}'


def test_no_connection_is_closed_while_its_thread_may_be_about_to_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = httpx.Limits(
        max_connections=transport._LIMITS.max_connections,
        max_keepalive_connections=transport._LIMITS.max_keepalive_connections,
        keepalive_expiry=None,  # a busy machine may take longer
    )
    monkeypatch.setattr(transport, "_LIMITS", limits)
    all_have_sent, connections = Barrier(THREADS), []

    def behave(peer: Peer) -> None:
        connections.append(peer)
        while peer.request():
            all_have_sent.wait(timeout=60)
            peer.send(ACCEPTED)

    call = endpoints.submit_generation({"model": "seedance"})
    with (
        hostile_server(behave) as address,
        AnyFastClient(Settings("sk-1", f"http://{address}", timeout=60)) as client,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        for _ in range(3):
            assert set(threads.map(lambda _: client.send_once(call), range(THREADS))) == {"asyntask_1"}
    assert len(connections) == THREADS
