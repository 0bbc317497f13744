"""The processes that are measured, and the server under test, as the measuring process sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from benchmarks.server.certificate import make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

RESULTS = Path(__file__).parent.parent / ".bench"
LOGS = RESULTS / "logs"


class Measured:
    """A Python module as a process of its own, controlled by commands; a context manager.

    Args:
        module: what ``python -m`` runs.
        arguments: of its command line.
        environment: added to this process's.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self._log = LOGS / f"{module}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a module of this package
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )

    def send(self, command: str) -> None:
        """Sends a command."""
        _of(self._process.stdin).write(f"{command}\n".encode())
        _of(self._process.stdin).flush()

    def request(self, command: str) -> dict[str, Any]:
        """Sends a command and reads the response."""
        self.send(command)
        return self.read()

    def read(self) -> dict[str, Any]:
        """The next line that the process writes.

        Raises:
            RuntimeError: the process has ended.
        """
        line = _of(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"A measured process ended with code {self._process.wait()}; see {self._log}")
        return dict(json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        _of(self._process.stdin).close()
        _of(self._process.stdout).close()


def _of(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("no pipe")
    return pipe


@dataclass(frozen=True)
class Server:
    """The running server under test."""

    process: Measured
    ports: Mapping[str, int]
    store: Path
    """Certificates that a client has to trust."""

    def url(self, service: str = "http1", behaviour: str = "") -> str:
        """Base URL of ``http1``, ``http2`` or ``files``."""
        return f"https://127.0.0.1:{self.ports[service]}" + (f"/{behaviour}" if behaviour else "")

    def counters(self) -> dict[str, Any]:
        """The server's counters since the last reset; see ``server.counters``."""
        return self.process.request("counters")

    def reset(self) -> None:
        """Resets the counters."""
        self.process.request("reset")

    def wait_for_responses(self, number: int, *, seconds: float) -> dict[str, Any]:
        """The counters after ``number`` responses, or when the time is over."""
        deadline = time.monotonic() + seconds
        while sum((counters := self.counters())["responses"].values()) < number and time.monotonic() < deadline:
            time.sleep(0.1)
        return counters


@contextmanager
def running_server() -> Iterator[Server]:
    """Runs the server with a certificate of its own."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_certificate(Path(folder))
        with Measured("benchmarks.server", folder) as process:
            yield Server(process, process.read()["ports"], store)
