"""What a model expects by one evaluation, against posteriors in closed form."""

import numpy as np
import pytest
import torch
from scipy import stats

from known_models import Zeros, count_model
from markovbridge import Independent, MeanHead, Paired, PureDeath, Transport, exact
from markovbridge.data.covariates import Covariates
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.expectations import expected, expected_ends, states_ends
from markovbridge.samplers.known_sites import Masking, Observed

MEAN, SIZE, SURVIVAL, TOP = 6.0, 2.0, 0.3, 90


def mixture(process):
    rng = generator("cpu", "expectations")
    return exact.CountMixture.of(
        process,
        torch.rand(3, 2, dtype=torch.float64, generator=rng),
        torch.tensor([0.5, 1, 2], dtype=torch.float64),
        1 + 4 * torch.rand(2, 3, dtype=torch.float64, generator=rng),
        torch.tensor([0.5, 2, 5], dtype=torch.float64),
    )


def corrected(law, masking=None, **options):
    """A model whose network says nothing, so that it is its base law."""
    options = {"shape": (3,), "mean": 3.0, "base": law, "masking": masking} | options
    return Transport(PureDeath(), Zeros(), MeanHead(link="exp"), **options)


def given_known(law, row, mask):
    """E[x_1 | known sites] by Bayes' rule over components, and sums over a table of counts."""
    weights = law.log_weights.exp().flatten().numpy()
    means = (law.depths[:, None, None] * law.profiles).flatten(0, 1).numpy()
    r, n = law.sizes.numpy(), np.arange(TOP * 4)
    table = stats.nbinom.pmf(n[:, None, None], r, r / (r + means))  # (counts, components, sites)
    for j in np.flatnonzero(mask):
        weights = weights * table[row[j], :, j]
    each = np.einsum("n,nkj,k->j", n, table, weights / weights.sum())
    return np.where(mask, row, each)


def test_the_expected_count_is_that_of_the_posterior():
    process = PureDeath()
    transport = Transport(process, exact.NegativeBinomial(process, MEAN, SIZE), shape=(3,)).train()
    seen = torch.tensor([[0, 2, 5], [1, 0, 0], [9, 3, 1]]).repeat(3, 1)
    found = expected(transport, seen, process.observed_time(SURVIVAL), block=4)
    more = (1 - SURVIVAL) * MEAN * (SIZE + seen.double()) / (SIZE + SURVIVAL * MEAN)
    torch.testing.assert_close(found, seen + more)
    assert transport.training and not found.requires_grad


def test_known_sites_say_what_to_expect_of_the_others():
    law = mixture(PureDeath())
    transport = corrected(law, Masking()).train()
    x = torch.tensor([[0, 7, 1], [12, 0, 0], [3, 3, 3], [1, 20, 5], [2, 2, 0]])
    mask = torch.tensor([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0], [1, 1, 1]]).bool()
    truth = np.stack(
        [given_known(law, *pair) for pair in zip(x.numpy(), mask.numpy(), strict=True)]
    )
    found = expected_ends(transport, torch.where(mask, x, 10**6), mask, block=2)
    np.testing.assert_allclose(found, truth, rtol=1e-5)
    assert transport.training
    model = count_model(law, [3.0] * 3)
    model.transport_ = transport
    made = model.impute(x.numpy(), mask.numpy(), draws=2)
    np.testing.assert_allclose(made.mean, truth, rtol=1e-5)
    assert (made.draws == np.round(made.draws)).all() and (made.mean != made.draws.mean(0)).any()
    model.transport_ = corrected(law)
    made = model.impute(x.numpy(), mask.numpy(), draws=2)
    np.testing.assert_array_equal(made.mean, made.draws.mean(0))
    with pytest.raises(ValueError, match="take the mean of draws"):
        expected_ends(model.transport_, x, mask)


X = torch.tensor([[0, 7, 1], [12, 0, 0], [3, 3, 3], [1, 20, 5]])
MASK = torch.tensor([True, False, True])


def test_what_is_told_is_told_block_by_block():
    known = Covariates.fit({"kind": ["a", "b"]}, range(2), categorical=["kind"])
    told = known.encode({"kind": ["a", "b", None, "b"]}, 4)
    law = mixture(PureDeath()).told(X, known.encode({"kind": ["a", "b", "b", "a"]}, 4), known)
    transport = corrected(law, Masking(), covariates=known)
    mask = MASK.expand(4, 3)
    found = expected_ends(transport, X, MASK, condition=told, block=3)
    truth = law.given_known(torch.zeros_like(X), 0.0, Observed(X, mask), told).mean
    torch.testing.assert_close(found, truth, rtol=1e-5, atol=0)
    pooled = expected_ends(transport, X, MASK)
    assert ((found != pooled).any(1)).tolist() == [True, True, False, True]
    for block in (0, 2.5):
        with pytest.raises((TypeError, ValueError), match="block must be a"):
            expected_ends(transport, X, MASK, block=block)


def test_known_counts_stay_as_they_are():
    large = torch.tensor([[2**24 + 1, 4, 2**31 + 7]])
    found = expected_ends(corrected(mixture(PureDeath()), Masking()), large, MASK)
    assert found.dtype == torch.float64 and found[0, [0, 2]].tolist() == [2**24 + 1, 2**31 + 7]


def test_only_a_law_of_known_sites_on_paths_from_a_point_is_asked():
    assert states_ends(corrected(mixture(PureDeath()), Masking()))
    independent = exact.NegativeBinomial(PureDeath(), MEAN, SIZE)
    for base in (None, "moments", independent):
        assert not states_ends(corrected(base, Masking()))
    for coupling in (Independent(torch.tensor([[0, 0, 0], [1, 0, 2]])), Paired()):
        law = mixture(PureDeath())
        law.coupling = coupling
        transport = corrected(law, Masking(), coupling=coupling)
        assert not states_ends(transport)
        with pytest.raises(ValueError, match="on paths from a point"):
            expected_ends(transport, X, MASK)
