"""Examples in docstrings are run, and give what they say."""

import doctest
import importlib
import warnings
from pathlib import Path

import pytest
import torch

import markovbridge

ROOT = Path(markovbridge.__file__).parent
MODULES = [
    ".".join(("markovbridge", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    module = importlib.import_module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # models of two steps are warned of
        found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0 and found.failed == 0


def test_there_are_examples():
    assert len(MODULES) >= 10
