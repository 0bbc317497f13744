"""The README and the docs are true: snippets work, tables match the code; tests/guides runs their DAGs."""

from __future__ import annotations

import argparse
import ast
import configparser
import csv
import importlib
import importlib.util
import inspect
import json
import os
import re
import shlex
import subprocess
from functools import cache
from importlib.metadata import metadata
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from airflow.cli.cli_parser import get_parser
from airflow.configuration import conf
from airflow.sdk import Connection

from airflow_provider_anyfast import __version__, exceptions
from airflow_provider_anyfast.batch.manifest import ManifestEntry, from_text
from airflow_provider_anyfast.batch.table_file import parse_table
from airflow_provider_anyfast.hooks.anyfast import settings_of
from airflow_provider_anyfast.provider_info import PROVIDER_INFO
from airflow_provider_anyfast.sandbox.__main__ import _parser as sandbox_parser
from airflow_provider_anyfast.sandbox.faults import FAULT_KINDS
from airflow_provider_anyfast.sandbox.pages.report import Billed
from airflow_provider_anyfast.seedance.catalog import MODELS
from tests.support.snippets import DOCS, PAGES, ROOT, SNIPPETS, Snippet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.sandbox import SandboxHandle

PACKAGE = ROOT / "airflow_provider_anyfast"
SERVED_IN_THE_DOCS = "http://127.0.0.1:8765"
RUN_IN_A_PROJECT = [snippet for snippet in SNIPPETS if snippet.kind == "sh" and "pytest" in snippet.text]


def _run_python(snippet: Snippet, _sandbox: SandboxHandle) -> None:
    exec(compile(snippet.text, str(snippet), "exec"), {"__name__": "snippet"})


def _check_shell(snippet: Snippet, sandbox: SandboxHandle) -> None:
    subprocess.run(["bash", "-n"], input=snippet.text, text=True, check=True)
    for line in snippet.text.splitlines():
        command, *arguments = shlex.split(line, comments=True)
        COMMANDS[command](arguments, sandbox)


def _read_csv(snippet: Snippet, _sandbox: SandboxHandle) -> None:
    assert parse_table(snippet.text, "rows.csv").rows()
    assert len({len(row) for row in csv.reader(snippet.text.splitlines())}) == 1


def _read_manifest(snippet: Snippet, _sandbox: SandboxHandle) -> None:
    assert len(from_text(snippet.text)) == len(snippet.text.splitlines())


def _check_settings(snippet: Snippet, _sandbox: SandboxHandle) -> None:
    settings = configparser.ConfigParser()
    settings.read_string(snippet.text)
    provider = PROVIDER_INFO["config"]
    for section in settings.sections():
        known = (
            provider[section]["options"] if section in provider else conf.configuration_description[section]["options"]
        )
        assert settings.options(section)
        assert set(settings.options(section)) <= set(known)


CHECKS: dict[str, Callable[[Snippet, SandboxHandle], object]] = {
    "python": _run_python,
    "sh": _check_shell,
    "csv": _read_csv,
    "ini": _check_settings,
    "json": lambda snippet, _sandbox: json.loads(snippet.text),
    "jsonl": _read_manifest,
    "yaml": lambda snippet, _sandbox: _check_workflow(yaml.safe_load(snippet.text)),
}


STANDALONE = [s for s in SNIPPETS if not s.file and not s.has_dags and s not in RUN_IN_A_PROJECT]
"""What neither tests/guides nor tests/e2e/test_project_of_the_docs runs."""


@pytest.mark.parametrize("snippet", STANDALONE, ids=str)
def test_a_snippet_does_what_its_page_says(snippet: Snippet, sandbox: SandboxHandle) -> None:
    CHECKS[snippet.kind](snippet, sandbox)


# Commands


def _export(arguments: list[str], _sandbox: SandboxHandle) -> None:
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name.startswith("AIRFLOW_CONN_"):
            connection = _connection(value)
            settings_of(connection, connection.extra_dejson)
        else:
            assert _is_option(*name.removeprefix("AIRFLOW__").lower().split("__")), name


def _connection(value: str) -> Connection:
    if value.startswith("{"):
        return Connection.from_json(value, conn_id="anyfast_default")
    return Connection.from_uri(value, conn_id="anyfast_default")


def _is_option(section: str, option: str) -> bool:
    return option in conf.configuration_description.get(section, {}).get("options", {})


def _make(arguments: list[str], _sandbox: SandboxHandle) -> None:
    assert set(arguments) <= _make_targets()


@cache
def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _pip(arguments: list[str], _sandbox: SandboxHandle) -> None:
    """There is no release yet, so only a wheel can be installed."""
    command, *wanted = arguments
    if command == "wheel":
        assert wanted == ["--no-deps", "."]
        return
    assert command == "install"
    for argument in wanted:
        assert "airflow-provider-anyfast" not in argument
        if wheel := re.fullmatch(r"\./airflow_provider_anyfast-([\d.]+)-py3-none-any\.whl\[([\w,]+)\]", argument):
            assert wheel[1] == __version__
            assert {*wheel[2].split(",")} <= {*(metadata("airflow-provider-anyfast").get_all("Provides-Extra") or ())}


def _curl(arguments: list[str], sandbox: SandboxHandle) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-X", dest="method", default="GET")
    parser.add_argument("-H", dest="header")
    parser.add_argument("-d", dest="body")
    parser.add_argument("url")
    given = parser.parse_args(arguments)
    name, _, value = given.header.partition(": ")
    url = given.url.replace(SERVED_IN_THE_DOCS, sandbox.url)
    assert url.startswith(sandbox.url)
    httpx.request(given.method, url, content=given.body, headers={name: value}).raise_for_status()


COMMANDS: dict[str, Callable[[list[str], SandboxHandle], object]] = {
    "airflow": lambda arguments, _sandbox: get_parser().parse_args(arguments),
    "anyfast-sandbox": lambda arguments, _sandbox: sandbox_parser().parse_args(arguments),
    "curl": _curl,
    "export": _export,
    "make": _make,
    "pip": _pip,
}


def _check_workflow(workflow: dict[str, Any]) -> None:
    """It sets and runs the same as the shell snippet, which a test runs."""
    (commands,) = RUN_IN_A_PROJECT
    job = workflow["jobs"]["test"]
    for name in job["env"]:
        assert f"export {name}=" in commands.text
    assert [step["run"] for step in job["steps"] if "run" in step][1:] == [
        line for line in commands.text.splitlines() if not line.startswith("export ")
    ]


# What the text says


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"`make ([a-z0-9-]+)", text)) <= _make_targets()
    for section, option in re.findall(r"`\[(\w+)\] (\w+)`", text):
        assert _is_option(section, option), f"[{section}] {option}"
    for target in re.findall(r"\]\((?!https?:|{{)([^)#]+)", text):
        assert (page.parent / target).exists(), target


def _public_classes() -> Iterator[type]:
    for folder in ("operators", "sensors"):
        for path in sorted((PACKAGE / folder).glob("[!_]*.py")):
            for name in re.findall(r"^class ([A-Z]\w+(?:Operator|StatusSensor))\b", path.read_text(), re.MULTILINE):
                yield getattr(importlib.import_module(f"{PACKAGE.name}.{folder}.{path.stem}"), name)


PUBLIC = list(_public_classes())


def _rows(text: str) -> Iterator[list[str]]:
    """The cells of every table in a text."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split(" |")]


def _section(page: str, heading: str) -> str:
    found = re.search(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {heading}"
    return found[1]


def _guide(operator: type) -> str:
    """The page of an operator or sensor: create_assets.md of CreateAssetsOperator."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operator.__name__).lower()
    return f"{operator.__module__.split('.')[1]}/{name.rpartition('_')[0]}.md"


@pytest.mark.parametrize("operator", PUBLIC, ids=lambda operator: operator.__name__)
def test_every_parameter_is_documented_with_its_default(operator: type) -> None:
    documented = {
        cells[0].strip("`"): (bool(cells[1]), cells[2])
        for cells in _rows(_section(_guide(operator), "Parameters"))
        if len(cells) == 4
    }
    documented = {name: value for name, value in documented.items() if re.fullmatch(r"[a-z_]+", name)}
    assert documented == {
        name: (name in operator.template_fields, _default(name, parameter))  # type: ignore[attr-defined]
        for name, parameter in _parameters(operator).items()
    }


def _parameters(operator: type) -> dict[str, inspect.Parameter]:
    found: dict[str, inspect.Parameter] = {}
    for base in operator.__mro__:
        if base.__module__.startswith(PACKAGE.name) and "__init__" in vars(base):
            for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items():
                if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                    found.setdefault(name, parameter)
    return found


def _default(name: str, parameter: inspect.Parameter) -> str:
    if name == "deferrable":
        return "`[operators] default_deferrable`"
    if parameter.default is inspect.Parameter.empty:
        return "—"
    return "" if parameter.default is None else f"`{parameter.default}`"


def test_the_reference_names_only_what_exists() -> None:
    named = [
        target
        for page in (DOCS / "reference").glob("*.md")
        for target in re.findall(r"^\.\. auto(?:class|function|data):: (\S+)$", page.read_text(), re.MULTILINE)
    ]
    assert len(named) > 20
    for target in named:
        module, _, name = target.rpartition(".")
        assert hasattr(importlib.import_module(module), name), target


def test_every_operator_and_sensor_is_in_the_lists_and_in_the_reference() -> None:
    for operator in PUBLIC:
        link = os.path.relpath(DOCS / _guide(operator), DOCS / "operators")
        assert f"[`{operator.__name__}`]({link})" in (DOCS / "operators" / "index.md").read_text()
        assert f"`{operator.__name__}`" in (ROOT / "README.md").read_text()
        folder = operator.__module__.split(".")[1]
        directive = rf"^\.\. autoclass:: {PACKAGE.name}\.{folder}\.\w+\.{operator.__name__}$"
        assert re.search(directive, (DOCS / "reference" / f"{folder}.md").read_text(), re.MULTILINE)


def test_the_provider_info_names_the_guides() -> None:
    documented = [path for integration in PROVIDER_INFO["integrations"] for path in integration["how-to-guide"]]
    prefix = f"/docs/{PROVIDER_INFO['package-name']}/"
    assert sorted(documented) == sorted(f"{prefix}{_guide(operator)}" for operator in PUBLIC)
    for path in documented:
        assert (DOCS / path.removeprefix(prefix)).is_file(), path


def test_every_example_dag_is_in_the_index() -> None:
    listed = re.findall(r"^\| `(anyfast_\w+)` \|", (DOCS / "examples.md").read_text(), re.MULTILINE)
    assert set(listed) == {path.stem for path in (ROOT / "example_dags").glob("*.py")}


def test_the_tested_pairs_are_those_of_the_noxfile() -> None:
    spec = importlib.util.spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert spec
    assert spec.loader
    noxfile = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(noxfile)
    rows = [cells for cells in _rows(_section("compatibility.md", "What is tested")) if cells[0].startswith("3.")]
    *pairs, lowest = rows
    assert [(cells[0][:3], tuple(cells[1].split(", "))) for cells in pairs] == [
        (version, release.pythons) for version, release in noxfile.AIRFLOWS.items()
    ]
    assert lowest[:2] == ["3.1.0", "3.10"]


def test_every_model_is_in_the_table() -> None:
    section = _section("operators/generate_video.md", "Models")
    assert set(re.findall(r"`((?:doubao-)?seedance[\w.-]*)`", section)) == set(MODELS)


def test_every_field_of_the_manifest_is_documented() -> None:
    documented = " ".join(cells[0] for cells in _rows(_section("operators/generate_video_batch.md", "The manifest")))
    for name in ManifestEntry.__dataclass_fields__.keys() - {"result", "label"}:  # which no line contains in this form
        assert f"`{name}`" in documented


def test_every_field_of_the_connection_is_documented_by_its_label() -> None:
    page = (DOCS / "connection.md").read_text()
    for name, form_field in PROVIDER_INFO["connection-types"][0]["conn-fields"].items():
        assert f"| extra `{name}` | {form_field['label']} |" in page


def test_every_fault_option_and_bill_of_the_sandbox_is_documented() -> None:
    page = (DOCS / "sandbox.md").read_text()
    (bill,) = (snippet.text for snippet in SNIPPETS if snippet.kind == "json")
    assert list(json.loads(bill)) == list(Billed.model_fields)
    documented = {cells[0].strip("`"): cells[1:] for cells in _rows(page) if cells[0].strip("`") in FAULT_KINDS}
    assert {name: (cells[0], set(re.findall(r"\w+", cells[2]))) for name, cells in documented.items()} == {
        name: (kind.on if kind.on != "*" else "any", set(kind.parameters)) for name, kind in FAULT_KINDS.items()
    }
    options = {option for action in sandbox_parser()._actions for option in action.option_strings}
    assert set(re.findall(r"`(--[a-z-]+)`", page)) == {
        option for option in options if option.startswith("--") and not option.startswith(("--no-", "--help"))
    }


# Exceptions


BASES = {"AnyFastError", "APIError"}
EXCEPTIONS: dict[str, type[exceptions.AnyFastError]] = {
    name: known
    for name in exceptions.__all__
    if isinstance(known := getattr(exceptions, name), type) and issubclass(known, exceptions.AnyFastError)
}
BILLED = {
    exceptions.Cost.NOTHING: ("not billed", "nothing more"),
    exceptions.Cost.MAYBE: ("may have been billed",),
    exceptions.Cost.PAID: ("one video", "one creation", "the rows that succeeded"),
    exceptions.Cost.REFUNDED: ("refunded", "not billed, or refunded"),
}


def test_the_page_on_the_code_names_every_folder_and_module_and_the_layers_that_are_checked() -> None:
    page = (DOCS / "reference" / "code.md").read_text()
    named = set(re.findall(r"`(\w+)`", page))
    there = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert there - named == {"__init__", "__pycache__", "example_dags"} & there
    layers = re.findall(r"^\d+\. ((?:`\w+`(?:, )?)+)$", page, re.MULTILINE)
    contract = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert contract is not None
    assert [set(re.findall(r"\w+", line)) for line in layers] == [
        set(re.findall(r"\w+", line)) for line in contract[1].splitlines()
    ]


def test_every_exception_is_documented() -> None:
    headings = re.findall(r"^### (\w+)$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(EXCEPTIONS)
    assert set(re.findall(r"`(\w+Error)`", _section("concepts/money.md", "Exceptions"))) == EXCEPTIONS.keys()


@pytest.mark.parametrize("name", sorted(EXCEPTIONS.keys() - BASES))
def test_troubleshooting_states_the_same_facts_as_the_class(name: str) -> None:
    known = EXCEPTIONS[name]
    retry = known.next_attempt if known.retryable else "Airflow does not retry it."
    advised = "After the last attempt" if known.retryable else "What to do"
    facts = f"* **Billed:** {known.cost_sentence}\n* **Retry:** {retry}\n* **{advised}:** {known.advice}\n"
    assert facts in _section("troubleshooting.md", name)


def test_the_table_of_exceptions_matches_the_classes() -> None:
    rows = [cells for cells in _rows(_section("concepts/money.md", "Exceptions")) if len(cells) == 4]
    for names, _, billed, retried in rows:
        for name in re.findall(r"`(\w+Error)`", names):
            known = EXCEPTIONS[name]
            assert billed.startswith(BILLED[known.cost]), name
            assert retried.startswith("yes" if known.retryable else "no"), name


@cache
def _texts_of_the_code() -> list[str]:
    """Every string of the package, with … in place of a value."""
    texts = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


@pytest.mark.parametrize(
    "message", sorted(set(re.findall(r"^> `(.*)`$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)))
)
def test_a_message_in_the_troubleshooting_is_one_of_the_code(message: str) -> None:
    fragments = [fragment.strip() for fragment in message.split("…")]
    assert max(map(len, fragments)) > len("a few words")
    in_order = re.compile(".*".join(map(re.escape, fragments)), re.DOTALL)
    assert any(in_order.search(text) for text in _texts_of_the_code())
