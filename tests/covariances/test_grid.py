"""The grid against its dense matrix; circulant embedding against known eigenvalues."""

import math

import pytest
import torch

from markovbridge.covariances import Exponential, Grid, Matern, SquaredExponential
from markovbridge.covariances.spectra import circulant_eigenvalues, expected_periodogram


def dense_grid(kernel, sizes):
    """k at the distances between all pairs of sites."""
    sites = (
        torch.cartesian_prod(*[torch.arange(n) for n in sizes]).double().reshape(-1, len(sizes))
    )
    return kernel((sites[:, None] - sites[None]).norm(dim=-1))


def rounds_to(value, digits):
    """Whether value, rounded to as many decimals as `digits` shows, reads the same."""
    mantissa, _, exponent = digits.partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return abs(value - float(digits)) <= 0.5000001 * 10**-decimals


@pytest.mark.parametrize(
    ("kernel", "smallest"),
    [
        (Exponential(length=2), ["0.2064", "0.2064", "0.2064", "0.2064"]),
        (Exponential(length=8), ["0.0276", "0.0320", "0.0523", "0.0523"]),
        (Exponential(length=32), ["-5.21", "-4.69", "-1.69", "-0.0265"]),
        (Matern(length=16, smoothness=1.5), ["-4.44", "-4.17", "-0.0822", "5.8e-5"]),
    ],
    ids=repr,
)
def test_smallest_eigenvalues_of_embeddings_of_32_by_32(kernel, smallest):
    for m, digits in zip((62, 64, 128, 256), smallest, strict=True):
        value = float(circulant_eigenvalues(kernel, (m, m)).min())
        assert rounds_to(value, digits), (m, value, digits)


def test_dense_exponential_on_32_by_32():
    # The known spectrum of e^{-r/8}: this checks the reference the others are checked against.
    values = torch.linalg.eigvalsh(dense_grid(Exponential(length=8), (32, 32)))
    assert rounds_to(float(values[0]), "0.05233")
    assert rounds_to(float(values[-1]), "207.477")
    assert rounds_to(float(values[-1] / values[0]), "3965")


def test_the_torus_is_doubled_until_it_is_a_covariance():
    embedding = Grid(Matern(length=16, smoothness=1.5)).embedding((3, 32, 32))
    assert embedding.sizes == (256, 256)
    assert [sizes for sizes, _ in embedding.tried] == [(64, 64), (128, 128), (256, 256)]
    assert [f"{value:.3g}" for _, value in embedding.tried] == ["-4.17", "-0.0822", "5.78e-05"]
    assert embedding.smallest == embedding.tried[-1][1]
    assert Grid(Exponential(length=2)).embedding((28, 20)).sizes == (54, 40)


def test_a_negative_embedding_is_refused_with_the_numbers(normal):
    covariance = Grid(Exponential(length=32))
    message = r"64x64: -4.6937, 128x128: -1.6897, 256x256: -0.026496\. Shorten the length"
    for call in (covariance.__matmul__, covariance.sample, covariance.solve):
        with pytest.raises(ValueError, match=message):
            call(normal(1, 32, 32))
    assert Grid(Exponential(length=32), doublings=3).embedding((32, 32)).sizes == (512, 512)


@pytest.mark.parametrize(
    "kernel",
    [Exponential(1.5, 8.0), Matern(0.7, 4.0, 1.2), SquaredExponential(1.0, 3.0)],
    ids=repr,
)
def test_product_on_32_by_32_is_that_of_the_dense_matrix(kernel, normal):
    x = normal(4, 32, 32)
    dense = x.flatten(1) @ dense_grid(kernel, (32, 32))
    torch.testing.assert_close((Grid(kernel) @ x).flatten(1), dense, rtol=0, atol=1e-10)


@pytest.mark.parametrize("sizes", [(7,), (5, 6), (1, 4), (2, 3, 4)])
def test_draws_have_exactly_the_covariance(sizes, monkeypatch):
    """The draw is linear in its noise, so its covariance can be computed, not estimated."""
    kernel = Matern(1.3, 1.0, 0.8)
    covariance = Grid(kernel, dimension=len(sizes))
    torus = covariance.embedding(sizes).sizes
    m = math.prod(torus)
    # Unit vectors in place of noise, whose real and imaginary parts have variance 1/2.
    unit = torch.eye(m, dtype=torch.complex128).reshape(m, *torus) / math.sqrt(2)
    monkeypatch.setattr(torch, "randn", lambda shape, **_: unit.clone())
    images = covariance.sample(torch.empty(2 * m, *sizes, dtype=torch.float64)).flatten(1)
    real, imaginary = images[:m], images[m:]  # responses to noise in the real part
    exact = dense_grid(kernel, sizes)
    # Noise 1 in the real part gives Re f to the first field, noise i gives -Im f.
    torch.testing.assert_close(real.T @ real + imaginary.T @ imaginary, exact)
    # The second field is Im f and Re f: as much, and independent of the first.
    crossed = real.T @ imaginary - imaginary.T @ real
    torch.testing.assert_close(crossed, torch.zeros_like(exact), rtol=0, atol=1e-12)


def test_inverse_by_conjugate_gradients(normal):
    kernel = Exponential(1.0, 8.0)
    x = normal(3, 1, 32, 32)
    x[1] = 0
    covariance = Grid(kernel)
    solution = covariance.solve(x)
    exact = torch.linalg.solve(dense_grid(kernel, (32, 32)), x.flatten(1).T).T
    torch.testing.assert_close(solution.flatten(1), exact, rtol=1e-6, atol=1e-6)
    assert not bool(solution[1].any())
    residual = (covariance @ solution - x).flatten(1).norm(dim=1)
    assert bool((residual <= covariance.tolerance * x.flatten(1).norm(dim=1)).all())
    assert covariance.solve(x.float()).dtype == torch.float32


def test_an_inverse_out_of_reach_is_refused(normal):
    x = normal(1, 32, 32)
    with pytest.raises(ArithmeticError, match=r"reached a relative residual of .*, not 1e-09"):
        Grid(Exponential(1.0, 8.0), iterations=3).solve(x)
    with pytest.raises(ArithmeticError, match="or take a rougher kernel or a shorter length"):
        Grid(SquaredExponential(1.0, 5.0), iterations=50).solve(x)


def test_an_inverse_of_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        Grid(Exponential()).solve(torch.tensor([[[1.0, math.nan]]]))


def test_expected_periodogram_by_its_definition():
    kernel, sizes = Matern(1.3, 2.0, 0.8), (4, 5)
    gamma = dense_grid(kernel, sizes).to(torch.complex128)
    waves = torch.fft.fftn(torch.eye(20, dtype=torch.float64).reshape(20, 4, 5), dim=(1, 2))
    waves = waves.flatten(1).T  # (wave, site)
    exact = ((waves @ gamma) * waves.conj()).sum(1).real / 20
    torch.testing.assert_close(expected_periodogram(kernel, sizes).flatten(), exact)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="doublings must be at least 0, not -1"):
        Grid(Exponential(), doublings=-1)
    with pytest.raises(ValueError, match=r"tolerance must be in \(0, 1\), not 0"):
        Grid(Exponential(), tolerance=0)
    with pytest.raises(ValueError, match="must be 1 to 3, not 0"):
        Grid(Exponential(), dimension=0)
    with pytest.raises(TypeError, match="needs a kernel such as Matern"):
        Grid("exponential")  # pyright: ignore[reportArgumentType]
