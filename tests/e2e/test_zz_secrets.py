"""After every other end-to-end test: nothing that Airflow has stored contains the API key.

Its name puts it at the end of the run, after everything has been written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, inspect, text

from scripts.airflow_rest import TaskRef
from tests.e2e.conftest import CANARY

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import TextClause

    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_the_key_and_signed_links_are_in_no_log_and_the_key_in_no_table(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path
) -> None:
    prompt = "a secret kept"
    airflow.wait_for_dag("by_provider_deferred")
    run_id = airflow.rest.trigger("by_provider_deferred", {"prompt": prompt, "folder": str(tmp_path)})
    video = TaskRef("by_provider_deferred", run_id, "video")
    airflow.rest.wait_for_task(video, "deferred", seconds=150)
    assert CANARY not in database(airflow), "while the trigger waits"
    assert airflow.rest.wait_for_task(video, "success", "failed", seconds=300).state == "success"
    (generation,) = anyfast.generations(prompt)

    logs = [path for path in airflow.home.rglob("*.log") if path.is_file()]
    ours = [path for path in logs if "by_provider" in str(path) or "quickstart" in str(path)]
    assert any(generation["id"].encode() in path.read_bytes() for path in ours), "the search looks at the wrong files"
    assert [path for path in logs if CANARY.encode() in path.read_bytes()] == []
    assert [path for path in ours if b"X-Tos-Signature" in path.read_bytes()] == []
    assert generation["id"] in database(airflow), "the search looks at the wrong tables"
    assert CANARY not in database(airflow)


def database(airflow: LocalAirflow) -> str:
    """Every value of every table."""
    engine = create_engine(airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    with engine.connect() as connection:
        rows = [row for name in inspect(engine).get_table_names() for row in connection.execute(select_all(name))]
    engine.dispose()
    return "\n".join(text_of(value) for row in rows for value in row)


def select_all(table: str) -> TextClause:
    """Every row of a table, whose name comes from the database."""
    return text(f'SELECT * FROM "{table}"')


def text_of(value: object) -> str:
    """A value as searchable text, also a binary one."""
    return bytes(value).decode(errors="replace") if isinstance(value, bytes | memoryview) else str(value)
