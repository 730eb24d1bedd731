"""`EarlyError`: where its times fall, and that the objective inside keeps its mean."""

import math
from dataclasses import dataclass

import pytest
import torch

import markovbridge as mb
from markovbridge import laws
from markovbridge.doors.randomness import generator
from markovbridge.transport.objectives import Objective

N = 200_000
PROCESS = mb.PureDeath(7)


@dataclass(frozen=True)
class Square(Objective):
    """3 t², whose mean over uniform times below 1 - truncation is (1 - truncation)²."""

    truncation: float = 0.0

    def __call__(self, process, law, x, x1, t):
        return 3 * t**2


@pytest.mark.parametrize("first", [1e-3, 0.2])
@pytest.mark.parametrize("truncation", [0.0, 0.25])
def test_half_of_the_times_are_uniform_and_half_log_uniform(first, truncation):
    objective = mb.EarlyError(1.0, Square(truncation), first)
    t = objective.times(N, generator=generator("cpu", 1), device="cpu").double()
    for level in (first / 2, first, 0.01, 0.3, 0.7, 0.9, 1.0):
        uniform = min(level / (1 - truncation), 1.0)
        log = max(0.0, 1 - math.log(level) / math.log(first))
        assert float((t <= level).double().mean()) == pytest.approx(
            (uniform + log) / 2, abs=2e-5 + 1e-3 * (level == first)
        )


@pytest.mark.parametrize("first", [1e-3, 0.2])
@pytest.mark.parametrize("truncation", [0.0, 0.25])
def test_the_mean_is_that_of_the_objective_and_of_the_squared_error(first, truncation):
    """Which is 4 + 1 here, at every time."""
    objective = mb.EarlyError(0.1, Square(truncation), first)
    t = objective.times(N, generator=generator("cpu", 2), device="cpu")
    x1 = torch.zeros(N, 2, dtype=torch.int64)
    law = laws.Delta(torch.tensor([2.0, -1.0]).expand(N, 2))
    found = objective(PROCESS, law, x1, x1, t)
    assert found.shape == (N,)
    assert float(found.double().mean()) == pytest.approx((1 - truncation) ** 2 + 0.5, abs=2e-3)


def test_of_a_model_the_path_kl_keeps_its_mean():
    """The loss less that of the squared error alone, which a weight twice as large tells."""
    x1 = torch.tensor([[0, 3], [7, 1], [2, 2]]).repeat(20_000, 1)
    process = mb.PureDeath()
    model = mb.Transport(process, mb.exact.Poisson(process, 3.0), shape=(2,))

    def mean(objective):
        model.objective = objective
        return float(model.loss(x1, generator=generator("cpu", 3)).double().mean())

    once, twice = (mean(mb.EarlyError(w, first=0.01)) for w in (0.1, 0.2))
    assert 2 * once - twice == pytest.approx(mean(mb.PathKL(damping=1.0)), rel=0.01)


def test_what_it_refuses():
    with pytest.raises(ValueError, match="weight"):
        mb.EarlyError(0.0)
    with pytest.raises(ValueError, match="first"):
        mb.EarlyError(1.0, first=1.0)
    for own in (mb.FiniteTime(20), mb.EarlyError(1.0)):
        with pytest.raises(ValueError, match="draws times of its own"):
            mb.EarlyError(1.0, own)


def test_sums_go_into_it_and_it_goes_into_none():
    both = mb.PathKL(damping=1.0) + 0.1 * mb.EndNLL()
    process = mb.PureDeath()
    model = mb.Transport(process, mb.exact.Poisson(process, 3.0), shape=(2,))
    x1 = torch.tensor([[0, 3], [7, 1], [2, 2]]).repeat(20_000, 1)
    means = []
    for objective in (mb.EarlyError(1e-12, both, 0.01), both):
        model.objective = objective
        means.append(float(model.loss(x1, generator=generator("cpu", 3)).double().mean()))
    assert means[0] == pytest.approx(means[1], rel=0.01)
    for first, second in ((mb.EndNLL(), mb.EarlyError(1.0)), (mb.EarlyError(1.0), mb.EndNLL())):
        with pytest.raises(ValueError, match="put the sum into it"):
            _ = first + second
