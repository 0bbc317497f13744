"""One Airflow on PostgreSQL, an S3 server, and a sandbox whose videos take 15 s."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.local_airflow import MISSED_SOON, LocalAirflow
from scripts.local_sandbox import local_sandbox
from scripts.local_services import local_postgres
from tests.support.s3 import S3, running_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_sandbox import LocalSandbox


@pytest.fixture
def anyfast(tmp_path: Path) -> Iterator[LocalSandbox]:
    options = ("--completion-seconds", "15", "--asset-seconds", "1")
    with local_sandbox(tmp_path / "sandbox.log", *options) as sandbox:
        yield sandbox


@pytest.fixture
def s3() -> Iterator[S3]:
    with running_s3() as server:
        server.empty()
        yield server


@pytest.fixture
def airflow(tmp_path: Path, anyfast: LocalSandbox, s3: S3) -> Iterator[LocalAirflow]:
    stored = s3.connection
    connections = {
        "anyfast_default": anyfast.connection,
        "s3": {
            "conn_type": stored.conn_type,
            "login": stored.login,
            "password": stored.password,
            "extra": stored.extra_dejson,
        },
    }
    dags = Path(__file__).parent / "dags"
    with (
        local_postgres(tmp_path / "postgres.log") as database,
        LocalAirflow(
            tmp_path / "airflow",
            dags,
            connections=connections,
            settings={**MISSED_SOON, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database},
        ) as cluster,
    ):
        cluster.migrate()
        cluster.start_all()
        yield cluster
