"""Corrected intervals hold what they say, exactly, whatever the draws."""

import math

import numpy as np
import pytest
import torch

from markovbridge.evaluation import conformal
from markovbridge.evaluation.conformal import Correction, fit, groups, least_rows
from markovbridge.evaluation.restoration import Restoration


def reals(n, seed=0):
    """Truths, and draws of quite another law."""
    rng = np.random.default_rng(seed)
    truth = torch.from_numpy(rng.normal(0, 3, (n, 1)))
    return truth, Restoration(torch.from_numpy(rng.normal(0.5, 0.1, (19, n, 1))))


def every(x):
    return torch.ones_like(x, dtype=torch.bool)


def test_one_entry_a_row_takes_the_smallest_score_that_is_counted_off():
    truth, made = reals(30)
    low, high = made.interval(0.9)
    scores = torch.maximum(low - truth, truth - high).clamp_min(0) / (1 + high - low)
    for level in (0.5, 0.9):
        found = fit(made, truth, every(truth), torch.ones(1), [level])
        k = math.ceil((30 + 1) * level)
        low, high = made.interval(level)
        scores = torch.maximum(low - truth, truth - high).clamp_min(0) / (1 + high - low)
        assert found.widening == ((float(scores.flatten().sort().values[k - 1]),),)


def test_of_each_row_left_out_in_turn_exactly_so_many_are_held():
    """⌈(n + 1) c⌉ of n + 1 rows, each by the others: what exchangeable rows have on average."""
    truth, made = reals(24)
    for level in (0.5, 0.8, 0.9):
        hits = 0
        for out in range(24):
            rest = torch.arange(24) != out
            old = Restoration(made.draws[:, rest])
            found = fit(old, truth[rest], every(truth[rest]), torch.ones(1), [level])
            new = Restoration(made.draws[:, ~rest], found.of(torch.ones(1)))
            low, high = new.interval(level)
            hits += int((low[0] <= truth[out]) & (truth[out] <= high[0]))
        assert hits == math.ceil(24 * level)


def test_entries_of_a_row_count_as_one_row():
    """Rows of few entries and of many, which are all far off or all near: c of the rows is held.

    Pooled, the many near entries of half of the rows would be all that is looked at.
    """
    level, n = 0.8, 20
    hidden = torch.arange(50) < torch.where(torch.arange(n) % 2 == 0, 2, 50).unsqueeze(1)
    truth = torch.where(torch.arange(n) % 2 == 0, 100.0, 1.0).unsqueeze(1).expand(n, 50)
    truth = truth + torch.linspace(0, 1, n).double().unsqueeze(1)
    made = Restoration(torch.zeros(9, n, 50, dtype=torch.float64))
    shares = []
    for out in range(n):
        rest = torch.arange(n) != out
        some = Restoration(made.draws[:, rest])
        found = fit(some, truth[rest], hidden[rest], torch.ones(50), [level])
        new = Restoration(made.draws[:, ~rest], found.of(torch.ones(50), hidden[~rest]))
        low, high = new.interval(level)
        inside = (low[0] <= truth[out]) & (truth[out] <= high[0])
        shares.append(float(inside[hidden[out]].double().mean()))
    assert sum(shares) / n == pytest.approx(level)


def test_known_entries_stay_certain_and_counts_whole():
    draws = torch.tensor([[[3, 5]], [[4, 5]], [[5, 5]]])
    correction = Correction((), (0.5,), ((0.3,),))
    hidden = torch.tensor([[True, False]])
    made = Restoration(draws, correction.of(torch.ones(2), hidden), torch.tensor([[3, 0]]))
    assert made.corrected(0.5) and not made.corrected(0.9)
    low, high = made.interval(0.5)  # 3 .. 5 is widened by .9: by no whole count
    assert low.tolist() == [[3, 5]] and high.tolist() == [[5, 5]] and low.dtype == torch.int64
    wider = Correction((), (0.5,), ((1 / 3,),))
    made = Restoration(draws, wider.of(torch.ones(2), hidden), torch.tensor([[3, 0]]))
    low, high = made.interval(0.5)  # by exactly one: but nothing is below what was seen
    assert low.tolist() == [[3, 5]] and high.tolist() == [[6, 5]]
    low, high = made.interval(0.5, corrected=False)
    assert low.tolist() == [[3, 5]] and high.tolist() == [[5, 5]]
    with pytest.raises(ValueError, match=r"a correction of 0.5, not of 0.4: calibrate"):
        made.interval(0.4, corrected=True)


def test_a_distance_that_is_just_met_is_not_lost_to_rounding():
    length = torch.arange(100)
    draws = torch.stack([100 + 0 * length, 100 + length, 100 + length]).unsqueeze(1)
    for k in range(1, 40):
        widening = {0.5: k / (1.0 + length.double())}
        low, high = Restoration(draws, widening).interval(0.5)
        assert torch.equal(low[0], 100 - k + 0 * length)
        assert torch.equal(high[0], 100 + k + length)


def test_features_of_like_mean_are_a_group_if_enough_rows_have_it():
    means = torch.tensor([0.02, 0.05, 0.5, 3.0, 40.0, 50.0])
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.poisson(means.numpy(), (40, 6)))
    made = Restoration(torch.from_numpy(rng.poisson(means.numpy(), (19, 40, 6))))
    found = fit(made, truth, every(truth), means, [0.9])
    assert found.edges == (0.1, 1.0, 10.0)
    assert groups(means, found.edges).tolist() == [0, 0, 1, 2, 3, 3]
    few = every(truth)
    few[5:, 3] = False  # too few rows of the feature of mean 3: it goes with the larger ones
    few[30:, :2] = False  # and the smallest with the next
    assert fit(made, truth, few, means, [0.9]).edges == (1.0,)
    few[5:, 4:] = False
    assert fit(made, truth, few, means, [0.9]).edges == ()


def test_too_few_rows_are_refused():
    assert [least_rows(level) for level in (0.5, 0.8, 0.9, 0.95)] == [1, 4, 9, 19]
    truth, made = reals(8)
    with pytest.raises(ValueError, match="level 0.9 takes at least 9 rows with a hidden entry"):
        fit(made, truth, every(truth), torch.ones(1), [0.9])
    with pytest.raises(ValueError, match="2 levels and 1 groups"):
        Correction((), (0.5, 0.9), ((0.1,),))
    with pytest.raises(ValueError, match="edges must rise"):
        Correction((2.0, 1.0), (), ())
    assert conformal.SPARE > 1
