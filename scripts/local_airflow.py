"""A real Airflow in a directory of its own, on loopback only, which leaves nothing behind.

SQLite and LocalExecutor unless its settings say otherwise.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from scripts.airflow_rest import AirflowRest, TaskRef
from scripts.processes import ManagedProcess, tail, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from typing_extensions import Self

Component = Literal["scheduler", "dag-processor", "api-server", "triggerer", "worker"]

COMPONENT_NAME = "LOCAL_AIRFLOW_COMPONENT"
"""The variable that names the component of each process."""
HOSTNAME_BY_COMPONENT = {"AIRFLOW__CORE__HOSTNAME_CALLABLE": "scripts.local_airflow.component_name"}
"""Settings with which Airflow treats each component as a host of its own, named like its process."""

MISSED_SOON = {
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
}
"""Settings with which Airflow notices a lost triggerer after 6 s instead of 30."""

_PORTS = range(20_000, 32_000)
"""Below the ports that Linux and macOS give to clients, so that no client gets one before its server starts."""

READY_SECONDS = 240.0
"""A slow machine with two cores starts everything in about 20 s."""


class LocalAirflow:
    """Airflow's components as child processes; a context manager that always ends them all.

    Args:
        home: AIRFLOW_HOME; created if it does not exist. A second start with the same one reuses its database.
        dags: the DAGs folder.
        connections: by conn_id, in the JSON form of ``AIRFLOW_CONN_…``.
        settings: further ``AIRFLOW__SECTION__KEY`` variables, which take precedence.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        *,
        connections: Mapping[str, Mapping[str, Any]],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self.logs = home / "components"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))},
            **_settings(home, dags, self.port),
            **{f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(conn) for conn_id, conn in connections.items()},
            **(settings or {}),
        }
        self.rest = AirflowRest(f"http://127.0.0.1:{self.port}")
        self._processes: list[ManagedProcess] = []
        self._started = 0

    @property
    def url(self) -> str:
        """The URL of the UI and the REST API."""
        return self.rest.url

    def migrate(self) -> None:
        """Create the database, unless this home has one of this Airflow version.

        Raises:
            RuntimeError: Airflow refused; the message has the end of its log.
        """
        made_by = self.home / "migrated-by"
        version = subprocess.run(
            (sys.executable, "-c", "import importlib.metadata as m; print(m.version('apache-airflow-core'))"),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        if made_by.exists() and made_by.read_text() == version:
            return
        log = self.logs / "migrate.log"
        process = ManagedProcess("migrate", _command("db", "migrate"), environment=self.environment, log=log)
        try:
            if process.wait():
                raise RuntimeError(f"airflow db migrate failed:\n{tail(log)}")
        finally:
            process.stop()
        made_by.write_text(version)

    def start(self, component: Component) -> ManagedProcess:
        """Start one component; a triggerer or a Celery worker may be started several times."""
        self._started += 1
        name = f"{component}-{self._started}"
        command = {
            "scheduler": ("scheduler", "--skip-serve-logs"),
            "triggerer": ("triggerer", "--skip-serve-logs"),
            "api-server": ("api-server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
            "dag-processor": ("dag-processor",),
            "worker": ("celery", "worker", "--celery-hostname", name, "--skip-serve-logs"),
        }[component]
        process = ManagedProcess(
            name,
            _command(*command),
            environment={**self.environment, COMPONENT_NAME: name},
            log=self.logs / f"{name}.log",
        )
        self._processes.append(process)
        return process

    def start_all(self, *further: Component) -> None:
        """Start one of each component except workers, and ``further``; wait until Airflow reports them as healthy.

        Raises:
            RuntimeError: one of them ended; the message has the end of its log.
            TimeoutError: not healthy within `READY_SECONDS`.
        """
        components: tuple[Component, ...] = ("api-server", "scheduler", "dag-processor", "triggerer")
        for component in (*components, *further):
            self.start(component)
        self.wait_healthy("metadatabase", "scheduler", "dag_processor", "triggerer")

    def wait_healthy(self, *components: str) -> None:
        """Wait until Airflow reports ``components`` as healthy; see `start_all` for the errors."""

        def healthy() -> bool:
            self.expect_running()
            return self.rest.healthy(*components)

        wait_until(healthy, f"a healthy {', '.join(components)}", seconds=READY_SECONDS, pause=0.5)

    def wait_for_dag(self, dag_id: str) -> None:
        """Wait until a DAG was parsed.

        Raises:
            AssertionError: its file has an import error.
        """

        def parsed() -> bool:
            if errors := self.rest.import_errors():
                raise AssertionError(f"Airflow could not load the DAGs: {errors}")
            return self.rest.has_dag(dag_id)

        wait_until(parsed, f"DAG {dag_id}", seconds=READY_SECONDS, pause=0.5)

    def command(self, *arguments: str) -> None:
        """Run a command of Airflow's command line to its end, and raise if it fails."""
        subprocess.run(  # noqa: S603  # the callers in this package write the command
            _command(*arguments), env=self.environment, check=True, stdin=subprocess.DEVNULL, capture_output=True
        )

    def kill_task(self, ref: TaskRef, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal the process that runs the task's code; its supervisor keeps running and reports the failure.

        Raises:
            AssertionError: the task is not running.
        """
        view = self.rest.task(ref)
        if view.state != "running" or view.pid is None:
            raise AssertionError(f"{ref} cannot be killed: it is {view.state} with pid {view.pid}")
        os.kill(view.pid, number)

    def expect_running(self) -> None:
        """Raise a `RuntimeError` with the end of its log if a component has ended by itself."""
        for process in self._processes:
            process.expect_running()

    def running(self, component: Component) -> list[ManagedProcess]:
        """The component's processes, oldest first."""
        return [process for process in self._processes if process.name.startswith(component)]

    def kill(self, name: str) -> None:
        """SIGKILL a component and all that it runs, like a machine that fails.

        Args:
            name: of its process, such as ``triggerer-4``.
        """
        (killed,) = (process for process in self._processes if process.name == name)
        killed.kill()
        self._processes.remove(killed)

    def replace(self, component: Component) -> None:
        """SIGKILL the component's oldest process, with the tasks that it runs, and start another one."""
        self.kill(self.running(component)[0].name)
        self.start(component)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.rest.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.stop()


def component_name() -> str:
    """The component of this process: Airflow calls this function with `HOSTNAME_BY_COMPONENT`."""
    return os.environ.get(COMPONENT_NAME, socket.gethostname())


def free_port() -> int:
    """Find a free loopback port."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "airflow", *arguments)


def _secret(home: Path) -> str:
    """Give every component the same key, also after a restart, so that it can read what was stored."""
    file = home / "secret"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    return file.read_text()


def _settings(home: Path, dags: Path, port: int) -> dict[str, str]:
    secret = _secret(home)
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": secret,
        "AIRFLOW__API_AUTH__JWT_SECRET": secret * 2,
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__FERNET_KEY": secret,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_PROXY": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
    }
