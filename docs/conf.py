"""How Sphinx makes the web site of these pages."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from pygments.lexers.data import JsonLexer
from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

from airflow_provider_anyfast import __version__

# The reference imports Airflow, which writes a configuration into its home.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp())

# Pygments does not know these by name.
lexers["csv"] = TextLexer()
lexers["jsonl"] = JsonLexer()

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "airflow-provider-anyfast"
author = "The authors of airflow-provider-anyfast"
version = release = __version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "self_contained"]
exclude_patterns = ["_ext"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"airflow-provider-anyfast {release}"
html_show_copyright = html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False

copybutton_exclude = ".linenos, .gp, .go"
