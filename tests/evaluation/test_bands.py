"""What is chosen for the bands of data, against exact laws of Gaussian data."""

from dataclasses import replace

import pytest
import torch

import markovbridge as mb
from markovbridge import exact, processes
from markovbridge.covariances import Cosine, Isotropic, Matern, Modal, Torus
from markovbridge.evaluation.bands import even_clocks, opposite, plot_bands

EDGES = (0.1, 0.2, 0.3, 0.4)
MODES = Cosine(1, EDGES)
COUPLING = mb.Independent(mb.couplings.Gaussian(correlated=True))
WHITE = mb.LinearDiffusion(mb.VP(), Isotropic(0.5), direction="noising")
SPECTRUM = (4.0, 1.0, 0.3, 0.1, 0.02)


def data(modes=MODES, powers=SPECTRUM, event=(12,)):
    """Rows whose power in each band is exactly this, and whose mean is 0."""
    x = torch.randn(200, *event, generator=torch.Generator().manual_seed(0)).double()
    x = modes.forward(x - x.mean(0))
    x = x / x.square().mean(0).sqrt()
    return modes.inverse(x * torch.tensor(powers).double()[modes.band(event)].sqrt())


def left(process, t, event=(12,)):
    """E/S of each band by the exact law, (bands,)."""
    covariance = Modal(MODES, SPECTRUM) @ torch.eye(12, dtype=torch.float64)
    law = exact.Gaussian.coupled(process, COUPLING, torch.zeros(event).double(), covariance)
    spread = law(torch.zeros(1, *event, dtype=torch.float64), t).matrices[0]
    u = MODES.forward(torch.eye(12, dtype=torch.float64)).T
    error = (u @ spread @ u.T).diagonal()
    bands = MODES.band(event)
    each = torch.stack([error[bands == k].mean() for k in range(MODES.bands)])
    return each / torch.tensor(SPECTRUM, dtype=torch.float64)


def test_even_clocks_decide_one_band_after_the_other():
    x = data()
    clocks = even_clocks(WHITE, COUPLING, MODES, x)
    process = mb.LinearDiffusion(
        WHITE.sde, WHITE.covariance, direction="noising", modes=MODES, clocks=clocks
    )
    share = MODES.counts((12,)) * torch.tensor(SPECTRUM, dtype=torch.float64)
    middle = (share.cumsum(0) - share / 2) / share.sum()
    for k, t in enumerate(middle.tolist()):
        assert float(left(process, t)[k]) == pytest.approx(0.5, abs=0.01)
    torch.testing.assert_close(
        torch.tensor(clocks.spectrum), torch.tensor(SPECTRUM), rtol=1e-5, atol=1e-6
    )

    # The total error falls nearly evenly, which without clocks it does not.
    def uneven(one):
        times = torch.linspace(0.1, 0.9, 9).tolist()
        totals = [float((left(one, t) * share).sum() / share.sum()) for t in times]
        return max(abs(e - (1 - t)) for e, t in zip(totals, times, strict=True))

    assert uneven(process) < 0.2 < 0.25 < uneven(WHITE)


def test_the_picture_shows_what_is_open():
    times = [0.1, 0.4, 0.7, 0.9]
    for process in (
        WHITE,
        mb.LinearDiffusion(
            mb.VP(),
            Modal(MODES, (0.2, 0.4, 0.6, 0.8, 1.0)),
            direction="noising",
            modes=MODES,
            clocks=processes.BandClocks((4.0, 2.0, 1.0, 0.5, 0.2)),
        ),
    ):
        ax = plot_bands(process, COUPLING, data(), modes=MODES, times=times)
        drawn = torch.as_tensor(ax.collections[0].get_array()).reshape(5, len(times))
        wanted = torch.stack([left(process, t) for t in times], 1)
        torch.testing.assert_close(drawn.double(), wanted, rtol=1e-5, atol=1e-6)


def test_opposite_noise_is_a_power_of_the_covariance():
    x = data()
    noise = opposite(x, -0.5)
    matrix = torch.cov(x.mT)
    values, vectors = torch.linalg.eigh(matrix)
    wanted = vectors * values**-0.5 @ vectors.T
    wanted = wanted * matrix.trace() / wanted.trace()
    torch.testing.assert_close(noise @ torch.eye(12).double(), wanted, rtol=1e-8, atol=1e-8)
    kernel = Torus(Matern(1.0, 3.0, 1.0), 1)
    assert opposite(x, base=kernel).base is kernel
    with pytest.raises(ValueError, match="fit a kernel"):
        opposite(torch.zeros(2, 65, 64))
    with pytest.raises(ValueError, match="has modes already"):
        even_clocks(mb.LinearDiffusion(modes=MODES), COUPLING, MODES, x)


def test_even_clocks_go_by_time_whatever_the_clock_of_the_process_shows():
    cosine = mb.LinearDiffusion(
        WHITE.sde, WHITE.covariance, mb.CosineSchedule(), direction="noising"
    )
    clocks = even_clocks(cosine, COUPLING, MODES, data())
    process = replace(cosine, modes=MODES, clocks=clocks)
    share = MODES.counts((12,)) * torch.tensor(SPECTRUM, dtype=torch.float64)
    middle = (share.cumsum(0) - share / 2) / share.sum()
    for k, t in enumerate(middle.tolist()):
        assert float(left(process, t)[k]) == pytest.approx(0.5, abs=0.01)


def test_data_that_do_not_vary_have_no_clocks():
    with pytest.raises(ValueError, match="does not vary"):
        even_clocks(WHITE, COUPLING, MODES, torch.ones(5, 12))


def test_at_a_point_all_is_open():
    axes = plot_bands(WHITE, mb.Dirac(), data(), modes=MODES, times=[0.0, 0.5, 1.0])
    seen = torch.tensor(axes.collections[0].get_array().reshape(MODES.bands, 3).filled(-1.0))
    assert bool((seen[:, 0] == 1).all())
    assert bool((seen[:, 2] == 0).all())


RARE = 1 / 16  # how often a mode is not 0; then it is plus or minus a size


def sizes(event=(12,)):
    """What modes are that are not 0, so that the spectrum is what it is."""
    return (torch.tensor(SPECTRUM).double() / RARE)[MODES.band(event)].sqrt()


def spikes(event=(12,)):
    """Rows of which each mode is plus or minus its size in a sixteenth, and 0 in the others."""
    generator = torch.Generator().manual_seed(1)
    signs = torch.tensor([1.0, -1.0] * 8 + [0.0] * 240).double()
    rows = torch.stack([signs[torch.randperm(256, generator=generator)] for _ in range(12)], 1)
    return MODES.inverse(rows * sizes(event))


def at(t):
    """Gain and noise of x_t given x_1."""
    kernel = COUPLING.kernel(WHITE, torch.as_tensor(t, dtype=torch.float64).reshape(-1))
    return kernel.gain.reshape(-1, 1), kernel.variance.reshape(-1, 1) * 0.5


def guessed(z, gain, noise, size):
    """E[x_1 | x_t = z] of a mode."""
    size = size + 0 * z
    atoms = torch.stack([torch.zeros_like(size), size, -size])
    prior = torch.tensor([1 - RARE, RARE / 2, RARE / 2]).double().log()
    weight = prior.reshape(-1, *[1] * z.ndim) - (z - gain * atoms) ** 2 / (2 * noise)
    return (weight.softmax(0) * atoms).sum(0)


class OfSpikes(torch.nn.Module):
    """The law of such data."""

    def forward(self, x, t, condition=None):
        mean = guessed(MODES.forward(x.double()), *at(t), sizes())
        return mb.laws.Normal(MODES.inverse(mean), torch.ones_like(mean))


def open_of_spikes(t):
    """E/S of each band, by quadrature."""
    gain, noise = at(t)
    size = (torch.tensor(SPECTRUM).double() / RARE).sqrt()[:, None]
    normal = torch.linspace(-10, 10, 4001, dtype=torch.float64)
    weight = (-normal * normal / 2).exp() / (-normal * normal / 2).exp().sum()
    error = 0.0
    for share, end in ((1 - RARE, 0 * size), (RARE, size)):
        z = gain * end + noise.sqrt() * normal
        off = end - guessed(z, gain, noise, size)
        error = error + share * (off**2 * weight).sum(1)
    return error / torch.tensor(SPECTRUM).double()


def decided(left):
    """The odds of the clock at which bands are half decided, by bisection of E/S."""
    low, high = torch.full((5,), -16.0).double(), torch.full((5,), 16.0).double()
    for _ in range(60):
        middle = (low + high) / 2
        times = WHITE.schedule.time(middle.sigmoid(), (-middle).sigmoid()).tolist()
        is_open = torch.stack([left(t)[k] > 0.5 for k, t in enumerate(times)])
        low, high = torch.where(is_open, middle, low), torch.where(is_open, high, middle)
    return low


def test_a_model_is_asked_in_place_of_the_linear_guess():
    model = mb.Transport(WHITE, OfSpikes(), shape=(12,), coupling=COUPLING)
    times = [0.3, 0.5, 0.7, 0.9]
    options = {"model": model, "generator": torch.Generator().manual_seed(2)}
    ax = plot_bands(WHITE, COUPLING, spikes(), modes=MODES, times=times, **options)
    drawn = torch.as_tensor(ax.collections[0].get_array()).reshape(5, len(times)).double()
    wanted = torch.stack([open_of_spikes(t) for t in times], 1)
    torch.testing.assert_close(drawn, wanted, rtol=0.3, atol=0.03)  # of 32 to 48 spikes

    # One wish, two guesses: the clocks differ by when the bands are decided.
    plain = even_clocks(WHITE, COUPLING, MODES, spikes())
    asked = even_clocks(WHITE, COUPLING, MODES, spikes(), **options)
    apart = torch.tensor(asked.odds).log() - torch.tensor(plain.odds).log()
    earlier = decided(open_of_spikes) - decided(lambda t: left(WHITE, t))
    assert bool((earlier < -0.3).all())
    torch.testing.assert_close(apart.double(), earlier, rtol=0, atol=0.2)


def test_a_model_of_another_process_is_refused():
    other = mb.LinearDiffusion(mb.VP(), Isotropic(0.6), direction="noising")
    model = mb.Transport(WHITE, OfSpikes(), shape=(12,), coupling=COUPLING)
    with pytest.raises(ValueError, match="make it for the process"):
        even_clocks(other, COUPLING, MODES, spikes(), model=model)


def test_a_band_that_a_model_never_guesses_well_has_the_clock_of_the_linear_guess():
    class Poor(torch.nn.Module):
        """Knows the strongest band, and of the others nothing."""

        def forward(self, x, t, condition=None):
            mean = guessed(MODES.forward(x.double()), *at(t), sizes())
            mean = torch.where(MODES.band((12,)) == 0, mean, 0.0)
            return mb.laws.Normal(MODES.inverse(mean), torch.ones_like(mean))

    model = mb.Transport(WHITE, Poor(), shape=(12,), coupling=COUPLING)
    generator = torch.Generator().manual_seed(2)
    plain = even_clocks(WHITE, COUPLING, MODES, spikes())
    asked = even_clocks(WHITE, COUPLING, MODES, spikes(), model=model, generator=generator)
    assert asked.odds[1:] == pytest.approx(plain.odds[1:])
    assert asked.odds[0] < plain.odds[0] * 0.9
