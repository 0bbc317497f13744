"""Real processes that move files between real servers on loopback."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.media.media_samples import video
from tests.support.s3 import running_s3
from tests.transfers.video_host import video_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from tests.support.s3 import S3
    from tests.transfers.video_host import VideoHost
    from tests.transfers.work import Report

STARTED_SECONDS = 180.0


@dataclass
class Worker:
    """A process that has started a piece of work."""

    process: ForkServerProcess
    pipe: Connection

    def report(self) -> Report:
        """The outcome of the work."""
        assert self.pipe.poll(STARTED_SECONDS), "the work takes too long"
        found: Report = self.pipe.recv()
        self.process.join()
        return found


@dataclass
class Workers:
    """Forks processes from one that has already imported Airflow, and ends them."""

    environment: dict[str, str]
    started: list[ForkServerProcess] = field(default_factory=list)

    def start(self, what: Callable[..., None], *arguments: Any) -> Worker:
        """Starts a piece of work, and waits until it begins."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            ["tests.transfers.work", "s3fs", "airflow.providers.amazon.aws.fs.s3", "av", "h2"]
        )
        here, there = context.Pipe()
        process = context.Process(target=what, args=(there, self.environment, *arguments))
        process.start()
        self.started.append(process)
        there.close()
        assert here.poll(STARTED_SECONDS), "the process does not start"
        assert here.recv() is None
        return Worker(process, here)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """One S3 server for the session; use `s3`."""
    with running_s3() as s3:
        yield s3


@pytest.fixture
def s3(s3_server: S3) -> S3:
    """An empty bucket."""
    s3_server.empty()
    return s3_server


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The temporary folder of the processes."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def workers(s3_server: S3, scratch: Path) -> Iterator[Workers]:
    """Processes that know the connection ``s3``."""
    found = Workers({"AIRFLOW_CONN_S3": s3_server.connection.as_json(), "TMPDIR": str(scratch)})
    yield found
    for process in found.started:
        process.kill()
        process.join()


@pytest.fixture(scope="session")
def sized_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Makes an MP4 of an exact size: a real video, padded with an unused box."""
    folder = tmp_path_factory.mktemp("videos")
    real = video(size=(1280, 720))

    def make(size: int) -> Path:
        path = folder / f"{size}.mp4"
        if not path.exists():
            block = os.urandom(2**20)
            with path.open("wb") as file:
                file.write(real + (size - len(real)).to_bytes(4, "big") + b"free")
                while (left := size - file.tell()) > 0:
                    file.write(block[:left])
        return path

    return make


@pytest.fixture
def host(sized_video: Callable[[int], Path]) -> Iterator[Callable[[int], VideoHost]]:
    """Serves a video of a given size."""
    served: list[AbstractContextManager[VideoHost]] = []

    def serve(size: int) -> VideoHost:
        served.append(video_host(sized_video(size)))
        return served[-1].__enter__()

    yield serve
    for one in served:
        one.__exit__(None, None, None)


@pytest.fixture
def small_video(host: Callable[[int], VideoHost]) -> str:
    """The link to a video that warms a process up."""
    return host(1_000_000).url


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes a line that is printed at the end."""
    return lambda line: record_property(_FIGURE, line)


_FIGURE = "figure"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    lines = [line for report in reports for name, line in report.user_properties if name == _FIGURE]
    if lines:
        terminalreporter.section("files")
        for line in lines:
            terminalreporter.write_line(line)
