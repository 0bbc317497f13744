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
    """How a piece of work has ended.

    Attributes:
        seconds: it took.
        memory: bytes by which the process grew at most.
        result: a path or an id.
        error: class and message of what was raised.
    """

    seconds: float
    memory: int
    result: str = ""
    error: str = ""


@dataclass(frozen=True)
class Limits:
    """What a process may do.

    Attributes:
        file_size: bytes of a file, as if the disk were full then.
        timeout: seconds of silence that are taken for a broken line.
        nobody: whether it goes on without the rights of root.
    """

    file_size: int | None = None
    timeout: float = 60.0
    nobody: bool = False

    def settings(self, url: str = "http://127.0.0.1:9", key: str = "a-key") -> Settings:
        """Of a client."""
        return Settings(key, url, timeout=self.timeout)


def save(pipe: Connection, environment: dict[str, str], url: str, small: str, target: str, limits: Limits) -> None:
    """Save ``url``, after a ``small`` video that has everything imported and connected."""
    _settle(environment)
    with AnyFastClient(limits.settings()) as client:
        VideoOutput(f"{target}.first").save(client, _finished(small))
        _report_progress(pipe, lambda: VideoOutput(target).save(client, _finished(url)).path, limits)


def send_up(pipe: Connection, environment: dict[str, str], url: str, key: str, group: str, files: list[str]) -> None:
    """Make an asset of each file; the last one is told about."""
    _settle(environment)
    with AnyFastClient(Limits().settings(url, key)) as client:

        def create(file: str) -> str:
            ledger = Ledger(MemoryStore(), fingerprint=file, max_tries=0)
            with file_source(file) as source:
                return AssetCreation(client, group).get_or_create(ledger, source)[0]

        for file in files[:-1]:
            create(file)
        _report_progress(pipe, lambda: create(files[-1]))


def _settle(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    tempfile.tempdir = environment["TMPDIR"]  # the process that this one was forked from has looked for its own


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
    """Say that the work begins, and how it has ended."""
    pipe.send(None)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    _confine(limits or Limits())
    begun = time.monotonic()
    facts: dict[str, Any] = {}
    try:
        facts["result"] = work()
    except Exception as error:  # noqa: BLE001  # whatever it is, the test looks at it
        known = next(kind.__name__ for kind in type(error).__mro__ if not kind.__name__.startswith("_"))
        facts["error"] = f"{known}: {error}"
    seconds = time.monotonic() - begun
    pipe.send(Report(seconds, _memory("VmHWM") - before, **facts))


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
