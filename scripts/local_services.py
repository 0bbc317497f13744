"""PostgreSQL and Redis as temporary processes: on loopback and free ports, without data at the start."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.local_airflow import free_port
from scripts.processes import ManagedProcess, tail, wait_until
from scripts.system_programs import system_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READY_SECONDS = 60.0


@contextmanager
def local_postgres(log: Path) -> Iterator[str]:
    """Run a PostgreSQL server while the block runs; every user of this machine may connect.

    Args:
        log: the file for its output.

    Yields:
        The URL of its database for SQLAlchemy.

    Raises:
        RuntimeError: it did not start; the message has the end of its log.
    """
    # PostgreSQL refuses to run as root; Debian's package creates a user for it.
    user = "postgres" if os.geteuid() == 0 else None
    port = str(free_port())
    with _folder_of(user) as folder:
        initialize = ("initdb", "--pgdata", str(folder), "--username", "airflow", "--auth", "trust", "--no-sync")
        made = _start(*initialize, log=log, user=user)
        if made.wait():
            raise RuntimeError(f"PostgreSQL could not make its files:\n{tail(log)}")
        options = ("--listen_addresses=127.0.0.1", "--unix_socket_directories=", "--max_connections=200", "--fsync=off")
        server = _start("postgres", "-D", str(folder), "-p", port, *options, log=log, user=user)
        probe = (str(system_program("pg_isready")), "--quiet", "--host", "127.0.0.1", "--port", port)
        with _running(server, lambda: subprocess.run(probe, check=False).returncode == 0):  # noqa: S603  # written above
            yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"


@contextmanager
def local_redis(log: Path) -> Iterator[str]:
    """Run a Redis server, which keeps nothing on disk, while the block runs.

    Args:
        log: the file for its output.

    Yields:
        The URL of its first database.

    Raises:
        RuntimeError: it did not start; the message has the end of its log.
    """
    port = free_port()
    server = _start("redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", log=log)
    with _running(server, lambda: _accepts_connections(port)):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _folder_of(user: str | None) -> Iterator[Path]:
    """Make a folder that ``user`` can reach and owns, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if user:
            shutil.chown(folder, user)
        yield folder
    finally:
        shutil.rmtree(folder)


def _start(program: str, *arguments: str, log: Path, user: str | None = None) -> ManagedProcess:
    command = (str(system_program(program)), *arguments)
    return ManagedProcess(program, command, environment=os.environ, log=log, user=user)


@contextmanager
def _running(server: ManagedProcess, ready: Callable[[], bool]) -> Iterator[None]:
    def up() -> bool:
        server.expect_running()
        return ready()

    try:
        wait_until(up, f"{server.name} to be ready", seconds=READY_SECONDS)
        yield
    finally:
        server.stop()


def _accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
