"""Covariances that clocks by mode cannot work with: an error, never a number that is wrong."""

import pytest
import torch

import markovbridge as mb
from markovbridge import exact
from markovbridge.covariances import Cosine, Diagonal, Modal, SingularError
from markovbridge.processes import BandClocks

MODES, CLOCKS = Cosine(1, (0.1, 0.3)), BandClocks((3.0, 1.0, 0.3))
X, Y = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize(("least", "kind"), [(0.0, torch.float64), (1e-9, torch.float32)])
def test_a_loss_in_units_of_a_singular_covariance_is_refused(least, kind):
    process = mb.LinearDiffusion(
        mb.VP(), Modal(MODES, (1.0, 0.5, least)), direction="noising", modes=MODES, clocks=CLOCKS
    )
    with pytest.raises(SingularError, match="EndMSE"):
        process.divergence(mb.laws.Delta(Y.to(kind)), X.to(kind), (Y + 1).to(kind), 0.5)


def test_weights_of_data_in_units_of_a_singular_covariance_are_refused():
    process = mb.LinearDiffusion(
        mb.VP(), Modal(MODES, (1.0, 0.5, 0.0)), direction="noising", modes=MODES, clocks=CLOCKS
    )
    with pytest.raises(SingularError, match="singular"):
        exact.Empirical(process, Y, coupling=mb.Noised())(X, 0.5)


@pytest.mark.parametrize("sde", [mb.Brownian(0.0), mb.VP()], ids=str)
def test_drifts_and_flows_ask_for_noise_by_mode_as_draws_do(sde):
    noise = Diagonal(torch.arange(1.0, 5.0))
    process = mb.LinearDiffusion(sde, noise, modes=MODES, clocks=CLOCKS)
    for asked in (
        lambda: process.drift(X, Y, 0.5),
        lambda: process.bridge(X, Y, 0.0, 0.5, 1.0),
    ):
        with pytest.raises(ValueError, match="do not diagonalise"):
            asked()
