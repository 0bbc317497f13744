"""Limits how long one exchange with a server may take, and records how far it has come. Both drivers use it.

httpx limits each single read, so a server that sends one byte now and then could block its caller for ever. Here every
read and write of a connection gets the time that is left for the whole exchange: proxy, TLS, headers and body.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from airflow_provider_anyfast.client.errors import AnyFastError, ConfigurationError
from airflow_provider_anyfast.client.redact import redact

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine, Iterator, Mapping

    import httpcore

    from airflow_provider_anyfast.client.body import Body

ResultT = TypeVar("ResultT")

CANCEL_GRACE = 5.0
"""Seconds that a request may continue after its caller was cancelled, and then again to close its connection."""
MIN_UPLOAD_RATE = 64 * 1024
"""Bytes a second. A request gets time for its body at this rate, besides the time for its response."""

_WRITE_CHUNK = 64 * 1024
"""Bytes of one write. The time limit is checked between two writes, in case the server reads slowly."""

_NOISY_LOGGERS = (
    "hpack.hpack",
    "hpack.table",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "httpx",
)
"""These log headers, which contain the key, or links, whose queries are signatures."""


@dataclass
class Exchange:
    """One request and its response.

    Attributes:
        seconds: how long all of it may take.
        ends_at: when that time is over, on the monotonic clock.
        last_step: what httpcore did last, such as ``connection.connect_tcp.started``; empty before the first step.
        sent: whether a byte of the request may have been sent. The CONNECT request to a proxy does not count.
        is_cut: whether a write of the request's body failed, so that no server has received all of it. A timeout and a
            stop of the task do not prove that, nor does a connection of HTTP/2, on which another request's thread may
            have written the rest.
        body: what has arrived of the response's body; None before its headers.
    """

    seconds: float
    ends_at: float
    last_step: str = ""
    sent: bool = False
    is_cut: bool = False
    body: Body | None = None

    def trace(self, step: str, info: Mapping[str, Any]) -> None:
        """Records a step of httpcore; httpx's ``trace`` extension for a synchronous request."""
        self.last_step = step
        if step.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT":
            self.sent = True
        if step == "http11.send_request_body.failed":
            import httpcore  # noqa: PLC0415 - DAG files are parsed without it

            self.is_cut = isinstance(info["exception"], httpcore.WriteError)

    async def trace_async(self, step: str, info: Mapping[str, Any]) -> None:
        """Does the same for an asynchronous request."""
        self.trace(step, info)

    @property
    def certainly_not_sent(self) -> bool:
        """Whether the steps prove that no byte of the request was sent. Without any step nothing is proven."""
        return bool(self.last_step) and not self.sent

    @property
    def failed_in_tls(self) -> bool:
        """Whether the TLS handshake was the last step."""
        return ".start_tls." in self.last_step and not self.last_step.endswith(".complete")


_current: ContextVar[Exchange | None] = ContextVar("anyfast_exchange", default=None)


@contextmanager
def exchange(seconds: float) -> Iterator[Exchange]:
    """Limits all reads and writes in the block to ``seconds`` together.

    A synchronous client's DNS lookup is not included; the system's resolver has a limit of its own.
    """
    token = _current.set(one := Exchange(seconds, time.monotonic() + seconds))
    try:
        yield one
    finally:
        _current.reset(token)


def watch(client: httpx.Client | httpx.AsyncClient) -> None:
    """Applies the limits of ``exchange`` to ``client``, and keeps its libraries from logging what it sends.

    httpx has no public access to its connections, so this uses private attributes; the tests with hostile servers fail
    if these change.
    """
    asynchronous = isinstance(client, httpx.AsyncClient)
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001 - see the docstring
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            backend = pool._network_backend  # noqa: SLF001
            pool._network_backend = _AsyncBackend(backend) if asynchronous else _Backend(backend)  # noqa: SLF001
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).addFilter(_not_ours)


async def shielded(request: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of ``request``, which gets some seconds to end after its caller is cancelled.

    Requests share their connections. Before anyio 4.14, which Airflow's constraint files for 3.1 and 3.2 do not have,
    cancelling several at once can leave a connection's lock held, and all other requests then wait for it.
    """
    task = asyncio.ensure_future(request)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        for _ in range(3):  # a request that is stuck while closing has to be cancelled twice
            await asyncio.wait({task}, timeout=CANCEL_GRACE)
            task.cancel()
        raise


def seconds_for(request: httpx.Request) -> float:
    """How long the whole exchange may take: connecting, sending the body at ``MIN_UPLOAD_RATE``, and the response."""
    timeout = request.extensions["timeout"]
    size = int(request.headers.get("content-length", 0))
    return float(timeout["connect"] + timeout["read"] + size / MIN_UPLOAD_RATE)


@contextmanager
def explained_environment() -> Iterator[None]:
    """Turns httpx's errors about proxies and certificates from the environment into an error that names them."""
    try:
        yield
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        if isinstance(error, AnyFastError):
            raise
        raise ConfigurationError(
            "The environment's proxy settings (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) cannot be used: "
            f"{redact(str(error))}.",
            advice="Correct these variables, or set 'proxy' in the connection's extra, which overrides them.",
        ) from error


def _not_ours(_record: logging.LogRecord) -> bool:
    """Drops the log records of this client's exchanges; those of other users of the library pass."""
    return _current.get() is None


def _left(timeout: float | None, error: str) -> float | None:
    """Seconds for one step: its own limit, or less if the exchange ends earlier. Raises ``error`` if it has ended."""
    one = _current.get()
    if one is None:
        return timeout
    left = one.ends_at - time.monotonic()
    if left <= 0:
        import httpcore  # noqa: PLC0415 - DAG files are parsed without it

        expired: type[Exception] = getattr(httpcore, error)
        raise expired(f"not complete after {one.seconds:.1f} s")
    return left if timeout is None else min(left, timeout)


class _Stream:
    """A connection whose reads and writes are limited by the time of their exchange."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, "ReadTimeout"))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITE_CHUNK):
            self._stream.write(buffer[start : start + _WRITE_CHUNK], _left(timeout, "WriteTimeout"))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> _Stream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout, "ConnectTimeout")))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend:
    """Opens such connections."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> _Stream:
        return _Stream(self._backend.connect_tcp(host, port, _left(timeout, "ConnectTimeout"), **options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _AsyncStream:
    """The same for an event loop."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, _left(timeout, "ReadTimeout"))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, _left(timeout, "WriteTimeout"))

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> _AsyncStream:
        limit = _left(timeout, "ConnectTimeout")
        return _AsyncStream(await self._stream.start_tls(ssl_context, server_hostname, limit))

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _AsyncBackend:
    """Opens such connections."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> _AsyncStream:
        return _AsyncStream(await self._backend.connect_tcp(host, port, _left(timeout, "ConnectTimeout"), **options))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)
