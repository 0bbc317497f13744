"""Drives both clients with the same scripted responses, and records what they did."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.endpoints import Call
from airflow_provider_anyfast.client.errors import AnyFastError
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient, AsyncAnyFastClient
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

KEY = "sk-4Zt8mQ1wX7"
SETTINGS = Settings(KEY, "https://anyfast.test", timeout=20.0, submit_timeout=300.0, max_retries=3, verify=False)
"""No certificates are read, since no connection is made."""

Step = httpx.Response | Exception
"""What the service does with one request."""


class SentBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that arrives from the network, chunk by chunk."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


class BrokenBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A response that is cut off after its first bytes."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"id": '
        raise httpx.ReadError("connection reset")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


@dataclass(frozen=True)
class Sent:
    """One request as the client sent it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    read_timeout: float
    connect_timeout: float


@dataclass(frozen=True)
class DriverRun:
    """What a driver did: its requests, its waits in seconds, and its result or error."""

    sent: tuple[Sent, ...]
    waits: tuple[float, ...]
    result: Any = None
    error: AnyFastError | None = None

    @property
    def comparable(self) -> tuple[Any, ...]:
        """Everything that must be equal for both drivers, in comparable form."""
        error = self.error
        end = (type(error), str(error), error.__dict__) if error else (None, self.result, None)
        return (self.sent, self.waits, *end)


class Service:
    """Responds with one step after another; the last one repeats."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = list(steps)
        self.sent: list[Sent] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        timeout = request.extensions["timeout"]
        boundary = request.headers.get("content-type", "").partition("boundary=")[2].encode()
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-type")}
        body = request.content.replace(boundary, b"BOUNDARY") if boundary else request.content
        url = str(request.url)
        self.sent.append(Sent(request.method, url, headers, body, timeout["read"], timeout["connect"]))
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if isinstance(step, Exception):
            raise step
        if isinstance(step.stream, BrokenBody):
            return httpx.Response(step.status_code, stream=BrokenBody())
        return httpx.Response(step.status_code, headers=step.headers, stream=SentBody(step.content))


class ScriptedClient(AnyFastClient):
    """The synchronous client, wired to a scripted service in place of the network."""

    def __init__(self, service: Service, settings: Settings = SETTINGS) -> None:
        self._service = service
        super().__init__(settings)

    def _http_options(self) -> dict[str, Any]:
        return _wired(super()._http_options(), self._service)


class ScriptedAsyncClient(AsyncAnyFastClient):
    """The asynchronous client, wired to a scripted service in place of the network."""

    def __init__(self, service: Service, settings: Settings = SETTINGS) -> None:
        self._service = service
        super().__init__(settings)

    def _http_options(self) -> dict[str, Any]:
        return _wired(super()._http_options(), self._service)


def _wired(options: dict[str, Any], service: Service) -> dict[str, Any]:
    """The client's options for httpx, except those for a real network."""
    kept = {name: value for name, value in options.items() if name not in ("verify", "proxy")}
    return {**kept, "transport": httpx.MockTransport(service.handle)}


def drive(work: Any, steps: Sequence[Step], settings: Settings = SETTINGS) -> DriverRun:
    """Sends ``work``, a call or a flow, with the synchronous client."""
    with held_clock() as time:
        service = Service(steps)
        try:
            with ScriptedClient(service, settings) as client:
                result = client.send(work) if isinstance(work, Call) else client.run(work)
        except AnyFastError as error:
            return DriverRun(tuple(service.sent), tuple(time.sleeps), error=error)
        return DriverRun(tuple(service.sent), tuple(time.sleeps), result)


def drive_async(work: Any, steps: Sequence[Step], settings: Settings = SETTINGS) -> DriverRun:
    """Sends ``work``, a call or a flow, with the asynchronous client."""

    async def run(service: Service) -> Any:
        async with ScriptedAsyncClient(service, settings) as client:
            return await (client.send(work) if isinstance(work, Call) else client.run(work))

    with held_clock() as time:
        service = Service(steps)
        try:
            result = asyncio.run(run(service))
        except AnyFastError as error:
            return DriverRun(tuple(service.sent), tuple(time.sleeps), error=error)
        return DriverRun(tuple(service.sent), tuple(time.sleeps), result)


def drive_both(make: Callable[[], Any], steps: Sequence[Step], settings: Settings = SETTINGS) -> DriverRun:
    """Sends the call or flow that ``make`` returns with both drivers, which must do the same."""
    run, run_async = drive(make(), steps, settings), drive_async(make(), steps, settings)
    assert run.comparable == run_async.comparable
    return run


class held_clock:  # noqa: N801 - a context manager, used like a function
    """A fake clock in place of the client's, and a fixed random seed."""

    def __enter__(self) -> FakeClock:
        self._patch = pytest.MonkeyPatch()
        time = FakeClock()
        for name in ("now", "sleep", "sleep_async"):
            self._patch.setattr(clock, name, getattr(time, name))
        self._chance = random.getstate()
        random.seed(7)
        return time

    def __exit__(self, *_: object) -> None:
        random.setstate(self._chance)
        self._patch.undo()
