"""Tables around a mean."""

import pytest
import torch
from scipy import stats

from markovbridge import laws
from markovbridge.heads import Categorical, Centred, LogisticMixture, Mean
from markovbridge.objectives import EndNLL, PathKL
from markovbridge.processes import PureDeath

SIZE = 12


def binomial(share):
    return torch.from_numpy(stats.binom.logpmf(range(SIZE + 1), SIZE, share))


@pytest.mark.parametrize("share", [1e-6, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_tilted_binomial_is_a_binomial(share):
    base = laws.Categorical(binomial(0.3).expand(1, 2, -1))
    origin = torch.zeros(1, 2, dtype=torch.int64)
    wanted = torch.full((1, 2), SIZE * share, dtype=torch.float64)
    law = laws.Tilted.towards(base, origin, wanted.log())
    expected = binomial(share).exp().expand(1, 2, -1)
    torch.testing.assert_close(law.log_probs.exp(), expected, atol=1e-9, rtol=1e-6)
    torch.testing.assert_close(law.excess(origin), wanted)
    assert law.log_excess(origin) is law.log_above


def test_counts_from_the_origin():
    # Remaining counts are Binomial(SIZE - x, ·): of mean 2 above x = 4.
    values = torch.arange(SIZE + 1)
    table = torch.from_numpy(stats.binom.logpmf(values - 4, SIZE - 4, 0.7))
    origin = torch.full((1, 1), 4)
    law = laws.Tilted.towards(
        laws.Categorical(table.reshape(1, 1, -1)), origin, torch.full((1, 1), 2.0).double().log()
    )
    expected = torch.from_numpy(stats.binom.pmf(values - 4, SIZE - 4, 0.25)).reshape(1, 1, -1)
    torch.testing.assert_close(law.log_probs.exp(), expected, atol=1e-9, rtol=1e-6)
    assert float(law.mean) == pytest.approx(6)
    assert float(law.excess(torch.full((1, 1), 1))) == pytest.approx(5)


@pytest.mark.parametrize("table", [Categorical(), LogisticMixture(2)])
@pytest.mark.parametrize("t", [0.0, 0.4, 0.99])
def test_the_mean_is_that_of_the_mean_head(table, t):
    process, head = PureDeath(maximum=SIZE), Centred(table)
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(5, head.outputs(process), 3, generator=generator)
    x = torch.randint(0, 5, (5, 3), generator=generator) if t > 0 else torch.zeros(5, 3).long()
    times, moments = torch.full((5,), t), (torch.tensor(4.0), torch.tensor(6.0))
    law = head(process, raw, x, times, *moments)
    alone = Mean()(process, raw[:, :1], x, times, *moments)
    torch.testing.assert_close(law.log_excess(x), alone.log_excess(x))
    reachable = alone.excess(x) < 0.9 * (SIZE - x)  # no table has a mean above its end
    above = (law.mean - x)[reachable]
    torch.testing.assert_close(above, alone.excess(x)[reachable], rtol=2e-3, atol=2e-5)


def test_the_likelihood_of_the_table_tells_the_mean_nothing():
    process, head = PureDeath(maximum=SIZE), Centred()
    raw = torch.zeros(2, head.outputs(process), 3, requires_grad=True)
    x, x1 = torch.ones(2, 3).long(), torch.full((2, 3), 4)
    t, moments = torch.full((2,), 0.5), (torch.tensor(4.0), torch.tensor(6.0))
    law = head(process, raw, x, t, *moments)
    (table,) = torch.autograd.grad(EndNLL()(process, law, x, x1, t).sum(), raw, retain_graph=True)
    (mean,) = torch.autograd.grad(PathKL()(process, law, x, x1, t).sum(), raw)
    assert not table[:, 0].any() and table[:, 1:].any()
    assert mean[:, 0].all() and not mean[:, 1:].any()


def test_refuses_other_tables():
    with pytest.raises(ValueError, match="table must be a Categorical or LogisticMixture"):
        Centred(Mean())
