"""Lower bounds of all requirements in pyproject.toml, as a file of constraints.

    python tests/bounds.py

writes `constraints-oldest.txt` anew, which `make test-matrix` installs by.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "constraints-oldest.txt"
HEAD = """\
# The oldest versions that pyproject.toml allows, for `make test-matrix`.
# `python tests/bounds.py` writes this file; tests/test_project.py compares the two.
"""
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[\w,.-]+\])?>=(?P<least>[\w.]+)(,<[\w.]+)?")


def project():
    """The table `project` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def bounds(table):
    """The lower bound of every package that the project, or an extra of it, asks for.

    Raises:
        ValueError: If a requirement has none, or two differ.
    """
    found = {}
    extras = table["optional-dependencies"].values()
    for text in [*table["dependencies"], *(text for extra in extras for text in extra)]:
        if text.partition("[")[0] == table["name"]:
            continue  # extras of its own
        match = REQUIREMENT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} has no lower bound; write it as name>=version")
        name, least = match["name"], match["least"]
        if found.setdefault(name, least) != least:
            raise ValueError(f"{name} has two lower bounds, {found[name]} and {least}")
    return found


def text(found):
    """The file of constraints."""
    lines = [f"{name}=={least}\n" for name, least in sorted(found.items(), key=_by_name)]
    return HEAD + "".join(lines)


def _by_name(item):
    return item[0].lower()


if __name__ == "__main__":
    FILE.write_text(text(bounds(project())))
