"""What samplers refuse, and that those they name instead do work."""

import math
import re

import pytest
import torch

from markovbridge import (
    AbsorbingChain,
    Dirac,
    DiscreteTimeChain,
    EulerMaruyama,
    Independent,
    LinearDiffusion,
    ProbabilityFlow,
    PureDeath,
    RandomWalk,
    StochasticHeun,
    Transport,
    exact,
    samplers,
)

POINTS = torch.tensor([[0], [1], [2]])
PROCESSES = {
    "diffusion": LinearDiffusion(),
    "unbounded counts": PureDeath(),
    "chain": AbsorbingChain(3),
    "walk": RandomWalk(2.0),
    "discrete time": DiscreteTimeChain([[[0.8, 0.1, 0.1]] * 3] * 4),
}
SAMPLERS = {
    name: getattr(samplers, name)
    for name in samplers.__all__
    if name not in ("Corrected", "Sampler")
    and issubclass(getattr(samplers, name), samplers.Sampler)
}


def draw(name, sampler, coupling=None):
    process = PROCESSES[name]
    coupling = coupling or (Independent() if name == "diffusion" else None)
    states = 3 if name in ("chain", "discrete time") else None
    more = {} if coupling is None else {"coupling": coupling}
    law = exact.Empirical(process, process.check(POINTS), states=states, **more)
    transport = Transport(process, law, shape=(1,), **more)
    return transport.sample(
        4, steps=4, sampler=sampler, block=4, generator=torch.Generator().manual_seed(0)
    )


def named(message):
    return [name for name in re.findall(r"([A-Z]\w+)\(\)", message) if name in SAMPLERS]


@pytest.mark.parametrize("name", PROCESSES)
def test_what_is_named_instead_works(name):
    refused = {}
    for sampler, make in SAMPLERS.items():
        try:
            draw(name, make())
        except TypeError as error:
            refused[sampler] = named(str(error))
        except ValueError as error:
            assert "set `maximum`" in str(error)
    assert refused
    assert "Bridge" not in refused
    for others in refused.values():
        assert others
        for other in others:
            assert draw(name, SAMPLERS[other]()).shape == (4, 1)


def test_no_flow_leaves_a_point_but_these_samplers_do():
    for sampler in (ProbabilityFlow(), EulerMaruyama(0.5), StochasticHeun()):
        with pytest.raises(ValueError, match="as at a Dirac source") as refusal:
            draw("diffusion", sampler, Dirac(0.5))
        others = named(str(refusal.value).replace("EulerMaruyama() with level 1", ""))
        assert others == ["Midpoint", "Bridge", "StochasticAdams"]
        for other in (*(SAMPLERS[other]() for other in others), EulerMaruyama()):
            assert bool(draw("diffusion", other, Dirac(0.5)).isfinite().all())


@pytest.mark.parametrize("level", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("make", [EulerMaruyama, StochasticHeun])
def test_levels_are_positive_and_finite(make, level):
    with pytest.raises(ValueError, match="level must be positive and finite"):
        make(level)


@pytest.mark.parametrize("make", [EulerMaruyama, ProbabilityFlow, StochasticHeun])
def test_a_backward_model_is_a_model(make):
    with pytest.raises(TypeError, match=r"a Transport over process.reversed\(\), not True"):
        make(backward=True)
