"""A sandbox with a stopped clock, and its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox.client import Client
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.sandbox import SandboxHandle


@pytest.fixture
def clock(sandbox: SandboxHandle) -> FakeClock:
    """The sandbox's clock, which only a test moves."""
    clock = FakeClock()
    sandbox.reset(clock=clock.now)
    return clock


@pytest.fixture
def configure(sandbox: SandboxHandle, clock: FakeClock) -> Callable[..., None]:
    """Restarts the sandbox with other settings, on the same clock."""

    def reset(**settings: object) -> None:
        sandbox.reset(clock=clock.now, **settings)

    return reset


@pytest.fixture
def anyfast(sandbox: SandboxHandle, clock: FakeClock) -> Iterator[Client]:
    """A client with the sandbox's first key."""
    client = Client(sandbox.url, sandbox.api_key)
    with client.http:
        yield client


@pytest.fixture
def client_with(sandbox: SandboxHandle) -> Iterator[Callable[[str | None], Client]]:
    """Makes a client with another key, or without one."""
    clients: list[Client] = []

    def make(key: str | None) -> Client:
        clients.append(Client(sandbox.url, key))
        return clients[-1]

    yield make
    for client in clients:
        client.http.close()
