"""Every Airflow and Python that this provider supports, each pair in an environment of its own.

``make compat`` runs all of it, ``make compat-corners`` the oldest and the newest pair and the lower bounds. The
interpreters are found on the PATH; one that is missing fails its sessions, and nothing is downloaded in its place.
"""

from __future__ import annotations

import shutil
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import nox
from packaging.requirements import Requirement

ROOT = Path(__file__).parent
DIST = ROOT / "build" / "compat"

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["airflow", "lowest"]


class Release(NamedTuple):
    """The newest patch of an Airflow, and which versions of everything else go with it.

    Attributes:
        version: of apache-airflow.
        resolution: for an older Airflow what was there when it came out, as in Airflow's own constraint files, which a
            team installs by; for the newest what ``make test`` has.
    """

    version: str
    resolution: tuple[str, str]


AIRFLOWS = {
    "3.1": Release("3.1.8", ("--exclude-newer", "2026-03-12T00:00:00Z")),
    "3.2": Release("3.2.2", ("--exclude-newer", "2026-05-30T00:00:00Z")),
    "3.3": Release("3.3.2", ("--constraint", str(ROOT / "constraints.txt"))),
}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
YOUNGEST_BOUND = "2026-01-18T00:00:00Z"
"""When the youngest version that is a lower bound had come out; what the bounds bring along is not younger."""
AIRFLOW_3_1_0 = "structlog<25.5"
"""It does not load with a newer one; its own constraint files have 25.4."""
CORNERS = (("3.1", "3.10"), ("3.3", "3.13"))

PYPROJECT = str(ROOT / "pyproject.toml")
TEST_GROUP = ("--group", f"{PYPROJECT}:test")

_built: list[Path] = []

TESTS = (
    "batch",
    "client",
    "compat",
    "examples",
    "files",
    "harness",
    "hooks",
    "ledger",
    "media",
    "operators",
    "polling",
    "sandbox",
    "seedance",
    "sensors",
    "triggers",
)


@nox.session
@nox.parametrize(
    ("python", "version"),
    [
        nox.param(python, version, id=f"{version} on {python}", tags=["corners"] * ((version, python) in CORNERS))
        for version in AIRFLOWS
        for python in PYTHONS
    ],
)
def airflow(session: nox.Session, version: str) -> None:
    """Install the wheel beside one Airflow: import everything, run the tests, run a DAG against the sandbox."""
    release = AIRFLOWS[version]
    pinned = f"apache-airflow=={release.version}"
    session.install(f"{_wheel(session)}", pinned, *release.resolution)
    _stage(session)
    session.run("python", "tests/compat/import_everything.py")
    session.install(f"{_wheel(session)}[media,sandbox]", pinned, *TEST_GROUP, *release.resolution)
    _pytest(session, *TESTS)


@nox.session(python=PYTHONS[0], tags=["corners"])
def lowest(session: nox.Session) -> None:
    """Install the lowest version of every dependency that pyproject.toml allows: the bounds must be true."""
    project = nox.project.load_toml(PYPROJECT)["project"]
    extras = project["optional-dependencies"].values()
    declared = map(Requirement, chain(project["dependencies"], *extras))
    bounds = Path(session.create_tmp()) / "bounds.txt"
    pins = [f"{found.name}{found.specifier}".replace(">=", "==") for found in declared]
    bounds.write_text("\n".join([*pins, AIRFLOW_3_1_0]))
    wheel = f"{_wheel(session)}[media,sandbox]"
    # Not lowest-direct: that takes a version above a bound which cannot be installed, and this must fail then.
    session.install(wheel, *TEST_GROUP, "--constraint", str(bounds), "--exclude-newer", YOUNGEST_BOUND)
    _stage(session)
    _pytest(session, "batch", "client", "files", "ledger", "media", "operators", "polling", "seedance")


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Ask for known vulnerabilities of everything in constraints.txt."""
    session.install("pip-audit")
    session.run("pip-audit", "--requirement", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip", "--strict")


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
    shutil.copy(ROOT / "pyproject.toml", stage)
    session.chdir(stage)


def _pytest(session: nox.Session, *folders: str) -> None:
    paths = [f"tests/{folder}" for folder in folders]
    session.run("pytest", "--quiet", "--numprocesses", "2", *paths, *session.posargs)
