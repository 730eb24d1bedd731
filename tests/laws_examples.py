"""An example of every class of law, with random parameters, for tests that take them all.

`EXAMPLES` says for each class how to make a law of n equal rows and where it has mass. A class
of the package that is not in it makes `examples` fail.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from laws_draws import (
    GRID,
    ZERO,
    Draws,
    Example,
    around,
    correlated,
    field_of_known,
    modal_gaussian,
    plane,
    rows,
    whole,
    window,
)
from markovbridge import PureDeath, exact, laws, processes
from markovbridge.covariances import Dense, Isotropic
from markovbridge.exact import empirical, fields, gaussians
from markovbridge.exact.count_posteriors import CountPosterior
from markovbridge.heads.joint import Products
from markovbridge.laws import Law, lineages, sums
from markovbridge.laws.base import Pinned


def delta(draws: Draws) -> Example:
    value = whole(draws.pick(7, 0, 2**40))
    at = int(value)
    return Example(lambda n: laws.Delta(rows(value, n)), window(at - 2, at + 2), value[0] - 1)


def binomial(draws: Draws, count: int | None = None) -> Example:
    count = int(draws.pick(9, 0, 1, 200)) if count is None else count
    share = draws.real(draws.share())
    spare = 1 - share if draws.rng.random() < 0.5 else None

    def make(n: int) -> Law:
        other = None if spare is None else rows(spare, n)
        return laws.Binomial(rows(whole(count), n), rows(share, n), other)

    return Example(make, window(-1, count + 1), ZERO)


def poisson(draws: Draws, mean: float | None = None) -> Example:
    mean = draws.mean() if mean is None else mean
    log = draws.real(math.log(mean))
    return Example(lambda n: laws.Poisson(rows(log, n)), around(mean, mean), ZERO, None, 1e-7)


def negative_binomial(draws: Draws) -> Example:
    mean, size = draws.mean(huge=1e3), draws.pick(2.5, 0.05, 0.7, 29.9, 30.1, 1e6)
    log, own = draws.real(math.log(mean)), draws.real(size)
    tail = 40 / math.log1p(size / mean) + 40
    values = around(mean, mean + mean**2 / size, tail)
    return Example(
        lambda n: laws.NegativeBinomial(rows(log, n), rows(own, n)), values, ZERO, None, 1e-7
    )


def shifted(draws: Draws) -> Example:
    kind = draws.rng.choice([poisson, negative_binomial, rounded, binomial, site_mixture])
    base, offset = kind(draws), whole(draws.pick(3, 0, 10**6))
    return Example(
        lambda n: laws.Shifted(rows(offset, n), base.make(n)),
        base.values + offset,
        offset[0],
        None,
        base.accuracy,
    )


def rounded(draws: Draws) -> Example:
    target = draws.mean()
    stochastic = bool(draws.rng.random() < 0.7)
    log = draws.real(math.log(target))
    return Example(
        lambda n: laws.Rounded(rows(log, n), stochastic), around(target, 1, 3), ZERO, None, 1e-7
    )


def zero_inflated(draws: Draws) -> Example:
    zero, base = draws.real(draws.share()), poisson(draws)
    values = torch.cat([window(0, 0), base.values[base.values > 0].unsqueeze(1)])
    return Example(
        lambda n: laws.ZeroInflated(rows(zero, n), base.make(n)), values, ZERO, None, 1e-7
    )


def site_mixture(draws: Draws) -> Example:
    means = torch.tensor([[[draws.mean(huge=200.0) for _ in range(3)]]], dtype=draws.dtype)
    log_weights = draws.weights(3).reshape(1, 1, 3)
    top = float(means.max())
    return Example(
        lambda n: laws.SiteMixture(rows(log_weights, n), laws.Poisson(rows(means.log(), n))),
        window(0, top + 14 * math.sqrt(top) + 40),
        ZERO,
    )


def categorical(draws: Draws) -> Example:
    logits = draws.table(int(draws.pick(9, 2, 256))).reshape(1, 1, -1)
    return Example(lambda n: laws.Categorical(rows(logits, n)), window(-1, logits.shape[-1]), ZERO)


def tilted(draws: Draws) -> Example:
    size = int(draws.pick(17, 2, 256))
    log_probs = draws.table(size).log_softmax(-1).reshape(1, 1, -1)
    origin = whole(0 if size == 2 else 2)
    log_probs[..., : int(origin)] = -math.inf
    wanted = draws.pick((size - 1 - int(origin)) * draws.rng.uniform(), 1e-20, 1e-3, 2.0 * size)
    log_above = draws.real(math.log(wanted))

    def make(n: int) -> Law:
        law = laws.Categorical(rows(log_probs, n))
        return laws.Tilted.towards(law, rows(origin, n), rows(log_above, n))

    return Example(make, window(0, size - 1), origin[0])


def logistic_mixture(draws: Draws) -> Example:
    high = int(draws.pick(20, 1, 255))
    low = whole(draws.rng.integers(high))
    weights, centres, log_scales = (
        torch.as_tensor(values, dtype=draws.dtype).reshape(1, 1, 3)
        for values in (
            draws.rng.normal(size=3),
            draws.rng.uniform(-0.3 * high, 1.3 * high, 3),
            np.log(draws.pick(0.2, 0.02, 3.0) * draws.rng.uniform(0.5, 2, 3) * math.sqrt(high)),
        )
    )
    return Example(
        lambda n: laws.LogisticMixture(
            rows(weights, n), rows(centres, n), rows(log_scales, n), rows(low, n), high
        ),
        window(0, high),
        low[0],
    )


def normal(draws: Draws) -> Example:
    mean, std = float(draws.rng.normal()), draws.pick(0.7, 1e-3, 1e3)
    loc, scale = draws.real(mean), draws.real(std)
    values = torch.as_tensor(mean + std * GRID).to(draws.dtype).unsqueeze(1)
    weights = torch.full((len(GRID),), std * (GRID[1] - GRID[0]), dtype=torch.float64)
    return Example(
        lambda n: laws.Normal(rows(loc, n), rows(scale, n)), values, values[0] - 1, weights
    )


LOGITS = np.linspace(-38, 38, 2001)  # of the trapezoid rule over the logit of a share
STEP = LOGITS[1] - LOGITS[0]


def beta(draws: Draws) -> Example:
    first, second = draws.pick(2.5, 0.9, 40.0), draws.pick(1.3, 0.8, 7.0)
    low, high = draws.real(0.0), draws.real(draws.pick(1.0, 1e-4, 300.0))
    share, rest = stats.logistic.cdf(LOGITS), stats.logistic.sf(LOGITS)
    width = float(high)
    values = torch.as_tensor(np.where(share < 0.5, width * share, width - width * rest))
    shapes = [draws.real(shape) for shape in (first, second)]
    return Example(
        lambda n: laws.Beta(rows(low, n), rows(high, n), *(rows(shape, n) for shape in shapes)),
        values.to(draws.dtype).unsqueeze(1),
        torch.zeros(1, dtype=draws.dtype),
        torch.as_tensor(width * share * rest * STEP),
        1e-7,
    )


def gamma(draws: Draws) -> Example:
    log_mean = draws.real(draws.pick(0.7, -9.0, 6.0))
    shape = draws.pick(1.7, 0.6, 0.9, 300.0)
    log = np.linspace(-60 if shape < 2 else -1.5, 6 if shape < 2 else 1.5, 4001)
    values = torch.as_tensor(np.exp(log + float(log_mean)))
    own = draws.real(shape)
    return Example(
        lambda n: laws.Gamma(rows(log_mean, n), rows(own, n)),
        values.to(draws.dtype).unsqueeze(1),
        torch.zeros(1, dtype=draws.dtype),
        values * (log[1] - log[0]),
        1e-7,
    )


def gaussian(draws: Draws) -> Example:
    loc = torch.as_tensor(draws.rng.normal(size=(1, 2))).to(draws.dtype)
    scale = torch.tensor(draws.pick(0.7, 1e-2, 50.0), dtype=draws.dtype)
    matrix = np.eye(2) if draws.rng.random() < 0.3 else correlated(draws)
    covariance = Isotropic() if matrix[0, 1] == 0 else Dense(torch.as_tensor(matrix))
    values, weights = plane(draws, loc.double(), float(scale) ** 2 * matrix)
    return Example(
        lambda n: laws.Gaussian(rows(loc, n), scale, covariance), values, values[0] * 0, weights
    )


def joint_gaussian(draws: Draws) -> Example:
    loc = torch.as_tensor(draws.rng.normal(size=(1, 2))).to(draws.dtype)
    matrix = correlated(draws)
    values, weights = plane(draws, loc.double(), matrix)
    matrices = torch.as_tensor(matrix).unsqueeze(0)
    return Example(
        lambda n: gaussians._Joint(rows(loc, n), matrices, torch.zeros(n, dtype=torch.int64)),
        values,
        values[0] * 0,
        weights,
    )


def square(high: int) -> Tensor:
    """All pairs of counts up to this, (K, 2)."""
    return torch.cartesian_prod(torch.arange(high + 1), torch.arange(high + 1))


def mixture(draws: Draws, kind: type[laws.Mixture] = laws.Mixture) -> Example:
    log_weights = draws.weights(3).reshape(1, 3)
    log = draws.real(math.log(0.8)).expand(1, 2)
    point, count = torch.tensor([[4, 1]]), torch.tensor([[5, 2]])

    def make(n: int) -> Law:
        share = rows(torch.full_like(log, 0.3), n)
        parts = [laws.Poisson(rows(log, n)), laws.Binomial(rows(count, n), share)]
        return kind(rows(log_weights, n), [*parts, laws.Delta(rows(point, n))])

    return Example(make, square(22), torch.zeros(2, dtype=torch.int64))


def atoms(draws: Draws) -> Example:
    far = int(draws.pick(5, 2, 10**4))
    points = torch.as_tensor(draws.rng.integers(0, far + 1, (6, 2)))
    points[1] = points[0]  # a point that is there twice
    log_weights = draws.weights(6).reshape(1, 6)
    return Example(
        lambda n: laws.Atoms(points, rows(log_weights, n)),
        points.unique(dim=0),
        points.amin(0),
        None,
        1e-5,  # a difference of averages, in float64
    )


def empirical_marginal(draws: Draws) -> Example:
    data = torch.as_tensor(draws.rng.integers(0, 7, (5, 2)))
    law = exact.Empirical(PureDeath(8), data, draws.weights(5).double().exp())
    t = draws.pick(0.6, 0.0, 1.0, 0.01)

    def make(n: int) -> Law:
        return law.marginal(torch.zeros(n, 2, dtype=torch.int64), t)

    return Example(make, square(7), torch.zeros(2, dtype=torch.int64))


def count_posterior(draws: Draws) -> Example:
    weights = draws.weights(4).reshape(2, 2).double()
    depths = torch.tensor([0.5, 1.0]).double()
    profiles = torch.as_tensor(draws.rng.uniform(0.1, 1.5, (2, 2)))
    sizes = torch.as_tensor(draws.rng.uniform(2.0, 5.0, 2))
    law = exact.CountMixture.of(PureDeath(), weights, depths, profiles, sizes)
    x, t = torch.tensor([1, 0]), draws.pick(0.5, 0.0, 0.9, 0.01)
    return Example(lambda n: law(x.expand(n, 2), t), x + square(50), x)


def convolved(draws: Draws) -> Example:
    first, second = binomial(draws), poisson(draws, draws.mean(huge=1e3))
    top = int(first.values.max()) + int(second.values.max())
    return Example(
        lambda n: sums.Convolved(first.make(n), second.make(n)), window(0, top), ZERO, None, 1e-7
    )


def skellam(draws: Draws) -> Example:
    up, down = draws.mean(huge=1e3), draws.mean(huge=1e3)
    offset, logs = whole(4), [draws.real(math.log(mean)) for mean in (up, down)]
    reach = 14 * math.sqrt(up + down) + 40
    centre = 4 + up - down
    values = window(centre - reach, centre + reach)
    return Example(
        lambda n: sums.Skellam(rows(offset, n), *(rows(log, n) for log in logs)),
        values,
        values[0],
        None,
        1e-7,
    )


def _bridge(process: processes.Process, x: int, y: int, values: Tensor, t: float) -> Example:
    return Example(
        lambda n: process.bridge(rows(whole(x), n), rows(whole(y), n), 0.1, t, 0.9),
        values,
        values[0],
        None,
        1e-7,
    )


def skellam_bridge(draws: Draws) -> Example:
    process = processes.RandomWalk(draws.pick(4.0, 1e-3, 300.0))
    x, y = draws.rng.integers(-20, 20, 2)
    return _bridge(process, x, y, window(-250, 250), draws.pick(0.5, 0.1, 0.9, 0.899))


def survivor_bridge(draws: Draws) -> Example:
    process = processes.BirthDeath(draws.pick(4.0, 1e-3, 20.0))
    x, y = draws.rng.integers(0, 12, 2)
    return _bridge(process, x, y, window(0, 80), draws.pick(0.5, 0.1, 0.9, 0.899))


def _births(draws: Draws) -> processes.LinearBirthDeath:
    return processes.LinearBirthDeath(draws.pick(0.8, 1e-6, 0.2, 6.0))


def descendants(draws: Draws) -> Example:
    process, count = _births(draws), whole(draws.pick(7, 0, 1, 30))
    t = draws.pick(0.5, 0.0, 1.0, 0.01, 0.999)

    def make(n: int) -> Law:
        return process.transition(rows(count, n), 1.0, torch.tensor(t).to(draws.dtype))

    # Geometric tails, of a ratio below 6/7.
    return Example(make, window(0, 700), ZERO, None, 1e-7)


def lineage_bridge(draws: Draws) -> Example:
    x, y = int(draws.rng.integers(0, 12)), int(draws.rng.integers(1, 12))
    return _bridge(_births(draws), x, y, window(0, 500), draws.pick(0.5, 0.1, 0.9, 0.899))


def two_means(draws: Draws) -> Example:
    kinds = [processes.BirthDeath(3.0), processes.RandomWalk(3.0), processes.PureBirth(3.0)]
    process, x = kinds[draws.rng.integers(3)], whole(12)
    up, down = draws.mean(huge=200.0), draws.pick(5.0, 1e-6, 12.0)
    logs = [draws.real(math.log(mean)) for mean in (up, down)]
    values = window(-140 if process.lowest is None else 0, 450)
    return Example(
        lambda n: process.stepped(rows(x, n), *(rows(log, n) for log in logs)),
        values,
        values[0],
        None,
        1e-7,
    )


def pinned(draws: Draws) -> Example:
    base = shifted(draws)
    value = base.values[len(base.values) // 2].unsqueeze(0)
    known = torch.full((1, 1), bool(draws.rng.random() < 0.5))
    return Example(
        lambda n: Pinned(base.make(n), rows(value, n), rows(known, n)),
        base.values,
        base.origin,
        None,
        base.accuracy,
    )


EXAMPLES: dict[type, Callable[[Draws], Example]] = {
    laws.Delta: delta,
    laws.Shifted: shifted,
    laws.Binomial: binomial,
    laws.Poisson: poisson,
    laws.NegativeBinomial: negative_binomial,
    laws.Rounded: rounded,
    laws.ZeroInflated: zero_inflated,
    laws.SiteMixture: site_mixture,
    laws.Categorical: categorical,
    laws.Tilted: tilted,
    laws.LogisticMixture: logistic_mixture,
    laws.Normal: normal,
    laws.Beta: beta,
    laws.Gamma: gamma,
    laws.Gaussian: gaussian,
    laws.ModalGaussian: modal_gaussian,
    laws.Mixture: mixture,
    Products: lambda draws: mixture(draws, Products),
    laws.Atoms: atoms,
    CountPosterior: count_posterior,
    sums.Convolved: convolved,
    sums.Skellam: skellam,
    sums.SkellamBridge: skellam_bridge,
    sums.SurvivorBridge: survivor_bridge,
    sums.TwoMeans: two_means,
    lineages.Descendants: descendants,
    lineages.LineageBridge: lineage_bridge,
    Pinned: pinned,
    empirical._EmpiricalMarginal: empirical_marginal,
    gaussians._Joint: joint_gaussian,
    fields._Known: field_of_known,
}
