"""A sandbox whose time stands still, and callers of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox.caller import Caller
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.sandbox import SandboxHandle


@pytest.fixture
def clock(sandbox: SandboxHandle) -> FakeClock:
    """The sandbox's clock, which only the test moves."""
    clock = FakeClock()
    sandbox.reset(clock=clock.now)
    return clock


@pytest.fixture
def configure(sandbox: SandboxHandle, clock: FakeClock) -> Callable[..., None]:
    """Starts the sandbox anew with other settings, on the same clock."""

    def reset(**settings: object) -> None:
        sandbox.reset(clock=clock.now, **settings)

    return reset


@pytest.fixture
def anyfast(sandbox: SandboxHandle, clock: FakeClock) -> Iterator[Caller]:
    """Somebody with the sandbox's first key."""
    caller = Caller(sandbox.url, sandbox.api_key)
    with caller.http:
        yield caller


@pytest.fixture
def caller_with(sandbox: SandboxHandle) -> Iterator[Callable[[str | None], Caller]]:
    """Makes somebody with another key, or without any."""
    callers: list[Caller] = []

    def make(key: str | None) -> Caller:
        callers.append(Caller(sandbox.url, key))
        return callers[-1]

    yield make
    for caller in callers:
        caller.http.close()
