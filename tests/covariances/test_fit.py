"""Fits of simulated fields recover what they were drawn from."""

import math
import sys

import pytest
import torch
from scipy import stats

from markovbridge.covariances import (
    GMRF,
    Dense,
    Diagonal,
    Exponential,
    Grid,
    Isotropic,
    Matern,
    PowerLaw,
    Separable,
    SquaredExponential,
    Torus,
    fit,
    plot,
)
from markovbridge.covariances.figures import lag_covariance
from markovbridge.covariances.spectra import periodogram, torus_spectrum
from markovbridge.doors.randomness import generator

ZERO = torch.zeros(())


def draw(covariance, n, *event, key=0):
    like = torch.empty(n, *event, dtype=torch.float64)
    return covariance.sample(like, generator=generator("cpu", "fit", key))


@pytest.mark.parametrize(
    ("truth", "start", "names"),
    [
        (Matern(2.0, 5.0, 1.2), Matern(), ("variance", "length", "smoothness")),
        (Exponential(0.3, 3.0), Exponential(), ("variance", "length")),
        (PowerLaw(2.0, 1.7), PowerLaw(exponent=3.0), ("variance", "exponent")),
        (SquaredExponential(1.5, 1.2), SquaredExponential(), ("variance", "length")),
    ],
    ids=repr,
)
def test_torus_parameters_lie_in_their_confidence_region(truth, start, names):
    n, sizes = 50, (32, 32)
    fitted = fit(Torus(start), draw(Torus(truth), n, *sizes), mean=ZERO)
    kernel = fitted.covariance.kernel
    true = torch.tensor([math.log(getattr(truth, name)) for name in names], dtype=torch.float64)
    found = torch.tensor([math.log(getattr(kernel, name)) for name in names], dtype=torch.float64)

    def log_spectrum(logs):
        values = dict(zip(names, logs.exp().tolist(), strict=True))
        return torus_spectrum(type(truth)(**values), sizes).log().flatten()

    # Fisher's information of the logarithms, ½ n Σ_j ∂log λ_j ∂log λ_jᵀ; Wald's statistic.
    h = 1e-4 * torch.eye(len(names), dtype=torch.float64)
    slopes = torch.stack([(log_spectrum(true + e) - log_spectrum(true - e)) / 2e-4 for e in h])
    information = 0.5 * n * slopes @ slopes.T
    error = found - true
    assert float(error @ information @ error) < stats.chi2.isf(1e-5, len(names))
    # And the region is small: every parameter is known to 10 %.
    assert float(information.inverse().diagonal().sqrt().max()) < 0.1


def test_whittle_on_the_torus_is_the_likelihood():
    x = draw(Torus(Exponential(0.3, 2.0)), 20, 2, 12, 9)
    by_spectrum = fit(Torus(Matern()), x)
    directly = fit(Torus(Matern()), x, method="likelihood")
    assert directly.log_likelihood == pytest.approx(by_spectrum.log_likelihood, rel=1e-7)
    assert directly.covariance.kernel.length == pytest.approx(
        by_spectrum.covariance.kernel.length, rel=1e-2
    )
    # And it is the density: the mean of log N(x; 0, Γ) over the items.
    covariance = by_spectrum.covariance
    x = x - x.mean(0)
    energy = (x * covariance.solve(x)).flatten(1).sum(1).mean()
    size = x[0].numel()
    density = -0.5 * (energy + covariance.logdet(x.shape[1:]) + size * math.log(2 * math.pi))
    assert by_spectrum.log_likelihood == pytest.approx(float(density), rel=1e-9)


@pytest.mark.parametrize(
    ("truth", "start"),
    [(Exponential(1.5, 4.0), Exponential()), (Matern(2.0, 5.0, 1.5), Matern(smoothness=1.0))],
    ids=repr,
)
def test_grid_parameters_are_recovered(truth, start):
    fitted = fit(Grid(start), draw(Grid(truth), 200, 32, 32), mean=ZERO).covariance.kernel
    # Three to seven standard errors of this estimate, found by repeating it with other seeds.
    assert fitted.variance == pytest.approx(truth.variance, rel=0.1)
    assert fitted.length == pytest.approx(truth.length, rel=0.1)
    if isinstance(truth, Matern):
        assert fitted.smoothness == pytest.approx(truth.smoothness, rel=0.05)


def test_gmrf_is_recovered_by_likelihood():
    truth = Matern(2.0, 5.0, 1.0)
    x = draw(GMRF(truth), 200, 24, 24)
    fitted = fit(GMRF(Matern(1.0, 2.0, 1.0)), x, method="likelihood").covariance.kernel
    assert fitted.smoothness == 1
    assert fitted.variance == pytest.approx(2, rel=0.1)
    assert fitted.length == pytest.approx(5, rel=0.05)


def test_isotropic_is_the_mean_square():
    x = draw(Isotropic(3.0), 10, 4, 5)
    fitted = fit(Isotropic(), x, method="likelihood", mean=ZERO)
    assert fitted.covariance.marginal == pytest.approx(float(x.square().mean()), rel=1e-12)


def test_separable_recovers_space_and_channels():
    colours = torch.tensor([[1.0, 0.6, -0.2], [0.6, 2.0, 0.3], [-0.2, 0.3, 0.5]])
    truth = Separable(Torus(Matern(1.0, 3.0, 1.0)), Dense(colours))
    x = draw(truth, 200, 3, 16, 16)
    start = Separable(Torus(Matern()), Dense(torch.eye(3)))
    fitted = fit(start, x, mean=ZERO)
    space, channels = fitted.covariance.space, fitted.covariance.channels
    assert space.kernel.length == pytest.approx(3, rel=0.05)
    assert space.kernel.smoothness == pytest.approx(1, rel=0.05)
    # 200 · 256 draws of a three by three Wishart matrix, once space is known.
    found = channels.matrix * space.kernel.variance
    torch.testing.assert_close(found, colours.double(), rtol=0.03, atol=0.02)
    assert float(channels.matrix.trace()) == pytest.approx(3)
    exact = 0.0
    for item in x.split(50):
        energy = (item * fitted.covariance.solve(item)).sum() / len(x)
        exact -= 0.5 * float(energy)
    exact -= 0.5 * (fitted.covariance.logdet((3, 16, 16)) + 768 * math.log(2 * math.pi))
    assert fitted.log_likelihood == pytest.approx(exact, rel=1e-6)


def test_fixed_parameters_keep_their_values():
    x = draw(Torus(Matern(2.0, 3.0, 1.0)), 50, 24, 24)
    fitted = fit(Torus(Matern(smoothness=1.0)), x, fixed=("smoothness",))
    assert fitted.covariance.kernel.smoothness == 1
    assert fitted.covariance.kernel.length == pytest.approx(3, rel=0.05)
    with pytest.raises(ValueError, match="fixed names 'lenght'; .* are length, smoothness"):
        fit(Torus(Matern()), x, fixed=("lenght",))


def test_counts_are_fitted_about_their_mean():
    x = 100 + draw(Torus(Exponential(400.0, 2.0)), 200, 1, 16, 16).round().to(torch.int64)
    kernel = fit(Torus(Exponential()), x).covariance.kernel
    assert kernel.variance == pytest.approx(400, rel=0.1)
    assert kernel.length == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (torch.ones(4), {}, r"shape \(N, \*event\), not \(4,\)"),
        (torch.randn(1, 8, 8), {}, "give more items, or `mean`"),
        (torch.ones(3, 8, 8), {}, "do not vary"),
        (torch.full((3, 8, 8), math.nan), {}, "NaN or infinity"),
        (torch.randn(3, 8), {}, "have no 2 spatial axes"),
    ],
)
def test_unusable_data_are_named(data, settings, message):
    with pytest.raises(ValueError, match=message):
        fit(Torus(Matern()), data, **settings)


def test_what_cannot_be_fitted_says_so(normal):
    x = normal(8, 8, 8)
    with pytest.raises(ValueError, match="Diagonal has no parameters to fit"):
        fit(Diagonal([1.0]), x)
    with pytest.raises(ValueError, match='GMRF has no spectrum to fit by: pass method="likeli'):
        fit(GMRF(Matern(smoothness=1.0)), x)
    with pytest.raises(NotImplementedError, match="Grid has no logdet"):
        fit(Grid(Matern()), x, method="likelihood")
    with pytest.raises(ValueError, match=r"method must be .* not 'whittle'"):
        fit(Torus(Matern()), x, method="whittle")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="with Dense over channels, not Isotropic"):
        fit(Separable(Torus(Matern()), Isotropic()), x[:, None])
    with pytest.raises(ValueError, match=r"needs data \(N, channels, \*space\), not \(8, 64\)"):
        fit(Separable(Torus(Matern(), dimension=1), Dense([[1.0]])), x.flatten(1))
    # White noise has no length: the fit says so instead of returning a limit.
    with pytest.raises(ValueError, match=r"ran away to (length|smoothness) = .* fixed="):
        fit(Torus(Matern()), x)


def test_periodogram_of_a_wave():
    wave = (2 * math.pi * 3 * torch.arange(12, dtype=torch.float64) / 12).cos()
    x = torch.stack([wave, 3 * wave])[:, None].expand(2, 5, 12)
    expected = torch.zeros(12, dtype=torch.float64)
    expected[3] = expected[9] = 12 / 4 * (1 + 9) / 2
    torch.testing.assert_close(periodogram(x, 1), expected)


def test_lag_covariance_by_its_definition(normal):
    x = normal(3, 2, 4, 5)
    norms, products = lag_covariance(x, 2)
    for i in range(-3, 4):
        for j in range(-4, 5):
            pairs = [
                float((x[..., r, c] * x[..., r + i, c + j]).mean())
                for r in range(4)
                for c in range(5)
                if 0 <= r + i < 4 and 0 <= c + j < 5
            ]
            assert float(products[i, j]) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
            assert float(norms[i, j]) == pytest.approx(math.hypot(i, j))
    assert int(norms.isfinite().sum()) == 7 * 9


def test_plot_draws_the_data_and_every_fit(tmp_path):
    truth = Torus(Exponential(1.0, 2.0))
    x = draw(truth, 100, 1, 24, 24)
    fits = {
        "torus": fit(Torus(Exponential()), x),
        "field": fit(GMRF(Matern(1.0, 2.0, 1.0)), x, method="likelihood"),
    }
    figure = plot(x, fits)
    power, distance = figure.axes
    assert len(power.lines) == 3
    assert [line.get_label() for line in distance.lines[:3]] == ["data", "torus", "field"]
    # At distance 0 the data show their variance, and the fits theirs.
    variance = float((x - x.mean(0)).square().mean())
    assert distance.lines[0].get_ydata()[0] == pytest.approx(variance, rel=1e-9)
    assert distance.lines[1].get_ydata()[0] == pytest.approx(
        fits["torus"].covariance.kernel.variance, rel=1e-9
    )
    figure.savefig(tmp_path / "fit.png")


def test_plot_without_matplotlib(monkeypatch, normal):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install matplotlib"):
        plot(normal(4, 8, 8), {})


def test_arrays_are_data_and_lists_are_not():
    x = draw(Torus(Matern(2.0, 1.5)), 50, 6, 6)
    from_tensor, from_array = fit(Torus(Exponential()), x), fit(Torus(Exponential()), x.numpy())
    assert from_array.covariance == from_tensor.covariance
    for data in ([[1.0, 2.0]], None):
        with pytest.raises(TypeError, match="must be a tensor or a NumPy array, not"):
            fit(Torus(Exponential()), data)
