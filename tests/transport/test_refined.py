"""A model on a finer grid: its parts, its law, and what it draws."""

import pytest
import torch

import markovbridge as mb
from markovbridge import couplings
from markovbridge.covariances import Cosine, Matern, SquaredExponential, Torus
from markovbridge.laws.numbers import repeated
from markovbridge.networks import MLP, FourierOperator, Images
from markovbridge.samplers.known_sites import Observed
from markovbridge.samplers.model import Given

SMOOTH = Torus(SquaredExponential(1.0, 2.5))  # of no wave that 16 sites do not hold
COUPLING = mb.Independent(couplings.Gaussian(correlated=True))


def process_of(covariance=SMOOTH, **options):
    return mb.LinearDiffusion(mb.Brownian(0.5), covariance, **options)


def trained(process=None, coupling=COUPLING, depth=1, network=None, **options):
    """A model with random weights."""
    process, head = process or process_of(), mb.EndpointHead()
    torch.manual_seed(1)
    seen = mb.transport.features(process, coupling, masking=options.get("masking"))
    network = network or FourierOperator((2, 16, 16), seen, head.outputs(process), 6, depth, 5)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    options = {"shape": (2, 16, 16)} | options
    return mb.Transport(process, network, head, coupling=coupling, **options).eval()


def test_numbers_of_sites_are_those_of_the_site_before():
    value = torch.arange(6.0).reshape(1, 2, 3)
    found = repeated(value, 2, 2)
    assert found.shape == (1, 4, 6)
    assert torch.equal(found[..., ::2, ::2], value)
    assert torch.equal(found[..., 1::2, 1::2], value)
    assert repeated(3.0, 2, 2) == 3.0
    assert repeated(value, 3, 1).shape == (1, 2, 9)
    assert repeated(torch.ones(2, 1, 1), 3, 2).shape == (2, 1, 1)


def test_the_law_at_the_old_sites_is_that_of_the_old_grid():
    # One block: a deeper network agrees as far as silu makes no waves that are too short.
    mean = torch.tensor([0.3, -0.2]).reshape(2, 1, 1)
    model = trained(mean=mean, variance=torch.tensor([2.0, 0.5]).reshape(2, 1, 1))
    fine = model.refined(2)
    assert fine.network is model.network
    assert (fine.shape, fine.training) == ((2, 32, 32), False)
    x = fine.process.covariance.sample(torch.zeros(3, 2, 32, 32).double())
    t = torch.tensor([0.2, 0.5, 0.9])
    found, old = fine.law(x, t).mean, model.law(x[..., ::2, ::2], t).mean
    # A draw of it has next to no waves that the old grid lacks.
    torch.testing.assert_close(found[..., ::2, ::2], old, atol=1e-4, rtol=1e-4)
    assert (old - x[..., ::2, ::2]).abs().max() > 0.1


@pytest.mark.parametrize("sampler", [mb.ProbabilityFlow(), mb.Midpoint()])
def test_draws_at_the_old_sites_are_those_of_the_old_grid(sampler, monkeypatch):
    """With noise that is the same field on both grids, a walk is the same field on both."""
    model = trained()
    fine, g = model.refined(2), torch.Generator().manual_seed(0)

    def shared(covariance, like, *, generator=None):
        """The same field for both: drawn on the finer one."""
        sites = like.new_zeros(len(like), 2, 32, 32).double()
        drawn = kept(SMOOTH.refined(2, 2), sites, generator=generator)
        return (drawn if like.shape[-1] == 32 else drawn[..., ::2, ::2]).to(like)

    kept = Torus.sample
    monkeypatch.setattr(Torus, "sample", shared)
    state = g.get_state()
    old = model.sample(4, steps=4, sampler=sampler, generator=g, block=4)
    g.set_state(state)
    new = fine.sample(4, steps=4, sampler=sampler, generator=g, block=4)
    torch.testing.assert_close(new[..., ::2, ::2], old, atol=1e-5, rtol=1e-5)
    assert old.std() > 0.1


def test_a_refined_exact_law_is_the_law_of_the_refined_field():
    field = Torus(Matern(1.0, 3.0, 1.5))
    law = mb.exact.GaussianField(process_of(field), field, 0.5, COUPLING)
    model = mb.Transport(process_of(field), law, shape=(1, 8, 8))
    fine, finer = model.refined(2), field.refined(2, 2)
    expected = mb.exact.GaussianField(process_of(finer), finer, 0.5, COUPLING)
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(fine.law(x, 0.4).mean, expected(x, 0.4).mean)
    known = Observed(x, torch.rand(x.shape) < 0.1)
    found = fine.law(x, 0.4, Given(observed=known))
    torch.testing.assert_close(found.mean, expected.given_known(x, 0.4, known).mean)


def test_statistics_range_and_options_come_along(tmp_path):
    g = torch.Generator().manual_seed(0)
    data = torch.randn(9, 2, 16, 16, generator=g)
    mean, variance = data.mean(0), data.var(0)
    model = trained(
        mean=mean,
        variance=variance,
        masking=mb.samplers.known_sites.Masking(high=0.2),
        sampler=mb.Midpoint(),
        objective=mb.EndMSE(),
        coupling=mb.Independent(couplings.Gaussian(mean=mean, correlated=True)),
        process=process_of(offset=mean),
    )
    model.see(data)
    fine = model.refined(3)
    assert torch.equal(fine.mean[:, ::3, ::3], mean)
    assert torch.equal(fine.mean[:, 2::3, 1::3], mean)
    assert torch.equal(fine.variance[:, ::3, ::3], variance)
    assert torch.equal(fine.seen[:, :, ::3, ::3], model.seen)
    assert torch.equal(fine.process.offset[:, ::3, ::3], mean)
    assert torch.equal(fine.coupling.source.mean[:, ::3, ::3], mean)
    assert (fine.masking, fine.sampler, fine.objective) == (
        model.masking,
        model.sampler,
        model.objective,
    )
    assert fine.sample(2, steps=1).shape == (2, 2, 48, 48)
    assert fine.loss(torch.zeros(2, 2, 48, 48)).isfinite().all()
    # A refined model is a model: it is saved and read as one.
    fine.save_pretrained(tmp_path / "fine")
    again = mb.Transport.from_pretrained(tmp_path / "fine")
    assert again.shape == (2, 48, 48)
    drawn = [
        made.sample(2, steps=2, generator=torch.Generator().manual_seed(3))
        for made in (fine, again)
    ]
    assert torch.equal(*drawn)


def test_a_source_that_is_a_point_or_noised_data():
    vp = mb.LinearDiffusion(mb.VP(), SMOOTH, direction="noising")
    assert trained(vp, mb.Noised()).refined(2).coupling == mb.Noised()
    point = torch.arange(2 * 16 * 16.0).reshape(2, 16, 16)
    found = trained(coupling=mb.Dirac(point)).refined(2).coupling
    assert torch.equal(found.value[:, ::2, 1::2], point)


def test_what_is_bound_to_its_sites_is_refused():
    mlp = MLP((2, 16, 16), 1, 1, width=4, depth=1)
    rows = mb.Independent(torch.zeros(3, 2, 16, 16))
    exact = mb.exact.Poisson(mb.PureDeath(), 3.0)
    by_mode = process_of(Torus(Matern()), modes=Cosine())
    base = mb.exact.Empirical(process_of(), torch.zeros(3, 2, 16, 16), coupling=COUPLING)
    cases = [
        (lambda: trained(network=mlp), "MLP is a network for events of one size"),
        (lambda: trained(coupling=rows), "Rows has states on one grid"),
        (lambda: trained(process=process_of(modes=None), base=base), "no finer one"),
        (lambda: mb.Transport(mb.PureDeath(), exact, shape=(1, 8, 8)), "PureDeath counts"),
    ]
    for make, sentence in cases:
        with pytest.raises(NotImplementedError, match=sentence):
            make().refined(2)
    with pytest.raises(NotImplementedError, match="clocks by mode"):
        by_mode.refined(2, 2)
    with pytest.raises(ValueError, match="dimension=2"):
        trained(process_of(Torus(Matern(), 1))).refined(2)
    with pytest.raises(ValueError, match="factor"):
        trained().refined(0)
    with pytest.raises(ValueError, match="no axes of space"):
        mb.Transport(mb.PureDeath(), exact, shape=(8,)).refined(2)


def test_a_network_of_yours_may_say_that_it_serves_every_grid():
    network = Images(torch.nn.Conv2d(2, 2, 1))
    network.any_grid = True
    assert trained(network=network).refined(2).sample(1, steps=1).shape == (1, 2, 32, 32)
