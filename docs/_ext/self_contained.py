"""Fails the build if a page loads anything from elsewhere, so that the site works from a folder without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.errors import ExtensionError

if TYPE_CHECKING:
    from sphinx.application import Sphinx

LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["'](?:https?:)?//[^"']+"""
    r"""|<link\b[^>]*\brel=["'](?:stylesheet|preload|icon)["'][^>]*\bhref=["'](?:https?:)?//[^"']+"""
    r"""|@import\s+["'(]*(?:https?:)?//[^"')]+|\burl\(["']?(?:https?:)?//[^"')]+"""
)


def check(app: Sphinx, error: Exception | None) -> None:
    """Looks through every page and style sheet of a finished build."""
    if error or app.builder.name != "html":
        return
    found = [
        f"{path.relative_to(app.outdir)}: {match[0]}"
        for path in sorted(Path(app.outdir).rglob("*"))
        if path.suffix in {".html", ".css"}
        for match in LOADED.finditer(path.read_text())
    ]
    if found:
        raise ExtensionError("Pages load something from elsewhere:\n" + "\n".join(found))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
