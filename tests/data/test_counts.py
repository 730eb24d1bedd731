"""What a count is, and what is said of a value that is none."""

import numpy as np
import pytest
import torch

from markovbridge.data.counts import check_counts, whole


def read(values):
    return whole(np.asarray(values), lambda at: f"x[{at}]").tolist()


def test_numbers_but_for_rounding_are_counts():
    assert read([0.999999999999999, 2.9999999999999996, -1e-9, 1e6 + 1e-7]) == [1, 3, 0, 1000000]
    assert read(np.array([0.9999999, 254.9999995], "f4")) == [1, 255]
    noise = np.random.default_rng(0).uniform(-9e-7, 9e-7, 1000)
    assert read(np.arange(1000) + noise) == list(range(1000))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.99999, "is 0.99999; counts are whole numbers, so this looks like normalised"),
        (1 + 2e-6, "is 1.000002; counts are whole"),
        (-1e-5, "is -1e-05; counts are whole numbers"),
        (-1.0, "is -1; counts are never negative"),
        (np.inf, "is inf; remove or replace"),
        (2.0**63, "is 9.22337203685478e.18; counts are below"),
    ],
)
def test_others_are_none(value, message):
    with pytest.raises(ValueError, match=r"x\[1\] " + message):
        read([1.0, value])


def test_tensors_of_reals_are_told_how_to_become_counts():
    with pytest.raises(TypeError, match=r"are whole, so convert it with x.to\(torch.int64\)"):
        check_counts(torch.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match=r"whole but for rounding, so .* x.round\(\).to\(torch"):
        check_counts(torch.tensor([1.0, 2 - 1e-9], dtype=torch.float64))
