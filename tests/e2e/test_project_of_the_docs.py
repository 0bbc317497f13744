"""The DAG and the test in the docs pass with the commands shown there, in a separate project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.snippets import SNIPPETS

MADE_OF_FILES = [snippet for snippet in SNIPPETS if snippet.file]
RUN_IN_A_PROJECT = [snippet for snippet in SNIPPETS if snippet.kind == "sh" and "pytest" in snippet.text]


@pytest.mark.timeout(900)
def test_the_project_of_a_page_passes_its_own_tests(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").touch()  # so that it is a project of its own wherever the folder is
    for snippet in MADE_OF_FILES:
        file = tmp_path / str(snippet.file)
        file.parent.mkdir(exist_ok=True)
        file.write_text(snippet.text)
    (commands,) = RUN_IN_A_PROJECT
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands.text],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
