"""Self-consistency of exact laws, and of laws that are none."""

import math

import numpy as np
import pytest
import torch

from markovbridge import PureDeath, Transport, exact, laws
from markovbridge.evaluation.consistency import MEANING, over_time, self_consistency
from markovbridge.processes import UniformChain

TABLE = torch.tensor([[0.15, 0.02, 0.03], [0.1, 0.3, 0.05], [0.0, 0.05, 0.3]]).double()
OVER_DATA = ("mean", "variance", "covariance")
ARITHMETIC = ("integrability", "derivative", "law variance")


class Mixed:
    """Two correlated sites: a mixture of Poisson pairs, whose joint law is exact."""

    def __init__(self, process):
        first, second = torch.tensor([1.0, 6.0]).double(), torch.tensor([5.0, 0.5]).double()
        self.law = exact.Mixture(
            process, [0.4, 0.6], [exact.Poisson(process, first), exact.Poisson(process, second)]
        )

    def __call__(self, x, t, condition=None):
        return self.law(x, t)

    def draw(self, n, seed=0):
        like = torch.zeros((n, 2), dtype=torch.int64)
        return self.law.marginal(like, 1.0).sample(generator=torch.Generator().manual_seed(seed))


def check(network, x1, process=None, shape=None):
    process = process or PureDeath()
    transport = Transport(process, network, shape=shape or x1.shape[1:])
    return self_consistency(transport, x1, generator=torch.Generator().manual_seed(1), block=4096)


def table():
    process = PureDeath(maximum=2)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    picks = torch.multinomial(
        TABLE.flatten(), 4000, replacement=True, generator=torch.Generator().manual_seed(2)
    )
    law = exact.Empirical(process, every, TABLE.flatten())
    return law, every[picks], process


def negative_binomial():
    x1 = torch.from_numpy(np.random.default_rng(0).negative_binomial(2, 2 / 5, (4000, 3)))
    return exact.NegativeBinomial(PureDeath(), 3.0, 2.0), x1, PureDeath()


def mixture():
    law = Mixed(PureDeath())
    return law, law.draw(4000), PureDeath()


@pytest.mark.parametrize("problem", [table, negative_binomial, mixture])
def test_an_exact_law_is_consistent(problem):
    found = check(*problem())
    for name in OVER_DATA:
        assert abs(found[name].value) < 4.5 * found[name].error
        assert 0 < found[name].error < 0.1
    assert found["integrability"].value < 1e-5
    assert found["law variance"].value < 1e-4
    # The error of the difference quotient is stated, and small.
    assert found["derivative"].value < 1.5 * found["derivative"].error + 1e-6
    assert found["derivative"].error < 2e-3


class Wrong:
    """A law whose mean is that of another, times what `factor` says of state and time."""

    def __init__(self, law, factor):
        self.law, self.factor = law, factor

    def __call__(self, x, t, condition=None):
        log_mean = self.law(x, t).log_excess(x) + self.factor(x, t)
        return laws.Shifted(x, laws.Poisson(log_mean))


def test_a_scaled_mean_shows_in_the_data():
    law, x1, process = negative_binomial()
    found = check(Wrong(law, lambda x, t: math.log(1.2)), x1, process)
    # E Σ(m - 1.2 y) / E Σ 1.2 y
    assert abs(found["mean"].value + 1 - 1 / 1.2) < 4.5 * found["mean"].error
    assert found["mean"].value < -10 * found["mean"].error
    # The scaled mean is no mean of any law: Σ_j Cov/y_i is 1 + 1.2 (F - 1), ∂_u y/y is -F.
    assert found["derivative"].value > 0.05


def test_a_lopsided_mean_shows_in_the_integrability():
    def tilt(x, t):
        return 0.2 * x[:, 1:] * torch.tensor([1.0, -1.0]).double()  # site 0 looks at site 1

    law, x1, process = mixture()
    found = check(Wrong(law, tilt), x1, process)
    assert found["integrability"].value > 0.05
    assert found["integrability"].value > 1e4 * found["integrability"].error


def test_a_clock_that_runs_off_shows_in_the_derivative():
    law, x1, process = mixture()
    found = check(Wrong(law, lambda x, t: torch.sin(6 * t).unsqueeze(1)), x1, process)
    assert found["derivative"].value > 0.3
    assert found["integrability"].value < 1e-5  # a factor of time alone cancels there


def test_a_poisson_law_around_an_overdispersed_mean():
    law, x1, process = negative_binomial()
    found = check(exact.MeanOnly(law), x1, process)
    assert found["integrability"].value < 1e-5
    assert found["derivative"].value < 2e-3
    assert found["law variance"].value > 0.3


def test_an_exact_law_is_consistent_at_every_time():
    law, x1, process = mixture()
    transport = Transport(process, law, shape=(2,))
    seen = []
    found = over_time(
        transport,
        x1,
        pieces=4,
        generator=torch.Generator().manual_seed(1),
        block=4096,
        callback=seen.append,
    )
    assert seen == found and len(found) == 4
    assert found[0].survival[0] == 0.01 and found[-1].survival[1] == 0.95
    lengths = [end - start for start, end in (piece.times for piece in found)]
    assert max(lengths) - min(lengths) < 1e-9
    for before, after in zip(found, found[1:], strict=False):
        assert before.times[1] == after.times[0]
        assert before.survival[1] == after.survival[0]
    for piece in found:
        for name in OVER_DATA:
            assert abs(piece.checks[name].value) < 4.5 * piece.checks[name].error
        assert piece.checks["integrability"].value < 1e-5
        derivative = piece.checks["derivative"]
        assert derivative.value < 1.5 * derivative.error + 1e-5
        assert derivative.error < 5e-3


def test_where_a_model_is_off_shows():
    law, x1, process = negative_binomial()

    def late(x, t):
        return math.log(1.5) * (t > 0.5).double().unsqueeze(1)

    network = Wrong(law, late)
    transport = Transport(process, network, shape=(3,))
    rng = torch.Generator().manual_seed(1)
    first, second = over_time(
        transport, x1, pieces=2, survival=(0.1, 0.9), generator=rng, block=4096
    )
    assert first.times[1] == 0.5
    assert abs(first.checks["mean"].value) < 4.5 * first.checks["mean"].error
    off = second.checks["mean"]
    assert abs(off.value + 1 / 3) < 4.5 * off.error


def test_every_check_has_a_meaning():
    assert set(MEANING) == {*OVER_DATA, *ARITHMETIC}


def test_the_same_for_any_block():
    law, x1, process = table()
    transport = Transport(process, law, shape=(2,))
    one = self_consistency(transport, x1[:500], block=500)
    assert set(one) == {*OVER_DATA, *ARITHMETIC}
    assert one["mean"].error > 0


def test_full_and_empty_states_say_nothing():
    process = PureDeath(maximum=1)
    x1 = torch.ones((400, 2), dtype=torch.int64)
    found = check(exact.Empirical(process, x1[:1]), x1, process)
    assert all(abs(found[name].value) < 1e-5 for name in (*OVER_DATA, "integrability"))
    with pytest.raises(ValueError, match="no further counts"):
        check(exact.Empirical(process, 0 * x1[:1]), 0 * x1, process)


def test_refuses():
    with pytest.raises(TypeError, match="PureDeath"):
        self_consistency(
            Transport(UniformChain(3), lambda x, t, c: None, shape=(1,)),
            torch.zeros((3, 1), dtype=torch.int64),
        )
    with pytest.raises(ValueError, match="at least 2"):
        check(exact.Poisson(PureDeath(), 1.0), torch.ones((1, 1), dtype=torch.int64))
    transport = Transport(PureDeath(), exact.Poisson(PureDeath(), 1.0), shape=(1,))
    x1 = torch.ones((3, 1), dtype=torch.int64)
    with pytest.raises(ValueError, match="survival must rise"):
        self_consistency(transport, x1, survival=(0.5, 0.5))
    with pytest.raises(ValueError, match="pieces must be"):
        over_time(transport, x1, pieces=0)
