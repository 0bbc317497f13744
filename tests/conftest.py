"""Fixtures for every test, and an Airflow home that no test shares with the machine."""

from __future__ import annotations

import atexit
import dataclasses
import gc
import os
import shutil
import sys
import tempfile
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from airflow_provider_anyfast.client.settings import _usual_context
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.s3 import S3
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

# Airflow reads its home while it is imported.
_AIRFLOW_HOME = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, _AIRFLOW_HOME, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no bug
settings.load_profile("steady")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the installed Airflow does not have."""
    marked = [item for item in items if item.get_closest_marker("state_store")]
    if not marked:
        return
    from tests.support.installed_airflow import HAS_STATE_STORE  # noqa: PLC0415  # slow; here Airflow is imported

    if not HAS_STATE_STORE:
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    """Fails the module that leaves a socket, a file or an event loop open, not any test that runs when it is collected.

    What is still alive is not looked at again, so a collection takes milliseconds.
    """
    yield
    gc.collect()
    gc.freeze()


@cache
def _once(make: Callable[..., Any]) -> Callable[..., Any]:
    """``make``, whose results every test shares."""
    return cache(make)


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[SandboxHandle]:
    """A sandbox on a real socket, one for the whole session; use `sandbox`."""
    from tests.support.sandbox import running_sandbox  # noqa: PLC0415  # most tests need no server

    with running_sandbox() as handle:
        yield handle


@pytest.fixture
def sandbox(sandbox_server: SandboxHandle, monkeypatch: pytest.MonkeyPatch) -> SandboxHandle:
    """A sandbox with nothing in it: no assets, no videos, no bills, no faults."""
    sandbox_server.reset()
    # What one test was refused must not keep the next one from asking.
    monkeypatch.setattr("airflow_provider_anyfast.client.billing_pages._pages", {})
    return sandbox_server


@pytest.fixture
def fake_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of the provider, of waiting sensors, and of the sandbox where the test uses one."""
    clock = FakeClock()
    for name in ("now", "sleep", "sleep_async"):
        monkeypatch.setattr(f"airflow_provider_anyfast.client.clock.{name}", getattr(clock, name))
    if sensor := sys.modules.get("airflow.sdk.bases.sensor"):  # the pure rooms are tested without Airflow
        monkeypatch.setattr(sensor, "time", _SensorTime(clock))
    if "sandbox" in request.fixturenames:
        handle: SandboxHandle = request.getfixturevalue("sandbox")
        monkeypatch.setattr(handle, "clock", clock.now)
    return clock


@pytest.fixture
def runner(request: pytest.FixtureRequest, sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch) -> TaskRunner:
    """Runs tasks with ``anyfast_default`` pointing at the sandbox, by the fake clock where the test uses it."""
    from airflow.sdk import Connection  # noqa: PLC0415  # slow; only tests that run tasks need Airflow
    from airflow.sdk.execution_time import task_runner  # noqa: PLC0415  # likewise
    from pydantic import TypeAdapter  # noqa: PLC0415  # likewise

    from tests.support.task_run import TaskRunner  # noqa: PLC0415  # likewise

    # Airflow builds one for each rendered field, and each client reads all certificates: a third of a test's time.
    monkeypatch.setattr(task_runner, "TypeAdapter", _once(TypeAdapter), raising=False)
    monkeypatch.setattr("airflow_provider_anyfast.client.settings._usual_context", _once(_usual_context))
    # A crash point is a number of steps, so an attempt that is repeated must poll as often as before.
    monkeypatch.setattr("airflow_provider_anyfast.polling.poller.Poller._draw", lambda _poller: 0.5)
    # What one test's triggers have learned must not time the next one's polls.
    monkeypatch.setattr("airflow_provider_anyfast.triggers.video._completion_times", {})
    connection = Connection(conn_id="anyfast_default", conn_type="anyfast", host=sandbox.url, password=sandbox.api_key)
    clock = request.getfixturevalue("fake_clock") if "fake_clock" in request.fixturenames else None
    return TaskRunner(connections=[connection], clock=clock)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """One S3 server for the session; use `s3`."""
    from tests.support.s3 import running_s3  # noqa: PLC0415  # most tests need no S3

    with running_s3() as s3:
        yield s3


@pytest.fixture
def s3(s3_server: S3) -> S3:
    """An empty bucket, to which Airflow connects anew: it keeps what it has once found without a connection."""
    from airflow.sdk.io.store import _STORE_CACHE  # noqa: PLC0415  # likewise

    _STORE_CACHE.clear()
    s3_server.empty()
    return s3_server


@pytest.fixture
def s3_runner(runner: TaskRunner, s3: S3) -> TaskRunner:
    """A runner that knows the connection ``s3`` too."""
    return dataclasses.replace(runner, connections=[*runner.connections, s3.connection])


class _SensorTime:
    """Stands in for the module ``time`` in Airflow's sensor."""

    def __init__(self, clock: FakeClock) -> None:
        self.sleep = clock.sleep
        self.monotonic = clock.now
