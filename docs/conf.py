"""The site: `make docs`. Its sources are the whole checkout, so that a link means what it means in the repository."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

# Where the two extensions of ours lie.
sys.path.insert(0, str(Path(__file__).parent))

project = "seats_ops"
author = copyright = "the seats_ops authors"
version = release = importlib.metadata.version(project)

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "contents", "linked_files"]
root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "docs/**.md", "docs/**.rst", "docs/notebooks/*.ipynb"]
# Folders without pages, which take longer to walk than all else.
exclude_patterns = [".*", "docs/_build", "tests", "benchmarks", "seats_ops", "integrations", "build"]

myst_heading_anchors = 3
# Notebooks are shown as they were recorded.
nb_execution_mode = "off"
# Docstrings put code between single backticks.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
# Names of ours must lead somewhere; where those of others lead is known on a network only.
# What only type hints name has no page of its own.
_HINTS = r"seats_ops\.(layout\.modality\.MediaShape|layout\.groups\.Groups|operators\.selectors\.Selector)"
nitpick_ignore_regex = [("py:.*", r"(?!seats_ops\b).*"), ("py:class", _HINTS)]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"seats_ops {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
templates_path = ["_templates"]
html_additional_pages = {"index": "to_first_page.html"}
