"""Fixtures for tests of operators that read from and write into a team's own storage."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.s3 import S3
    from tests.support.task_run import TaskRunner


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """One S3 server for the session; use `s3`."""
    from tests.support.s3 import running_s3  # noqa: PLC0415  # most tests need no S3

    with running_s3() as s3:
        yield s3


@pytest.fixture
def s3(s3_server: S3) -> S3:
    """An empty bucket."""
    s3_server.empty()
    return s3_server


@pytest.fixture
def s3_runner(runner: TaskRunner, s3: S3) -> TaskRunner:
    """A runner that knows the connection ``s3`` too."""
    return dataclasses.replace(runner, connections=[*runner.connections, s3.connection])
