"""Sends the calls that ``endpoints`` describes: one synchronous and one asynchronous driver, and the rules of retrying.

What may be sent twice is decided here and nowhere else:

* A free call is tried again after connection errors, timeouts, 429 and 5xx, and where something in between answered.
* A billed call is tried again only where AnyFast has certainly not accepted it: the connection was never made, it
  answered 429, or a referenced asset is not ready yet. Any other missing answer becomes a ``LostAnswerError``.

A 429 slows down everything of its kind (billed or free) that uses the same client; see ``pace``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import platform
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.error_parsing import error_from_response, parse_error_response
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    AssetNotReadyError,
    ConfigurationError,
    ConnectionFailedError,
    LostAnswerError,
    NoAnswerError,
    RateLimitError,
    ServerError,
    UnexpectedAnswerError,
)
from airflow_provider_anyfast.client.rate_limiter import LONGEST_PAUSE, RateLimiter
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.client.settings import CONNECT_TIMEOUT, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from airflow_provider_anyfast.client.endpoints import AnswerT, Call, Flow

log = logging.getLogger(__name__)

ClientT = TypeVar("ClientT", httpx.Client, httpx.AsyncClient)

ASSET_PATIENCE = 180.0
"""Seconds to go on trying while a referenced asset is being copied; clients have met two minutes."""

SOCKETS = 32
"""Of one asynchronous client, and so its requests at a time over HTTP/1.1."""
STREAMS = 100
"""Requests at a time of one asynchronous client over HTTP/2, all on one socket; servers allow 100 or 128."""
SECONDS_TO_END = 5.0
"""A request whose caller was cancelled goes on for so long, and then has as long to close before it is told again."""

_LIMITS = httpx.Limits(max_connections=SOCKETS, max_keepalive_connections=SOCKETS, keepalive_expiry=60.0)
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)
_SAID_BY_OTHERS = (403, 404)
"""HTTP statuses that say nothing about AnyFast where they come without its JSON."""
_backoff = wait_random_exponential(multiplier=1, min=1, max=LONGEST_PAUSE)


class _Driver:
    """What both drivers share: making a request, reading its answer, and deciding whether to try again."""

    def __init__(self, settings: Settings, user_agent: str = "") -> None:
        self.settings = settings
        self._user_agent = user_agent or f"airflow-provider-anyfast Python/{platform.python_version()}"
        self._rate_limiters = {True: RateLimiter(), False: RateLimiter()}

    def _http_options(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "base_url": settings.base_url,
            "headers": {"Authorization": f"Bearer {settings.api_key}", "User-Agent": self._user_agent},
            "verify": settings.ssl_context,
            "proxy": settings.proxy,
            "timeout": httpx.Timeout(settings.timeout, connect=min(CONNECT_TIMEOUT, settings.timeout)),
        }

    def _storage_options(self) -> dict[str, Any]:
        """For the storage host of finished videos, which must never see the key."""
        options = self._http_options()
        headers = {"User-Agent": self._user_agent, "Accept-Encoding": "identity"}
        return {**options, "base_url": "", "headers": headers, "follow_redirects": True}

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

    def _read(self, call: Call[AnswerT], response: httpx.Response) -> AnswerT:
        if not response.is_success:
            raise self._refusal(call, response)
        request_id = response.headers.get("x-oneapi-request-id", "")
        try:
            body = json.loads(response.content)
        except (ValueError, RecursionError):
            kind = "an empty answer" if not response.content.strip() else "an answer that is not JSON"
            raise UnexpectedAnswerError(
                f"{call.name}: AnyFast sent {kind} with HTTP {response.status_code} "
                f"(request id {request_id or 'none'}).",
                request_id=request_id,
            ) from None
        if _is_refusal(body):
            raise error_from_response(response, call.name, self.settings.api_key)
        return call.parse(body)

    def _refusal(self, call: Call[Any], response: httpx.Response) -> AnyFastError:
        """The error that an answer is whose status is not 2xx.

        Sites under maintenance, ingresses and firewalls send redirects, 404 and 403 for a while. A free call waits
        such answers out; a billed one was not accepted, and ends.
        """
        key, base_url = self.settings.api_key, self.settings.base_url
        error = error_from_response(response, call.name, key)
        if response.is_redirect:
            to = redact(response.headers.get("location", ""), key) or "an address that it does not name"
            if call.billed:
                return ConfigurationError(
                    f"{call.name}: {base_url} redirects to {to}; set the connection's host to that address. "
                    "Nothing was accepted or billed."
                )
            told = (
                f"{call.name}: {base_url} redirects to {to}. If it goes on doing so, set the connection's host to that "
                "address."
            )
        elif not call.billed and error.status in _SAID_BY_OTHERS and not parse_error_response(response).is_json:
            told = (
                f"{error}. That is not AnyFast's JSON, so it comes from something in between, or {base_url} is not "
                "AnyFast. If it goes on, see that the connection's host is right."
            )
        else:
            return error
        return NoAnswerError(
            f"{told} Nothing was billed; the next attempt tries again.",
            status=error.status,
            request_id=error.request_id,
            retry_after=error.retry_after,
        )

    @contextmanager
    def _translated(self, call: Call[Any]) -> Iterator[None]:
        """Turns what httpx raises into this package's errors; for a billed call an unknown answer is its own error."""
        try:
            yield
        except _NEVER_SENT as error:
            raise ConnectionFailedError(
                f"{call.name}: {self.settings.base_url} could not be reached: {self._describe(error)}. "
                "Nothing was sent."
            ) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            if call.billed:
                raise LostAnswerError(
                    f"{call.name}: the request was sent, but its answer was lost: {self._describe(error)}. "
                    "AnyFast may have accepted and billed it."
                ) from error
            raise NoAnswerError(
                f"{call.name}: no answer from {self.settings.base_url}: {self._describe(error)}."
            ) from error
        except (ServerError, UnexpectedAnswerError) as error:
            if not call.billed:
                raise
            raise LostAnswerError(
                f"{error} Whether AnyFast accepted and billed the request cannot be told from that.",
                status=error.status,
                code=error.code,
                request_id=error.request_id,
            ) from error

    def _rate_limiter_of(self, call: Call[Any]) -> RateLimiter:
        """Submissions that the model cannot take now say nothing about questions, and the other way round."""
        return self._rate_limiters[call.billed]

    @contextmanager
    def _rate_limited(self, call: Call[Any]) -> Iterator[None]:
        limiter = self._rate_limiter_of(call)
        try:
            yield
        except RateLimitError as error:
            limiter.throttled(clock.now(), error.retry_after)
            raise
        limiter.succeeded()

    def _describe(self, error: Exception) -> str:
        return redact(f"{type(error).__name__}: {error}".rstrip(": "), self.settings.api_key)

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
    """When one call has been tried for long enough; waiting for an asset uses up no try of another trouble."""

    def __init__(self, max_retries: int) -> None:
        self._tries_left = max_retries

    def __call__(self, state: RetryCallState) -> bool:
        if state.outcome is not None and isinstance(state.outcome.exception(), AssetNotReadyError):
            return state.idle_for >= ASSET_PATIENCE
        self._tries_left -= 1
        return self._tries_left < 0


class AnyFastClient(_Driver):
    """Synchronous driver. Several threads may use it at once.

    Use it as a context manager, or call ``close``.
    """

    def __init__(self, settings: Settings, user_agent: str = "") -> None:
        super().__init__(settings, user_agent)
        self._http = httpx.Client(**self._http_options())
        self._storage: httpx.Client | None = None
        self._making_storage = threading.Lock()

    def send(self, call: Call[AnswerT]) -> AnswerT:
        """Sends ``call``, again where that cannot cost twice, and returns its typed answer.

        Raises:
            AnyFastError: as described in ``errors``; ``LostAnswerError`` only for a billed call.
        """
        answer: AnswerT = Retrying(sleep=clock.sleep, **self._retry_options())(self.send_once, call)
        return answer

    def send_once(self, call: Call[AnswerT]) -> AnswerT:
        """Sends ``call`` exactly once; for a caller that is itself a loop, such as polling."""
        while wait := self._rate_limiter_of(call).acquire(clock.now()):
            clock.sleep(wait)
        with self._rate_limited(call), self._translated(call):
            answer: AnswerT = self._read(call, self._http.send(self._request(self._http, call)))
        return answer

    def run(self, flow: Flow[AnswerT]) -> AnswerT:
        """Drives several calls to their one result."""
        try:
            call = next(flow)
            while True:
                call = flow.send(self.send(call))
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return]  # Flow's third type

    @contextmanager
    def open_link(self, url: str, *, headers: dict[str, str] | None = None) -> Iterator[httpx.Response]:
        """Streams what ``url``, a signed link to the storage host, holds. The key is not sent along."""
        with self._making_storage:
            if self._storage is None:
                self._storage = httpx.Client(**self._storage_options())
        with self._storage.stream("GET", url, headers=headers) as response:
            yield response

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()
        if self._storage is not None:
            self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncAnyFastClient(_Driver):
    """Asynchronous driver over the same calls, for one event loop.

    Use it as an asynchronous context manager, or call ``close``.
    """

    def __init__(self, settings: Settings, user_agent: str = "") -> None:
        super().__init__(settings, user_agent)
        self._http = httpx.AsyncClient(**self._http_options(), limits=_LIMITS, http2=True)
        self._gate = asyncio.Semaphore(SOCKETS)
        self._multiplexes = False

    async def send(self, call: Call[AnswerT]) -> AnswerT:
        """Sends ``call``, again where that cannot cost twice, and returns its typed answer.

        Raises:
            AnyFastError: as ``AnyFastClient.send`` does.
        """
        return await AsyncRetrying(sleep=clock.sleep_async, **self._retry_options())(self.send_once, call)

    async def send_once(self, call: Call[AnswerT]) -> AnswerT:
        """Sends ``call`` exactly once."""
        # Waiting here is no timeout of the server, and a pool with hundreds of waiters costs the square of that.
        async with self._gate:
            while wait := self._rate_limiter_of(call).acquire(clock.now()):
                await clock.sleep_async(wait)
            return await _shielded(self._exchange(call))

    async def _exchange(self, call: Call[AnswerT]) -> AnswerT:
        with self._rate_limited(call), self._translated(call):
            response = await self._http.send(self._request(self._http, call))
            if response.http_version == "HTTP/2":
                self._widen_gate()
            answer: AnswerT = self._read(call, response)
        return answer

    def _widen_gate(self) -> None:
        if not self._multiplexes:
            self._multiplexes = True
            for _ in range(STREAMS - SOCKETS):
                self._gate.release()

    async def run(self, flow: Flow[AnswerT]) -> AnswerT:
        """Drives several calls to their one result."""
        try:
            call = next(flow)
            while True:
                call = flow.send(await self.send(call))
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return]  # Flow's third type

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


async def _shielded(request: Coroutine[Any, Any, AnswerT]) -> AnswerT:
    """The answer to ``request``, which has some seconds to end where its caller is cancelled.

    Requests share their connections. Before anyio 4.14, which Airflow's constraint files for 3.1 and 3.2 do not have, a
    connection's lock can be lost where several are cancelled at once, and all others then wait for it.
    """
    task = asyncio.ensure_future(request)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        for _ in range(3):  # what is stuck in its own closing has to be told twice
            await asyncio.wait({task}, timeout=SECONDS_TO_END)
            task.cancel()
        raise


def _is_refusal(body: Any) -> bool:
    """Whether an answer with HTTP 200 is an error all the same, as the upstream's asset service sends them."""
    if not isinstance(body, dict) or body.keys() & {"Id", "id", "task_id", "status", "Items"}:
        return False
    metadata = body.get("ResponseMetadata")
    return bool(body.get("error") or (isinstance(metadata, dict) and metadata.get("Error")))


def _may_be_sent_again(error: BaseException) -> bool:
    """A billed call's unknown answer is a ``LostAnswerError`` by now, so what is left here is safe to send again."""
    return isinstance(error, ConnectionFailedError | NoAnswerError | RateLimitError | ServerError | AssetNotReadyError)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("%s Trying again in %.0f s (try %d).", error, state.upcoming_sleep, state.attempt_number + 1)
