"""One Airflow, and a sandbox whose videos take 15 s."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.local_airflow import LocalAirflow
from scripts.local_sandbox import local_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_sandbox import LocalSandbox

SETTINGS = {
    # A triggerer that went away is missed after 6 s instead of 30.
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
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
