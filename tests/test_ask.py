"""What a thing can do is asked of it: no module outside asks which class it is of."""

import ast
import importlib
import inspect
import sys
from pathlib import Path

import pytest

import markovbridge
import markovbridge.cli.inspect
import markovbridge.exact.empirical
from markovbridge import heads, laws, processes
from markovbridge.heads import Head
from markovbridge.laws import Law
from markovbridge.processes import Process

SOURCE = Path(markovbridge.__file__).parent
AT_HOME = ("processes", "laws", "heads")
ALLOWED = {
    # Refusals: what follows is linear in Gaussians, or the law is a point.
    "couplings/base.py": {"LinearDiffusion"},
    "exact/fields.py": {"LinearDiffusion"},
    "exact/gaussians.py": {"LinearDiffusion"},
    "transport/objectives.py": {"LinearDiffusion", "Delta"},
    "exact/posteriors.py": {"PureDeath"},
    "samplers/levels.py": {"LinearDiffusion"},
    # The closed form of a Gaussian mixture, beside that of any process.
    "exact/empirical.py": {"LinearDiffusion"},
    "exact/reverse.py": {"Categorical"},
    # A picture of how many points a law is spread over.
    "evaluation/inspection.py": {"Atoms"},
    # A file that holds no other model.
    "counts/files.py": {"PureDeath"},
}


def concrete():
    modules = []
    for package in (processes, laws, heads):
        paths = sorted(Path(package.__file__).parent.glob("[!_]*.py"))
        modules += [importlib.import_module(f"{package.__name__}.{path.stem}") for path in paths]
    values = [value for module in modules for value in vars(module).values()]
    kinds = [v for v in values if isinstance(v, type) and issubclass(v, Process | Law | Head)]
    return {kind.__name__ for kind in kinds if not inspect.isabstract(kind)}


def asked(path):
    """Names of classes that a module asks objects whether they are of, but for namesakes."""
    name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    module = sys.modules.get(f"markovbridge.{name}")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            for part in ast.walk(node.args[1]):
                if isinstance(part, ast.Name):
                    kind = getattr(module, part.id, None)
                    if not isinstance(kind, type) or issubclass(kind, Process | Law | Head):
                        yield part.id
                elif isinstance(part, ast.Attribute):
                    yield part.attr


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(SOURCE.rglob("*.py")) if p.relative_to(SOURCE).parts[0] not in AT_HOME],
    ids=lambda path: str(path.relative_to(SOURCE)),
)
def test_no_module_asks_for_a_class(path):
    found = set(asked(path)) & CONCRETE
    assert found <= ALLOWED.get(path.relative_to(SOURCE).as_posix(), set())


CONCRETE = concrete()


def test_the_list_of_exceptions_is_no_longer_than_needed():
    assert {"PureDeath", "LinearDiffusion", "Categorical", "EndpointHead", "TwoMeans"} <= CONCRETE
    for name, kinds in ALLOWED.items():
        assert kinds <= set(asked(SOURCE / name)), name
