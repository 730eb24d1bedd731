"""Rubin's rules against numbers worked out by hand, and tests at their level under the null."""

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge.evaluation.differences import adjusted, differences, log_fold_change, pool


def test_pooling_is_rubins_with_the_degrees_of_barnard_and_rubin():
    q = torch.tensor([[1.0, 2.0], [3.0, 2.0], [2.0, 2.0]])
    u = torch.tensor([[0.5, 0.25], [0.7, 0.25], [0.6, 0.25]])
    found = pool(q, u, torch.full((3, 2), 20.0))
    total = 0.6 + 4 / 3 * 1.0
    missing = 4 / 3 / total
    seen = 21 / 23 * 20 * (1 - missing)
    assert found.estimate.tolist() == [2.0, 2.0]
    assert found.variance.tolist() == pytest.approx([total, 0.25])
    assert found.missing.tolist() == pytest.approx([missing, 0.0])
    degrees = 1 / (missing**2 / 2 + 1 / seen)
    assert found.degrees.tolist() == pytest.approx([degrees, 20.0])
    many = pool(q, u)
    # (D - 1)(1 + Ū/((1 + 1/D) B))², as Rubin writes it.
    assert many.degrees.tolist() == pytest.approx([2 * (1 + 0.6 / (4 / 3)) ** 2, np.inf])


def test_complete_tables_are_tested_as_ever():
    """Welch's test of equal means, on logarithms by the delta method."""
    rng = np.random.default_rng(0)
    a, b = rng.poisson(50.0, (40, 3)), rng.poisson([50.0, 55.0, 60.0], (30, 3))
    estimate, variance, degrees = log_fold_change(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(estimate, np.log(b.mean(0) / a.mean(0)))
    each = [x.var(0, ddof=1) / len(x) / x.mean(0) ** 2 for x in (a, b)]
    np.testing.assert_allclose(variance, each[0] + each[1])
    found = differences(*(torch.from_numpy(x).expand(2, -1, -1) for x in (a, b)))
    assert found.missing.tolist() == [0, 0, 0]
    np.testing.assert_allclose(found.degrees, degrees)
    np.testing.assert_allclose(found.p_value, stats.ttest_ind(a, b, equal_var=False)[1], atol=0.02)
    assert found.mean_a.tolist() == pytest.approx(a.mean(0).tolist())


def test_p_values_are_adjusted_as_scipy_does():
    p = torch.tensor([0.01, 0.8, float("nan"), 0.02, 0.03, 0.02])
    found = adjusted(p)
    assert bool(found[2].isnan())
    expected = stats.false_discovery_control(p[~p.isnan()].double().numpy())
    np.testing.assert_allclose(found[~p.isnan()], expected)


def completed(rng, features, rows, hidden, draws):
    """Poisson counts of which a part is hidden, and draws of these from their exact law.

    Mean λ of a feature is not known, with a prior that hardly says anything: given the entries
    that are seen it is Gamma(sum, number), and hidden ones are Poisson(λ). Every feature is a
    repetition of the experiment.
    """
    x = rng.poisson(10.0, (rows, features))
    gone = rng.random((rows, features)) < hidden
    total, number = np.where(gone, 0, x).sum(0), (~gone).sum(0)
    rate = rng.gamma(total, 1 / number, (draws, features))
    made = np.where(gone, rng.poisson(rate[:, None], (draws, rows, features)), x)
    mean = np.where(gone, total / number, x)
    return torch.from_numpy(made), torch.from_numpy(mean).expand(2, -1, -1)


def test_it_errs_as_often_as_it_says_and_one_imputed_mean_errs_more_often():
    rng = np.random.default_rng(0)
    features = 2000
    groups = [completed(rng, features, 30, 0.5, 10) for _ in range(2)]
    found = differences(*(group[0] for group in groups))
    error = (0.05 * 0.95 / features) ** 0.5
    share = float((found.p_value < 0.05).double().mean())
    assert abs(share - 0.05) < 4 * error
    assert 0.35 < float(found.missing.mean()) < 0.65  # half of the entries, so half of it
    single = differences(*(group[1] for group in groups))
    assert float((single.p_value < 0.05).double().mean()) > 0.15
    one = differences(*(group[0][:1].expand(2, -1, -1) for group in groups))
    assert float((one.p_value < 0.05).double().mean()) > 0.12


def test_what_cannot_be_compared_is_refused_and_zeros_are_not_tested():
    x = torch.ones(2, 3, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="of two completed tables at least"):
        differences(x[:1], x[:1])
    with pytest.raises(ValueError, match="at least two rows each, of the same features"):
        differences(x, x[:, :1])
    with pytest.raises(ValueError, match=r"a and b are \(draws, rows, features\)"):
        differences(x, x[0])
    y = torch.randint(1, 50, (2, 3, 4), generator=torch.Generator().manual_seed(0))
    y[:, :, 0] = 0
    found = differences(y.flip(1), y)
    assert bool(found.p_value[0].isnan()) and not bool(found.p_value[1:].isnan().any())


def test_a_completed_table_of_zeros_says_what_it_says():
    a = torch.tensor([[[0, 2], [0, 3]], [[1, 2], [1, 4]], [[0, 3], [3, 3]]])
    b = torch.tensor([[[1, 2], [4, 3]], [[2, 2], [2, 4]], [[2, 5], [3, 3]]])
    found = differences(a, b)
    # Rubin's rules for each mean, and then the delta method, by hand.
    each = {"a": [0.0, 1.0, 1.5], "b": [2.5, 2.0, 2.5]}
    own = {"a": [0.0, 0.0, 4.5], "b": [4.5, 0.0, 0.5]}
    total = within = between = welch = 0.0
    for name in "ab":
        mean, spread = np.mean(each[name]), np.mean(own[name]) / 2
        within += spread / mean**2
        between += 4 / 3 * np.var(each[name], ddof=1) / mean**2
        welch += (spread / mean**2) ** 2
    total, complete = within + between, within**2 / welch
    share = between / total
    degrees = 1 / (share**2 / 2 + 1 / ((complete + 1) / (complete + 3) * complete * (1 - share)))
    estimate = np.log((7 / 3) / (2.5 / 3))
    assert float(found.log_fold_change[0]) == pytest.approx(estimate)
    assert float(found.standard_error[0]) == pytest.approx(total**0.5)
    assert float(found.missing[0]) == pytest.approx(share)
    assert float(found.degrees[0]) == pytest.approx(degrees)
    expected = 2 * stats.t.sf(estimate / total**0.5, degrees)
    assert float(found.p_value[0]) == pytest.approx(expected)
    alone = differences(a[:, :, 1:], b[:, :, 1:])  # whose tables have no such group
    assert float(found.p_value[1]) == float(alone.p_value[0])


def test_without_variance_there_is_no_evidence():
    same, other = torch.full((2, 5, 1), 3), torch.full((2, 5, 1), 4)
    moved = torch.stack([same[0], other[0]])  # tables that differ, of rows that do not
    found = differences(
        torch.cat([same, same, same, 0 * same], -1), torch.cat([same, other, moved, same], -1)
    )
    assert found.log_fold_change[:2].tolist() == pytest.approx([0, np.log(4 / 3)])
    np.testing.assert_equal(found.p_value.tolist(), [1.0, np.nan, 1.0, np.nan])
    assert found.missing[:3].tolist() == [0, 0, 1]


def test_rare_features_keep_to_the_level():
    rng = np.random.default_rng(5)
    tables = []
    for _ in range(2):
        x = rng.poisson(0.1, (24, 4000))
        gone = rng.random(x.shape) < 0.5
        number = (~gone).sum(0)
        rate = rng.gamma(np.where(gone, 0, x).sum(0) + 0.5, 1 / number, (5, 4000))
        made = np.where(gone, rng.poisson(rate[:, None], (5, *x.shape)), x)
        tables.append(torch.from_numpy(made))
    found = differences(*tables)
    means = [table.double().mean(1) for table in tables]
    some = torch.stack([((m == 0).any(0) & (m > 0).any(0)) for m in means]).any(0)
    some &= torch.stack([(m > 0).any(0) for m in means]).all(0)
    assert int(some.sum()) > 100 and not bool(found.p_value[some].isnan().any())
    for alpha in (0.01, 0.05, 0.2):
        assert float((found.p_value[some] < alpha).double().mean()) < alpha
