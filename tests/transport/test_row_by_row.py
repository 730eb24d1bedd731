"""A bound of which each value is a function of its data point alone."""

import pytest
import torch

import markovbridge as mb
from markovbridge import exact
from markovbridge.transport.likelihood import row_by_row

POINTS = torch.tensor([[0, 3], [2, 1], [5, 0], [1, 4]])
MEAN = 2.0
KEYS = [11, 12, 13, 14]


@pytest.fixture
def model():
    process = mb.PureDeath()
    return mb.Transport(process, exact.Poisson(process, MEAN), shape=(2,))


@pytest.mark.parametrize("pilot", [POINTS, torch.full((3, 2), 40)])
def test_it_is_the_likelihood_whatever_its_looks_are_spread_by(model, pilot):
    found = row_by_row(model, POINTS, KEYS, pilot, draws=1500)
    truth = torch.distributions.Poisson(MEAN).log_prob(POINTS.double()).sum(1)
    assert (found.standard_error < 0.1).all()
    assert ((found.nats - truth).abs() <= 5 * found.standard_error + 1e-6).all()
    together = model.log_likelihood(POINTS, draws=1500, generator=torch.Generator().manual_seed(0))
    both = (found.standard_error**2 + together.standard_error**2).sqrt()
    assert ((found.nats - together.nats).abs() <= 5 * both + 1e-6).all()


def test_neither_place_nor_company_changes_a_value(model):
    found = row_by_row(model, POINTS, KEYS, POINTS, draws=8)
    order = torch.tensor([2, 0, 3, 1])
    turned = row_by_row(model, POINTS[order], [KEYS[k] for k in order], POINTS, draws=8)
    assert torch.equal(turned.nats, found.nats[order])
    assert torch.equal(turned.standard_error, found.standard_error[order])
    alone = row_by_row(model, POINTS[2:3], KEYS[2:3], POINTS, draws=8)
    assert torch.equal(alone.nats, found.nats[2:3])
    other = row_by_row(model, POINTS, [9, *KEYS[1:]], POINTS, draws=8)
    assert (other.nats == found.nats).tolist() == [False, True, True, True]


def test_keys_and_looks_that_do_not_fit_are_refused(model):
    with pytest.raises(ValueError, match="there are 3 keys for 4 data points"):
        row_by_row(model, POINTS, KEYS[:3], POINTS)
    with pytest.raises(ValueError, match="draws must be even"):
        row_by_row(model, POINTS, KEYS, POINTS, draws=3)
