"""The AnyFast sandbox as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from scripts.processes import ManagedProcess, tail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

API_KEY = "sandbox-key"
"""The sandbox's key by default."""

_READY = re.compile(r"ready on (http://\S+)")


@dataclass(frozen=True)
class LocalSandbox:
    """A running sandbox: its address, and its account over HTTP."""

    url: str
    api_key: str = field(default=API_KEY, repr=False)
    pid: int = 0

    @property
    def connection(self) -> dict[str, Any]:
        """An Airflow Connection to it, in the form of ``AIRFLOW_CONN_…``."""
        return {"conn_type": "anyfast", "host": self.url, "password": self.api_key}

    def account(self) -> dict[str, Any]:
        """What the only account owns and was billed."""
        return dict(self._json("GET", "/account")["accounts"][0])

    def generations(self, prompt: str) -> list[dict[str, Any]]:
        """Every accepted, and so billed, submission of a prompt."""
        return [found for found in self.account()["generations"] if found["prompt"] == prompt]

    def fault(self, name: str, **parameters: object) -> None:
        """Switch a fault on."""
        self._json("POST", "/sandbox/faults", {"name": name, **parameters})

    def clear_faults(self) -> None:
        """Switch every fault off."""
        self._json("DELETE", "/sandbox/faults")

    def advance(self, seconds: float) -> None:
        """Move its clock ahead: whatever is due by then happens."""
        self._json("POST", "/sandbox/clock", {"advance": seconds})

    def requests(self, call: str | None = None) -> list[dict[str, Any]]:
        """Requests so far, oldest first, for one call or for all."""
        return list(self._json("GET", "/sandbox/requests" + (f"?call={call}" if call else "")))

    def _json(self, method: str, path: str, body: object = None) -> Any:
        response = httpx.request(method, self.url + path, json=body, timeout=60)
        response.raise_for_status()
        return response.json() if response.content else None


@contextmanager
def local_sandbox(log: Path, *options: str, api_key: str = API_KEY) -> Iterator[LocalSandbox]:
    """Run a sandbox on a free loopback port while the block runs.

    Args:
        log: the file for its output.
        options: of its command line, for example ``--completion-seconds 15``.
        api_key: the only key that it accepts.

    Raises:
        RuntimeError: it did not start; the message has the end of its log.
    """
    command = (sys.executable, "-m", "airflow_provider_anyfast.sandbox", "--port", "0", "--api-key", api_key, *options)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = ManagedProcess("sandbox", command, environment=environment, log=log, stdout=subprocess.PIPE)
    try:
        yield LocalSandbox(_address(process), api_key, process.pid)
    finally:
        process.stop()


def _address(process: ManagedProcess) -> str:
    for line in process.output:
        if match := _READY.search(line.decode()):
            return match[1]
    process.wait()
    raise RuntimeError(f"The sandbox did not start:\n{tail(process.log)}")
