"""Wrong times, given to every process and schedule by every method that takes one."""

import inspect
import math

import numpy as np
import pytest
import torch

import markovbridge as mb
import problems_chains
from markovbridge import laws, processes
from markovbridge.processes import schedules

STATES = torch.tensor([[0, 1, 2], [1, 0, 2]])
REALS = torch.tensor([[0.1, -0.3, 0.5], [1.0, 0.2, -0.7]])
STEPS = torch.tensor([[1.0, 0.5, 0.2], [0.3, 2.0, 0.1]])
RATES = [[-1.0, 0.5, 0.5], [0.5, -1.0, 0.5], [0.5, 0.5, -1.0]]
NOISY = torch.full((40, 3, 3), 0.1) + 0.7 * torch.eye(3)

OBJECTS = [
    processes.PureDeath(2),
    processes.UniformChain(3),
    processes.UniformChain(3, ordered=True),
    processes.AbsorbingChain(3),
    processes.FiniteChain(RATES),
    processes.FiniteChain(lambda t: (1 + t) * torch.tensor(RATES)),
    problems_chains.by_vectors(np.array(RATES)),
    processes.DiscretisedGaussianChain(3),
    processes.DiscreteTimeChain(NOISY),
    processes.Ehrenfest(2),
    processes.BirthDeath(1.5, 2),
    processes.RandomWalk(2.0, 1, 2),
    processes.PureBirth(2.0, 0, 2),
    processes.Yule(2.0, 1, 2),
    processes.LinearBirthDeath(0.7, 2),
    processes.GammaProcess(3.0),
    processes.LinearDiffusion(),
    processes.LinearDiffusion(schedule=mb.CosineSchedule(), direction="noising"),
    schedules.CosineSchedule(),
    schedules.LinearSchedule(),
    schedules.LogisticSchedule(),
    schedules.LogisticSchedule().mirrored(),
    schedules.SurvivalSchedule(lambda t: t**2),
]
# What does not depend on time, and does not look at it.
BLIND = {
    ("PureDeath", "strengths"),
    ("GammaProcess", "divergence"),  # it refuses
    ("LinearDiffusion", "bridged"),  # without an offset
    ("LinearDiffusion", "carried"),
    *((kind, "pinned") for kind in vars(processes)),
    *((kind, "inward") for kind in ("UniformChain", "AbsorbingChain", "Ehrenfest")),
}
OUTSIDE = r"time .* is outside \[0, 1\]: 0 is the source, 1 the data|[stu] must be finite, not nan"
BACKWARDS = r"times must be ordered from the source, 0, to the data, 1, and here they are "


def found(owner):
    """Public methods that take a time, and which of their arguments are times."""
    for name, method in inspect.getmembers(type(owner), inspect.isfunction):
        if name.startswith("_") or (type(owner).__name__, name) in BLIND:
            continue
        if method is processes.Process.closed_form:  # of those that have none
            continue
        times = [
            argument
            for argument, parameter in inspect.signature(method).parameters.items()
            if parameter.annotation == "Time" and parameter.kind is not parameter.VAR_POSITIONAL
        ]
        if times:
            yield name, times


def ordered(owner, name):
    """The arguments of a method that must not decrease, if it takes such."""
    if name == "transition" and not isinstance(owner, processes.LinearDiffusion):
        return "ts"  # those of the diffusion go either way
    return {"bridge": "stu", "weights": "stu", "piece": "st"}.get(name, "")


CASES = [
    pytest.param(owner, name, times, id=f"{type(owner).__name__}-{i}-{name}")
    for i, owner in enumerate(OBJECTS)
    for name, times in found(owner)
]


def others(owner, name, times):
    """Good values for the arguments that are no times, and good times, in order."""
    real = isinstance(owner, processes.LinearDiffusion)
    x = REALS if real else STATES
    y = REALS + 1 if real else torch.full_like(STATES, 2)
    if isinstance(owner, processes.GammaProcess):
        x, y = REALS.abs(), REALS.abs() + 1
    if isinstance(owner, processes.PureBirth | processes.Yule):
        y = torch.zeros_like(x)
    if getattr(owner, "absorbing", None) == 3:
        x = torch.full_like(x, 3)
    process = owner if isinstance(owner, processes.Process) else processes.PureDeath()
    table = laws.Categorical(torch.zeros(2, 3, 3))
    law = laws.Gaussian(y, torch.tensor(0.0), mb.covariances.Isotropic()) if real else table
    values = {
        "x": x,
        "y": y,
        "law": law,
        "mean": torch.ones(3),
        "setting": processes.Setting(process, mb.Noised(), torch.ones(3), torch.ones(3)),
        "weights": torch.ones(2, 3, getattr(owner, "size", 3) or 3),
        "values": y,
        "mask": torch.tensor([True, False, True]),
        "coupling": mb.Noised(),
        "up": STEPS,
        "down": STEPS,
        "drift": REALS,
        "score": REALS,
        "share": 0.5,
        "start": REALS,
        "end": REALS,
    }
    needed = inspect.signature(getattr(type(owner), name)).parameters
    good = dict(zip(times, (0.2, 0.5, 0.8), strict=False))
    noising = getattr(owner, "direction", "forward") == "noising"
    if times == ["s", "t"] and noising and name != "piece":
        good = {"s": 0.8, "t": 0.2}  # from data to source
    return {key: values[key] for key in needed if key in values} | good


def call(owner, name, arguments):
    return getattr(owner, name)(**arguments)


def tensors(result):
    """What a result holds, in order."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, tuple):
        return [part for one in result for part in tensors(one)]
    return tensors(tuple(getattr(result, "__dict__", {}).values()))


def turns(first):
    """Every second case, the others with `--whole`."""
    return [
        case if k % 2 == first else pytest.param(*case.values, id=case.id, marks=pytest.mark.whole)
        for k, case in enumerate(CASES)
    ]


@pytest.mark.parametrize(("owner", "name", "times"), turns(0))
def test_wrong_times_are_refused(owner, name, times):
    for argument in times:
        for bad in (-0.1, 1 + 1e-6, math.nan, 2, -math.inf):
            for value in (bad, torch.tensor(float(bad)), torch.tensor([0.5, float(bad)])):
                wrong = others(owner, name, times) | {argument: value}
                with pytest.raises(ValueError, match=OUTSIDE + "|must be finite, not"):
                    call(owner, name, wrong)


@pytest.mark.parametrize(
    ("owner", "name", "times"), [c for c in CASES if ordered(c.values[0], c.values[1])]
)
def test_times_out_of_order_are_refused(owner, name, times):
    order = ordered(owner, name)
    for k in range(len(order) - 1):
        for early, late in ((0.6, 0.4), (1.0, 0.5), (0.5, 0.0), (1.0, 0.0)):
            pairs = (
                (early, late),
                (torch.tensor([early, late]), late),
                (early, torch.tensor([late, early]).double()),
                (torch.tensor([late, early]), torch.tensor([late, late])),
                (torch.tensor(early), torch.tensor(late)),
            )
            for first, second in pairs:
                wrong = dict.fromkeys(order[:k], 0.0) | dict.fromkeys(order[k + 2 :], 1.0)
                wrong |= {order[k]: first, order[k + 1]: second}
                with pytest.raises(ValueError, match=BACKWARDS):
                    call(owner, name, others(owner, name, times) | wrong)


@pytest.mark.parametrize(("owner", "name", "times"), turns(1))
def test_a_reading_is_as_good_as_its_times(owner, name, times):
    """Of the schedule itself or of another one, with the same result to the last bit."""
    schedule = getattr(owner, "schedule", None) or owner
    good = others(owner, name, times)
    for dtype in (torch.float32, torch.float64):
        plain = good | {t: torch.full((2,), good[t], dtype=dtype) for t in times}
        expected = tensors(call(owner, name, plain))
        assert expected
        for reader in (schedule, mb.LogisticSchedule(3.0)):
            read = plain | {t: reader.at(plain[t]) for t in times}
            for _ in range(2):  # what is remembered is the same
                answer = tensors(call(owner, name, read))
                for a, b in zip(answer, expected, strict=True):
                    assert a.dtype == b.dtype and torch.equal(a, b)


def test_every_process_is_asked():
    public = {getattr(processes, name) for name in processes.__all__}
    concrete = {
        kind
        for kind in public
        if isinstance(kind, type)
        and issubclass(kind, processes.Process)
        and not inspect.isabstract(kind)
    }
    assert concrete == {type(owner) for owner in OBJECTS if isinstance(owner, processes.Process)}
    for owner in OBJECTS[:-5]:
        names = {name for name, _ in found(owner)}
        wanted = {"transition", "bridge", "divergence", "standardise"}
        assert wanted - {name for kind, name in BLIND if kind == type(owner).__name__} <= names
