"""Second order on categories: laws of steps by matrices, and who is sent to the bridge."""

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

import markovbridge as mb
from markovbridge import exact, processes
from markovbridge.processes import JumpProcess
from markovbridge.samplers import Adaptive, SecondOrderBridge, Trapezoidal

PATH = Path(__file__).parents[2] / "benchmarks" / "second_order_categories.py"
SPEC = importlib.util.spec_from_file_location("second_order_categories", PATH)
exactly = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(exactly)


def errors(world, step, steps):
    return np.array([exactly.error(world, step, n) for n in steps])


def but(*some):
    """The chains, some of them with `--whole` only."""
    return [
        pytest.param(name, marks=pytest.mark.whole) if name in some else name
        for name in exactly.CHAINS
    ]


@pytest.mark.parametrize("name", but("grey levels"))
def test_two_looks_are_of_second_order_where_nothing_is_cut_off(name):
    world = exactly.World(exactly.CHAINS[name](), 0.7)
    found = errors(world, exactly.second_step, (8, 16))
    # Of a mask, which is lifted once, two sites are exact.
    assert found[1] < 1e-12 if name == "absorbing" else np.log2(found[0] / found[1]) > 1.95
    assert found[0] < errors(world, exactly.bridge_step, [8])[0] / 10


@pytest.mark.parametrize("name", but("rates", "grey levels"))
def test_two_looks_are_better_than_two_steps_where_one_site_decides_the_other(name):
    world = exactly.World(exactly.CHAINS[name](), 0.02)
    found = errors(world, exactly.second_step, (8, 16))
    once = errors(world, exactly.bridge_step, (16, 32))
    leapt = errors(world, exactly.trapezoidal_step, (8, 16))
    assert bool((found < once).all()) and bool((found < leapt).all())


def test_the_matrix_of_a_step_is_what_the_sampler_draws():
    world = exactly.World(mb.UniformChain(3), 0.02)
    model = mb.Transport(world.process, world._law, shape=(2,))
    row, n, (t, s) = 5, 40_000, (0.5, 0.8)
    x = world.states[row].expand(n, -1)
    drawn = SecondOrderBridge().step(model, x, t, s, generator=torch.Generator().manual_seed(0))
    found = (3 * drawn[:, 0] + drawn[:, 1]).bincount(minlength=9).double() / n
    wanted = exactly.second_step(world, t, s)[row]
    spread = (wanted * (1 - wanted) / n).sqrt()
    assert float(((found - wanted) / spread).abs().max()) < 5
    apart = exactly.bridge_step(world, t, s)[row] - wanted
    assert float(apart.abs().max()) > 20 * float(spread.max())


def classes():
    """Every public jump process whose jumps compete, as a model of two sites."""
    for kind in vars(processes).values():
        if inspect.isclass(kind) and issubclass(kind, JumpProcess) and not kind.additive:
            if not inspect.isabstract(kind):
                yield kind


MADE = {
    mb.UniformChain: lambda: mb.UniformChain(3),
    mb.AbsorbingChain: lambda: mb.AbsorbingChain(3),
    mb.FiniteChain: lambda: mb.FiniteChain(exactly.random_rates(3, 1)),
    mb.DiscretisedGaussianChain: lambda: mb.DiscretisedGaussianChain(3),
}


@pytest.mark.parametrize("kind", list(classes()), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("sampler", [Trapezoidal(), Adaptive()])
def test_leaps_of_amounts_send_categories_to_the_bridge_of_second_order(kind, sampler):
    process = MADE[kind]()
    law = exact.Empirical(process, torch.cartesian_prod(*[torch.arange(3)] * 2), states=3)
    model = mb.Transport(process, law, shape=(2,))
    message = rf"those of a state of {kind.__name__} compete.*take SecondOrderBridge\(\)"
    with pytest.raises(TypeError, match=message):
        model.sample(4, steps=4, sampler=sampler)
    generator = torch.Generator().manual_seed(0)
    drawn = model.sample(16, steps=4, sampler=SecondOrderBridge(), generator=generator)
    assert drawn.shape == (16, 2)
