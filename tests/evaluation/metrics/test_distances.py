"""Distances against closed forms, brute force and the known figures of the digits."""

import math

import pytest
import torch

from markovbridge.data import Digits
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import (
    Moments,
    energy_distance,
    feature_errors,
    frechet_distance,
)
from markovbridge.evaluation.metrics.distances import pair_mean


def normal(*shape, key=0):
    return torch.randn(*shape, generator=generator("cpu", "distances", key), dtype=torch.float64)


def features_with(mean, covariance, n=200, key=0):
    """Items whose sample mean and unbiased covariance are exactly those given."""
    d = len(mean)
    z = normal(n, d, key=key)
    z = z - z.mean(0)
    chol = torch.linalg.cholesky(torch.cov(z.T).reshape(d, d))
    white = torch.linalg.solve_triangular(chol, z.T, upper=False).T
    values, vectors = torch.linalg.eigh(covariance)
    return white @ (vectors * values.clamp(min=0).sqrt()).T + mean


def moments(mean, covariance):
    return Moments(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(covariance, dtype=torch.float64)
    )


def test_frechet_of_features_with_diagonal_covariances():
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 1.0, 0.25]).double()
    shift = torch.tensor([3.0, -1.0, 2.0]).double()
    x = features_with(torch.zeros(3).double(), a.diag(), key=1)
    y = features_with(shift, b.diag(), n=333, key=2)
    # |m|^2 + sum (sqrt a - sqrt b)^2 = 14 + 1 + 1 + 6.25
    assert frechet_distance(x, y) == pytest.approx(22.25, rel=1e-12)
    assert frechet_distance(y, x) == pytest.approx(22.25, rel=1e-12)


def test_frechet_of_covariances_that_do_not_commute():
    a, b = [[2.0, 1.0], [1.0, 3.0]], [[4.0, -1.0], [-1.0, 1.0]]
    # In two dimensions tr sqrt(AB) = sqrt(tr AB + 2 sqrt(det A det B)).
    trace = 2 * 4 + 1 * -1 + 1 * -1 + 3 * 1
    expected = 5 + 5 - 2 * math.sqrt(trace + 2 * math.sqrt(5 * 3)) + 0.25
    distance = moments([0.0, 0.5], a).frechet_distance(moments([0.0, 0.0], b))
    assert distance == pytest.approx(expected, rel=1e-13)


def test_frechet_of_lines_and_of_a_point():
    u, v = torch.tensor([3.0, 0.0, 4.0]).double(), torch.tensor([1.0, 2.0, 2.0]).double()
    zero = torch.zeros(3).double()
    a, b = Moments(zero, u.outer(u)), Moments(zero, v.outer(v))
    # Rank one each: tr sqrt = |u . v|.
    assert a.frechet_distance(b) == pytest.approx(25 + 9 - 2 * 11, rel=1e-12)
    point = Moments(zero + 1, torch.zeros(3, 3).double())
    assert a.frechet_distance(point) == pytest.approx(25 + 3, rel=1e-12)


def test_frechet_with_fewer_items_than_features():
    x, y = normal(10, 60, key=3), normal(14, 60, key=4) + 0.3
    # The nuclear norm of the centred items' products is tr sqrt(AB) by another road.
    cx, cy = (x - x.mean(0)) / 3, (y - y.mean(0)) / math.sqrt(13)
    overlap = torch.linalg.svdvals(cx @ cy.T).sum()
    expected = (x.mean(0) - y.mean(0)).square().sum() + cx.square().sum() + cy.square().sum()
    assert frechet_distance(x, y) == pytest.approx(float(expected - 2 * overlap), rel=1e-11)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-11)


def test_moments_span_blocks(monkeypatch):
    monkeypatch.setattr("markovbridge.evaluation.metrics.distances.BLOCK", 7)
    x = (normal(50, 2, 3) * 40).round().to(torch.int16)
    found, flat = Moments.of(x), x.reshape(50, 6).double()
    torch.testing.assert_close(found.mean, flat.mean(0))
    torch.testing.assert_close(found.covariance, torch.cov(flat.T))


def test_moments_refuse_what_is_no_covariance():
    with pytest.raises(ValueError, match="negative eigenvalue.*-1"):
        moments([0.0, 0.0], [[1.0, 0.0], [0.0, -1.0]]).factor  # noqa: B018
    with pytest.raises(ValueError, match=r"shape \(d, d\)"):
        moments([0.0, 0.0], [[1.0]])
    with pytest.raises(TypeError, match="float64"):
        Moments(torch.zeros(2), torch.eye(2))
    with pytest.raises(ValueError, match="3 and 2 features"):
        frechet_distance(normal(5, 3), normal(5, 2))
    with pytest.raises(ValueError, match="at least 2 items, got 1"):
        frechet_distance(normal(1, 3), normal(5, 3))


@pytest.mark.parametrize("block", [1, 4, 1000])
def test_energy_by_brute_force(block):
    x = (normal(13, 2, 3, key=5) * 100).round().to(torch.int64)
    y = (normal(9, 2, 3, key=6) * 100).round().to(torch.int64) + 30

    def mean(a, b):
        pairs = [math.dist(p, q) for p in a.flatten(1).tolist() for q in b.flatten(1).tolist()]
        return sum(pairs) / len(pairs)

    expected = 2 * mean(x, y) - mean(x, x) - mean(y, y)
    assert energy_distance(x, y, block=block) == pytest.approx(expected, rel=1e-12)
    assert pair_mean(x, block=block) == pytest.approx(mean(x, x), rel=1e-12)


def test_energy_of_points_and_of_equal_samples():
    one, two = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    assert energy_distance(one, two) == pytest.approx(10, rel=1e-12)
    x = torch.randint(256, (20, 5), generator=generator("cpu", 7)).to(torch.uint8)
    assert energy_distance(x, x.flip(0)) == pytest.approx(0, abs=1e-10)


def test_energy_far_from_the_origin():
    x, y = normal(40, 3, key=8), normal(30, 3, key=9) + 1
    # Both moved by 1e8: |a|^2 alone has no digits left of the distances.
    moved = energy_distance(x + 1e8, y + 1e8)
    assert moved == pytest.approx(energy_distance(x, y), rel=1e-5)


def test_known_figures_of_the_digits():
    x = Digits().load("all").x
    assert x.shape[0] == 1797
    halves, boots = [], []
    for repeat in range(8):
        rng = generator("cpu", "digits", repeat)
        order = torch.randperm(1797, generator=rng)
        a, b = x[order[:898]], x[order[898:]]
        drawn = x[torch.randint(1797, (1797,), generator=rng)]
        halves.append((energy_distance(a, b), frechet_distance(a, b)))
        boots.append((energy_distance(x, drawn), frechet_distance(x, drawn)))
    shuffled = torch.stack(
        [
            column[torch.randperm(1797, generator=generator("cpu", "shuffle", j))]
            for j, column in enumerate(x.flatten(1).T)
        ],
        dim=1,
    ).reshape(x.shape)
    energy, frechet = (sum(column) / 8 for column in zip(*halves, strict=True))
    assert energy == pytest.approx(0.108, abs=0.01)
    assert frechet == pytest.approx(18.5, abs=3.5)  # one split has a deviation of 2.4
    energy, frechet = (sum(column) / 8 for column in zip(*boots, strict=True))
    assert energy == pytest.approx(0.026, abs=0.003)
    assert frechet == pytest.approx(4.6, abs=0.8)
    assert energy_distance(x, shuffled) == pytest.approx(0.418, abs=0.005)
    assert frechet_distance(x, shuffled) == pytest.approx(433, abs=4)


def test_feature_errors_by_hand():
    samples = torch.tensor([[0, 2], [4, 0], [2, 7]])
    reference = torch.tensor([[1, 0], [3, 0]])
    errors = feature_errors(samples, reference)
    torch.testing.assert_close(errors.mean, torch.tensor([0.0, 3.0]).double())
    torch.testing.assert_close(errors.variance, torch.tensor([4 - 2, 13.0]).double())
    torch.testing.assert_close(errors.zeros, torch.tensor([1 / 3, 1 / 3 - 1]).double())
    rms = errors.root_mean_square()
    assert rms["mean"] == pytest.approx(math.sqrt(4.5))
    assert rms["variance"] == pytest.approx(math.sqrt((4 + 169) / 2))
    assert rms["zeros"] == pytest.approx(math.sqrt(5 / 18))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.tensor([[float("nan")], [1.0]]), ValueError, "NaN"),
        (torch.empty(0, 3), ValueError, "at least one item"),
        ([[1.0]], TypeError, "list"),
        (torch.ones(2, 1, dtype=torch.complex64), TypeError, "complex64"),
        (torch.ones(2, 2), ValueError, "same size, got"),
    ],
)
def test_invalid_samples_are_named(x, error, message):
    for distance in (energy_distance, feature_errors):
        with pytest.raises(error, match=message):
            distance(x, torch.ones(4, 1))
