"""Two-sample distances against closed forms and brute force; what a classifier can tell."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm, wasserstein_distance

from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import (
    classifier_auc,
    median_distance,
    mmd,
    sliced_wasserstein,
)
from markovbridge.evaluation.metrics.two_sample import _area


def normal(*shape, key=0):
    return torch.randn(*shape, generator=generator("cpu", "two sample", key))


def test_sliced_wasserstein_of_a_shift():
    x, shift = normal(40, 3), torch.tensor([3.0, 0.0, 4.0])
    # A projection moves by θ·shift, whose mean square over the sphere is |shift|²/3.
    found = sliced_wasserstein(x + shift, x, projections=200_000)
    assert found == pytest.approx(math.sqrt(25 / 3), rel=0.01)
    assert sliced_wasserstein(x, x.flip(0)) == pytest.approx(0, abs=1e-6)


def test_wasserstein_on_a_line():
    x, y = normal(50, 1, key=1), 2 * normal(50, 1, key=2) + 1
    expected = (x.sort(0).values - y.sort(0).values).square().mean().sqrt()
    assert sliced_wasserstein(x, y) == pytest.approx(float(expected), rel=1e-5)


def test_samples_of_different_sizes():
    x, y = torch.randint(2, (6, 1)).float(), torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    x = torch.tensor([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]])
    # Of 0 and 1 the squared distance is the distance, and that is |1/2 - 3/4|.
    assert sliced_wasserstein(x, y) ** 2 == pytest.approx(
        wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-6
    )
    assert sliced_wasserstein(x, y) == pytest.approx(0.5, rel=1e-6)
    z = normal(30, 4, key=3)
    assert sliced_wasserstein(z, torch.cat([z, z])) == pytest.approx(0, abs=1e-6)


def test_mmd_by_brute_force():
    x, y, h = normal(9, 3, key=4), normal(7, 3, key=5) + 1, 1.7

    def kernel(p, q):
        return math.exp(-(math.dist(p, q) ** 2) / (2 * h * h))

    a, b = x.tolist(), y.tolist()
    within = [
        sum(kernel(p, q) for i, p in enumerate(z) for j, q in enumerate(z) if i != j)
        / (len(z) * (len(z) - 1))
        for z in (a, b)
    ]
    cross = sum(kernel(p, q) for p in a for q in b) / 63
    assert mmd(x, y, bandwidth=h) == pytest.approx(sum(within) - 2 * cross, rel=1e-6)


def test_mmd_is_unbiased_and_finds_a_shift():
    same = torch.tensor([mmd(normal(40, 2, key=k), normal(40, 2, key=-1 - k)) for k in range(200)])
    assert abs(float(same.mean() / same.std()) * math.sqrt(200)) < 4.4  # level 1e-5
    assert float(same.min()) < 0
    x, y = normal(1000, 1, key=6), normal(1000, 1, key=7) + 1
    # For N(0, 1) and N(1, 1): E k = h/sqrt(h² + 2) exp(-δ²/(2(h² + 2))), δ = 0 or 1.
    expected = 2 / math.sqrt(3) * (1 - math.exp(-1 / 6))
    assert mmd(x, y, bandwidth=1.0) == pytest.approx(expected, rel=0.1)


def test_median_distance():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    assert median_distance(x) == pytest.approx(np.median([5, 1, math.sqrt(18)]))
    assert median_distance(torch.ones(4, 2)) == 1
    mostly = torch.zeros(10, 1)
    mostly[0] = 5
    assert median_distance(mostly) == pytest.approx(1)  # 9 of 45 pairs at distance 5


def test_area_under_the_curve():
    assert _area(torch.tensor([3.0, 2.0, 1.0, 0.0]), 2) == 1
    assert _area(torch.tensor([0.0, 1.0, 2.0]), 1) == 0
    assert _area(torch.tensor([1.0, 0.0, 1.0, 0.0]), 2) == 0.5
    assert _area(torch.tensor([2.0, 1.0, 1.0, 0.0]), 2) == pytest.approx(7 / 8)


def test_classifier_meets_the_best_possible():
    x, y = normal(1500, 2, key=8), normal(1500, 2, key=9) + torch.tensor([1.0, 0.0])
    # The best area is P(a > b) for the likelihood ratio: Φ(1/sqrt 2).
    assert classifier_auc(x, y) == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.03)
    assert classifier_auc(x, normal(1500, 2, key=10)) == pytest.approx(0.5, abs=0.05)
    assert classifier_auc(x[:300], x[:300] + torch.tensor([100.0, 0.0])) == 1


def test_classifier_sees_more_than_means():
    x = normal(1500, 2, key=11)
    y = normal(1500, 2, key=12) * torch.tensor([3.0, 1.0])
    assert classifier_auc(x, y) > 0.7  # equal means; the best possible is about 0.79


def test_classifier_is_a_function_of_its_seed():
    x, y = normal(60, 3, key=13), normal(60, 3, key=14)
    assert classifier_auc(x, y, seed=1) == classifier_auc(x, y, seed=1)
    assert classifier_auc(x, y, seed=1) != classifier_auc(x, y, seed=2)


@pytest.mark.parametrize("distance", [sliced_wasserstein, mmd, classifier_auc])
def test_what_cannot_be_compared_is_named(distance):
    with pytest.raises(ValueError, match="same size, got 3 and 2"):
        distance(normal(20, 3), normal(20, 2))
    with pytest.raises(ValueError, match="at least 2 rows each, got 1 and 20"):
        distance(normal(1, 2), normal(20, 2))
