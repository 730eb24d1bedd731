"""Doors: what a public function may be given is checked before anything is done with it."""

import math
import multiprocessing
import sys

import numpy as np
import pytest
import torch
from torch import nn

import markovbridge as mb
from fuzz_targets import targets
from markovbridge import doors, exact, laws, training
from markovbridge.covariances import Diagonal
from markovbridge.data import Arrays, Digits, Synthetic
from markovbridge.doors import checks, randomness
from markovbridge.evaluation import metrics, restoration
from markovbridge.laws.numbers import binomial
from markovbridge.networks import MLP
from markovbridge.samplers.known_sites import Masking

NAN = math.nan
COUNTS = torch.tensor([[3, 0, 2], [1, 5, 4]])


def small(process=None, head=None, **options):
    process = mb.PureDeath(maximum=8) if process is None else process
    network = MLP((3,), features=1, outputs=1, width=8, depth=1)
    return mb.Transport(
        process, network, mb.MeanHead() if head is None else head, shape=(3,), **options
    )


def test_every_public_function_is_a_door():
    """A module without its last line, or a new one, is found here."""
    bare = []
    for name, target in targets().items():
        function = target.function
        own = str(getattr(function, "__module__", "")).startswith("markovbridge")
        if own and not hasattr(function, "__wrapped__"):
            bare.append(name)
    assert bare == []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: small("PureDeath"), TypeError, "process must be a Process, not 'PureDeath'"),
        (
            lambda: small(mb.PureDeath),
            TypeError,
            r"such as PureDeath\(\), not the class",
        ),
        (lambda: small(head=mb.Bridge()), TypeError, "head must be a Head or None, not a Bridge"),
        (lambda: small(covariates=3), TypeError, "covariates must be a Covariates or None, not 3"),
        (lambda: small(error_curve="a"), TypeError, "error_curve must be an ErrorCurve or None"),
        (lambda: small(objective=1), TypeError, "objective must be an Objective or None, not 1"),
        (lambda: small(masking=True), TypeError, "masking must be a Masking or None, not True"),
        (lambda: small().sample(2, generator=42), TypeError, r"manual_seed\(0\)"),
        (lambda: small().sample(2.5), TypeError, "n must be a whole number, not 2.5"),
        (lambda: small().sample(10**12), ValueError, r"n = 1000000000000 samples .* GiB"),
        (lambda: small().loss(COUNTS.numpy()), TypeError, "x1 must be a Tensor, not a.* ndarray"),
        (lambda: mb.PureDeath(NAN), TypeError, "maximum must be a whole number or None, not nan"),
        (lambda: mb.PureDeath(16.5), TypeError, "not 16.5"),
        (lambda: mb.PureDeath(8, schedule=3), TypeError, "schedule must be a Schedule, not 3"),
        (lambda: mb.PathKL(damping=NAN), ValueError, "damping must be finite, not nan"),
        (lambda: mb.LogisticSchedule(t_end=math.inf), ValueError, "t_end must be finite"),
        (lambda: mb.CosineSchedule().grid(3, NAN), ValueError, "start must be finite, not nan"),
        (lambda: mb.CosineSchedule().grid(3, 2**31), ValueError, "start must be .*below 1"),
        (
            lambda: mb.processes.RoundedSupport(NAN),
            TypeError,
            "maximum must be a whole number, not nan",
        ),
        (lambda: mb.RandomWalk(centre="abc"), TypeError, "centre must be .*not 'abc'"),
        (lambda: mb.UniformChain(4, ordered=1), TypeError, "ordered must be True or False, not 1"),
        (lambda: exact.Binomial(mb.PureDeath(), 4, 7.0), ValueError, "probability .* at most 1"),
        (lambda: exact.Binomial(mb.PureDeath(), -1, 0.5), ValueError, "count must be at least 0"),
        (lambda: laws.Normal(torch.zeros(2, 3), -torch.ones(2, 3)), ValueError, "std must be"),
        (lambda: mb.Ehrenfest(2**31), ValueError, "2147483648 asks for would take .* GiB"),
        (lambda: MLP((3,), 1, 1, depth=2**53), ValueError, "depth = 9007199254740992 blocks"),
        (lambda: small().impute(COUNTS, COUNTS > 1, rounds=2**31), ValueError, "not 2147483648"),
        (lambda: metrics.mmd(COUNTS, COUNTS, bandwidth=NAN), ValueError, "bandwidth must be"),
        (
            lambda: metrics.held_out(torch.ones(2, 3), torch.full((2, 3), NAN)),
            ValueError,
            "the truth must be finite",
        ),
        (
            lambda: restoration.ranks(
                restoration.Restoration(COUNTS.expand(5, 2, 3)), torch.full((2, 3), NAN)
            ),
            ValueError,
            "the truth must be finite",
        ),
        (lambda: training.Trainer(small(), "digits"), TypeError, "data are an array"),
    ],
)
def test_wrong_values_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


# One bad state for each way to be none.
BAD_STATES = {
    "NaN": torch.full((2, 3), NAN),
    "infinite": torch.full((2, 3), math.inf),
    "a fraction": torch.full((2, 3), 0.5),
    "float": COUNTS.float(),
    "uint16": COUNTS.to(torch.uint16),
    "meta": COUNTS.to("meta"),
    "bool": COUNTS > 0,
}


@pytest.mark.parametrize("bad", BAD_STATES)
@pytest.mark.parametrize(
    "process",
    [mb.PureDeath(8), mb.BirthDeath(2.0, maximum=8), mb.UniformChain(8), mb.Ehrenfest(8)],
    ids=lambda process: type(process).__name__,
)
def test_states_are_checked_where_they_enter_a_process(process, bad):
    x = BAD_STATES[bad]
    for call in (
        lambda: process.noised(x),
        lambda: process.transition(x, 1.0, 0.5),
        lambda: process.bridge(torch.zeros_like(COUNTS), x, 0.0, 0.5, 1.0),
        lambda: process.rates(x, COUNTS, 0.5),
        lambda: process.evidence(x, 0.5),
    ):
        with pytest.raises(TypeError, match="whole numbers, as int64|holds no values|uint16"):
            call()


def test_shapes_that_do_not_go_together_are_named():
    process = mb.UniformChain(8)
    with pytest.raises(ValueError, match=r"one per sample \(2,\), not \(3,\)"):
        process.transition(COUNTS, torch.ones(3), torch.full((3,), 0.5))
    with pytest.raises(ValueError, match=r"cannot work with .*x \(2, 3\) of int64"):
        process.bridge(COUNTS, COUNTS[:, :2], 0.0, 0.5, 1.0)
    with pytest.raises(ValueError, match="x holds 9, but the states of this chain are 0 .. 7"):
        process.noised(COUNTS + 4)


def test_errors_of_a_network_of_the_users_are_left_as_they_are():
    class Broken(nn.Module):
        def forward(self, features, t, condition=None):
            return features @ torch.ones(7, 7)

    model = mb.Transport(mb.PureDeath(8), Broken(), mb.MeanHead(), shape=(3,))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        model.loss(COUNTS)


def test_nothing_but_counts_is_drawn_from():
    """In a process of its own: what is refused here did not come back from torch."""

    def draw():
        half = torch.tensor(0.5)
        for bad in (NAN, math.inf, -1.0, 0.5):
            x = torch.full((4, 3), bad)
            for call in (
                lambda x=x: restoration.thin(x, 0.5),
                lambda x=x: laws.Binomial(x, half).sample(),
                lambda x=x: binomial(x, half, None),
            ):
                with pytest.raises(ValueError, match="counts are whole numbers"):
                    call()

    child = multiprocessing.get_context("fork").Process(target=draw)
    child.start()
    child.join(60)
    child.kill()
    assert child.exitcode == 0
    with pytest.raises(ValueError, match="no draw of -1 units"):
        laws.Binomial(torch.tensor([-1]), torch.tensor(0.5)).sample()
    with pytest.raises(ValueError, match="probability of units is NaN"):
        laws.Binomial(torch.tensor([1]), torch.tensor(NAN)).sample()


def test_seeds_are_one_by_value():
    assert randomness.derive(np.int64(3), "a") == randomness.derive(3, "a")
    assert randomness.derive("3") != randomness.derive(3)
    for bad in (0.0, False, None, b"0"):
        with pytest.raises(TypeError, match="a seed must be a whole number, not"):
            randomness.derive(bad)
    np.testing.assert_array_equal(Digits(seed=np.int64(1)).load().x, Digits(seed=1).load().x)
    assert Digits(seed=np.int64(1)) == Digits(seed=1)
    assert torch.equal(
        restoration.thin(COUNTS, 0.5, np.int64(2)), restoration.thin(COUNTS, 0.5, 2)
    )
    for source in (Digits, Synthetic, lambda seed: Arrays("a.npy", seed=seed)):
        for bad in (0.0, "0", True, object()):
            with pytest.raises(TypeError, match="seed must be a whole number, not"):
                source(seed=bad)


def test_numbers_of_numpy_are_numbers():
    mean, _ = mb.statistics(COUNTS.numpy())
    assert torch.equal(mean, mb.statistics(COUNTS)[0])
    assert type(mb.PureDeath(np.int64(4)).maximum) is int
    assert type(mb.PathKL(damping=np.float32(0.5)).damping) is float
    assert Synthetic(shape=[2, np.int64(3)]).shape == (2, 3)
    assert Masking(none=np.float64(0.5)) == Masking(none=0.5)
    with pytest.raises(TypeError, match="variances must be a Tensor, .* not True"):
        Diagonal(True)


def test_results_may_hold_what_is_not_known():
    assert math.isnan(restoration.Score("a", 1.0, NAN).error)


def test_a_parameter_is_within_bounds_everywhere():
    checks.parameter(torch.tensor([0.0, 1.0]), "p", least=0, most=1)
    checks.parameter(torch.zeros(0), "p", above=3)
    for bad in (torch.tensor([0.5, 1.5]), torch.tensor([NAN, 0.5]), torch.tensor([-1, 0]), -0.1):
        with pytest.raises(ValueError, match="p must be finite and at least 0 and at most 1"):
            checks.parameter(bad, "p", least=0, most=1)
    with pytest.raises(ValueError, match="5 numbers take .* GiB, more than"):
        checks.room(2**50, "5 numbers", "take fewer")


def test_what_an_annotation_says_is_what_is_checked():
    """Each kind of annotation, on a function made for it."""
    from types import ModuleType

    module = ModuleType("markovbridge_doors_of_a_test")
    sys.modules[module.__name__] = module
    code = """
from __future__ import annotations
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
def f(a: int = 0, b: float | None = None, c: Sequence[int] = (), d: tuple[float, ...] = (),
      e: tuple[int, int] = (1, 2), g: Mapping[str, float] | None = None,
      h: Callable[[int], int] | None = None, i: Literal["x", "y"] = "x", j: Path | None = None,
      k: type[ValueError] = ValueError, l: Any = None, m: Iterable[int] = (), n: bool = False):
    return a, b, c, d, e, g
"""
    exec(compile(code, "test", "exec"), vars(module))
    doors.guard(module.__name__)
    f = module.f
    good = f(
        np.int32(3), 2, [1], [1.0, 2], (3, 4), {"a": 1.0}, abs, "y", "path", ValueError, f, [1]
    )
    assert good == (3, 2, [1], (1.0, 2), (3, 4), {"a": 1.0}) and type(good[0]) is int
    assert f(c=np.array([1, 2]))[2] == (1, 2)
    for options, error, message in (
        ({"a": True}, TypeError, "a must be a whole number, not True"),
        ({"a": None}, TypeError, "not None"),
        ({"b": "2"}, TypeError, "b must be a number or None, not '2'"),
        ({"b": math.inf}, ValueError, "b must be finite, not inf"),
        ({"b": 10**400}, ValueError, "b must be finite"),
        ({"c": [1, 2.5]}, TypeError, r"c\[1\] must be a whole number, not 2.5"),
        ({"c": "12"}, TypeError, "c must be a sequence of whole numbers, not '12'"),
        ({"d": [NAN]}, ValueError, r"d\[0\] must be finite"),
        ({"e": (1, 2, 3)}, ValueError, "e must be 2 values"),
        ({"g": {"a": "b"}}, TypeError, r"g\['a'\] must be a number, not 'b'"),
        ({"h": 3}, TypeError, "h must be a function or None, not 3"),
        ({"i": "z"}, ValueError, "i must be one of 'x', 'y', not 'z'"),
        ({"j": 3}, TypeError, "j must be a path or None, not 3"),
        ({"k": int}, TypeError, "k must be a class of ValueError, not the class int"),
        ({"m": 3}, TypeError, "m must be an iterable, not 3"),
        ({"n": 1}, TypeError, "n must be True or False, not 1"),
    ):
        with pytest.raises(error, match=message):
            f(**options)


def test_what_is_compiled_before_it_was_called_works():
    """Doors learn annotations at the first call, which a compiler cannot follow."""

    class Inner(MLP):
        """An MLP whose doors nobody has gone through."""

    compiled = torch.compile(fresh := Inner((3,), 2, 1, width=4, condition=2), backend="eager")
    x, t, told = torch.rand(4, 2, 3), torch.rand(4), torch.rand(4, 2)
    assert torch.equal(compiled(x, t, told), fresh(x, t, told))
