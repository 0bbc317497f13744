"""What the processes of these tests do: save a video, or upload one, as the operators do it."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.assets.creation import AssetCreation
from airflow_provider_anyfast.assets.source import file_source
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient
from airflow_provider_anyfast.files.video_output import VideoOutput
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.stores import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

NOBODY = 65534


@dataclass(frozen=True)
class Report:
    """The outcome of a piece of work.

    Attributes:
        seconds: the duration.
        memory: maximum growth of the process in bytes.
        result: a path or an id.
        error: class and message of the exception.
    """

    seconds: float
    memory: int
    result: str = ""
    error: str = ""


@dataclass(frozen=True)
class Limits:
    """The limits of a process.

    Attributes:
        file_size: maximum bytes of a file; beyond them, the disk seems full.
        timeout: seconds of silence after which a connection counts as broken.
        nobody: whether it drops the rights of root.
    """

    file_size: int | None = None
    timeout: float = 60.0
    nobody: bool = False

    def settings(self, url: str = "http://127.0.0.1:9", key: str = "a-key") -> Settings:
        """Of a client."""
        return Settings(key, url, timeout=self.timeout)


def save(pipe: Connection, environment: dict[str, str], url: str, small: str, target: str, limits: Limits) -> None:
    """Saves ``url``, after a ``small`` video that triggers all imports and connections."""
    _settle(environment)
    with AnyFastClient(limits.settings()) as client:
        VideoOutput(f"{target}.first").save(client, _finished(small))
        _report_progress(pipe, lambda: VideoOutput(target).save(client, _finished(url)).path, limits)


def send_up(pipe: Connection, environment: dict[str, str], url: str, key: str, group: str, files: list[str]) -> None:
    """Makes an asset of each file, and reports on the last one."""
    _settle(environment)
    with AnyFastClient(Limits().settings(url, key)) as client:

        def create(file: str) -> str:
            ledger = Ledger(MemoryStore(), fingerprint=file, max_tries=0)
            with file_source(file) as source:
                return AssetCreation(client, group, lambda: False).get_or_create(ledger, source)[0]

        for file in files[:-1]:
            create(file)
        _report_progress(pipe, lambda: create(files[-1]))


def _settle(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    tempfile.tempdir = environment["TMPDIR"]  # the parent process has already cached its own


def _finished(url: str) -> Generation:
    return Generation("asyntask_1", status="SUCCESS", outcome=Outcome.SUCCEEDED, video_url=url)


def _confine(limits: Limits) -> None:
    if limits.file_size is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_size, hard))
    if limits.nobody and os.geteuid() == 0:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)


def _report_progress(pipe: Connection, work: Callable[[], str], limits: Limits | None = None) -> None:
    """Reports the start and the outcome of the work."""
    pipe.send(None)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is measured from here
    _confine(limits or Limits())
    begun = time.monotonic()
    facts: dict[str, Any] = {}
    try:
        facts["result"] = work()
    except Exception as error:  # noqa: BLE001  # the test checks any error
        known = next(kind.__name__ for kind in type(error).__mro__ if not kind.__name__.startswith("_"))
        facts["error"] = f"{known}: {error}"
    seconds = time.monotonic() - begun
    pipe.send(Report(seconds, _memory("VmHWM") - before, **facts))


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
