"""What Airflow and pip see of the package."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import DagBag

import airflow_provider_anyfast
from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client import errors
from airflow_provider_anyfast.hooks.anyfast import settings_of
from airflow_provider_anyfast.operators.asset_creation import file_source
from airflow_provider_anyfast.operators.storage import files_in
from airflow_provider_anyfast.provider_info import PROVIDER_INFO

ROOT = Path(__file__).parents[1]


def test_airflow_finds_the_provider_by_its_entry_point() -> None:
    (entry,) = entry_points(group="apache_airflow_provider", name="provider_info").select(
        module="airflow_provider_anyfast"
    )
    assert entry.load()() == PROVIDER_INFO
    assert PROVIDER_INFO["versions"] == [airflow_provider_anyfast.__version__]


def test_every_module_and_class_that_the_provider_info_names_exists() -> None:
    for kind in ("hooks", "operators", "sensors", "triggers"):
        named = {module for entry in PROVIDER_INFO[kind] for module in entry["python-modules"]}
        for module in named:
            import_module(module)
        folder = ROOT / "airflow_provider_anyfast" / kind
        public = {
            f"airflow_provider_anyfast.{kind}.{path.stem}"
            for path in folder.glob("*.py")
            if re.search(r"^class [A-Z]\w*(Hook|Operator|Sensor|Trigger)\b", path.read_text(), re.MULTILINE)
            and path.stem not in ("base", "many", "waiting")
        }
        assert public == named
    (connection_type,) = PROVIDER_INFO["connection-types"]
    for path in (*PROVIDER_INFO["extra-links"], connection_type["hook-class-name"]):
        module, _, name = path.rpartition(".")
        assert hasattr(import_module(module), name)


def test_the_form_offers_what_the_hook_reads() -> None:
    (connection_type,) = PROVIDER_INFO["connection-types"]

    read = set()

    class Extra(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            read.add(name)
            return super().get(name, default)

    from airflow.sdk import Connection  # noqa: PLC0415 - not for the other tests

    settings_of(Connection(conn_id="a", conn_type="anyfast", password="k"), Extra())
    assert set(connection_type["conn-fields"]) == read


def test_the_exceptions_of_the_client_are_all_public() -> None:
    classes = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    tree = {name for name, value in classes.items() if issubclass(value, Exception)}
    assert tree == set(exceptions.__all__) - {"for_airflow", "without_retry"}


def test_the_example_dags_load_without_errors_and_without_a_connection() -> None:
    bag = DagBag(str(ROOT / "example_dags"))
    assert bag.import_errors == {}
    assert set(bag.dags) == {path.stem for path in (ROOT / "example_dags").glob("*.py")}
    for dag in bag.dags.values():
        assert dag.doc_md
        assert all(task.retries for task in dag.tasks), "a retry is what the ledger makes safe"


def test_the_example_dags_find_their_pictures() -> None:
    for dag in DagBag(str(ROOT / "example_dags")).dags.values():
        for name in {"picture", "pictures"} & set(dag.params):
            with file_source(files_in(dag.params[name])[0], asset_type="Image") as source:
                assert source.name.startswith("lamp-")


def test_nothing_heavy_is_imported_while_a_dag_is_parsed() -> None:
    light = [
        *PROVIDER_INFO["operators"],
        *PROVIDER_INFO["sensors"],
        *PROVIDER_INFO["triggers"],
        *PROVIDER_INFO["hooks"],
    ]
    modules = [module for entry in light for module in entry["python-modules"]]
    heavy = ("PIL", "av", "puremagic", "fastapi", "uvicorn", "s3fs", "boto3", "airflow_provider_anyfast.sandbox")
    code = f"import sys, {', '.join(modules)}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip().endswith("[]"), done.stdout


def test_the_wheel_carries_the_examples_where_airflow_looks_for_them(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "uv",
        "build",
        "--wheel",
        "--no-build-isolation",
        "--quiet",
        "--out-dir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "airflow_provider_anyfast/example_dags/anyfast_quickstart.py" in names
    assert "airflow_provider_anyfast/example_dags/media/lamp.png" in names
    assert "airflow_provider_anyfast/py.typed" in names
    assert all(name.split("/")[0].startswith("airflow_provider_anyfast") for name in names)
