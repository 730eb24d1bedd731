"""Imports run downwards: no module imports one that imports it, in whatever way."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import markovbridge

ROOT = Path(markovbridge.__file__).parents[1]


def modules():
    """The files of the package by the names of their modules."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in Path(markovbridge.__file__).parent.rglob("*.py")
    }


def imported(path, known):
    """The modules of the package that a file imports: in functions and for types, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else name.rpartition(".")[0] for name in names}
    return found & known.keys()


def test_no_import_runs_in_a_circle():
    known = modules()
    graph = {name: imported(path, known) - {name} for name, path in known.items()}
    assert graph["markovbridge.transport"]
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_no_folder_imports_one_that_imports_it():
    known, graph = modules(), {}
    for name, path in known.items():
        own = name.split(".")[1:2]
        for other in imported(path, known):
            theirs = other.split(".")[1:2]
            if own and theirs and own != theirs:
                graph.setdefault(own[0], set()).add(theirs[0])
    TopologicalSorter(graph).prepare()
