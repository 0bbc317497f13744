"""An Airflow as teams deploy it: CeleryExecutor, PostgreSQL, Redis, two workers and two triggerers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.local_airflow import HOSTNAME_BY_COMPONENT, MISSED_SOON, LocalAirflow
from scripts.local_sandbox import local_sandbox
from scripts.local_services import local_postgres, local_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_sandbox import LocalSandbox

SLOTS = 4
"""Tasks that one worker runs at a time."""

SETTINGS = {
    **HOSTNAME_BY_COMPONENT,
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "AIRFLOW__CORE__PARALLELISM": str(2 * SLOTS),
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(SLOTS),
    # A task whose worker went away is missed after 40 s instead of five minutes; a busy one is not missed by then.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    # One that it had taken and not begun is sent again after 60 s instead of ten minutes; Redis itself waits a day.
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    **MISSED_SOON,
}


@pytest.fixture
def anyfast(tmp_path: Path) -> Iterator[LocalSandbox]:
    with local_sandbox(tmp_path / "sandbox.log", "--completion-seconds", "5") as sandbox:
        yield sandbox


@pytest.fixture
def airflow(tmp_path: Path, anyfast: LocalSandbox) -> Iterator[LocalAirflow]:
    with local_postgres(tmp_path / "postgres.log") as database, local_redis(tmp_path / "redis.log") as broker:
        settings = {
            **SETTINGS,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CELERY__BROKER_URL": broker,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
        }
        home, dags = tmp_path / "airflow", Path(__file__).parent / "dags"
        connections = {"anyfast_default": anyfast.connection}
        with LocalAirflow(home, dags, connections=connections, settings=settings) as cluster:
            cluster.migrate()
            cluster.start_all("triggerer", "worker", "worker")
            yield cluster
