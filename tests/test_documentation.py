"""Every Python snippet in the README and the docs runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
TEACHING = ("README.md", "money.md")
"""Pages that would be useless without code."""
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_snippet_runs(page: Path) -> None:
    snippets = SNIPPET.findall(page.read_text())
    assert snippets or page.name not in TEACHING, f"{page.name} shows no code"
    for snippet in snippets:
        exec(compile(snippet, str(page), "exec"), {})


def test_the_readme_names_every_public_operator_and_sensor() -> None:
    readme = (ROOT / "README.md").read_text()
    for folder in ("operators", "sensors"):
        for path in (ROOT / "airflow_provider_anyfast" / folder).glob("[!_]*.py"):
            for name in re.findall(r"^class ([A-Z]\w+(?:Operator|StatusSensor))\b", path.read_text(), re.MULTILINE):
                assert f"`{name}`" in readme, name
