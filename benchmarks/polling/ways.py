"""Ways of waiting for a video on an event loop, each with one coroutine per video."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httptools
import httpx

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_anyfast.client.errors import AnyFastError
    from airflow_provider_anyfast.polling.poller import GaveUp, Poller, TimedOut, Wait

    OnError = Callable[[Poller[Any], AnyFastError, float], Wait | TimedOut | GaveUp]

CONN_ID = "benchmark"
PATH = "/v1/video/generations/"
HOUR = 3600.0


@dataclass(frozen=True)
class Target:
    """What is polled and how often."""

    url: str
    """Base URL."""
    interval: float
    """Seconds from a response to the next poll."""
    due: asyncio.Event | None = None
    """When all videos are polled first; None polls each video when its wait starts."""


class Way:
    """One way of waiting; an event loop has one instance for all its videos.

    Args:
        target: what is polled.
    """

    first_poll_within = 0.0
    """Intervals from the start of a wait to its first poll, at most."""
    lives_on_404 = False
    """Whether the server must respond with HTTP 404 while a video is pending."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.errors: Counter[str] = Counter()

    @abstractmethod
    async def wait_for(self, video: str) -> None:
        """Polls until it is cancelled or ends by itself."""

    async def first_due(self) -> None:
        """Waits until the first poll is due, if the target sets a time for that."""
        if self.target.due:
            await self.target.due.wait()


class VideoTriggerWay(Way):
    """This provider's trigger, as the triggerer runs it."""

    first_poll_within = 1.1

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        from airflow_provider_anyfast.client import clock  # noqa: PLC0415 - only this way's process pays for it
        from airflow_provider_anyfast.polling.poller import Poller  # noqa: PLC0415
        from airflow_provider_anyfast.triggers.video import VideoTrigger  # noqa: PLC0415

        self._trigger = VideoTrigger
        Poller.on_error = self._counted(Poller.on_error)  # type: ignore[assignment,method-assign]  # unseen otherwise
        if target.due:
            clock.sleep_async = self._sleep_until_due

    async def wait_for(self, video: str) -> None:
        """Runs a trigger for a video that was submitted some polls ago."""
        now = time.time()
        trigger = self._trigger(
            job_id=video,
            anyfast_conn_id=CONN_ID,
            started_at=now - 10 * self.target.interval,
            deadline=now + HOUR,
            poll_interval=self.target.interval,
        )
        async for event in trigger.run():
            self.errors[f"ended: {event.payload['reason'][:60]}"] += 1

    async def _sleep_until_due(self, seconds: float) -> None:
        """Replaces the provider's sleep, so that all first polls are due at the same moment."""
        if self.target.due and not self.target.due.is_set():
            await self.target.due.wait()
        else:
            await asyncio.sleep(seconds)

    def _counted(self, on_error: OnError) -> OnError:
        def counted(poller: Poller[Any], error: AnyFastError, now: float) -> Wait | TimedOut | GaveUp:
            self.errors[type(error).__name__] += 1
            return on_error(poller, error, now)

        return counted


class HttpSensorTriggerWay(Way):
    """Airflow's own trigger for HTTP."""

    lives_on_404 = True

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        from airflow.providers.http.triggers.http import HttpSensorTrigger  # noqa: PLC0415 - only this way pays for it

        self._trigger = HttpSensorTrigger

    async def wait_for(self, video: str) -> None:
        """Runs a trigger; a connection error ends it."""
        await self.first_due()
        trigger = self._trigger(
            http_conn_id=CONN_ID,
            endpoint=PATH + video,
            headers={"Authorization": "Bearer key"},
            poke_interval=self.target.interval,
        )
        try:
            async for _ in trigger.run():
                self.errors["ended"] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            self.errors[type(error).__name__] += 1


class PollingWay(Way):
    """A plain loop around one request."""

    async def wait_for(self, video: str) -> None:
        """Polls until it is cancelled."""
        await self.first_due()
        poll = await self.poll_of(PATH + video)
        while True:
            try:
                status, body = await poll()
                if status != httpx.codes.OK or json.loads(body)["data"]["status"] != "IN_PROGRESS":
                    self.errors[f"HTTP {status}"] += 1
            except (httpx.HTTPError, OSError, httptools.HttpParserError) as error:
                self.errors[type(error).__name__] += 1
            await asyncio.sleep(self.target.interval)

    @abstractmethod
    async def poll_of(self, path: str) -> Callable[[], Awaitable[tuple[int, bytes]]]:
        """Returns the function that polls one video."""

    def client(self) -> httpx.AsyncClient:
        """A client with default settings."""
        return httpx.AsyncClient(base_url=self.target.url, headers={"Authorization": "Bearer key"}, timeout=60)


class ClientPerPollWay(PollingWay):
    """httpx, a client for each poll."""

    async def poll_of(self, path: str) -> Callable[[], Awaitable[tuple[int, bytes]]]:
        """Makes a client for each poll."""

        async def poll() -> tuple[int, bytes]:
            async with self.client() as client:
                response = await client.get(path)
            return response.status_code, response.content

        return poll


class ClientPerVideoWay(PollingWay):
    """httpx, a client for each video."""

    async def poll_of(self, path: str) -> Callable[[], Awaitable[tuple[int, bytes]]]:
        """Makes one client."""
        client = self.client()

        async def poll() -> tuple[int, bytes]:
            response = await client.get(path)
            return response.status_code, response.content

        return poll


class BareWay(PollingWay):
    """httptools on asyncio streams with persistent connections: about the minimum cost in Python."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._tls = ssl.create_default_context()
        self._idle: list[BareConnection] = []
        self._address = urlsplit(target.url)

    async def poll_of(self, path: str) -> Callable[[], Awaitable[tuple[int, bytes]]]:
        """Uses the connection that was used last."""

        async def poll() -> tuple[int, bytes]:
            connection = self._idle.pop() if self._idle else await self._connect()
            response = await connection.get(self._address.path + path)
            self._idle.append(connection)
            return response

        return poll

    async def _connect(self) -> BareConnection:
        host, port = str(self._address.hostname), self._address.port
        return BareConnection(*await asyncio.open_connection(host, port, ssl=self._tls))


class BareConnection:
    """One persistent connection, for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        self._body = b""
        self._complete = False
        parser = httptools.HttpResponseParser(self)
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer key\r\n\r\n".encode())
        while not self._complete:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionResetError
            parser.feed_data(data)
        return parser.get_status_code(), self._body

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._complete = True


WAYS: dict[str, type[Way]] = {
    "this provider": VideoTriggerWay,
    "HttpSensorTrigger": HttpSensorTriggerWay,
    "httpx client per video": ClientPerVideoWay,
    "httpx client per poll": ClientPerPollWay,
    "bare httptools": BareWay,
}
