"""Sends the calls that ``endpoints`` describes: one synchronous and one asynchronous driver, and the rules of retrying.

What may be sent twice:

* A free call is tried again after connection errors, timeouts, 429 and 5xx, and where something in between answered.
* A billed call is tried again only where AnyFast has certainly not accepted it: the connection was never made, it
  answered 429, or a referenced asset is not ready yet. ``evidence`` decides that. A billed call of which it is unknown
  whether it was accepted ends with a ``LostAnswerError``.

A 429 slows down the calls of its kind that use the same client, where billed and free calls are different kinds, and so
are calls that the gateway limits apart; see ``rate_limiter``.
"""

from __future__ import annotations

import asyncio
import platform
from contextlib import contextmanager, nullcontext, suppress
from email.utils import parsedate_to_datetime
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from airflow_provider_anyfast.client import clock, network
from airflow_provider_anyfast.client.body import ENCODINGS, Body
from airflow_provider_anyfast.client.consistency import ASSET_IS_COPIED
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    AssetNotReadyError,
    ConnectionFailedError,
    NoAnswerError,
    RateLimitError,
    ServerError,
)
from airflow_provider_anyfast.client.evidence import read_failure, read_response
from airflow_provider_anyfast.client.links import LinkClient
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.client.rate_limiter import LONGEST_PAUSE, RateLimiter
from airflow_provider_anyfast.client.settings import CONNECT_TIMEOUT, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import TypeAlias

    from typing_extensions import Self

    from airflow_provider_anyfast.client.endpoints import Call, Flow, ResultT
    from airflow_provider_anyfast.client.network import Exchange

    Guard: TypeAlias = Callable[[], AbstractContextManager[None]]
    """Surrounds one exchange: entered when nothing has to be waited for any more, left with the error of the exchange.

    What it raises at its beginning keeps the request from being sent.
    """

log = subject_logger(__name__)

ClientT = TypeVar("ClientT", httpx.Client, httpx.AsyncClient)

FIRST_REQUESTS = 16
"""Requests at a time of one asynchronous client until an answer tells which HTTP its server speaks."""
SOCKETS = 84
"""Requests at a time over HTTP/1.1 afterwards, each on its own socket. At 0.2 s an answer, 5,000 videos need 70."""
STREAMS = 100
"""The same over HTTP/2, all on one socket; servers allow 100 or 128."""

_KEEP_ALIVE = 60.0
"""Seconds that an idle socket of an asynchronous client is kept; a video is asked for every 15 s."""
_SANDBOX_HEADER = "x-anyfast-sandbox"
_backoff = wait_random_exponential(multiplier=1, min=1, max=LONGEST_PAUSE)


class _Driver:
    """What both drivers share: making a request, its limits, and deciding whether to try again.

    Args:
        settings: of the connection.
        user_agent: what the client calls itself.
        as_raised: makes of an error the one that callers get, such as its public class.
    """

    def __init__(
        self,
        settings: Settings,
        user_agent: str = "",
        as_raised: Callable[[AnyFastError], AnyFastError] = lambda error: error,
    ) -> None:
        self.settings = settings
        self._as_raised = as_raised
        self._user_agent = user_agent or f"airflow-provider-anyfast Python/{platform.python_version()}"
        self._rate_limiters = {kind: RateLimiter() for kind in product((True, False), repeat=2)}
        self.server_ahead = 0.0
        """Seconds by which AnyFast's clock is ahead of this one, by the ``Date`` of its last answer, to a second."""
        self.is_sandbox = False
        """Whether the last answer says that it comes from this provider's sandbox. It is a hint about time alone."""

    def _http_options(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "base_url": settings.base_url,
            "headers": {
                "Authorization": f"Bearer {settings.api_key}",
                "User-Agent": self._user_agent,
                "Accept-Encoding": ENCODINGS,
            },
            "verify": settings.ssl_context,
            "proxy": settings.proxy,
            "timeout": httpx.Timeout(settings.timeout, connect=min(CONNECT_TIMEOUT, settings.timeout)),
        }

    def _request(self, http: ClientT, call: Call[Any]) -> httpx.Request:
        timeout = http.timeout
        if call.long_poll:
            timeout = httpx.Timeout(**{**timeout.as_dict(), "read": self.settings.submit_timeout})
        if call.upload is None:
            return http.build_request(call.method, call.path, json=call.json, timeout=timeout)
        call.upload.content.seek(0)
        return http.build_request(
            call.method,
            call.path,
            data=dict(call.json or {}),
            files={"file": (call.upload.name, call.upload.content, call.upload.media_type)},
            timeout=timeout,
        )

    @contextmanager
    def _watched(self, call: Call[Any], request: httpx.Request) -> Iterator[Exchange]:
        """Limits the exchange, and turns what httpx raises into this package's errors."""
        with network.exchange(network.seconds_for(request)) as exchange:
            try:
                yield exchange
            except AnyFastError as error:
                raise self._as_raised(error) from error.__cause__
            # Not httpx's errors alone: whatever broke a billed call off, the steps tell whether it was sent.
            except Exception as failure:
                if isinstance(failure, RuntimeError) and not exchange.last_step:
                    raise  # the client is closed: a mistake of its user, and nothing was sent
                raise self._as_raised(read_failure(call, failure, exchange, self.settings)) from failure

    def _read_headers(self, response: httpx.Response) -> None:
        """``Date`` is cut to whole seconds, so half of one is added."""
        self.is_sandbox = _SANDBOX_HEADER in response.headers
        with suppress(TypeError, ValueError, OverflowError):
            date = parsedate_to_datetime(response.headers.get("date", ""))
            self.server_ahead = date.timestamp() + 0.5 - clock.now()

    def _rate_limiter_of(self, call: Call[Any]) -> RateLimiter:
        """Submissions that the model cannot take now say nothing about questions, and the other way round."""
        return self._rate_limiters[call.billed, call.limited_apart]

    @contextmanager
    def _rate_limited(self, call: Call[Any]) -> Iterator[None]:
        limiter = self._rate_limiter_of(call)
        try:
            yield
        except RateLimitError as error:
            limiter.throttled(clock.now(), error.retry_after)
            raise
        limiter.succeeded()

    def _retry_options(self) -> dict[str, Any]:
        return {
            "retry": retry_if_exception(_may_be_sent_again),
            "stop": _GiveUp(self.settings.max_retries),
            "wait": self._wait,
            "before_sleep": _log_retry,
            "reraise": True,
        }

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until a call is tried again; after a 429 it waits with all others of its kind."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimitError):
            return self._rate_limiter_of(state.args[0]).closed_for(clock.now())
        asked = error.retry_after if isinstance(error, AnyFastError) else None
        jittered: Callable[[RetryCallState], float] = _backoff
        return jittered(state) if asked is None else min(asked + jittered(state) / 10, LONGEST_PAUSE)


class _GiveUp:
    """When one call has been tried for long enough; waiting for an asset uses up no try of another failure."""

    def __init__(self, max_retries: int) -> None:
        self._tries_left = max_retries

    def __call__(self, state: RetryCallState) -> bool:
        if state.outcome is not None and isinstance(state.outcome.exception(), AssetNotReadyError):
            return state.idle_for >= ASSET_IS_COPIED
        self._tries_left -= 1
        return self._tries_left < 0


class AnyFastClient(_Driver):
    """Synchronous driver. Several threads may use it at once.

    Use it as a context manager, or call ``close``.

    Raises:
        ConfigurationError: the proxies or certificates that the environment names cannot be used.
    """

    def __init__(self, settings: Settings, user_agent: str = "", **options: Any) -> None:
        super().__init__(settings, user_agent, **options)
        with network.explained_environment():
            self._http = httpx.Client(**self._http_options())
        network.watch(self._http)
        self._links = LinkClient(self.settings, self._http_options())

    def send(self, call: Call[ResultT], guard: Guard = nullcontext) -> ResultT:
        """Sends ``call``, again where that cannot cost twice, and returns its typed answer.

        Args:
            call: what to send.
            guard: surrounds each exchange, and none of the waits before it and between two of them.

        Raises:
            AnyFastError: as described in ``errors``; ``LostAnswerError`` only for a billed call.
        """
        answer: ResultT = Retrying(sleep=clock.sleep, **self._retry_options())(self.send_once, call, guard)
        return answer

    def send_once(self, call: Call[ResultT], guard: Guard = nullcontext) -> ResultT:
        """Sends ``call`` exactly once; for a caller that is itself a loop, such as polling."""
        while wait := self._rate_limiter_of(call).acquire(clock.now()):
            clock.sleep(wait)
        request = self._request(self._http, call)
        with guard(), self._rate_limited(call), self._watched(call, request) as exchange:
            request.extensions["trace"] = exchange.trace
            response = self._http.send(request, stream=True)
            body = Body(response)
            try:
                for chunk in response.iter_raw():
                    body.add(chunk)
            finally:
                response.close()
            self._read_headers(response)
            return read_response(call, body.whole(), self.settings)

    def run(self, flow: Flow[ResultT]) -> ResultT:
        """Drives several calls to their one result."""
        try:
            call = next(flow)
            while True:
                call = flow.send(self.send(call))
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return]  # Flow's third type

    def open_link(self, url: str, *, headers: dict[str, str] | None = None) -> AbstractContextManager[httpx.Response]:
        """Streams what a signed link to the storage host holds; see ``LinkClient.open``."""
        return self._links.open(url, headers or {})

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()
        self._links.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncAnyFastClient(_Driver):
    """Asynchronous driver over the same calls, for one event loop.

    Use it as an asynchronous context manager, or call ``close``.

    Raises:
        ConfigurationError: as ``AnyFastClient`` does.
    """

    def __init__(self, settings: Settings, user_agent: str = "", **options: Any) -> None:
        super().__init__(settings, user_agent, **options)
        self._http = self._new_http(FIRST_REQUESTS)
        self._gate = asyncio.Semaphore(FIRST_REQUESTS)
        self._multiplexes: bool | None = None
        self._singles: list[httpx.AsyncClient] = []
        self._free_singles: list[httpx.AsyncClient] = []

    async def send(self, call: Call[ResultT]) -> ResultT:
        """Sends ``call``, again where that cannot cost twice, and returns its typed answer.

        Raises:
            AnyFastError: as ``AnyFastClient.send`` does.
        """
        return await AsyncRetrying(sleep=clock.sleep_async, **self._retry_options())(self.send_once, call)

    async def send_once(self, call: Call[ResultT]) -> ResultT:
        """Sends ``call`` exactly once."""
        # Waiting here is no timeout of the server, and a pool with hundreds of waiters costs the square of that.
        async with self._gate:
            while wait := self._rate_limiter_of(call).acquire(clock.now()):
                await clock.sleep_async(wait)
            return await network.shielded(self._exchange(call))

    async def _exchange(self, call: Call[ResultT]) -> ResultT:
        with self._connection() as http:
            request = self._request(http, call)
            with self._rate_limited(call), self._watched(call, request) as exchange:
                request.extensions["trace"] = exchange.trace_async
                response = await http.send(request, stream=True)
                self._learn_from(response)
                body = Body(response)
                try:
                    async for chunk in response.aiter_raw():
                        body.add(chunk)
                finally:
                    await response.aclose()
                self._read_headers(response)
                return read_response(call, body.whole(), self.settings)

    @contextmanager
    def _connection(self) -> Iterator[httpx.AsyncClient]:
        """The HTTP client for one request.

        Over HTTP/1.1 it is one that has a single connection and no other request. A shared pool of 100 connections
        walks through all of them at each event, which costs 20 times the CPU of the requests themselves.
        """
        if self._multiplexes is not False or self._http.is_closed:
            yield self._http
            return
        if not self._free_singles:
            self._singles.append(self._new_http(1))
            self._free_singles.append(self._singles[-1])
        single = self._free_singles.pop()  # the last one used, so that few are in use where few are needed
        try:
            yield single
        finally:
            self._free_singles.append(single)

    def _new_http(self, sockets: int) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=sockets, max_keepalive_connections=sockets, keepalive_expiry=_KEEP_ALIVE)
        with network.explained_environment():
            http = httpx.AsyncClient(**self._http_options(), limits=limits, http2=True)
        network.watch(http)
        return http

    def _learn_from(self, response: httpx.Response) -> None:
        """Lets as many requests pass as the server's HTTP allows, once an answer shows which it is."""
        if self._multiplexes is None:
            self._multiplexes = response.http_version == "HTTP/2"
            for _ in range((STREAMS if self._multiplexes else SOCKETS) - FIRST_REQUESTS):
                self._gate.release()

    async def run(self, flow: Flow[ResultT]) -> ResultT:
        """Drives several calls to their one result."""
        try:
            call = next(flow)
            while True:
                call = flow.send(await self.send(call))
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return]  # Flow's third type

    async def close(self) -> None:
        """Closes the connections."""
        for http in (self._http, *self._singles):
            await http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _may_be_sent_again(error: BaseException) -> bool:
    """A billed call's unknown answer is a ``LostAnswerError`` by now, so what is left here is safe to send again."""
    return isinstance(error, ConnectionFailedError | NoAnswerError | RateLimitError | ServerError | AssetNotReadyError)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    what = error.what if isinstance(error, AnyFastError) else error
    log.warning("%s Trying again in %.0f s (try %d).", what, state.upcoming_sleep, state.attempt_number + 1)
