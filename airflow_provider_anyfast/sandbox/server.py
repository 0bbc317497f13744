"""Serves a sandbox over a real socket, in a thread."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from airflow_provider_anyfast.sandbox.api.app import create_app
from airflow_provider_anyfast.sandbox.faults.wire import TRANSPORT
from airflow_provider_anyfast.sandbox.settings import SandboxSettings
from airflow_provider_anyfast.sandbox.state import Sandbox

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

LOOPBACK = "127.0.0.1"
_START_LOOK_SECONDS = 0.005
_STOP_SECONDS = 1
_BACKLOG = 2048


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # the class depends on what is installed
    """Gives each request access to its TCP connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Store the connection where the application finds it."""
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, TRANSPORT: transport}


@dataclass(frozen=True)
class ServedSandbox:
    """A sandbox that is served at ``url``."""

    sandbox: Sandbox
    url: str


@contextmanager
def serve_in_thread(
    settings: SandboxSettings | None = None,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    clock: Callable[[], float] = time.time,
    cache_dir: Path | None = None,
) -> Iterator[ServedSandbox]:
    """Serve a sandbox in a thread while the block runs.

    Args:
        settings: the choices; the defaults if not given.
        host: the address to serve on. The sandbox's own pages need no key: keep it on loopback.
        port: 0 means any free one.
        clock: Unix seconds.
        cache_dir: where uploads and videos are kept; a temporary directory if not given.

    Raises:
        OSError: the address cannot be served on; the port is taken, for example.
    """
    with _listening(host, port) as listener, _working_directory(cache_dir) as directory:
        sandbox = Sandbox(settings or SandboxSettings(), directory=directory, clock=clock)
        server = _server(sandbox)
        thread = threading.Thread(target=server.run, args=([listener],), name="anyfast-sandbox", daemon=True)
        thread.start()
        try:
            while thread.is_alive() and not server.started:
                time.sleep(_START_LOOK_SECONDS)
            yield ServedSandbox(sandbox, _url_of(listener))
        finally:
            server.should_exit = True
            thread.join()
            sandbox.close()


@contextmanager
def _working_directory(cache_dir: Path | None) -> Iterator[Path]:
    if cache_dir is not None:
        yield cache_dir
        return
    with tempfile.TemporaryDirectory(prefix="anyfast-sandbox-") as directory:
        yield Path(directory)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _server(sandbox: Sandbox) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            create_app(sandbox),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            date_header=False,  # the sandbox sends its own clock's date
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
