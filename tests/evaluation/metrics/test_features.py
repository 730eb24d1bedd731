"""Statistics of features against NumPy, by hand, and block by block."""

import math

import numpy as np
import pytest
import torch

from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import agreement, correlation_error, margins


def counts(n, rates, key):
    rng = generator("cpu", "features", key)
    return torch.poisson(torch.tensor(rates).expand(n, -1), generator=rng).to(torch.int64)


def test_margins_by_hand():
    found = margins(torch.tensor([[0, 2, 0], [4, 0, 0], [2, 7, 0], [2, 3, 0]]))
    assert found.mean.tolist() == [2, 3, 0]
    torch.testing.assert_close(found.variance, torch.tensor([8 / 3, 26 / 3, 0]).double())
    assert found.zeros.tolist() == [0.25, 0.25, 1]
    torch.testing.assert_close(found.fano, torch.tensor([4 / 3, 26 / 9, 1]).double())
    assert found.seen.tolist() == [3, 3, 0]


def test_agreement_is_the_correlation_of_logarithms():
    x, y = counts(200, [0.1, 0.5, 2.0, 9.0, 30.0], 0), counts(300, [0.2, 0.4, 2.5, 8.0, 33.0], 1)
    features = torch.tensor([True, True, True, True, False])
    found = agreement(margins(x), margins(y), features)
    ours, real = x.double().numpy()[:, :4], y.double().numpy()[:, :4]
    m, v = np.log(ours.mean(0)), np.log(ours.var(0, ddof=1))
    k, w = np.log(real.mean(0)), np.log(real.var(0, ddof=1))
    assert found["mean"].correlation == pytest.approx(np.corrcoef(m, k)[0, 1], rel=1e-9)
    assert found["variance"].correlation == pytest.approx(np.corrcoef(v, w)[0, 1], rel=1e-9)
    fano = np.corrcoef(v - m, w - k)[0, 1]
    assert found["Fano factor"].correlation == pytest.approx(fano, rel=1e-9)
    relative = abs(ours.mean(0) / real.mean(0) - 1)
    assert found["mean"].largest_error == pytest.approx(relative.max(), rel=1e-9)
    assert found["mean"].median_error == pytest.approx(np.sort(relative)[1], rel=1e-9)


def test_a_feature_that_is_never_made_counts_as_half_a_row():
    y = counts(50, [1.0, 2.0, 4.0], 2)
    x = y.clone()
    x[:, 0] = 0
    found = agreement(margins(x), margins(y), torch.ones(3, dtype=torch.bool))["mean"]
    logs = y.double().mean(0).log().numpy()
    ours = np.array([math.log(0.5 / 50), *logs[1:]])
    assert found.correlation == pytest.approx(np.corrcoef(ours, logs)[0, 1], rel=1e-9)
    assert found.largest_error == 1


def test_the_correlation_of_what_never_varies_is_undefined():
    # Every feature is 0.1 on average, whose logarithm is no short binary fraction.
    x = torch.zeros(10, 5, dtype=torch.int64)
    x[0] = 1
    y = counts(50, [1.0, 2.0, 4.0, 3.0, 7.0], 2)
    every = torch.ones(5, dtype=torch.bool)
    for ours, real in ((x, y), (y, x), (x, x)):
        found = agreement(margins(ours), margins(real), every)["mean"]
        assert math.isnan(found.correlation) and math.isfinite(found.largest_error)


def test_few_features_have_no_correlation_and_none_have_no_errors():
    x, y = margins(counts(20, [1.0, 2.0, 3.0], 3)), margins(counts(30, [1.0, 2.0, 3.0], 4))
    few = agreement(x, y, torch.tensor([True, False, True]))["mean"]
    relative = (abs(x.mean - y.mean) / y.mean)[[0, 2]]
    assert math.isnan(few.correlation)
    assert few.largest_error == pytest.approx(float(relative.max()), rel=1e-12)
    assert few.median_error == pytest.approx(float(relative.min()), rel=1e-12)
    none = agreement(x, y, torch.zeros(3, dtype=torch.bool))["mean"]
    assert math.isnan(none.correlation)
    assert math.isnan(none.median_error) and math.isnan(none.largest_error)


def test_features_that_are_no_mask_are_named():
    x = margins(counts(20, [1.0, 1.0, 1.0], 3))
    with pytest.raises(ValueError, match=r"features must be bool of shape \(3,\)"):
        agreement(x, x, torch.ones(2, dtype=torch.bool))


@pytest.mark.parametrize("columns", [1, 3, 100])
def test_correlation_error_against_numpy(columns):
    x, y = counts(60, [1.0] * 7, 4), counts(80, [3.0] * 7, 5)
    y[:, 1] = y[:, 0] + y[:, 1]
    a, b = np.corrcoef(x.numpy().T), np.corrcoef(y.numpy().T)
    expected = math.sqrt(((a - b) ** 2).sum() / 42)
    assert correlation_error(x, y, columns=columns) == pytest.approx(expected, rel=1e-5)


def test_a_constant_feature_correlates_with_none():
    x = torch.tensor([[0, 1, 5], [1, 2, 5], [2, 3, 5]])
    y = torch.tensor([[0, 5, 1], [1, 3, 2], [2, 1, 3]])
    # Correlations (01, 02, 12) are 1, 0, 0 and -1, 1, -1.
    assert correlation_error(x, y) == pytest.approx(math.sqrt((4 + 1 + 1) / 3), rel=1e-6)
    with pytest.raises(ValueError, match="at least 2 features and 2 rows, got 1 features"):
        correlation_error(x[:, :1], y[:, :1])
