"""The bound given the start, for every process on integers, against the exact posterior."""

import pytest
import torch

import markovbridge as mb
from grid.worlds import INTEGERS
from likelihoods import generator

PROCESSES = {
    f"{type(process).__name__} {index}": process
    for instances in INTEGERS.values()
    for index, (process, _, _) in enumerate(instances())
    if process.states is not None
}
SLOW = ("FiniteChain 1", "DiscreteTimeChain 0")  # of which every time has tables of its own
POINTS, WEIGHTS = torch.tensor([[0], [1], [2]]), torch.tensor([0.5, 0.3, 0.2])


@pytest.mark.parametrize("name", PROCESSES)
def test_told_its_start_the_bound_is_that_given_it(name):
    process = PROCESSES[name]
    law = mb.exact.Empirical(process, POINTS, WEIGHTS)
    model = mb.Transport(process, law, shape=(1,))
    x1 = POINTS.repeat(4, 1)
    x0 = process.noised(x1).sample(generator=generator())
    wanted = law(x0, torch.zeros(len(x0))).log_prob(x1).double()
    draws, far = (200, 0.15) if name in SLOW else (4000, 0.05)
    bound = model.log_likelihood(x1, x0=x0, draws=draws, block=8192, generator=generator(1))
    assert abs(float((bound.nats - wanted).mean())) < far
    assert float((bound.nats - wanted).abs().max()) < 5 * far
