"""What holds for every covariance: its operations are those of one matrix."""

import itertools
import math

import pytest
import torch
from scipy import stats

from markovbridge.covariances import (
    GMRF,
    OPERATIONS,
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
)
from markovbridge.doors.randomness import generator
from markovbridge.storage.config import from_config, to_config

EVENT = (4, 5)


def positive(n, key):
    z = torch.randn(n, n + 3, generator=generator("cpu", key), dtype=torch.float64)
    return z @ z.T / n


PLAIN = [
    Isotropic(2.5),
    Torus(Exponential(1.3, 2.0)),
    Torus(Matern(0.7, 1.5, 0.8)),
    Torus(PowerLaw(2.0, 1.5)),
    Torus(Exponential(1.3, 2.0), dimension=1),
    Grid(Exponential(1.3, 2.0)),
    Grid(SquaredExponential(1.3, 0.8)),
    Grid(Matern(1.3, 2.0, 1.5), dimension=1),
    GMRF(Matern(1.3, 2.0, 1.0)),
    GMRF(Matern(1.3, 2.0, 2.0)),
    GMRF(Matern(1.3, 2.0, 0.5), dimension=1),
    GMRF(Matern(1.3, 2.0, 1.5), dimension=1),
    Separable(Torus(Matern(0.5, 2.0), dimension=1), GMRF(Matern(2, 1, 0.5), dimension=1)),
    Separable(Grid(Exponential(0.5, 2.0), dimension=1), Isotropic(3.0)),
]
HOLDING = [
    Diagonal(torch.linspace(0.2, 3, 20).reshape(EVENT)),
    Dense(positive(20, 1)),
    Dense(positive(5, 2)),
    Separable(GMRF(Matern(1, 2, 1.5), dimension=1), Dense(positive(4, 3))),
]


def label(covariance):
    name = type(covariance).__name__
    return f"{name}-{type(getattr(covariance, 'kernel', None)).__name__}"


every = pytest.mark.parametrize("covariance", PLAIN + HOLDING, ids=label)


@every
def test_operations_are_those_of_one_matrix(covariance, matrix_of, normal):
    gamma = matrix_of(covariance.__matmul__, EVENT)
    torch.testing.assert_close(gamma, gamma.T, rtol=0, atol=1e-13)
    assert float(torch.linalg.eigvalsh(gamma)[0]) > 0
    torch.testing.assert_close(covariance.variance(EVENT).flatten(), gamma.diagonal())
    assert covariance.trace(EVENT) == pytest.approx(float(gamma.trace()), rel=1e-12)
    x = normal(3, *EVENT)
    has = covariance.capabilities
    if "solve" in has:
        exact = torch.linalg.solve(gamma, x.flatten(1).T).T.reshape(x.shape)
        torch.testing.assert_close(covariance.solve(x), exact, rtol=1e-7, atol=1e-7)
    if "sqrt" in has:
        root = matrix_of(covariance.sqrt, EVENT)
        torch.testing.assert_close(root @ root.T, gamma, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(covariance.inverse_sqrt(covariance.sqrt(x)), x)
        torch.testing.assert_close(
            matrix_of(covariance.inverse_sqrt, EVENT), torch.linalg.inv(root)
        )
    if "logdet" in has:
        assert covariance.logdet(EVENT) == pytest.approx(float(gamma.logdet()), abs=1e-10)


@every
def test_capabilities_are_what_works(covariance, normal):
    x = normal(2, *EVENT)
    calls = {
        "matvec": lambda: covariance @ x,
        "sample": lambda: covariance.sample(x, generator=generator("cpu", 1)),
        "sqrt": lambda: covariance.sqrt(x),
        "inverse_sqrt": lambda: covariance.inverse_sqrt(x),
        "solve": lambda: covariance.solve(x),
        "logdet": lambda: covariance.logdet(EVENT),
        "variance": lambda: covariance.variance(EVENT),
    }
    assert set(calls) == OPERATIONS
    assert {"matvec", "sample", "variance"} <= covariance.capabilities <= OPERATIONS
    for operation, call in calls.items():
        if operation in covariance.capabilities:
            call()
        else:
            name = f"{type(covariance).__name__} has no {operation}: .*take"
            with pytest.raises(NotImplementedError, match=name):
                call()


@every
def test_results_follow_the_input(covariance, normal):
    x = normal(2, 3, *EVENT)
    space = "Separable" not in repr(covariance)
    x = x if space else x[:, 0]
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        given = x.to(dtype)
        draw = covariance.sample(given, generator=generator("cpu", 2))
        assert draw.dtype == dtype
        assert draw.shape == x.shape
        torch.testing.assert_close(
            draw, covariance.sample(given, generator=generator("cpu", 2)), rtol=0, atol=0
        )
        image = covariance @ given
        assert image.dtype == dtype
        # The items of a batch, and the channels of an item, do not touch.
        torch.testing.assert_close(
            image[1:], covariance @ given[1:], rtol=tolerance, atol=tolerance
        )
        if space and not isinstance(covariance, Diagonal):
            alone = covariance @ given[:, 1]
            torch.testing.assert_close(image[:, 1], alone, rtol=tolerance, atol=tolerance)
        if "solve" in covariance.capabilities:
            back = covariance.solve(covariance @ given)
            assert back.dtype == dtype
            # Grid iterates to a relative residual of 1e-9 in float64.
            torch.testing.assert_close(back, given, rtol=0, atol=max(1e-7, 10 * tolerance))


@every
def test_samples_have_the_covariance(covariance, matrix_of):
    n = 4000
    like = torch.empty(n, *EVENT, dtype=torch.float64)
    x = covariance.sample(like, generator=generator("cpu", "sample", label(covariance)))
    x, gamma = x.flatten(1), matrix_of(covariance.__matmul__, EVENT)
    # aᵀx is normal with variance aᵀΓa, so that n draws of its square sum to a chi-square. Sites
    # and sums of two sites determine Γ; its eigenvectors find what is small.
    d = len(gamma)
    sites = torch.eye(d, dtype=torch.float64)
    pairs = torch.stack([sites[i] + sites[j] for i, j in itertools.combinations(range(d), 2)])
    directions = torch.cat([sites, pairs, torch.linalg.eigh(gamma)[1].T])
    ratio = ((x @ directions.T).square().sum(0)) / ((directions @ gamma) * directions).sum(1)
    level = 1e-5 / len(directions)
    assert float(ratio.min()) > stats.chi2.ppf(level / 2, n)
    assert float(ratio.max()) < stats.chi2.isf(level / 2, n)
    means = (x @ directions.T).sum(0) / (n * ((directions @ gamma) * directions).sum(1)).sqrt()
    assert float(means.abs().max()) < stats.norm.isf(level / 2)


@pytest.mark.parametrize(
    "covariance", [c for c in PLAIN + HOLDING if "sqrt" in c.capabilities], ids=label
)
def test_whitening_is_equivalent_to_independent_noise(covariance, normal):
    """A bridge mixture under Γ is, seen through Γ^{-1/2}, one under the identity."""
    data = normal(6, *EVENT, key=1)
    steps = 8

    def path(x, data, weigh, colour):
        trajectory = [x]
        for i in range(steps):
            t = i / steps
            residual = x[:, None] - t * data[None]
            energy = weigh(residual.flatten(0, 1)).reshape(len(x), len(data))
            weights = (-0.5 * energy / (t * (1 - t) + 1e-2)).softmax(1)
            end = torch.einsum("bn,n...->b...", weights, data)
            noise = colour(normal(*x.shape, key=10 + i))
            x = x + (end - x) / (1 - t) / steps + noise / math.sqrt(steps)
            trajectory.append(x)
        return torch.stack(trajectory)

    x0 = normal(4, *EVENT, key=2)
    correlated = path(
        x0, data, lambda r: (r * covariance.solve(r)).flatten(1).sum(1), covariance.sqrt
    )
    white = path(
        covariance.inverse_sqrt(x0),
        covariance.inverse_sqrt(data),
        lambda r: r.square().flatten(1).sum(1),
        lambda z: z,
    )
    seen = covariance.inverse_sqrt(correlated.flatten(0, 1)).reshape(white.shape)
    torch.testing.assert_close(seen, white, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance", PLAIN, ids=label)
def test_covariances_are_configurations(covariance):
    again = from_config(to_config(covariance))
    assert again == covariance
    assert hash(again) == hash(covariance)


@every
def test_types_and_shapes_are_refused(covariance):
    with pytest.raises(TypeError, match=r"float32 or float64, not torch.int64: call .float\(\)"):
        covariance @ torch.ones(2, *EVENT, dtype=torch.int64)
    with pytest.raises(TypeError, match="not torch.float16"):
        covariance.sample(torch.ones(2, *EVENT, dtype=torch.float16))
    if not isinstance(covariance, Isotropic | Diagonal):
        with pytest.raises(ValueError, match=r"events of (shape|at least)|trailing axes"):
            covariance @ torch.ones(2)


@pytest.mark.parametrize(
    "covariance",
    [
        Torus(Matern(1.0, 4.0)),
        Grid(Matern(1.0, 4.0)),
        Separable(Torus(Exponential(1.0, 9.0), dimension=1), Torus(Exponential(), dimension=1)),
    ],
    ids=label,
)
def test_a_million_sites_need_no_matrix(covariance):
    # As a matrix, Γ would take 4 TiB.
    like = torch.empty(1, 1024, 1024)
    field = covariance.sample(like, generator=generator("cpu", 3))
    assert bool(field.isfinite().all())
    # The mean square has variance 2 Σ_u ρ(u)²/d, with Σ_u ρ(u)² < 100 for these.
    deviation = math.sqrt(200 / like.numel())
    assert float(field.square().mean()) == pytest.approx(1, abs=4.5 * deviation)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_results_on_a_gpu_are_those_on_the_cpu(normal):
    x = normal(2, *EVENT)
    for covariance in PLAIN + HOLDING:
        assert covariance.sample(x.cuda(), generator=generator("cuda", 1)).is_cuda
        for name in ("__matmul__", *({"sqrt", "inverse_sqrt", "solve"} & covariance.capabilities)):
            operation = getattr(covariance, name)
            torch.testing.assert_close(operation(x.cuda()).cpu(), operation(x))
