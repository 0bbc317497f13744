"""The fenced blocks of the README and of the pages of docs/."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
_FENCED = re.compile(r"^(?P<indent> *)```(?P<kind>.*)\n(?P<text>(?:.*\n)*?)(?P=indent)```$", re.MULTILINE)
_A_FILE = re.compile(r"# (\S+\.py)\n")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page. One that begins with a file name is a file of the project on that page."""

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file name at its start, if there is one."""
        named = _A_FILE.match(self.text)
        return named[1] if named else None

    @property
    def has_dags(self) -> bool:
        """Whether Airflow would find a DAG in it."""
        return self.kind == "python" and not self.file and "with DAG(" in self.text


def _snippets() -> Iterator[Snippet]:
    for page in PAGES:
        text = page.read_text()
        for found in _FENCED.finditer(text):
            if not found["kind"].startswith("{"):  # directives of Sphinx
                line = text.count("\n", 0, found.start()) + 1
                yield Snippet(page, line, found["kind"], textwrap.dedent(found["text"]))


SNIPPETS = tuple(_snippets())
