r"""Conditional simulation of a Gaussian field on 256 x 256 given 200 of its sites: which noise?

    python benchmarks/fields.py  # an exact guess: a minute of one processor
    python benchmarks/fields.py --side 64 --known 25 --sites 8 --draws 0 \
        --dynamics brownian flow vp vp8 --noises white own "power 0.5" "power -0.25"
    python benchmarks/fields.py --trained white own --side 64 --known 25 --seconds 30

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

With a trained guess a small convolutional network is told x_t and the known sites, and learns from
fields on 64 x 64 what the others are, for so many seconds of a processor; errors are of draws.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

import markovbridge as mb
from markovbridge import couplings, exact
from markovbridge.covariances import Covariance, Isotropic, Matern, Power, Torus
from markovbridge.networks.embedding import TimeEmbedding
from markovbridge.samplers.known_sites import Observed
from markovbridge.samplers.walks import BoundModel, walk

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
SAMPLERS = {"midpoint": mb.Midpoint(), "flow": mb.ProbabilityFlow()}
STEPS = {20: 10, 10: 5, 5: 3}  # of evaluations: Midpoint 20, 10, 6; Heun's flow 19, 9, 5
CROP, BATCH = 64, 8


class Problem:
    """A field, what is known of it, and what kriging says of the rest."""

    def __init__(self, side: int, known: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        event = (1, side, side)
        self.truth = FIELD.sample(torch.zeros(1, *event).double(), generator=generator)
        order = torch.randperm(side * side, generator=generator)
        self.mask = torch.zeros(1, side * side, dtype=torch.bool)
        self.mask[:, order[:known]] = True
        self.mask = self.mask.reshape(1, *event)
        self.unknown = order[known:]  # in a random order
        still = exact.GaussianField(mb.LinearDiffusion(), FIELD, coupling=mb.Dirac())
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
        x = walk(bound, x, model.grid(steps), sampler, generator=torch.Generator())
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
            if dynamics != "flow" or word == "flow":
                yield f"{dynamics}, {noise}, {word}", model, sampler


def perfect(arguments: argparse.Namespace) -> None:
    problems = [Problem(arguments.side, arguments.known, seed) for seed in arguments.seeds]
    print("without Monte Carlo: error of the mean, in deviations; of the deviation, relative")
    for name, model, sampler in walks(arguments):
        for steps in STEPS.values():
            found = []
            for problem in problems:
                sites = problem.unknown[: arguments.sites]
                mean, deviation = walked(model, problem, sampler, steps, sites)
                found.append((problem.far(mean), problem.wide(deviation, sites)))
            line(f"{name}, {sampler.evaluations(steps)}", found)
    n = arguments.draws
    if n < 2:
        return
    print(f"by {n} draws; by chance {chance(n)[0]:.3f} and {chance(n)[1]:.3f}")
    for name, model, sampler in walks(arguments):
        found = []
        for k, problem in enumerate(problems):
            drawn = imputed(model, problem, n, k, steps=STEPS[20], sampler=sampler)
            found.append(errors(problem, drawn))
        line(f"{name}, {sampler.evaluations(STEPS[20])}", found)


def chance(n: int) -> tuple[float, float]:
    """Errors of mean and deviation of n exact draws."""
    return n**-0.5, (2 * (n - 1)) ** -0.5


def errors(problem: Problem, drawn: Tensor) -> tuple[float, float]:
    """Of mean and deviation of draws, chance included."""
    sites = problem.unknown
    return problem.far(drawn.mean(0)), problem.wide(drawn.std(0)[sites], sites)


class Convolutions(nn.Module):
    """Dilated convolutions on a torus, with a shift of each channel in time."""

    def __init__(self, features: int, width: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        options = {"padding": "same", "padding_mode": "circular"}
        self.time = TimeEmbedding(width)
        self.first = nn.Conv2d(features, width, 1)
        self.layers = nn.ModuleList(
            nn.Conv2d(width, width, 3, dilation=d, **options) for d in dilations
        )
        self.shifts = nn.ModuleList(nn.Linear(width, 2 * width) for _ in dilations)
        self.last = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.last.weight)

    def forward(self, features: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        h, code = self.first(features.squeeze(2)), self.time(t)
        for layer, shift in zip(self.layers, self.shifts, strict=True):
            scale, move = shift(code)[..., None, None].chunk(2, 1)
            h = h + nn.functional.silu(layer(h) * (1 + scale) + move)
        return self.last(h).unsqueeze(2)


class Scattered(mb.Masking):
    """Sites that are as far apart as those of the problem, up to twice as many or none."""

    def draw(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        share = 2 * self.high * torch.rand(len(like), 1, 1, 1, generator=generator)
        return torch.rand(like.shape, generator=generator) < share


def model_of(noise: str, dynamics: str, side: int, share: float, network: nn.Module):
    process = process_of(dynamics, noise)
    return mb.Transport(
        process,
        network,
        mb.EndpointHead("residual"),
        shape=(1, side, side),
        mean=0.0,
        variance=1.0,
        coupling=FROM_NOISE,
        objective=mb.EndMSE(),
        masking=Scattered(high=share),
    )


def train(noise: str, dynamics: str, share: float, seconds: float, seed: int) -> nn.Module:
    """A network that was trained for so many seconds of a processor, an average of its weights."""
    torch.manual_seed(seed)
    network = Convolutions(3, 16, (1, 2, 4, 8, 1))
    model = model_of(noise, dynamics, CROP, share, network)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98)
    )
    like, start, steps, used = torch.zeros(BATCH, 1, CROP, CROP), time.process_time(), 0, 0.0
    recent = 0.0
    while used < 1:
        used = (time.process_time() - start) / seconds
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, steps / 20) * max(0.02, 1 - used)
        loss = model.loss(FIELD.sample(like, generator=generator), generator=generator).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(network)
        steps += 1
        recent = 0.95 * recent + 0.05 * float(loss.detach())
    print(f"{noise}: {steps} steps of {BATCH}, loss {recent:.4f}", flush=True)
    return average.module


def trained(arguments: argparse.Namespace) -> None:
    n, share = arguments.draws, arguments.known / arguments.side**2
    problems = [Problem(arguments.side, arguments.known, seed) for seed in arguments.seeds]
    print(f"by {n} draws; by chance {chance(n)[0]:.3f} and {chance(n)[1]:.3f}")
    for noise in arguments.trained:
        dynamics = arguments.dynamics[0]
        network = train(noise, dynamics, share, arguments.seconds, arguments.seeds[0])
        model = model_of(noise, dynamics, arguments.side, share, network).eval()
        drawn = [
            imputed(model, problem, n, k, steps=STEPS[20], sampler=mb.Midpoint())
            for k, problem in enumerate(problems)
        ]
        found = [errors(*pair) for pair in zip(problems, drawn, strict=True)]
        line(f"{dynamics}, {noise}, midpoint, 20", found)
        beyond = [
            tuple(max(0.0, e**2 - c**2) ** 0.5 for e, c in zip(row, chance(n), strict=True))
            for row in found
        ]
        line("  beyond chance", beyond)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--known", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--noises", nargs="+", default=["white", "own"])
    parser.add_argument("--dynamics", nargs="+", default=["brownian"], choices=list(DYNAMICS))
    parser.add_argument("--sites", type=int, default=6, help="whose deviation is known exactly")
    parser.add_argument("--draws", type=int, default=24, help="0 for none")
    parser.add_argument("--trained", nargs="+", help="noises to train a guess with")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a processor, each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    (perfect if arguments.trained is None else trained)(arguments)


if __name__ == "__main__":
    main()
