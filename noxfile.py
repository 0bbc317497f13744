"""Every Airflow and Python that this provider supports, each pair in an environment of its own.

``make compat`` runs all of it, ``make compat-corners`` the oldest and the newest pair and the lower bounds, and
``make newest`` everything at its newest. An interpreter that is not on the PATH is brought by uv; where uv cannot, its
sessions fail.
"""

from __future__ import annotations

import shutil
import subprocess
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import nox
from packaging.requirements import Requirement
from uv import find_uv_bin

ROOT = Path(__file__).parent
DIST = ROOT / "build" / "compat"
CONSTRAINTS = ROOT / "constraints.txt"

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "auto"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["airflow", "lowest"]

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


class Release(NamedTuple):
    """The newest patch of an Airflow, and which versions of everything else go with it.

    Attributes:
        requirements: of Airflow itself.
        pythons: on which this Airflow runs.
        exclude_newer: when it came out. An older Airflow gets what was there then, as in Airflow's own constraint
            files, which a team installs by; without a date it gets what ``make test`` has.
    """

    requirements: tuple[str, ...]
    pythons: tuple[str, ...]
    exclude_newer: str | None = None

    def resolution(self, session: nox.Session) -> tuple[str, ...]:
        """Options of uv that choose the versions."""
        if self.exclude_newer:
            return ("--exclude-newer", self.exclude_newer)
        pins = (pin for pin in CONSTRAINTS.read_text().splitlines() if not pin.startswith(AIRFLOW_ITSELF))
        beside = Path(session.create_tmp()).resolve() / "beside-airflow.txt"
        beside.write_text("\n".join(pins))
        return ("--constraint", str(beside))


AIRFLOW_ITSELF = ("apache-airflow==", "apache-airflow-core==", "apache-airflow-task-sdk==")


# Of a package whose requirement names a pre-release uv takes one, until the release is there.
AIRFLOWS = {
    "3.1": Release(("apache-airflow==3.1.8",), PYTHONS[:-1], "2026-03-12T00:00:00Z"),
    "3.2": Release(("apache-airflow==3.2.2",), PYTHONS, "2026-05-30T00:00:00Z"),
    "3.3": Release(("apache-airflow==3.3.2",), PYTHONS),
    "3.4": Release(
        (
            "apache-airflow>=3.4.0b2,<=3.4.0",
            "apache-airflow-core>=3.4.0b2,<=3.4.0",
            "apache-airflow-task-sdk>=1.4.0b2,<=1.4.0",
        ),
        PYTHONS[1:],
    ),
}
NEWEST_OF_ALL = ("apache-airflow>=3.4.0b2", "apache-airflow-core>=3.4.0b2", "apache-airflow-task-sdk>=1.4.0b2")
YOUNGEST_BOUND = "2026-01-18T00:00:00Z"
"""When the youngest version that is a lower bound had come out; what the bounds bring along is not younger."""
AIRFLOW_3_1_0 = "structlog<25.5"
"""It does not load with a newer one; its own constraint files have 25.4."""

PYPROJECT = str(ROOT / "pyproject.toml")
TEST_GROUP = ("--group", f"{PYPROJECT}:test")

OF_OTHER_TARGETS = frozenset(
    {"browser", "crash_points", "distributed", "e2e", "guides", "nights", "scale", "transfers"}
)
"""Folders of tests with a make target of their own."""
WITHOUT_AIRFLOW = frozenset({"client", "media", "polling", "sandbox", "seedance"})
"""Folders of tests of rooms that never import Airflow: one Airflow on every Python is enough for them."""
TESTS = (
    *sorted({path.parent.name for path in ROOT.glob("tests/*/test_*.py")} - OF_OTHER_TARGETS),
    "test_exceptions.py",
    "test_parameters.py",
)
TESTS_OF_BOUNDS = ("batch", "client", "files", "ledger", "media", "operators", "polling")
"""Where the dependencies are used."""

_built: list[Path] = []


def _is_installed(python: str) -> bool:
    search = (find_uv_bin(), "python", "find", "--system", "--no-python-downloads", python)
    return subprocess.run(search, check=False, capture_output=True).returncode == 0  # noqa: S603  # written above


NEWEST_PYTHON = next((python for python in reversed(PYTHONS) if _is_installed(python)), PYTHONS[-1])
CORNERS = (("3.1", PYTHONS[0]), ("3.4", NEWEST_PYTHON))


@nox.session
@nox.parametrize(
    ("python", "version"),
    [
        nox.param(python, version, id=f"{version} on {python}", tags=["corners"] * ((version, python) in CORNERS))
        for version, release in AIRFLOWS.items()
        for python in release.pythons
    ],
)
def airflow(session: nox.Session, version: str) -> None:
    """Install the wheel beside one Airflow: import everything, run the tests, run a DAG against the sandbox."""
    release = AIRFLOWS[version]
    beside = (*release.requirements, *release.resolution(session))
    session.install(f"{_wheel(session)}", *beside)
    _stage(session)
    session.run("python", "tests/compat/import_everything.py")
    session.install(f"{_wheel(session)}[excel,media,sandbox]", *TEST_GROUP, *beside)
    _pytest(session, *(name for name in TESTS if version == "3.3" or name not in WITHOUT_AIRFLOW))


@nox.session(python=PYTHONS[0], tags=["corners"])
def lowest(session: nox.Session) -> None:
    """Install the lowest version of every dependency that pyproject.toml allows: the bounds must be true."""
    project = nox.project.load_toml(PYPROJECT)["project"]
    extras = project["optional-dependencies"].values()
    declared = map(Requirement, chain(project["dependencies"], *extras))
    bounds = Path(session.create_tmp()) / "bounds.txt"
    pins = [f"{found.name}{found.specifier}".replace(">=", "==") for found in declared]
    bounds.write_text("\n".join([*pins, AIRFLOW_3_1_0]))
    wheel = f"{_wheel(session)}[excel,media,sandbox]"
    # Not lowest-direct: that takes a version above a bound which cannot be installed, and this must fail then.
    session.install(wheel, *TEST_GROUP, "--constraint", str(bounds), "--exclude-newer", YOUNGEST_BOUND)
    _stage(session)
    _pytest(session, *TESTS_OF_BOUNDS)


@nox.session(python=NEWEST_PYTHON, default=False)
def newest(session: nox.Session) -> None:
    """Install the newest version of everything, pre-releases of Airflow included, and say what breaks."""
    pinned = set(CONSTRAINTS.read_text().split())
    session.install(f"{_wheel(session)}[excel,media,sandbox]", *TEST_GROUP, *NEWEST_OF_ALL)
    installed = str(session.run("uv", "pip", "freeze", silent=True, external=True)).splitlines()
    changed = [package for package in installed if "==" in package and package not in pinned]
    session.log(f"Not in constraints.txt: {', '.join(changed) or 'nothing'}")
    _stage(session)
    _pytest(session, *TESTS)


@nox.session(python=NEWEST_PYTHON, default=False)
def e2e(session: nox.Session) -> None:
    """Kill the newest Airflow's tasks at each step and its processes, and clear tasks from everywhere."""
    _install_newest_airflow(session, "e2e")
    session.run("pytest", "--numprocesses", "2", "tests/crash_points", *session.posargs)
    session.run("pytest", "tests/e2e", *session.posargs)


@nox.session(python=NEWEST_PYTHON, default=False)
def browser(session: nox.Session) -> None:
    """Use the newest Airflow's UI in Chromium."""
    _install_newest_airflow(session, "browser")
    session.run("pytest", "tests/browser", *session.posargs)


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Ask for known vulnerabilities of everything in constraints.txt."""
    session.install("pip-audit")
    session.run("pip-audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--strict")


def _install_newest_airflow(session: nox.Session, group: str) -> None:
    """Install the wheel beside Airflow 3.4, and a dependency group."""
    release = AIRFLOWS["3.4"]
    beside = (*release.requirements, *release.resolution(session))
    session.install(f"{_wheel(session)}[excel,media,sandbox]", "--group", f"{PYPROJECT}:{group}", *beside)
    _stage(session)


def _wheel(session: nox.Session) -> Path:
    """The wheel, built once for all sessions."""
    if not _built:
        shutil.rmtree(DIST, ignore_errors=True)
        session.run("uv", "build", "--wheel", "--quiet", "--out-dir", str(DIST), str(ROOT), external=True)
        _built.extend(DIST.glob("*.whl"))
    return _built[0]


def _stage(session: nox.Session) -> None:
    """Go where the tests are but not the package, so that the wheel is what they import."""
    stage = Path(session.create_tmp()) / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    for folder in ("tests", "scripts", "example_dags", "docs"):
        shutil.copytree(ROOT / folder, stage / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, stage)
    session.chdir(stage)


def _pytest(session: nox.Session, *names: str) -> None:
    paths = [f"tests/{name}" for name in names]
    session.run("pytest", "--quiet", "--numprocesses", "2", *paths, *session.posargs)
