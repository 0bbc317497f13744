"""After every other end-to-end test: the API key is nowhere in what Airflow has kept.

Its name puts it at the end of the run, when all there is to search has been written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.airflow_rest import TaskRef
from tests.e2e.conftest import CANARY

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_the_key_and_signed_links_are_in_no_log_and_the_key_in_no_table(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path
) -> None:
    prompt = "a secret kept"
    airflow.wait_for_dag("by_provider_deferred")
    run_id = airflow.rest.trigger("by_provider_deferred", {"prompt": prompt, "folder": str(tmp_path)})
    video = TaskRef("by_provider_deferred", run_id, "video")
    airflow.rest.wait_for_task(video, "deferred", seconds=60)
    assert CANARY.encode() not in b"".join(database(airflow)), "while the trigger waits"
    assert airflow.rest.wait_for_task(video, "success", "failed", seconds=120).state == "success"
    (generation,) = anyfast.generations(prompt)

    logs = [path for path in airflow.home.rglob("*.log") if path.is_file()]
    ours = [path for path in logs if "by_provider" in str(path) or "quickstart" in str(path)]
    assert any(generation["id"].encode() in path.read_bytes() for path in ours), "the search looks at the wrong files"
    assert [path for path in logs if CANARY.encode() in path.read_bytes()] == []
    assert [path for path in ours if b"X-Tos-Signature" in path.read_bytes()] == []
    assert generation["id"].encode() in b"".join(database(airflow)), "the search looks at the wrong files"
    assert CANARY.encode() not in b"".join(database(airflow))


def database(airflow: LocalAirflow) -> list[bytes]:
    """SQLite's file with what is not yet merged into it."""
    return [path.read_bytes() for path in airflow.home.glob("airflow.db*")]
