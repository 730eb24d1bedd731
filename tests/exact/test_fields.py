"""Gaussian fields by modes against dense linear algebra on 8 x 8, in float64."""

import pytest
import torch

import markovbridge as mb
from affine_steps import covariance_after
from markovbridge import exact
from markovbridge.couplings import Gaussian
from markovbridge.covariances import GMRF, Cosine, Exponential, Grouped, Matern, Power, Torus
from markovbridge.processes import BandClocks
from markovbridge.samplers.known_sites import Observed

EVENT = (1, 8, 8)
FIELD = Torus(Exponential(1.3, 2.0))
LATTICE = GMRF(Matern(1.3, 2.0, 1.0))
SOURCE = mb.Independent(Gaussian(0.2, 1.1, correlated=True))
VP = {"sde": mb.VP(0.1, 4.0), "direction": "noising"}
EDGES = (0.1, 0.3)
WAVES = Cosine(edges=EDGES)
CLOCKS = {"modes": WAVES, "clocks": BandClocks((2.0, 1.0, 0.5))}
BANDS = Grouped(FIELD.modes, (FIELD.modes.frequency(EVENT) > 0.2).double())
CASES = {
    "white": (mb.LinearDiffusion(**VP), FIELD, mb.Noised()),
    "own": (mb.LinearDiffusion(mb.Brownian(0.8), FIELD), FIELD, SOURCE),
    "opposite": (mb.LinearDiffusion(covariance=Power(FIELD), **VP), FIELD, SOURCE),
    "lattice": (mb.LinearDiffusion(covariance=LATTICE, **VP), LATTICE, mb.Noised()),
    "clocks": (mb.LinearDiffusion(**VP, **CLOCKS), LATTICE, SOURCE),
    "torus clocks": (
        mb.LinearDiffusion(**VP, modes=BANDS, clocks=BandClocks((2.0, 0.5))),
        FIELD,
        mb.Dirac(0.3),
    ),
}
MEAN = torch.linspace(-1, 1, 64).double().reshape(EVENT)
TIMES = torch.tensor([0.0, 0.3, 0.3, 0.9]).double()


def dense(covariance):
    return (covariance @ torch.eye(64).double().reshape(-1, *EVENT)).flatten(1)


def numbers(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *EVENT, dtype=torch.float64, generator=generator)


def made(name):
    process, covariance, coupling = CASES[name]
    field = exact.GaussianField(process, covariance, MEAN, coupling)
    return field, exact.Gaussian.coupled(process, coupling, MEAN, dense(covariance))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def known(joint, mask, values):
    """Mean and covariance of a Gaussian given some of its sites."""
    mean, matrix = joint
    seen = mask.flatten()
    weights = torch.linalg.solve(matrix[seen][:, seen], matrix[seen]).mT
    return mean + weights @ (values.flatten()[seen] - mean[seen]), matrix - weights @ matrix[seen]


@pytest.mark.parametrize("name", CASES)
def test_a_field_is_the_gaussian_of_its_matrix(name):
    field, matrix = made(name)
    x = numbers(4)
    for one, other in ((field(x, TIMES), matrix(x, TIMES)), (field(x, 0.5), matrix(x, 0.5))):
        close(one.mean, other.mean)
        close(one.variance.expand_as(x), other.variance)
    at, same = field.marginal(x, 0.4), matrix.marginal(x, 0.4)
    close(at.mean.expand_as(x), same.mean)
    close(at.log_prob(x), same.log_prob(x))


@pytest.mark.parametrize("name", CASES)
def test_known_sites_are_kriging_with_what_is_left_open(name):
    field, matrix = made(name)
    x, values = numbers(4), numbers(4, 1)
    mask = torch.rand(4, *EVENT, generator=torch.Generator().manual_seed(2)) < 0.2
    mask[2] = mask[1]
    mask[3] = False
    law, free = field.given_known(x, TIMES, Observed(values, mask)), matrix(x, TIMES)
    found = [
        known((free.mean[k].flatten(), free.matrices[free.rows[k]]), mask[k], values[k])
        for k in range(4)
    ]
    close(law.mean.flatten(1), torch.stack([mean for mean, _ in found]))
    close(law.variance.flatten(1), torch.stack([c.diagonal() for _, c in found]))
    for k in range(4):
        hidden = ~mask[k].flatten()
        mean, left = found[k][0][hidden], found[k][1][hidden][:, hidden]
        other = torch.distributions.MultivariateNormal(mean, left)
        close(law.log_prob(x)[k], other.log_prob(x[k].flatten()[hidden]))


def test_draws_given_known_sites_have_their_covariance():
    field, matrix = made("own")
    values, mask = numbers(1, 1), numbers(1, 3) > 1
    n = 20_000
    x, mask = numbers(1).expand(n, *EVENT), mask.expand(n, *EVENT)
    law = field.given_known(x, 0.4, Observed(values.expand(n, *EVENT), mask))
    drawn = law.sample(generator=torch.Generator().manual_seed(0)).flatten(1)
    free = matrix(x[:1], 0.4)
    mean, spread = known((free.mean[0].flatten(), free.matrices[0]), mask[0], values[0])
    deviation = spread.diagonal().clamp_min(0).sqrt()
    assert float(((drawn.mean(0) - mean).abs() - 5 * deviation / n**0.5).max()) < 1e-9
    far = (torch.cov(drawn.mT) - spread).abs()
    assert float((far - 6 * deviation * deviation[:, None] / n**0.5).max()) < 1e-9


@pytest.mark.parametrize("name", ["white", "own"])
def test_a_walk_that_imputes_is_conditional_simulation(name, monkeypatch):
    # One step of the bridge from the source: mean and covariance are those of kriging, exactly.
    process, covariance, _ = CASES[name]
    coupling = mb.Independent(Gaussian(correlated=True))
    field = exact.GaussianField(process, covariance, MEAN, coupling)
    model = mb.Transport(process, field, shape=EVENT)
    assert model.conditions_itself
    values, mask = numbers(1, 1), numbers(1, 2) > 1
    mean, spread = known((MEAN.flatten(), dense(covariance)), mask[0], values[0])
    walked = mb.samplers.walks.BoundModel(
        model, mb.Given(observed=Observed(values.expand(65, *EVENT), mask.expand(65, *EVENT)))
    )
    start = dense(process.covariance)
    found = covariance_after(mb.Bridge(), walked, [0.0, 0.4, 1.0], start, EVENT, monkeypatch)
    close(found, spread)
    monkeypatch.setattr(torch, "randn", lambda *shape, **options: torch.zeros(*shape))
    x = model.impute(values.float(), mask, steps=3, block=1)
    torch.testing.assert_close(x.double().flatten(), mean, rtol=1e-4, atol=1e-4)


def test_a_network_of_zeros_states_the_field(monkeypatch):
    process, covariance, coupling = CASES["own"]
    field = exact.GaussianField(process, covariance, MEAN, coupling)

    def nothing(features, t, condition):
        assert features.shape[1] == mb.transport.features(process, coupling, base=field)
        return torch.zeros(len(features), 1, *EVENT)

    observed = Observed(numbers(3, 1).float(), numbers(3, 2) > 1)
    given, x = mb.Given(observed=observed), numbers(3).float()
    for predicts in ("end", "residual"):
        head = mb.EndpointHead(predicts)
        model = mb.Transport(process, nothing, head, shape=EVENT, base=field)
        found = model.law(x, 0.6, given).mean
        torch.testing.assert_close(found, field.given_known(x, 0.6, observed).mean)


def test_fields_of_any_size_and_with_channels():
    for event in ((8,), (2, 5, 7)):
        small = Torus(Exponential(1.0, 2.0), dimension=min(2, len(event)))
        process = mb.LinearDiffusion(mb.VP(), small, direction="noising")
        field = exact.GaussianField(process, small)
        sites = torch.arange(2 * 5 * 7 if len(event) == 3 else 8)[::3]
        weights = 1 / (1 + torch.arange(torch.Size(event).numel()).double().reshape(event))
        slow = super(type(small.modes), small.modes).block(weights, sites)
        close(small.modes.block(weights, sites), slow)
        x = torch.zeros(2, *event).double()
        mask = torch.zeros_like(x, dtype=torch.bool)
        mask[..., 0] = True
        law = field.given_known(x, 0.5, Observed(x + 1, mask))
        assert bool((law.mean[mask] == 1).all()) and float(law.variance[mask].abs().max()) == 0
    # At the data, and of what is certain already, nothing is left to say.
    law = field.given_known(x, 1.0, Observed(x + 1, mask))
    close(law.mean, torch.where(mask, 1.0, x))
    assert float(law.variance.abs().max()) < 1e-12


def test_smooth_fields_are_right_in_float32():
    """Whose known sites have a matrix that amplifies rounding a million times."""
    smooth = Torus(mb.covariances.Matern(1.0, 12.0, 3.5))
    field = exact.GaussianField(mb.LinearDiffusion(mb.VP(), direction="noising"), smooth)
    noise = torch.Generator().manual_seed(0)
    values, x = torch.randn(2, 1, 1, 64, 64, generator=noise).double()
    values, mask = smooth.sample(values, generator=noise), torch.zeros(1, 1, 64, 64).bool()
    mask[..., :16, :16] = True
    right = field.given_known(x, 0.5, Observed(values, mask)).mean
    found = field.given_known(x.float(), 0.5, Observed(values.float(), mask)).mean
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), right, rtol=0, atol=1e-4)


def test_what_has_no_closed_form_is_refused():
    with pytest.raises(TypeError, match="under a LinearDiffusion, not under PureDeath"):
        exact.GaussianField(mb.PureDeath(), FIELD)
    with pytest.raises(NotImplementedError, match="Torus, GMRF"):
        exact.GaussianField(mb.LinearDiffusion(), mb.covariances.Grid(Exponential()))
    with pytest.raises(ValueError, match="do not diagonalise"):
        field = exact.GaussianField(mb.LinearDiffusion(covariance=LATTICE), FIELD)
        field(numbers(2), 0.5)
    big = torch.zeros(1, 1, 80, 80)
    field = exact.GaussianField(mb.LinearDiffusion(), FIELD)
    with pytest.raises(ValueError, match="6400 sites of a field are known"):
        field.given_known(big, 0.5, Observed(big, torch.ones_like(big, dtype=torch.bool)))
    with pytest.raises(ValueError, match="states have the shape"):
        exact.GaussianField(mb.LinearDiffusion(), FIELD, MEAN)(big, 0.5)
