"""One DAG run per way, on an Airflow that runs nothing else."""

from __future__ import annotations

import re
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # it ships no types

from scripts.airflow_rest import TaskRef
from scripts.local_airflow import Component, LocalAirflow
from scripts.local_sandbox import LocalSandbox, local_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

DAGS = Path(__file__).parent / "dags"
DAG_IDS = {
    "mapped GenerateVideoOperator": "mapped_generate_video",
    "mapped HttpOperator + HttpSensor": "mapped_http_operator",
    "GenerateVideoBatchOperator": "batch",
}
COMPLETION = 30.0
"""Seconds that each of many videos takes in the sandbox."""
SINGLE_DAG_IDS = {"on the worker": "one_on_the_worker", "deferred": "one_on_the_triggerer"}
SINGLE_COMPLETION = 10.0
"""Seconds that a single video takes."""
LONGEST_RUN = 1800.0
IDLE = 15.0
"""Seconds in which the CPU of an idle Airflow is measured."""
_START = re.compile(r"method=PATCH path=/execution/task-instances/[^/ ]+/run .*status_code=200")
COMPONENTS: tuple[Component, ...] = ("scheduler", "dag-processor", "api-server", "triggerer")


@dataclass(frozen=True)
class Made:
    """One run of many videos."""

    videos: int
    way: str
    state: str
    wall: float
    """Seconds from the trigger to the end of the run."""
    cpu: float
    """CPU seconds of all Airflow processes and tasks in that time."""
    cpu_beyond_idle: float
    """The same, minus the CPU of an idle Airflow."""
    worker_starts: int
    """How often a worker started a task, for the first time or again."""
    billed: int


@dataclass(frozen=True)
class Single:
    """One video, polled at its operator's default interval."""

    way: str
    state: str
    late: float
    """Seconds from the end of the video to the end of the run."""
    wall: float
    """Seconds from the trigger of the run to its end."""


class Cluster:
    """The running Airflow and sandbox."""

    def __init__(self, airflow: LocalAirflow, sandbox: LocalSandbox, videos: int) -> None:
        self._airflow = airflow
        self._sandbox = sandbox
        self._videos = videos
        self._idle_rate = 0.0

    def measure_idle(self) -> None:
        """Measures the CPU of an idle Airflow."""
        before = self._cpu()
        time.sleep(IDLE)
        self._idle_rate = (self._cpu() - before) / IDLE

    def run(self, way: str) -> Made:
        """Runs one way to its end."""
        rest, dag_id = self._airflow.rest, DAG_IDS[way]
        self._airflow.wait_for_dag(dag_id)
        cpu, starts, billed, begun = self._cpu(), self._starts(), self._billed(), time.monotonic()
        state = rest.wait_for_run(dag_id, rest.trigger(dag_id), seconds=LONGEST_RUN)
        wall = time.monotonic() - begun
        used = self._cpu() - cpu
        return Made(
            videos=self._videos,
            way=way,
            state=state,
            wall=wall,
            cpu=used,
            cpu_beyond_idle=used - self._idle_rate * wall,
            worker_starts=self._starts() - starts,
            billed=self._billed() - billed,
        )

    def run_single(self, way: str) -> Single:
        """Runs one video to its end."""
        rest, dag_id = self._airflow.rest, SINGLE_DAG_IDS[way]
        self._airflow.wait_for_dag(dag_id)
        begun = time.time()
        run_id = rest.trigger(dag_id)
        state = rest.wait_for_run(dag_id, run_id, seconds=LONGEST_RUN)
        ended = time.time()
        result = rest.xcom(TaskRef(dag_id, run_id, "video"))
        late = ended - datetime.fromisoformat(result["submitted_at"]).timestamp() - SINGLE_COMPLETION
        return Single(way=way, state=state, late=late, wall=ended - begun)

    def _cpu(self) -> float:
        """CPU seconds of every component and its descendants, including ended ones."""
        processes = [psutil.Process(one.pid) for name in COMPONENTS for one in self._airflow.running(name)]
        return sum(_tree_cpu(process) for process in processes)

    def _starts(self) -> int:
        """Counts the API server's log lines about workers that start a task."""
        logs = self._airflow.logs.glob("api-server-*.log")
        return sum(_is_start(line) for log in logs for line in log.read_text(errors="replace").splitlines())

    def _billed(self) -> int:
        return len(self._sandbox.account()["generations"])


@contextmanager
def running_cluster(videos: int, completion: float = COMPLETION) -> Iterator[Cluster]:
    """Runs an Airflow of its own, with a new database, and a sandbox whose videos take ``completion`` seconds."""
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "sandbox.log"
        with local_sandbox(log, "--completion-seconds", str(completion)) as sandbox:
            connections = {
                "anyfast_default": sandbox.connection,
                "anyfast_http": {"conn_type": "http", "host": sandbox.url, "password": sandbox.api_key},
            }
            settings = {"BENCHMARK_VIDEOS": str(videos), "AIRFLOW__CORE__MAX_MAP_LENGTH": "10000"}
            with LocalAirflow(Path(home), DAGS, connections=connections, settings=settings) as airflow:
                airflow.migrate()
                airflow.start_all()
                cluster = Cluster(airflow, sandbox, videos)
                for dag_id in DAG_IDS.values():
                    airflow.wait_for_dag(dag_id)
                cluster.measure_idle()
                yield cluster


def _tree_cpu(process: psutil.Process) -> float:
    """CPU seconds of a process, its living descendants, and the ended ones that were waited for."""
    seconds = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def _is_start(line: str) -> bool:
    return _START.search(line) is not None
