"""What guides, docstrings and comments name is there: names of the package, and files of it."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import markovbridge

ROOT = Path(__file__).parents[1]
NAME = re.compile(r"(?<![\w./-])(?:markovbridge|mb)(?:\.[A-Za-z]\w*)+")
FILE = re.compile(r"`([\w./-]+\.(?:py|md))`")
GUIDES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "reference" not in p.parts),
]
CODE = [
    path
    for folder in ("src", "examples", "benchmarks")
    for kind in ("*.py", "*.yaml")
    for path in sorted((ROOT / folder).rglob(kind))
]


def resolve(name):
    """The object of a dotted name, or of the field that ends it, the annotation."""
    path, *parts = name.split(".")
    path = "markovbridge" if path == "mb" else path
    found = importlib.import_module(path)
    for part in parts:
        path = f"{path}.{part}"
        if hasattr(found, part):
            found = getattr(found, part)
        elif part in getattr(found, "__annotations__", {}):
            found = found.__annotations__[part]
        elif hasattr(found, "__path__"):
            found = importlib.import_module(path)
        else:
            raise AttributeError(f"there is no {path}")
    return found


def gone(text):
    """The names in a text that lead nowhere."""
    found = []
    for name in sorted(set(NAME.findall(text))):
        try:
            resolve(name)
        except (AttributeError, ImportError):
            found.append(name)
    return found


def lost(text, files):
    """The files which a text names in backticks, by the end of their path, and which are none."""
    return [
        name
        for name in FILE.findall(text)
        if not any(f"/{file}".endswith(f"/{name}") for file in files)
    ]


def test_names_resolve():
    texts = {path: path.read_text(encoding="utf-8") for path in (*GUIDES, *CODE)}
    assert sum(len(NAME.findall(text)) for text in texts.values()) > 1000
    found = {str(path.relative_to(ROOT)): gone(text) for path, text in texts.items()}
    assert {path: names for path, names in found.items() if names} == {}


def test_files_that_guides_name_are_there():
    folders = ("src", "tests", "docs", "examples", "benchmarks")
    files = [p.relative_to(ROOT).as_posix() for f in folders for p in (ROOT / f).rglob("*.*")]
    files += [path.name for path in ROOT.glob("*.md")]
    texts = {path: path.read_text(encoding="utf-8") for path in GUIDES}
    assert sum(len(FILE.findall(text)) for text in texts.values()) > 50
    made = {path: re.findall(r"^```python file=(\S+)", text, re.M) for path, text in texts.items()}
    found = {
        str(path.relative_to(ROOT)): lost(text, [*files, *made[path]])
        for path, text in texts.items()
    }
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("folder", ["examples", "benchmarks"])
def test_what_programs_import_is_there(folder):
    names = set()
    for path in (ROOT / folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("markovbridge"):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert len(names) > 10
    assert gone(" ".join(names)) == []


@pytest.mark.parametrize(
    "name", ["mb.Mean", "markovbridge.nats", "markovbridge.heads.counts.Mean", "mb.Given.unknown"]
)
def test_a_name_that_is_gone_is_seen(name):
    assert gone(f"See `{name}`, and `markovbridge.heads.MeanHead`.") == [name]


def test_what_is_there_is_found():
    assert resolve("mb.MeanHead") is markovbridge.heads.MeanHead
    assert gone("`mb.Given.condition`, `markovbridge.samplers.grids`, `mb.data.Digits`") == []
    assert lost("`a/b.py` and `b.py`, not `c.py`", ["src/a/b.py"]) == ["c.py"]


# Classes of one name that are the same idea in two rooms: a law, and the data or the source that
# have it; a verb, and what it is about; the rows of numbers that a law or a file holds.
NAMESAKES = {
    "Binomial": {"laws", "exact"},
    "Data": {"cli", "couplings"},
    "Gaussian": {"laws", "exact", "couplings"},
    "Mixture": {"laws", "exact"},
    "NegativeBinomial": {"laws", "exact"},
    "Pairs": {"data", "exact"},
    "Poisson": {"laws", "exact"},
    "Rows": {"couplings", "data"},
    "Table": {"laws", "data"},
}


def test_one_name_is_one_class():
    rooms = {}
    for path in sorted((ROOT / "src" / "markovbridge").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                rooms.setdefault(node.name, []).append(path.relative_to(ROOT).parts[2])
    assert len(rooms) > 300
    doubled = {name: where for name, where in rooms.items() if len(where) > 1}
    assert {name: sorted(where) for name, where in doubled.items()} == {
        name: sorted(where) for name, where in NAMESAKES.items()
    }
