"""The package as Airflow and pip see it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points, packages_distributions, requires
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import airflow_provider_anyfast
from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.assets.source import file_source
from airflow_provider_anyfast.client import errors
from airflow_provider_anyfast.files.paths import files_in
from airflow_provider_anyfast.hooks.anyfast import settings_of
from airflow_provider_anyfast.provider_info import PROVIDER_INFO
from tests.support.installed_airflow import DagBag

if TYPE_CHECKING:
    from collections.abc import Iterator

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
            and path.stem not in ("base", "multi")
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
    assert tree | {"Cost", "Scope"} == set(exceptions.__all__) - {"fail_fast"}


def test_the_example_dags_load_without_errors_and_without_a_connection() -> None:
    bag = DagBag(str(ROOT / "example_dags"))
    assert bag.import_errors == {}
    assert set(bag.dags) == {path.stem for path in (ROOT / "example_dags").glob("*.py")}
    for dag in bag.dags.values():
        assert dag.doc_md
        assert all(task.retries for task in dag.tasks), "a retry is what the ledger makes safe"


def test_every_imported_distribution_is_a_declared_dependency() -> None:
    declared = {canonicalize_name(Requirement(text).name) for text in requires("airflow-provider-anyfast") or ()}
    owners = packages_distributions()
    imported = {name for path in (ROOT / "airflow_provider_anyfast").rglob("*.py") for name in _imports(path)}
    foreign = imported - sys.stdlib_module_names - {"airflow", "airflow_provider_anyfast"}
    undeclared = {name for name in foreign if not declared & {canonicalize_name(owner) for owner in owners[name]}}
    assert undeclared == set()


def _imports(path: Path) -> Iterator[str]:
    """The top-level names that a file imports anywhere, but not for type checking alone."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


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
    heavy = ("PIL", "av", "fastapi", "uvicorn", "s3fs", "boto3", "airflow_provider_anyfast.sandbox")
    code = f"import sys, {', '.join(modules)}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip().endswith("[]"), done.stdout
