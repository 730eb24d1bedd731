"""Draws of units, and what they take of a generator."""

import math

import pytest
import torch

from markovbridge.laws import numbers
from markovbridge.laws.numbers import binomial, log_cap


def seeded():
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.9])
@pytest.mark.parametrize("shape", [(40, 30), (6, 5, 4), (7,)])
def test_units_are_drawn_where_there_are_any_and_are_the_same_draws(share, shape, monkeypatch):
    torch.manual_seed(1)
    count = torch.where(torch.rand(shape) < share, torch.randint(1, 60, shape), 0)
    chance = torch.rand(shape[0], *(1 for _ in shape[1:]), dtype=torch.float64)
    whole = torch.binomial(count.double(), chance.expand_as(count), generator=seeded())
    for few in (0.0, 1.0):  # all at once, and those that are not 0 alone
        monkeypatch.setattr(numbers, "FEW", few)
        generator = seeded()
        assert torch.equal(binomial(count, chance, generator), whole.long())
        after = seeded()
        torch.binomial(count.double(), chance.expand_as(count), generator=after)
        assert torch.equal(generator.get_state(), after.get_state())


def test_counts_that_lie_otherwise_in_memory_are_drawn_alike(monkeypatch):
    count = torch.zeros(30, 20, dtype=torch.int64)
    count[::3, ::2] = 7
    chance = torch.linspace(0, 1, 20)
    whole = torch.binomial(count.float(), chance.expand_as(count), generator=seeded()).long()
    monkeypatch.setattr(numbers, "FEW", 1.0)
    turned = count.T.contiguous().T
    assert not turned.is_contiguous()
    assert torch.equal(binomial(turned, chance, seeded()), whole)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_what_is_no_number_of_units_is_named(dtype):
    count = torch.zeros(20, dtype=dtype)
    count[13] = -3
    with pytest.raises(ValueError, match="no draw of -3 units"):
        binomial(count, torch.full((20,), 0.5), None)


def test_a_cap_that_is_not_known_is_none():
    log_mean = torch.tensor([0.0, 2.0, math.nan, 2.0])
    most = torch.tensor([math.nan, 3.0, 3.0, math.inf], dtype=torch.float64)
    wanted = torch.tensor([0.0, math.log(3.0), math.nan, 2.0])
    torch.testing.assert_close(log_cap(log_mean, most), wanted, equal_nan=True)
