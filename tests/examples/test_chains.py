"""The examples on chains, run as a reader would run them."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")


def test_nucleotides(capsys):
    run = runpy.run_path(str(EXAMPLES / "nucleotides.py"))
    nats, error, entropy, samples = run["main"](steps=80)
    assert -entropy - 4 * error - 0.5 < nats < -entropy + 4 * error
    assert "no model beats" in capsys.readouterr().out
    # A site and its motif: 90 % of bases are kept on either strand.
    motif = torch.tensor([3, 0, 3, 0, 0, 3])
    agree = torch.maximum((samples == motif).sum(1), (samples == 3 - motif).sum(1))
    assert float(agree.double().mean()) > 4.5
    rates = run["substitution"]()
    law = torch.tensor([0.3, 0.2, 0.2, 0.3], dtype=torch.float64)
    torch.testing.assert_close(
        law @ rates, torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0
    )


def test_reverse_process(tmp_path, capsys):
    run = runpy.run_path(str(EXAMPLES / "reverse_process.py"))
    run["main"](tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    errors = [float(line.rsplit(" ", 1)[1]) for line in capsys.readouterr().out.splitlines()]
    assert errors[0] < 1e-12 and errors[1] < 0.1 and errors[2] < 1e-12


def test_chains_become_gaussian_diffusions_at_the_rate_of_their_size(tmp_path, capsys):
    run = runpy.run_path(str(EXAMPLES / "gaussian_limit.py"))
    for error in (run["ehrenfest_errors"], run["walk_errors"]):
        coarse, fine = (np.array(error(size)) for size in (64, 256))
        # Transition densities and reverse drifts: errors of order 1/S.
        assert_allclose(np.log2(coarse / fine) / 2, 1.0, atol=0.1)
        assert (fine < 0.02).all()
    run["main"](tmp_path / "picture.png", sizes=(16, 64))
    assert (tmp_path / "picture.png").stat().st_size > 10_000
