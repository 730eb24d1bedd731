"""Counts guessed from one another: against the inverse of their covariance, and exact laws."""

import pytest
import torch
from scipy import sparse

import markovbridge as mb
from markovbridge import exact
from markovbridge.data.sparse import SparseRows
from markovbridge.exact.linear_counts import LEAST

DEATH = mb.PureDeath()
SURVIVALS = (1e-4, 0.03, 0.5, 0.97, 1 - 1e-5)


def counts(n=400, sites=5, seed=0):
    """Poisson counts around intensities that have something in common."""
    rng = torch.Generator().manual_seed(seed)
    common = torch.randn(n, 1, generator=rng) + 0.5 * torch.randn(n, sites, generator=rng)
    level = torch.linspace(0, 2, sites)
    return torch.poisson((common + level).exp(), generator=rng).long()


def by_inversion(law, x, p, site):
    """Mean and variance of a site's intensity given what is seen of the others."""
    mean, modes = law.mean.double().flatten(), law.modes.double()
    root = mean.sqrt()
    spread = root[:, None] * (modes * law.spread.double()) @ modes.T * root
    seen = p**2 * spread + p * mean.diag()
    others = [i for i in range(len(mean)) if i != site]
    weights = torch.linalg.solve(seen[others][:, others], p * spread[others, site])
    guess = mean[site] + (x[:, others] - p * mean[others]) @ weights
    return guess, spread[site, site] - p * spread[site, others] @ weights


@pytest.mark.parametrize("p", SURVIVALS)
def test_a_site_is_a_negative_binomial_around_the_guess_of_the_others(p):
    x1 = counts()
    law = exact.FitLinearCounts()(DEATH, x1)
    t = DEATH.observed_time(p)
    rng = torch.Generator().manual_seed(1)
    x = DEATH.transition(x1[:60], 1.0, t).sample(generator=rng)
    found = law(x, t)
    lifted = 0
    for site in range(x.shape[1]):
        guess, variance = by_inversion(law, x.double(), p, site)
        least = LEAST * law.mean.double()[site]
        lifted += int((guess < least).sum())
        guess = guess.clamp_min(least)
        size = guess**2 / variance
        wanted = (1 - p) * guess * (size + x[:, site]) / (size + p * guess)
        torch.testing.assert_close(found.excess(x)[:, site].double(), wanted, rtol=3e-4, atol=0)
        torch.testing.assert_close(
            found.base.size[:, site].double(), size + x[:, site], rtol=3e-4, atol=0
        )
    assert lifted or p in (1e-4, 0.03)  # a linear guess of positive numbers may be negative


def test_rows_have_their_own_times():
    x1 = counts()
    law = exact.FitLinearCounts()(DEATH, x1)
    times = torch.tensor([0.1, 0.5, 0.9])
    x = torch.minimum(x1[:3], torch.tensor(4))
    together = law(x, times).log_excess(x)
    for row, t in enumerate(times):
        alone = law(x[row : row + 1], t).log_excess(x[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-5)


def independent(mean, size):
    """Sites that know nothing of each other."""
    law = exact.LinearCounts(DEATH, shape=mean.shape)
    law.mean.copy_(mean)
    law.spread.copy_(mean.flatten() / size.flatten())
    return law


def test_independent_negative_binomials_are_known_exactly():
    mean, size = torch.tensor([[0.5, 3.0], [20.0, 7.0]]), torch.tensor([[0.7, 2.0], [5.0, 1.0]])
    law, known = independent(mean, size), exact.NegativeBinomial(DEATH, mean, size)
    x = torch.tensor([[[0, 1], [30, 2]], [[2, 0], [0, 9]]])
    for t in (0.0, 0.2, 0.7, 0.99):
        found, wanted = law(x, t), known(x, t)
        for more in (0, 1, 6):
            torch.testing.assert_close(
                found.log_prob(x + more).double(), wanted.log_prob(x + more), rtol=1e-4, atol=1e-4
            )
        if t > 0:
            found, wanted = law.marginal(x, t), known.marginal(x, t)
            torch.testing.assert_close(
                found.log_prob(x), wanted.log_prob(x).to(found.log_prob(x)), rtol=1e-4, atol=1e-4
            )


def test_no_more_is_guessed_than_there_is_room_for():
    x1 = counts().clamp_max(6)
    few = mb.PureDeath(6)
    law, free = exact.FitLinearCounts()(few, x1), exact.FitLinearCounts()(DEATH, x1)
    x = few.transition(x1, 1.0, 0.6).sample(generator=torch.Generator().manual_seed(2))
    found, wanted = law(x, 0.6).excess(x), free(x, 0.6).excess(x)
    assert bool((wanted > 6 - x).any()) and bool((x == 6).any())
    torch.testing.assert_close(found, wanted.minimum((6 - x).float()))
    assert float(law(x.clamp_min(7), 0.6).excess(x.clamp_min(7)).max()) < 1e-6


def test_it_is_found_from_sparse_rows_as_well():
    x = counts(60)
    dense = exact.FitLinearCounts()(DEATH, x)
    rows = exact.FitLinearCounts()(DEATH, SparseRows(sparse.csr_matrix(x.numpy())))
    torch.testing.assert_close(dense.spread, rows.spread)
    torch.testing.assert_close(dense.mean, x.float().mean(0))
    z = (x - dense.mean) / dense.mean.sqrt()
    wanted = z.T @ z / len(x)
    found = dense.modes * (dense.spread + 1) @ dense.modes.T
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-2)


def test_what_never_varies_does_no_harm():
    x = counts(50)
    x[:, 0], x[:, 1] = 0, 3
    law = exact.FitLinearCounts()(DEATH, x)
    state = torch.zeros_like(x[:2])
    state[1] = 5
    for t in (0.0, 1e-3, 0.5, 1.0):
        assert bool(torch.isfinite(law(state, t).log_excess(state)).all())


def test_what_cannot_be_fitted_is_refused(monkeypatch):
    fit = exact.FitLinearCounts()
    with pytest.raises(TypeError, match="under PureDeath, not under Ehrenfest"):
        fit(mb.Ehrenfest(5), counts(9).clamp_max(5))
    with pytest.raises(ValueError, match="at least 2 samples, not 1"):
        fit(DEATH, counts(1))
    with pytest.raises(ValueError, match="above the maximum 2"):
        fit(mb.PureDeath(2), counts())
    with pytest.raises(ValueError, match="4097 sites is too large.*base='moments'"):
        fit(DEATH, torch.ones(2, 4097, dtype=torch.int64))
    with pytest.raises(ValueError, match="shape"):
        fit(DEATH, counts())(counts(3, sites=4), 0.5)


def test_a_network_corrects_it_and_it_is_saved(tmp_path):
    x = counts()
    law = exact.FitLinearCounts()(DEATH, x)
    seen = mb.transport.features(DEATH, mb.Noised(), base=law)
    mean, variance = mb.statistics(x)
    model = mb.Transport(
        DEATH,
        mb.networks.MLP((5,), seen, 1, width=4, depth=1),
        mb.MeanHead(),
        shape=(5,),
        mean=mean,
        variance=variance,
        base=law,
    )
    state = x[:4] // 3
    torch.testing.assert_close(
        model.law(state, 0.4).log_excess(state), law(state, 0.4).log_excess(state)
    )
    model.save_pretrained(tmp_path / "model")
    again = mb.Transport.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(again.base.modes, law.modes, rtol=0, atol=0)
    found, wanted = again.law(state, 0.4), model.law(state, 0.4)
    torch.testing.assert_close(found.mean, wanted.mean, rtol=0, atol=0)
