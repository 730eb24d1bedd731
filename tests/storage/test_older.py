"""What was saved of a part stays readable, and means what it meant.

`tests/fixtures/arguments.json` has the arguments of every class that a file may name, as they were
when the class came. One that came later has to be in `storage.older.LATER`, with what the part did
before. `python tests/storage/test_older.py` adds the classes that are new, and changes no others.
"""

import inspect
import json
from pathlib import Path

import pytest

from markovbridge.exact import BaseFit
from markovbridge.storage.older import LATER
from markovbridge.storage.parts import classes
from markovbridge.storage.public_names import gone, name_of, today

RECORD = Path(__file__).parents[1] / "fixtures" / "arguments.json"
PARTS = {name_of(cls): cls for cls in classes().values() if not inspect.isabstract(cls)}


def known():
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def write():
    found = {path: [*inspect.signature(cls).parameters] for path, cls in PARTS.items()}
    every = {**{path: [n for n in found[path] if n not in LATER] for path in found}, **known()}
    RECORD.write_text(json.dumps(dict(sorted(every.items())), indent=1) + "\n", encoding="utf-8")


def test_every_class_is_recorded_and_every_one_that_was_is_read():
    assert PARTS.keys() - known().keys() == set(), f"python {Path(__file__)} records them"
    assert {path for path in known() if today(path) not in classes()} == set()


@pytest.mark.parametrize("path", PARTS)
def test_arguments_that_came_later_are_told_and_none_is_lost(path):
    now, then = inspect.signature(PARTS[path]).parameters, known().get(path, [])
    later = {name: now[name].default for name in now if name not in then}
    forgotten = set(later) - LATER.keys()
    assert not forgotten, f"{forgotten} came later: say in LATER what {path} did before"
    # A model is made of its file as that is, so there the default has to be what it did before;
    # a recipe is told by `older.lacking`.
    if not issubclass(PARTS[path], BaseFit):
        assert later == {name: LATER[name] for name in later}
    assert set(then) - now.keys() <= gone(PARTS[path]).keys(), "files of before name these"


if __name__ == "__main__":
    write()
