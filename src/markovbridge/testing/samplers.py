"""The check of a sampler: fed with an exact law, does it make the data?"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors, exact
from markovbridge.couplings import Noised
from markovbridge.couplings.base import Coupling, linear
from markovbridge.doors import checks
from markovbridge.laws import Law
from markovbridge.processes.base import Process
from markovbridge.processes.schedules import Time
from markovbridge.samplers.base import Sampler
from markovbridge.testing.laws import check_config, check_repeats, check_states
from markovbridge.testing.numbers import FAR, chi_square, deviations
from markovbridge.testing.report import CheckReport, Ledger, seeded
from markovbridge.transport import Transport

INNER = 0.5  # a time to start from


def check_sampler(
    sampler: Sampler,
    process: Process,
    x1: Tensor,
    *,
    coupling: Coupling | None = None,
    law: Literal["joint", "sites"] = "joint",
    steps: int = 32,
    draws: int = 4000,
    allowed: float = 0.02,
    seed: int = 0,
) -> CheckReport:
    """Check that a sampler that is told the exact law of x_1 makes the data of the source.

    On integers the data are the points x1, each as often as it is there, and all of them are
    counted. On reals they are the Gaussian with their mean and covariance under a linear
    diffusion, and points, of which the nearest counts, under other processes. The walk begins at
    the data as the coupling carries them to t = 0, and again at an inner time.

    Args:
        sampler: The sampler.
        process: A process that it is for.
        x1: Data points, (n, *event), few of them different on integers.
        coupling: Which source goes with which data; time reversal by default.
        law: Whether it is told the law of all sites together or of each ("sites": a table for
            each site, which samplers that need one ask for; exact in the limit of many steps).
        steps: Number of steps.
        draws: Number of walks.
        allowed: What the steps may do wrong: total variation on integers, standard deviations
            of means and covariances on reals. 0 is a test at level 1e-5, for samplers that are
            exact at this number of steps.
        seed: Seed of all draws.

    Returns:
        What was checked, with the largest error of each, and what was not, with the reason.

    Raises:
        CheckError: If a promise is broken, naming it.
        TypeError: If the sampler refuses the process or the law.
        ValueError: If it refuses them.
    """
    checks.whole(draws, "draws", least=100)
    checks.whole(steps, "steps", least=1)
    ledger = Ledger(type(sampler).__name__)
    coupling = Noised() if coupling is None else coupling
    x1 = process.check(x1).to(process.dtype)
    world = _world(process, x1, coupling, law)
    model = Transport(process, world, shape=x1.shape[1:], coupling=coupling)
    generator = seeded(seed)
    x = world.data(draws, generator)
    start = coupling.pair(process, x, generator=generator)
    few = start[:4]
    made = sampler.step(model, few, 0.0, INNER, generator=seeded(seed))
    check_states(ledger, "states after a step", made, few)
    check_repeats(
        ledger, "a step", lambda g: sampler.step(model, few, 0.0, INNER, generator=g), seed
    )
    world.calls = 0
    found = model.translate(start, steps=steps, sampler=sampler, block=draws, generator=generator)
    most = sampler.evaluations(steps)
    if most is None:
        ledger.skip("evaluations", "their number depends on chance")
    else:
        ledger.judge(
            "evaluations",
            max(0, world.calls - most),
            0.0,
            f"`evaluations` says {most} for {steps} steps, and there were {world.calls}",
        )
    world.judge(ledger, "from the source", found, allowed)
    held = process.bridge(start, x, 0.0, INNER, 1.0).sample(generator=generator)
    found = ledger.ask(
        "from an inner time",
        lambda: model.restore(
            held, INNER, steps=steps, sampler=sampler, block=draws, generator=generator
        ),
        ValueError,
        TypeError,
    )
    if found is not None:
        world.judge(ledger, "from an inner time", found, allowed)
    check_config(ledger, sampler)
    return ledger.report()


def _world(process: Process, x1: Tensor, coupling: Coupling, law: str) -> _Points | _Normal:
    """Gaussian data where their law given a state is known, and points elsewhere."""
    try:
        linear(process)
    except ValueError:
        return _Points(process, x1, coupling, law)
    return _Normal(process, x1, coupling)


class _Points:
    """Data that are points, and their law given a state, which counts how often it is asked."""

    def __init__(self, process: Process, x1: Tensor, coupling: Coupling, law: str) -> None:
        self.points, count = x1.unique(dim=0, return_counts=True)
        self.coupling, self.calls = coupling, 0
        self.mass = count / count.sum()
        states = getattr(process, "states", None) if law == "sites" else None
        self.law = exact.Empirical(
            process, self.points, count.double(), coupling=coupling, states=states
        )

    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Law:
        self.calls += 1
        return self.law(x, t)

    def data(self, n: int, generator: torch.Generator) -> Tensor:
        rows = torch.multinomial(self.mass.double(), n, True, generator=generator)
        return self.points[rows]

    def judge(self, ledger: Ledger, where: str, found: Tensor, allowed: float) -> None:
        """Compare how often each point was made with how often it is in the data."""
        n = len(found)
        apart = (found.flatten(1).unsqueeze(1) - self.points.flatten(1)).double().abs().amax(2)
        index = apart.argmin(1)
        if not found.is_floating_point():  # reals end near a point, or at one
            index = torch.where(apart.amin(1) == 0, index, len(self.points))
        every = torch.arange(len(self.points))
        sentence = f"what is made {where} does not have the law of the data"
        if allowed == 0:
            off = deviations(chi_square(index, every, self.mass))
            ledger.judge(f"{where}, in standard deviations", off, FAR, sentence)
            return
        count = torch.bincount(index, minlength=len(every) + 1).double() / n
        mass = torch.cat([self.mass.double(), torch.zeros(1).double()])
        variation = 0.5 * (count - mass).abs().sum()
        drawn = np.random.default_rng(0).multinomial(n, mass.numpy() / mass.sum().item(), 400) / n
        chance = 0.5 * np.abs(drawn - mass.numpy()).sum(1)
        limit = allowed + float(chance.mean() + 5 * chance.std())
        ledger.judge(f"{where}, total variation", variation, limit, sentence)


class _Normal:
    """Gaussian data, and their law given a state."""

    def __init__(self, process: Process, x1: Tensor, coupling: Coupling) -> None:
        flat = x1.double().flatten(1)
        if len(flat) <= flat.shape[1]:
            raise ValueError(
                f"x1 holds {len(flat)} points of {flat.shape[1]} numbers: give more points, which "
                "a covariance is made of"
            )
        self.shape, self.coupling, self.calls = x1.shape[1:], coupling, 0
        self.mean = flat.mean(0)
        self.spread = torch.cov(flat.mT).reshape(flat.shape[1], flat.shape[1])
        self.root, singular = torch.linalg.cholesky_ex(self.spread)
        if bool(singular):
            raise ValueError(
                "the points of x1 have no spread in some direction, and a Gaussian with their "
                "covariance has no density: give points that vary in each of their numbers"
            )
        self.law = exact.Gaussian.coupled(
            linear(process), coupling, self.mean.reshape(self.shape), self.spread
        )

    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Law:
        self.calls += 1
        return self.law(x, t)

    def data(self, n: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(n, len(self.mean), generator=generator, dtype=torch.float64)
        return (self.mean + noise @ self.root.mT).float().reshape(n, *self.shape)

    def judge(self, ledger: Ledger, where: str, found: Tensor, allowed: float) -> None:
        """Compare mean and covariance of what was made, where those of the data are 0 and 1."""
        n = len(found)
        apart = (found.double().flatten(1) - self.mean).mT
        white = torch.linalg.solve_triangular(self.root, apart, upper=False)
        moments = white @ white.mT / n - torch.eye(len(white))
        sentence = f"what is made {where} does not have the moments of the data"
        limit = allowed + FAR / n**0.5
        ledger.judge(f"{where}, means", white.mean(1).abs().max(), limit, sentence)
        limit = 2 * allowed + FAR * (2 / n) ** 0.5
        ledger.judge(f"{where}, covariances", moments.abs().max(), limit, sentence)


doors.guard(__name__)
