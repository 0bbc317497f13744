"""The wheel, installed with some version of Airflow: its example DAGs load, and one of them makes a video."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_anyfast
from scripts.local_airflow import LocalAirflow
from scripts.local_sandbox import local_sandbox
from tests.support.installed_airflow import DagBag

EXAMPLES = Path(airflow_provider_anyfast.__file__).parent / "example_dags"


def test_the_example_dags_of_the_wheel_load_without_a_warning() -> None:
    bag = DagBag(str(EXAMPLES))
    assert bag.import_errors == {}
    assert bag.captured_warnings == {}
    assert set(bag.dags) == {path.stem for path in EXAMPLES.glob("*.py")}


@pytest.mark.timeout(300)
def test_a_dag_of_the_wheel_makes_a_video(tmp_path: Path) -> None:
    conf = json.dumps({"output_folder": str(tmp_path / "videos")})
    with (
        local_sandbox(tmp_path / "sandbox.log", "--completion-seconds", "1", "--asset-seconds", "1") as sandbox,
        LocalAirflow(tmp_path / "airflow", EXAMPLES, connections={"anyfast_default": sandbox.connection}) as airflow,
    ):
        airflow.migrate()
        done = subprocess.run(
            (sys.executable, "-m", "airflow", "dags", "test", "anyfast_quickstart", "--conf", conf),
            env=airflow.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=240,
        )
        account = sandbox.account()
    assert done.returncode == 0, done.stdout[-5000:]
    assert account["billed"]["generations"] == 1
    (video,) = (tmp_path / "videos").iterdir()
    assert account["generations"][0]["id"] in video.name
    assert video.read_bytes()[4:8] == b"ftyp"
