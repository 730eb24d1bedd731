"""The site: plain Markdown, and a reference made from the package. Built by `make docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import reference  # noqa: E402

import markovbridge  # noqa: E402, F401

project = "markovbridge"
author = "The markovbridge authors"
version = release = "0.1.0"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["site"]
nitpicky = True
default_role = None
highlight_language = "none"  # what is indented is a formula more often than code
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings: list[str] = []

html_theme = "furo"
html_title = "markovbridge"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"font-stack--monospace": "ui-monospace, Menlo, Consolas, monospace"},
    "navigation_with_keys": True,
}

reference.write(HERE.parent / "reference")
