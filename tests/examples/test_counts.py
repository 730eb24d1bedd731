"""The examples of counts and of their likelihood."""

import math

import pytest
import torch


def test_count_bridge(example):
    found, far, before, floor = example("count_bridge", steps=120, n=80, walks=(5,))
    assert found[5].dtype == torch.int64
    assert 0.3 * floor < far[5] < 0.75 * before
    radius = (found[5].double() - 24).norm(dim=1)
    assert float(radius.mean()) == pytest.approx(18, abs=5)


def test_likelihood(example):
    rows, gaps = example("likelihood", n=60, looks=100, leaps=(4, 16))
    # The entropy of a Bernoulli variable, of its own points: k ones of 60.
    bits = rows["Bernoulli(0.3)"][0]
    ones = (bits + math.log2(0.7)) * 60 / (math.log2(0.7) - math.log2(0.3))
    assert ones == pytest.approx(round(ones), abs=1e-4)
    for _, gap, error in rows.values():
        assert abs(gap) < 5 * error + 1e-3
    # Leaps of a fourth of the length lose about a fourth.
    assert 2.5 < gaps[0][0] / gaps[1][0] < 6
