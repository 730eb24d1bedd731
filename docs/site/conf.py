"""The site: plain Markdown, and a reference made from the package. Built by `make docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import blocks  # noqa: E402
import execute  # noqa: E402
import reference  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

import markovbridge  # noqa: E402, F401

project = "markovbridge"
author = "The markovbridge authors"
version = release = "0.1.0"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["site"]
nitpicky = True
default_role = None
pygments_dark_style = "monokai"
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
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"font-stack--monospace": "ui-monospace, Menlo, Consolas, monospace"},
    "navigation_with_keys": True,
}

reference.write(HERE.parent / "reference")


def annotate(app: Sphinx, name: str, source: list[str]) -> None:
    """Add what is known of each block that readers see."""
    if f"{name}.md" not in blocks.sources():
        return
    lines, seconds = source[0].split("\n"), execute.times()
    for block in sorted(blocks.blocks(f"{name}.md"), key=lambda block: -block.line):
        if not block.hidden and (text := execute.beside(block, seconds)):
            end = block.line + block.code.count("\n") + 1
            lines[end:end] = ["", text, ""]
    source[0] = linked("\n".join(lines))


LINKS = reference.Links([e for e in reference.entries() if e.name[0].isupper()])


def linked(text: str) -> str:
    """Text whose names of classes lead to the reference, where that is not code or a link."""
    parts = re.split(
        r"(^ *```.*?^ *```$|<!--.*?-->|^#.*?$|\[[^\]\n]*\]\([^)]*\))", text, flags=re.M | re.S
    )
    return "".join(part if index % 2 else LINKS(part) for index, part in enumerate(parts))


def setup(app: Sphinx) -> None:
    app.connect("source-read", annotate)
