r"""Conditional simulation of a Gaussian field on 256 x 256 given 200 of its sites: which noise?

    python benchmarks/fields.py  # an exact guess: 70 s of one processor
    python benchmarks/fields.py --side 64 --known 25 --sites 8 --draws 0 \
        --dynamics brownian flow vp vp8 --noises white own "power 0.5" "power -0.25"

A Matérn field on a torus is known at scattered sites. The law of the others is Gaussian, and its
mean and deviation are those of kriging, which one solve has (`exact.GaussianField` at t = 0). Here
a walk from noise draws it, with noise that is white, of the field's own covariance C, or of a
power of C, all of the variance of the field.

With an exact guess, E[x_1 | x_t, known sites], a walk is affine in the normal numbers that it
asks for. So the mean of what it draws is known at every site, without Monte Carlo, and the
deviation at some sites, by the gradient of these with respect to all numbers. Printed are root
mean squares over unknown sites of the error of the mean, in deviations of kriging, and of the
relative error of the deviation; mean and range of as many fields as there are seeds. At 20
evaluations draws of `Transport.impute` are made as well, and their errors printed beside those
that as many exact draws have by chance.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge import couplings, exact
from markovbridge.covariances import Covariance, Isotropic, Matern, Power, Torus
from markovbridge.samplers.known_sites import Observed
from markovbridge.samplers.walks import BoundModel, walk
from quality import most_steps

FIELD = Torus(Matern(variance=1.0, length=12.0, smoothness=1.5))
NOISES: dict[str, Covariance] = {
    "white": Isotropic(1.0),
    "own": FIELD,
    "power -0.25": Power(FIELD, -0.25),
    "power 0.5": Power(FIELD, 0.5),
}
FROM_NOISE = mb.Independent(couplings.Gaussian(correlated=True))
DYNAMICS = {
    "brownian": {"sde": mb.Brownian(0.5)},
    "flow": {"sde": mb.Brownian(0.0)},
    "vp": {"sde": mb.VP(), "direction": "noising"},
    "vp8": {"sde": mb.VP(0.1, 8.0), "direction": "noising"},
}
SAMPLERS = {
    "midpoint": mb.Midpoint(),
    "flow": mb.ProbabilityFlow(),
    "adams": mb.ProbabilityFlow("adams"),
    "noisy adams": mb.StochasticAdams(),
}
EVALUATIONS = (20, 10, 6)  # of Heun's flow one less


class Problem:
    """A field, what is known of it, and what kriging says of the rest."""

    def __init__(self, side: int, known: int, seed: int, field: Covariance = FIELD) -> None:
        generator = torch.Generator().manual_seed(seed)
        event = (1, side, side)
        self.truth = field.sample(torch.zeros(1, *event).double(), generator=generator)
        order = torch.randperm(side * side, generator=generator)
        self.mask = torch.zeros(1, side * side, dtype=torch.bool)
        self.mask[:, order[:known]] = True
        self.mask = self.mask.reshape(1, *event)
        self.unknown = order[known:]  # in a random order
        still = exact.GaussianField(mb.LinearDiffusion(), field, coupling=mb.Dirac())
        law = still.given_known(torch.zeros_like(self.truth), 0.0, self.observed(1))
        self.mean, self.deviation = law.mean.flatten(), law.variance.sqrt().flatten()

    def observed(self, rows: int) -> Observed:
        shape = (rows, *self.truth.shape[1:])
        return Observed(self.truth.expand(shape), self.mask.expand(shape))

    def far(self, mean: Tensor, sites: Tensor | None = None) -> float:
        sites = self.unknown if sites is None else sites
        off = (mean.flatten()[sites] - self.mean[sites]) / self.deviation[sites]
        return float(off.square().mean().sqrt())

    def wide(self, deviation: Tensor, sites: Tensor) -> float:
        return float((deviation / self.deviation[sites] - 1).square().mean().sqrt())


@contextmanager
def handed(numbers: list[Tensor]) -> Iterator[None]:
    """Zeros in place of all normal numbers, which are kept, to be differentiated by."""
    drawn = torch.randn

    def zeros(*shape: int, **_: object) -> Tensor:
        shape = tuple(shape[0]) if len(shape) == 1 else shape  # pyright: ignore
        numbers.append(torch.zeros(shape, dtype=torch.float64, requires_grad=True))
        return numbers[-1]

    torch.randn = zeros  # pyright: ignore
    try:
        yield
    finally:
        torch.randn = drawn


def walked(
    model: mb.Transport, problem: Problem, sampler: mb.samplers.Sampler, steps: int, sites: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean of what a walk draws, at all sites, and its deviation at some; exactly."""
    rows, numbers = len(sites), []
    like = torch.zeros(rows, *model.shape, dtype=torch.float64)
    model.law(model.coupling.start(model.process, like), 0.5)  # what is random in setting up
    with handed(numbers):
        x = model.coupling.start(model.process, like)
        bound = BoundModel(model, mb.Given(observed=problem.observed(rows)))
        sampler, grid = sampler.plan(model, steps)
        x = walk(bound, x, grid, sampler, generator=torch.Generator())
    chosen = x.flatten(1).gather(1, sites.unsqueeze(1)).sum()
    gradients = torch.autograd.grad(chosen, numbers, allow_unused=True)
    variance = sum(g.flatten(1).square().sum(1) for g in gradients if g is not None)
    assert isinstance(variance, Tensor)
    return x[0].detach(), variance.sqrt()


def process_of(dynamics: str, noise: str) -> mb.LinearDiffusion:
    return mb.LinearDiffusion(covariance=NOISES[noise], **DYNAMICS[dynamics])


def imputed(model: mb.Transport, problem: Problem, n: int, seed: int, **options) -> Tensor:
    """Draws given the known sites, (n, sites) float64."""
    observed, generator = problem.observed(n), torch.Generator().manual_seed(seed)
    x = observed.values.float()
    drawn = model.impute(x, observed.mask, generator=generator, block=min(n, 12), **options)
    return drawn.double().flatten(1)


def line(name: str, rows: list[tuple[float, ...]]) -> None:
    """Mean and range over seeds of each column."""
    cells = [
        f"{sum(column) / len(column):.4f} ({min(column):.4f}-{max(column):.4f})"
        for column in zip(*rows, strict=True)
    ]
    print(f"{name:36s} {'  '.join(cells)}", flush=True)


def walks(
    arguments: argparse.Namespace,
) -> Iterator[tuple[str, mb.Transport, mb.samplers.Sampler]]:
    """Names, models with an exact guess, and samplers that are compared."""
    for dynamics, noise in itertools.product(arguments.dynamics, arguments.noises):
        process = process_of(dynamics, noise)
        law = exact.GaussianField(process, FIELD, coupling=FROM_NOISE)
        model = mb.Transport(process, law, shape=(1, arguments.side, arguments.side))
        for word, sampler in SAMPLERS.items():
            if dynamics != "flow" or word not in ("midpoint", "noisy adams"):
                yield f"{dynamics}, {noise}, {word}", model, sampler


def perfect(arguments: argparse.Namespace) -> None:
    problems = [Problem(arguments.side, arguments.known, seed) for seed in arguments.seeds]
    print("without Monte Carlo: error of the mean, in deviations; of the deviation, relative")
    for name, model, sampler in walks(arguments):
        for evaluations in EVALUATIONS:
            (steps, taken), found = most_steps(sampler, evaluations), []
            for problem in problems:
                sites = problem.unknown[: arguments.sites]
                mean, deviation = walked(model, problem, sampler, steps, sites)
                found.append((problem.far(mean), problem.wide(deviation, sites)))
            line(f"{name}, {taken}", found)
    n = arguments.draws
    if n < 2:
        return
    print(f"by {n} draws; by chance {chance(n)[0]:.3f} and {chance(n)[1]:.3f}")
    for name, model, sampler in walks(arguments):
        (steps, taken), found = most_steps(sampler, EVALUATIONS[0]), []
        for k, problem in enumerate(problems):
            drawn = imputed(model, problem, n, k, steps=steps, sampler=sampler)
            found.append(errors(problem, drawn))
        line(f"{name}, {taken}", found)


def chance(n: int) -> tuple[float, float]:
    """Errors of mean and deviation of n exact draws."""
    return n**-0.5, (2 * (n - 1)) ** -0.5


def errors(problem: Problem, drawn: Tensor) -> tuple[float, float]:
    """Of mean and deviation of draws, chance included."""
    sites = problem.unknown
    return problem.far(drawn.mean(0)), problem.wide(drawn.std(0)[sites], sites)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--known", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--noises", nargs="+", choices=list(NOISES), default=["white", "own"])
    parser.add_argument("--dynamics", nargs="+", default=["brownian"], choices=list(DYNAMICS))
    parser.add_argument("--sites", type=int, default=6, help="whose deviation is known exactly")
    parser.add_argument("--draws", type=int, default=24, help="0 for none")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    perfect(arguments)


if __name__ == "__main__":
    main()
