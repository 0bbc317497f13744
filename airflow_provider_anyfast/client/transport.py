"""Sends the calls that ``endpoints`` describes: one synchronous and one asynchronous driver, and the retry rules.

What may be sent twice:

* A free call is retried after connection errors, timeouts, 429 and 5xx, and after a response of an intermediary or one
  that cannot be parsed.
* A billed call is retried only if AnyFast has certainly not accepted it: the connection was never made, AnyFast
  returned 429, or a referenced asset is not ready yet. ``evidence`` decides that. If it is unknown whether AnyFast
  accepted a billed call, the call ends with a ``LostAnswerError``.

A 429 slows down the calls of its kind that use the same client. Billed and free calls are different kinds, and so are
calls that the gateway limits separately; see ``rate_limiter``.
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
    UnexpectedAnswerError,
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
    """A context manager around one exchange: entered after all waiting, left with the error of the exchange, if any.

    If entering it raises, the request is not sent.
    """

log = subject_logger(__name__)

ClientT = TypeVar("ClientT", httpx.Client, httpx.AsyncClient)

FIRST_REQUESTS = 16
"""Concurrent requests of one asynchronous client until a response shows the HTTP version of its server."""
SOCKETS = 84
"""Concurrent requests over HTTP/1.1 afterwards, each on its own socket. At 0.2 s a response, 5,000 videos need 70."""
STREAMS = 100
"""The same over HTTP/2, all on one socket; servers allow 100 or 128."""

_KEEP_ALIVE = 60.0
"""Seconds that an idle socket of an asynchronous client is kept; each video is polled every 15 s."""
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=3.0)
"""Of a synchronous client. Many servers close a connection that is idle for 5 s, and a submission that is sent at that
moment gets no response. All may be kept, since it gets none either if another thread closes its connection as one idle
connection too many: httpcore takes it for idle until the request begins (encode/httpcore#1110)."""
_SANDBOX_HEADER = "x-anyfast-sandbox"
_backoff = wait_random_exponential(multiplier=1, min=1, max=LONGEST_PAUSE)


class _Driver:
    """The part that both drivers share: building requests, their limits, and the retry decision.

    Args:
        settings: settings of the connection.
        user_agent: value of the ``User-Agent`` header.
        as_raised: converts an error to the one that callers get, such as its public class.
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
        """Seconds by which AnyFast's clock is ahead, by the ``Date`` of its last response; exact to a second."""
        self.is_sandbox = False
        """Whether the last response says that it comes from this provider's sandbox. Only a hint for timing."""

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
        """Limits the exchange, and converts httpx's errors to those of this package."""
        with network.exchange(network.seconds_for(request)) as exchange:
            try:
                yield exchange
            except AnyFastError as error:
                raise self._as_raised(error) from error.__cause__
            # Not only httpx's errors: whatever interrupted a billed call, the steps show whether it was sent.
            except Exception as failure:
                if isinstance(failure, RuntimeError) and not exchange.last_step:
                    raise  # the client is closed: a programming error, and nothing was sent
                raise self._as_raised(read_failure(call, failure, exchange, self.settings)) from failure

    def _read_headers(self, response: httpx.Response) -> None:
        """Reads the time and the origin of a response. ``Date`` is truncated to seconds, so half a second is added."""
        self.is_sandbox = _SANDBOX_HEADER in response.headers
        with suppress(TypeError, ValueError, OverflowError):
            date = parsedate_to_datetime(response.headers.get("date", ""))
            self.server_ahead = date.timestamp() + 0.5 - clock.now()

    def _rate_limiter_of(self, call: Call[Any]) -> RateLimiter:
        """The rate limiter of a call's kind: a throttled submission does not affect queries, and vice versa."""
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
        """Seconds until a call is retried; after a 429, all calls of its kind wait."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimitError):
            return self._rate_limiter_of(state.args[0]).closed_for(clock.now())
        requested = error.retry_after if isinstance(error, AnyFastError) else None
        jittered: Callable[[RetryCallState], float] = _backoff
        return jittered(state) if requested is None else min(requested + jittered(state) / 10, LONGEST_PAUSE)


class _GiveUp:
    """Decides when to stop retrying a call; waiting for an asset does not count as a try."""

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
        ConfigurationError: the proxies or certificates from the environment cannot be used.
    """

    def __init__(self, settings: Settings, user_agent: str = "", **options: Any) -> None:
        super().__init__(settings, user_agent, **options)
        with network.explained_environment():
            self._http = httpx.Client(**self._http_options(), limits=_LIMITS)
        network.watch(self._http)
        self._links = LinkClient(self.settings, self._http_options())

    def send(self, call: Call[ResultT], guard: Guard = nullcontext) -> ResultT:
        """Sends ``call``, retries it if that cannot be billed twice, and returns its typed response.

        Args:
            call: what to send.
            guard: surrounds each exchange, but not the waits before and between exchanges.

        Raises:
            AnyFastError: as described in ``errors``; ``LostAnswerError`` only for a billed call.
        """
        response: ResultT = Retrying(sleep=clock.sleep, **self._retry_options())(self.send_once, call, guard)
        return response

    def send_once(self, call: Call[ResultT], guard: Guard = nullcontext) -> ResultT:
        """Sends ``call`` exactly once; for a caller that is itself a loop, such as polling."""
        while wait := self._rate_limiter_of(call).acquire(clock.now()):
            clock.sleep(wait)
        request = self._request(self._http, call)
        with guard(), self._rate_limited(call), self._watched(call, request) as exchange:
            request.extensions["trace"] = exchange.trace
            response = self._http.send(request, stream=True)
            exchange.body = body = Body(response)
            try:
                for chunk in response.iter_raw():
                    body.add(chunk)
            except httpx.TransportError:
                if not body.holds_object():
                    raise
            finally:
                response.close()
            self._read_headers(response)
            return read_response(call, body.whole(), exchange, self.settings)

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
        """Sends ``call``, retries it if that cannot be billed twice, and returns its typed response.

        Raises:
            AnyFastError: as ``AnyFastClient.send`` does.
        """
        return await AsyncRetrying(sleep=clock.sleep_async, **self._retry_options())(self.send_once, call)

    async def send_once(self, call: Call[ResultT]) -> ResultT:
        """Sends ``call`` exactly once."""
        # Waiting here does not count as a timeout, and the cost of waiting in httpx's pool grows with the square.
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
                self._raise_limit(response)
                exchange.body = body = Body(response)
                try:
                    async for chunk in response.aiter_raw():
                        body.add(chunk)
                except httpx.TransportError:
                    if not body.holds_object():
                        raise
                finally:
                    await response.aclose()
                self._read_headers(response)
                return read_response(call, body.whole(), exchange, self.settings)

    @contextmanager
    def _connection(self) -> Iterator[httpx.AsyncClient]:
        """The HTTP client for one request.

        Over HTTP/1.1, each client has a single connection and serves one request at a time. A shared pool of 100
        connections iterates over all of them at each event, which costs 20 times the CPU of the requests themselves.
        """
        if self._multiplexes is not False or self._http.is_closed:
            yield self._http
            return
        if not self._free_singles:
            self._singles.append(self._new_http(1))
            self._free_singles.append(self._singles[-1])
        single = self._free_singles.pop()  # the last one used, so that only as many as needed are in use
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

    def _raise_limit(self, response: httpx.Response) -> None:
        """Raises the limit of concurrent requests once the first response shows the server's HTTP version."""
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
    """Whether a call may be retried. A billed call with an unknown outcome has already become a ``LostAnswerError``."""
    return isinstance(error, _WORTH_ANOTHER_TRY)


_WORTH_ANOTHER_TRY = (
    AssetNotReadyError,
    ConnectionFailedError,
    NoAnswerError,
    RateLimitError,
    ServerError,
    UnexpectedAnswerError,
)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    what = error.what if isinstance(error, AnyFastError) else error
    log.warning("%s Trying again in %.0f s (try %d).", what, state.upcoming_sleep, state.attempt_number + 1)
