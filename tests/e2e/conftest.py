"""One Airflow (scheduler, triggerer, DAG processor, API server) and one sandbox for all end-to-end tests.

Its database is PostgreSQL: SQLite refuses a write now and then when several processes write for minutes.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.local_airflow import MISSED_SOON, LocalAirflow
from scripts.local_sandbox import local_sandbox
from scripts.local_services import local_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.local_sandbox import LocalSandbox

ROOT = Path(__file__).parents[2]

IS_CRASHED_BY_LOST_TASKS = version("apache-airflow-core") == "3.4.0b2"
"""Whether the scheduler crashes when it finds a lost task that has a retry left."""
LOST_SOON = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
}
"""Settings with which a lost scheduler is noticed after 20 s and a lost task after 60 s, both instead of 300.

An API server can be replaced in 60 s, so that its outage loses no task.
"""

SETTINGS = {
    **MISSED_SOON,
    **({} if IS_CRASHED_BY_LOST_TASKS else LOST_SOON),
    "ANYFAST_POOL": "anyfast",
}
POOL_SLOTS = 2
"""Videos that the example batch renders at a time."""


PROVIDER = "this provider"
ALTERNATIVES = {"by_hand": "a task by hand", "by_http_operator": "HttpOperator + sensor"}
"""By DAG: the implementations without this provider."""
BEFORE_THE_RESPONSE = {
    "dropped": "connection dropped before the response arrives",
    "bad_gateway": "502 after the submission was accepted",
    "timed_out": "read timeout before the response arrives",
    "killed": "worker killed before the response arrives",
}
"""Accidents that lose the response to a billed submission, as the table names them."""
CANARY = "sk-canary-4f1d9e7b2c"
"""The API key of these tests, which must not appear anywhere."""


@dataclass(frozen=True)
class Outcome:
    """What an accident cost."""

    event: str
    who: str
    billed: int
    state: str


@dataclass
class Comparison:
    """Outcomes of the same accident with and without this provider."""

    outcomes: list[Outcome] = field(default_factory=list)

    def add(self, event: str, way: str, *, billed: int, state: str) -> None:
        """Note one outcome of the DAG ``way``."""
        self.outcomes.append(Outcome(event, ALTERNATIVES.get(way, PROVIDER), billed, state))

    def lines(self) -> Iterator[str]:
        """A table as text, one line per accident."""
        ways = (PROVIDER, *ALTERNATIVES.values())
        yield f"{'event':<50}" + "".join(f"{way:<24}" for way in ways)
        for event in dict.fromkeys(outcome.event for outcome in self.outcomes):
            found = {outcome.who: outcome for outcome in self.outcomes if outcome.event == event}
            cells = (f"{found[who].billed} billed, {found[who].state}" if who in found else "" for who in ways)
            yield f"{event:<50}" + "".join(f"{cell:<24}" for cell in cells)


OUTCOMES = "outcomes_{}.jsonl"
"""The file in pytest's directory with the outcomes of a pytest process, by its name."""


@pytest.fixture(scope="session")
def anyfast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSandbox]:
    """A sandbox whose videos take 15 s: long enough for an accident."""
    log = tmp_path_factory.mktemp("sandbox") / "sandbox.log"
    options = ("--completion-seconds", "15", "--asset-seconds", "1")
    with local_sandbox(log, *options, api_key=CANARY) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory, anyfast: LocalSandbox) -> Iterator[LocalAirflow]:
    """All of Airflow, with the example DAGs and those of these tests."""
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    shutil.copytree(ROOT / "example_dags", dags)
    shutil.copytree(Path(__file__).parent / "dags", dags, dirs_exist_ok=True)
    connections = {
        "anyfast_default": anyfast.connection,
        "anyfast_http": {"conn_type": "http", "host": anyfast.url, "password": CANARY},
    }
    with (
        local_postgres(home / "postgres.log") as database,
        LocalAirflow(
            home,
            dags,
            connections=connections,
            settings={**SETTINGS, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database},
        ) as cluster,
    ):
        cluster.migrate()
        cluster.start_all()
        cluster.rest.add_pool(SETTINGS["ANYFAST_POOL"], POOL_SLOTS)
        yield cluster


@pytest.fixture(autouse=True)
def _no_component_ends_by_itself(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "airflow" in request.fixturenames:
        request.getfixturevalue("airflow").expect_running()


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Comparison]:
    """Collects the outcomes in this pytest process, for the table at the end."""
    found = Comparison()
    yield found
    lines = [json.dumps(asdict(outcome)) for outcome in found.outcomes]
    (tmp_path_factory.getbasetemp() / OUTCOMES.format(worker_id)).write_text("\n".join(lines))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the outcomes of all pytest processes."""
    base: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # no other way from here
    files = sorted(base.rglob(OUTCOMES.format("*")))
    outcomes = [Outcome(**json.loads(line)) for file in files for line in file.read_text().splitlines()]
    if outcomes:
        terminalreporter.section("what an accident costs")
        for line in Comparison(outcomes).lines():
            terminalreporter.write_line(line)
