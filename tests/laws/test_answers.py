"""One object, one answer: what a law says of itself is what its probabilities and draws say."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from laws_draws import Draws, concrete
from laws_examples import EXAMPLES
from markovbridge.laws import LOG_TINY, Law
from problems import LEVEL, assert_follows

SEEDS = range(10)
DRAWS = 4000
CLASSES = concrete(Law)


def example(kind, seed, dtype=torch.float64):
    return EXAMPLES[kind](Draws(seed, dtype))


def probabilities(case):
    """Of the points, (K,) float64, times the weights of an integral."""
    p = case.make(len(case.values)).log_prob(case.values).double().exp()
    return p if case.weights is None else p * case.weights


def column(values):
    """Weights, to broadcast against points (K, *event)."""
    return lambda points: values.reshape(-1, *[1] * (points.ndim - 1))


def test_every_law_has_an_example():
    missing = [kind.__qualname__ for kind in CLASSES if kind not in EXAMPLES]
    assert not missing, (
        f"the laws {missing} are checked by nothing: give each random parameters in EXAMPLES of "
        "tests/laws_examples.py"
    )


def check_moments(case, accuracy):
    """Moments of a law against sums of its probabilities."""
    p = probabilities(case)
    assert float(p.sum()) == pytest.approx(1, abs=accuracy)
    p = column(p / p.sum())(case.values)
    # Counted from the origin in whole numbers, so that nothing cancels.
    above = (case.values - case.origin).double()
    excess = (p * above).sum(0)
    mean = excess + case.origin
    variance = (p * (above - excess) ** 2).sum(0)
    size = float(mean.abs().max() + variance.max().sqrt())
    law = case.make(2)

    def near(told, wanted, slack, what):
        torch.testing.assert_close(
            told[0].double(), wanted, rtol=accuracy, atol=slack, msg=lambda m: f"{what}: {m}"
        )

    near(law.mean, mean, accuracy * size, "mean")
    near(law.variance, variance, 1e-5 * accuracy * size**2 + 1e-30, "variance")
    if law.biased:
        return
    origin = case.origin.expand(2, *case.origin.shape)
    near(law.excess(origin), excess, accuracy * size, "excess")
    if not case.values.is_floating_point():
        wanted = excess.clamp_min(math.exp(LOG_TINY))
        near(law.log_excess(origin).double().exp(), wanted, 1e-29, "log excess")
    # From elsewhere: below everything, and perhaps above the mean.
    for other in (origin - 3, origin + 2):
        wanted, slack = (mean - other[0]).double(), 2 * accuracy * (size + 3)
        near(law.excess(other), wanted, slack, "excess")
        near(law.log_excess(other).double().exp(), wanted.clamp_min(1e-30), slack, "log excess")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_moments_are_those_of_the_probabilities(kind, dtype):
    for seed in SEEDS:
        case = example(kind, seed, dtype)
        check_moments(case, 2e-4 if dtype == torch.float32 else case.accuracy)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_draws_follow_the_probabilities(kind):
    for seed in SEEDS:
        case = example(kind, seed)
        p = probabilities(case).numpy()
        drawn = case.make(DRAWS).sample(generator=torch.Generator().manual_seed(seed))
        assert drawn.dtype == case.values.dtype
        if case.weights is None:
            same = {tuple(point): index for index, point in enumerate(case.values.tolist())}
            index = [same.get(tuple(one), -1) for one in drawn.tolist()]
            assert min(index) >= 0, f"seed {seed}: drew {drawn[int(np.argmin(index))]}"
            assert_follows(np.array(index), p / p.sum())
            continue
        law = case.make(1)
        if case.values.shape[1] == 1:  # the distribution function, by the rule of the integral
            order = case.values[:, 0].argsort()
            known, mass = case.values[order, 0].numpy(), p[order.numpy()]
            above = np.cumsum(mass) - mass / 2
            found = stats.kstest(drawn[:, 0].numpy(), lambda x: np.interp(x, known, above))  # noqa: B023
            assert found.pvalue > LEVEL, f"seed {seed}"
            continue
        z = ((drawn - law.mean) / law.variance.sqrt()).double().numpy()
        for site in z.T:
            assert stats.kstest(site, "norm").pvalue > LEVEL, f"seed {seed}"
        if z.shape[1] > 1:  # the product of two sites has the mean that the density says
            points = ((case.values - law.mean) / law.variance.sqrt()).double().numpy()
            product = points.prod(1)
            mean = p @ product
            error = math.sqrt(p @ product**2 - mean**2) / math.sqrt(DRAWS)
            assert abs(z.prod(1).mean() - mean) < stats.norm.isf(LEVEL / 2) * error
