"""Tables around a mean."""

import math

import pytest
import torch
from scipy import stats

from markovbridge import Noised, laws
from markovbridge.heads import CategoricalHead, CentredHead, LogisticMixtureHead, MeanHead
from markovbridge.processes import PureDeath, Setting
from markovbridge.transport.objectives import EndNLL, PathKL

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


def several_humps(spread, size, dtype, rows=1000):
    """Tables of several humps with entries of probability 0 between them."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, 1, size, generator=generator, dtype=torch.float64) * spread
    empty = torch.rand(logits.shape, generator=generator) < 0.3
    empty[..., 0] = empty[..., -1] = False
    return laws.Categorical(logits.masked_fill(empty, -math.inf).to(dtype)), generator


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
@pytest.mark.parametrize("size", [2, 17, 256])
@pytest.mark.parametrize("spread", [0.0, 2.0, 30.0, 1000.0])
def test_every_table_gets_the_mean_it_states(dtype, accuracy, size, spread):
    base, generator = several_humps(spread, size, dtype)
    origin = torch.zeros(1000, 1, dtype=torch.int64)
    share = torch.rand(1000, 1, generator=generator, dtype=torch.float64)
    far = -69 + (math.log(size - 1) + 69) * share  # from 1e-30 up, evenly in the logarithm
    for log_mean in (far, ((size - 1) * share).log()):
        wanted = log_mean.to(dtype)
        law = laws.Tilted.towards(base, origin, wanted)
        values = torch.arange(size, dtype=torch.float64)
        mean = (law.logits.double().softmax(-1) * values).sum(-1)
        torch.testing.assert_close(mean.log(), wanted.double(), rtol=0, atol=accuracy)
        torch.testing.assert_close(law.log_excess(origin), wanted, rtol=0, atol=accuracy)


def test_a_mean_that_no_tilt_gives_is_cut():
    # Mass on 3 and 5 only, counted from 2: means above it lie between 1 and 3.
    logits = torch.full((4, 7), -math.inf).index_fill(1, torch.tensor([3, 5]), 0.0)
    wanted = torch.tensor([0.2, 1.5, 3.0, 50.0]).log().requires_grad_()
    law = laws.Tilted.towards(laws.Categorical(logits), torch.full((4,), 2), wanted)
    expected = torch.tensor([1.0, 1.5, 3.0, 3.0])
    torch.testing.assert_close(law.excess(torch.full((4,), 2)), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(law.mean - 2, expected, rtol=1e-5, atol=0)
    # Training gets a gradient that brings the mean back.
    (gradient,) = torch.autograd.grad(law.excess(torch.full((4,), 2)).sum(), wanted)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=0)


def test_a_table_of_one_value_and_one_that_is_not_finite_stay_as_they_are():
    logits = torch.tensor([[-math.inf, 0.0, -math.inf], [0.0, math.nan, 0.0]])
    law = laws.Tilted.towards(
        laws.Categorical(logits), torch.zeros(2, dtype=torch.int64), torch.zeros(2)
    )
    assert law.mean[0] == 1 and law.excess(torch.zeros(2))[0] == 1
    assert law.mean[1].isnan()


def test_the_gradient_is_that_of_tables_whose_mean_is_held():
    base, generator = several_humps(2.0, 9, torch.float64, rows=3)
    base = laws.Categorical(base.logits.clamp_min(-30.0))
    origin = torch.zeros(3, 1, dtype=torch.int64)
    wanted = torch.tensor([[0.3], [4.0], [7.5]], dtype=torch.float64).log()
    weights = torch.randn(3, 1, 9, generator=generator, dtype=torch.float64)

    def tables(logits):
        law = laws.Tilted.towards(laws.Categorical(logits), origin, wanted)
        return (law.log_probs * weights).sum(-1)

    logits = base.logits.requires_grad_()
    assert torch.autograd.gradcheck(tables, logits, eps=1e-6, atol=1e-6)
    assert torch.autograd.gradcheck(
        lambda log_mean: laws.Tilted.towards(base, origin, log_mean).excess(origin),
        wanted.requires_grad_(),
    )


@pytest.mark.parametrize("table", [CategoricalHead(), LogisticMixtureHead(2)])
@pytest.mark.parametrize("t", [0.0, 0.4, 0.99])
def test_the_mean_is_that_of_the_mean_head(table, t):
    process, head = PureDeath(maximum=SIZE), CentredHead(table)
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(5, head.outputs(process), 3, generator=generator)
    x = torch.randint(0, 5, (5, 3), generator=generator) if t > 0 else torch.zeros(5, 3).long()
    times = torch.full((5,), t)
    setting = Setting(process, Noised(), torch.tensor(4.0), torch.tensor(6.0))
    law = head(setting, raw, x, times)
    alone = MeanHead()(setting, raw[:, :1], x, times)
    torch.testing.assert_close(law.log_excess(x), alone.log_excess(x))
    above = (law.mean - x).clamp_min(1e-30)
    torch.testing.assert_close(above, alone.excess(x), rtol=1e-5, atol=2e-6)


def test_the_likelihood_of_the_table_tells_the_mean_nothing():
    process, head = PureDeath(maximum=SIZE), CentredHead()
    raw = torch.zeros(2, head.outputs(process), 3, requires_grad=True)
    x, x1 = torch.ones(2, 3).long(), torch.full((2, 3), 4)
    t = torch.full((2,), 0.5)
    setting = Setting(process, Noised(), torch.tensor(4.0), torch.tensor(6.0))
    law = head(setting, raw, x, t)
    (table,) = torch.autograd.grad(EndNLL()(process, law, x, x1, t).sum(), raw, retain_graph=True)
    (mean,) = torch.autograd.grad(PathKL()(process, law, x, x1, t).sum(), raw)
    assert not table[:, 0].any() and table[:, 1:].any()
    assert mean[:, 0].all() and not mean[:, 1:].any()


def test_refuses_other_tables():
    with pytest.raises(ValueError, match="table must be a CategoricalHead or LogisticMixtureHead"):
        CentredHead(MeanHead())
