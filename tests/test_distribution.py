"""The distributions for PyPI: reproducible, and with nothing that does not belong there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = "airflow_provider_anyfast"


@dataclass(frozen=True)
class Built:
    """A wheel and a source distribution."""

    wheel: Path
    sdist: Path


def sources() -> list[str]:
    """Every file of the project, as git sees it."""
    command = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in listed.split("\0") if (ROOT / name).is_file())


def build(folder: Path, *, mode: int, time: float, environment: dict[str, str]) -> Built:
    """Builds a copy of the sources whose files have other times and modes."""
    for name in sources():
        copy = folder / "sources" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
        copy.chmod(mode)
        os.utime(copy, (time, time))
    command = (sys.executable, "-m", "uv", "build", "--no-build-isolation", "--quiet", "--out-dir", str(folder))
    kept = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    subprocess.run((*command, str(folder / "sources")), check=True, env={**kept, **environment})
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("here"), mode=0o644, time=1e9, environment={})


def test_the_same_sources_give_the_same_bytes(built: Built, tmp_path: Path) -> None:
    elsewhere = {"TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHONHASHSEED": "7", "HOME": str(tmp_path)}
    again = build(tmp_path / "a folder elsewhere", mode=0o600, time=1.7e9, environment=elsewhere)
    assert again.wheel.read_bytes() == built.wheel.read_bytes()
    assert again.sdist.read_bytes() == built.sdist.read_bytes()


def test_pypi_would_accept_both(built: Built) -> None:
    command = (sys.executable, "-m", "twine", "check", "--strict", str(built.wheel), str(built.sdist))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_wheel_holds_the_package_and_the_examples_where_airflow_looks_for_them(built: Built) -> None:
    package = {name for name in sources() if name.startswith(f"{MODULE}/")}
    examples = {f"{MODULE}/{name}" for name in sources() if name.startswith("example_dags/")}
    names = set(zipfile.ZipFile(built.wheel).namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == package | examples
    assert {f"{MODULE}/py.typed", f"{MODULE}/example_dags/anyfast_quickstart.py"} <= names
    assert {name.partition(".dist-info/")[2] for name in metadata} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_the_sdist_holds_all_that_the_tests_need(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert names == {name for name in sources() if not name.startswith(".ci/")} | {"PKG-INFO"}
