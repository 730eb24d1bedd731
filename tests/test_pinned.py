"""Values are those that were written down, and what was saved is read and means the same.

`pinned` says which values there are. With the torch and the processor that they were written
with they are equal to the last bit; with others floats are close, and few integers differ.
"""

import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

import markovbridge as mb
import pinned
from markovbridge import couplings, covariances, exact, heads, networks, processes
from pinned import CASES, SAMPLERS

CLOSE = 1e-5
# A likelihood is a mean over times that are drawn from a density fitted to the model's errors,
# and a step of training is another one where one draw of its noise is.
FITTED = {"likelihood": 1e-3, "step": 0.03}
# Of these each number has draws of its own behind it, and may be another where they are.
DRAWN = {"loss", "gradient"}
FLIPPED = 0.01  # share of numbers that draws turn into others where rounding turned these
# Bases of the classes that some model here has to have. UNet is slow to build.
KINDS = [
    (processes, processes.Process),
    (processes, processes.LinearSDE),
    (processes, processes.Support),
    (processes, processes.Schedule),
    (heads, heads.Head),
    (couplings, couplings.Coupling),
    (couplings, couplings.Start),
    (mb.transport, mb.transport.Objective),
    (covariances, covariances.Covariance),
    (covariances, covariances.Kernel),
    (exact, exact.DataLaw),
    (networks, networks.Network),
]
ELSEWHERE = {networks.UNet, processes.MirroredSchedule}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _all_measured(monkeypatch):
    """Errors over time of as many samples as a run has them of, not of the few of other tests."""
    monkeypatch.setattr("markovbridge.training.selection.MEASURED", 128)


@cache
def written() -> dict[str, Any]:
    return pinned.read()


def same_machine() -> bool:
    return written()["made with"] == pinned.made_with()


def check(found: dict[str, Any], known: dict[str, Any]) -> None:
    """Raise AssertionError unless recorded values are the known ones."""
    assert found.keys() == known.keys()
    other = [word for word in known if json.dumps(found[word]) != json.dumps(known[word])]
    if same_machine():
        told = {word: (found[word], known[word]) for word in other}
        assert not other, f"another value, and the known one: {told}"
    sizes, flipped = [0], 0
    for word, value in known.items():
        if word.startswith("weights:"):  # hashes of floats
            continue
        new, old = numbers(found[word]), numbers(value)
        if old is None or new is None or new.shape != old.shape or new.dtype != old.dtype:
            assert word not in other, f"{word}: {found[word]}, and not {value}"
        elif old.is_floating_point() and word not in DRAWN:
            close, told = FITTED.get(word.split()[0], CLOSE), f"{word}: {new}, and not {old}"
            torch.testing.assert_close(new, old, rtol=close, atol=close, msg=told)
        else:
            close = CLOSE if old.is_floating_point() else 0.0
            others = ~torch.isclose(new.double(), old.double(), rtol=close, atol=close)
            sizes, flipped = [*sizes, old.numel()], flipped + int(others.sum())
    # One number of a draw that is another carries those after it away: of two questions here.
    allowed = max(FLIPPED * sum(sizes), sum(sorted(sizes)[-2:]))
    assert flipped <= allowed, f"{flipped} of {sum(sizes)} numbers are others, in {other}"


def numbers(value: Any) -> torch.Tensor | None:
    """A recorded value as a tensor; None for words, which have to be equal."""
    if isinstance(value, dict):
        return torch.tensor(value["values"], dtype=getattr(torch, value["type"]))
    if isinstance(value, float) or (isinstance(value, list) and isinstance(value[0], float)):
        return torch.tensor(value, dtype=torch.float64)
    return None


@pytest.mark.parametrize(
    ("area", "name"), [(area, name) for area in pinned.AREAS for name in pinned.AREAS[area][1]]
)
def test_values_are_those_that_were_written(area, name, capsys, pytestconfig):
    if area == "used":
        pytest.importorskip("pandas")
    known = written()["values"][area][name]
    if area == "models" and not pytestconfig.getoption("whole"):
        words = turns(name, list(known))
        found = pinned.answers(CASES[name](), words)
        check(pinned.recorded(found), {word: known[word] for word in words})
    else:
        compute, _ = pinned.AREAS[area]
        check(pinned.recorded(compute(name)), known)


def turns(name: str, words: list[str]) -> list[str]:
    """Questions to a model: some are put to all, and every second other, in turns."""
    place = list(CASES).index(name)
    return [word for k, word in enumerate(words, place) if k % 2 or word in pinned.FEW]


def test_nothing_that_was_written_is_left_out():
    names = {area: set(names) for area, (_, names) in pinned.AREAS.items()}
    assert names == {area: set(values) for area, values in written()["values"].items()}
    assert {path.name for path in pinned.MODELS.iterdir()} == {
        name for name, make in CASES.items() if make().saved
    }


@pytest.mark.parametrize("folder", sorted(pinned.MODELS.iterdir()), ids=lambda path: path.name)
def test_saved_models_are_read_and_are_the_same(folder):
    case = replace(CASES[folder.name](), model=mb.Transport.from_pretrained(folder))
    found = pinned.recorded(pinned.answers(case, pinned.FEW))
    known = written()["values"]["models"][folder.name]
    check(found, {word: known[word] for word in pinned.FEW})


def test_every_class_is_in_some_model():
    used = {kind for make in CASES.values() for kind in parts(make().model)} | ELSEWHERE
    used |= {kind for sampler, _ in SAMPLERS.values() for kind in parts(sampler)}
    every = {one for module, base in KINDS for one in public(module, base)}
    every |= set(public(mb.samplers, mb.samplers.Sampler))
    left = sorted(one.__name__ for one in every - used)
    assert not left, f"no model here has one of {left}: add a case to tests/pinned_*.py"


def public(module: Any, base: type) -> list[type]:
    """The classes that a module exports under a base, those that can be made."""
    found = [getattr(module, name) for name in module.__all__]
    kinds = [one for one in found if inspect.isclass(one) and issubclass(one, base)]
    return [one for one in kinds if not inspect.isabstract(one)]


def parts(value: Any) -> Iterator[type]:
    """The classes of an object of the package, and of all that it is made of."""
    if isinstance(value, dict):
        yield from parts(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from parts(item)
    elif type(value).__module__.split(".")[0] == mb.__name__:
        yield type(value)
        yield from parts(vars(value))
