"""The reference of the site has every public name, and says what it is. Without Sphinx."""

import importlib
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import markovbridge

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "site"))
import reference  # noqa: E402

PAGES = reference.pages()


def public():
    """Every public name, from the files that say what is public, and not from the reference."""
    found = {f"markovbridge.{name}": getattr(markovbridge, name) for name in markovbridge.__all__}
    for path in sorted((ROOT / "src" / "markovbridge").rglob("__init__.py")):
        room = ".".join(path.parent.relative_to(ROOT / "src").parts)
        module = importlib.import_module(room)
        if module is not markovbridge:
            for name in getattr(module, "__all__", []):
                found[f"{room}.{name}"] = getattr(module, name)
    return {name: thing for name, thing in found.items() if not inspect.ismodule(thing)}


def test_every_public_name_has_a_place_and_only_one():
    text = "".join(PAGES.values())
    written = {entry.path: entry.object for entry in reference.entries()}
    found = public()
    assert len(found) > 300 and len(written) > 300
    by_object = {id(thing): path for path, thing in written.items()}
    for name, thing in found.items():
        path = by_object[id(thing)]
        kind = "class" if inspect.isclass(thing) else "function" if callable(thing) else "data"
        assert text.count(f"{{py:{kind}}} {path}" + ("(" if kind != "data" else "\n")) == 1, name


def test_every_public_name_says_what_it_is():
    assert reference.undocumented() == []
    text = "Samples that go through the network at once. It is `64`."
    assert f"markovbridge.transport.BLOCK\n\n{text}" in PAGES["transport.md"]


def test_methods_have_a_place():
    public = {id(entry.object) for entry in reference.entries()}
    stated = [
        f"{entry.path}.{name}"
        for entry in reference.entries()
        if inspect.isclass(entry.object)
        for _, name, _ in reference.members(entry.object, public)
    ]
    assert len(stated) > 700
    assert "{py:method} sample(n, *," in PAGES["transport.md"]
    assert "**maximum** (`int | None`)" in PAGES["processes.md"]


@dataclass(frozen=True)
class Silent:
    """"""

    size: int = 1


Silent.__doc__ = "Silent(size: int = 1)"  # what Python puts where nobody said anything


class Half:
    """A class with a method that says nothing."""

    def go(self):
        return 1


@pytest.mark.parametrize("thing", [Silent, Half])
def test_what_says_nothing_is_an_error(monkeypatch, tmp_path, thing):
    module = importlib.import_module("markovbridge.training")
    monkeypatch.setattr(module, "__all__", [*module.__all__, thing.__name__])
    monkeypatch.setattr(module, thing.__name__, thing, raising=False)
    with pytest.raises(ValueError, match=f"without a docstring: .*{thing.__name__}"):
        reference.write(tmp_path)


def test_a_new_public_name_appears_by_itself(monkeypatch, tmp_path):
    class Newcomer:
        """A class that was not there before."""

    module = importlib.import_module("markovbridge.training")
    monkeypatch.setattr(module, "__all__", [*module.__all__, "Newcomer"])
    monkeypatch.setattr(module, "Newcomer", Newcomer, raising=False)
    reference.write(tmp_path)
    assert "A class that was not there before." in (tmp_path / "training.md").read_text()
    assert (
        "`training.Newcomer <markovbridge.training.Newcomer>`"
        in (tmp_path / "index.md").read_text()
    )


def test_sections_become_lists_with_types():
    doc = (
        "Do.\n\nArgs:\n    n: How many,\n        `Bridge` or not.\n\nRaises:\n    ValueError: If."
    )
    text = reference.markdown(doc, {"n": "int"}, reference.Links(reference.entries()))
    assert "- **n** (`int`): How many,\n  {py:obj}`Bridge <markovbridge.Bridge>` or not." in text
    assert "**Raises**\n\n- **ValueError**: If." in text
