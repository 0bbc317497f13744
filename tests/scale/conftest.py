"""One Airflow, and a sandbox whose videos take 15 s."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.local_airflow import MISSED_SOON, LocalAirflow
from scripts.local_sandbox import local_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_sandbox import LocalSandbox

SETTINGS = {
    **MISSED_SOON,
    # At the first request of a worker, the API server builds its models, which takes long on a busy machine.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "90",
}


@pytest.fixture
def anyfast(tmp_path: Path) -> Iterator[LocalSandbox]:
    with local_sandbox(tmp_path / "sandbox.log", "--completion-seconds", "15") as sandbox:
        yield sandbox


@pytest.fixture
def airflow(tmp_path: Path, anyfast: LocalSandbox) -> Iterator[LocalAirflow]:
    connections = {"anyfast_default": anyfast.connection}
    dags = Path(__file__).parent / "dags"
    with LocalAirflow(tmp_path / "airflow", dags, connections=connections, settings=SETTINGS) as cluster:
        cluster.migrate()
        cluster.start_all()
        yield cluster
