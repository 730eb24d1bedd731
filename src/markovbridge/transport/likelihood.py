r"""Likelihood: a lower bound on log p(x_1), for every process.

Given a data point, the reference runs from x_0 ~ Π(x_0 | x_1) along its bridge to x_1; the
model runs from its source with the posterior average of the pinned generators. A model path
can end elsewhere, so the relative entropy of the two laws of paths bounds

    -log p(x_1)  <=  KL(Π(x_0 | x_1) ‖ source)  +  ∫_0^1 E[divergence(x_t, t)] dt     (nats)

by Girsanov's theorem. Under time reversal (`Noised`) and from one point (`Dirac`) the bound
is **tight at the true posterior**, point by point: the pinned process *is* the true one
conditioned on its end. For pure death the true mean suffices (Santos et al.,
https://arxiv.org/abs/2305.11089, have process and loss; the weight that makes the loss this
bound is p'/(1 - p)). With other couplings a mixture of bridges is not Markov, the model is,
and the bound contains the relative entropy between them.

A diffusion is stopped shortly before the end, its path measures being singular there, and
finished by a decoder (`Process.decoder`). Of counts carried as reals (`RoundedSupport`) the
bound is one on their probability, as for the processes on counts.

With `steps` the bound is that of the `Bridge` sampler with these steps instead, whose kernel
p(x_s | x_t) = Σ_y law(y | x_t) p(x_s | x_t, y) is known:

    -log p(x_1)  <=  KL(Π(x_0 | x_1) ‖ source)  +  Σ_k E[log p(x_s | x_t, x_1) - log p(x_s | x_t)]

In continuous time no two sites jump at once, so a law of several sites together (`Atoms`)
enters by its marginals alone, and nothing is lost. In discrete time all sites may move in one
step: without `steps` the bound is that of the sampler which draws each of them on its own, from
the marginals; with as many steps as the chain has it is that of `Bridge`, which draws the ends
of all sites together, and the tighter of the two where they are dependent.

**Both are one integral** ∫_0^1 E[f(u)] du, over times or over steps, and estimated without
bias, in blocks of bounded memory. The integration variable is v in 1 - p = (1 - v)³: near
the data x_1 - x_t is 0 but for a share 1 - p of the units, and events of probability 1 - p
have a rate 1/(1 - p), which is of infinite variance in p and of finite variance in v. Where it
is drawn, `transport.strata` says.

From f is taken what a baseline of known likelihood has at the same states (`baselines`), so
that the noise of the path itself, far larger than that of the model, cancels. For pure death
there is a second form of the integrand as well, of bounded variance towards the data, from the
size-bias identity E[(x_1 - x_t) g(x_t)]/q = E[x_t g(x_t - 1)]/p. It evaluates the model once for
each site, and with the baseline it has no smaller variance, so it is not used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import randomness
from markovbridge.laws import Law
from markovbridge.processes.base import DiscreteProcess
from markovbridge.samplers.model import DataModel, Given
from markovbridge.transport.strata import density, integrate


@dataclass(frozen=True, eq=False)
class Bound:
    """An estimate of a lower bound on log p(x_1), for a batch.

    Attributes:
        nats: The bound on log p(x_1), (batch,) float64.
        standard_error: Of `nats`, from the random times and states, (batch,).
        sites: Numbers in one data point, for bits per dimension.
    """

    nats: Tensor
    standard_error: Tensor
    sites: int

    @property
    def bits(self) -> Tensor:
        """Bits per dimension, -log2 p(x_1)/sites: (batch,), an upper bound."""
        return -self.nats / (self.sites * math.log(2))

    def average(self) -> tuple[float, float]:
        """Mean of `nats` over the batch and its standard error, from the spread of the batch.

        The error counts in both the choice of the data points and the estimate of each.
        """
        if len(self.nats) < 2:
            return float(self.nats), float(self.standard_error)
        return float(self.nats.mean()), float(self.nats.std()) / math.sqrt(len(self.nats))

    def average_bits(self) -> tuple[float, float]:
        """Mean bits per dimension over the batch and its standard error."""
        mean, error = self.average()
        scale = self.sites * math.log(2)
        return -mean / scale, error / scale


@torch.no_grad()
def log_likelihood(
    transport: DataModel,
    x1: Tensor,
    *,
    x0: Tensor | None = None,
    condition: Tensor | None = None,
    draws: int = 64,
    steps: int | Tensor | None = None,
    generator: torch.Generator | None = None,
    block: int = 64,
) -> Bound:
    """A lower bound on log p(x_1): see `Transport.log_likelihood`."""
    _check_draws(draws)
    data = x1
    x1 = transport.check(x1, "x1").to(transport.device)
    if not len(x1):
        raise ValueError("x1 holds no data point: give at least one row")
    if x0 is None:
        prior = _prior(transport, x1)
    else:
        x0 = transport.check(x0, "x0").to(transport.device)
        if x0.shape != x1.shape:
            raise ValueError(f"x0 has {len(x0)} rows for {len(x1)} data points")
        prior = torch.zeros(len(x1), dtype=torch.float64, device=x1.device)
    if condition is not None:
        condition = _checked(transport, condition.to(transport.device), len(x1))
    paths = _Paths(transport, x1, x0, condition, generator)
    integrand = paths.rate
    if steps is not None:
        if getattr(transport, "draws_jointly", False):
            raise ValueError(
                "the steps of the bridge draw all sites jointly, by a head that states no density "
                "of that: leave `steps` out, for the bound of the process in continuous time"
            )
        paths.set_grid(transport.grid(steps))
        integrand = paths.step
    share = density(integrand, len(x1), block, generator, x1.device)
    mean, error = integrate(integrand, len(x1), share, draws, block, generator)
    bound = -prior - paths.decoder() - paths.known() - mean
    bound = bound + transport.process.log_volume(data).to(bound)
    return Bound(bound, error, x1[0].numel())


@torch.no_grad()
def row_by_row(
    transport: DataModel,
    x1: Tensor,
    keys: Sequence[int],
    pilot: Tensor,
    *,
    condition: Tensor | None = None,
    draws: int = 64,
    block: int = 64,
) -> Bound:
    """`log_likelihood` of which each value is a function of its data point, and of no other.

    Args:
        transport: The model, in evaluation mode.
        x1: Data, (n, *event).
        keys: A seed for each data point.
        pilot: The data points (m, *event) that the density of times is fitted to, the same
            whatever x1 is.
        condition: What to condition on, (n, C).
        draws: How often the network looks at each data point; even.
        block: How many states the network sees at once, none of two data points together.

    Raises:
        ValueError: As `log_likelihood`.
    """
    _check_draws(draws)
    data, device = x1, transport.device
    x1, pilot = (transport.check(x, "x1").to(device) for x in (x1, pilot))
    if len(keys) != len(x1):
        raise ValueError(f"there are {len(keys)} keys for {len(x1)} data points")
    if condition is not None:
        condition = _checked(transport, condition.to(device), len(x1))
    prior, volume = _prior(transport, x1), transport.process.log_volume(data)
    first = randomness.generator(device, "pilot")
    looks = _Paths(transport, pilot, None, None, first).rate
    share, found = density(looks, len(pilot), block, first, device), []
    for k, key in enumerate(keys):
        own, told = randomness.generator(device, key), None if condition is None else condition[k]
        paths = _Paths(transport, x1[k][None], None, None if told is None else told[None], own)
        mean, error = integrate(paths.rate, 1, share, draws, block, own)
        found.append(torch.stack([-paths.decoder() - paths.known() - mean, error]))
    bound, error = torch.cat(found, 1)
    return Bound(bound - prior + volume.to(bound), error, x1[0].numel())


def _check_draws(draws: int) -> None:
    if draws < 2 or draws % 2:
        raise ValueError(
            f"draws must be even and at least 2, two for each stratum of times, not {draws}"
        )


def _checked(transport: DataModel, condition: Tensor, points: int) -> Tensor:
    """A condition, if it has a row for each data point and the numbers that the model knows."""
    if not condition.ndim or len(condition) != points:
        rows = len(condition) if condition.ndim else "no"
        raise ValueError(f"condition has {rows} rows for {points} data points")
    known = transport.covariates
    if known is not None and condition.shape != (points, len(known.names)):
        raise ValueError(
            f"condition has shape {tuple(condition.shape)}; this model takes "
            f"{(points, len(known.names))}: `transport.covariates.encode` makes one"
        )
    return condition


class _Paths:
    """Pinned paths to given data points, and what the model says of them."""

    def __init__(
        self,
        transport: DataModel,
        x1: Tensor,
        x0: Tensor | None,
        condition: Tensor | None,
        generator: torch.Generator | None,
    ) -> None:
        self.transport, self.process = transport, transport.process
        self.x1, self.x0, self.condition, self.generator = x1, x0, condition, generator
        process = self.process
        self.end = process.truncation(x1.shape[1:])
        self.baseline = process.baseline(transport.coupling, x1, x0, self.end)
        self.grid = torch.zeros(0, dtype=torch.float64)

    def set_grid(self, grid: Sequence[float]) -> None:
        """Choose the steps of `step`."""
        if not isinstance(self.process, DiscreteProcess):
            raise TypeError(
                "the bound of a number of steps is for counts and categories, not "
                f"{type(self.process).__name__}: leave `steps` out for the bound in "
                "continuous time"
            )
        self.grid = torch.tensor(grid, dtype=torch.float64, device=self.x1.device)

    def _ends(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        x1 = self.x1[rows]
        if self.x0 is not None:
            return self.x0[rows], x1
        told = None if self.condition is None else self.condition[rows]
        coupling = self.transport.coupling
        pair = coupling.sources(self.process, x1, told, generator=self.generator)
        return pair.to(x1.dtype), x1

    def _law(self, x: Tensor, t: Tensor, x0: Tensor, rows: Tensor) -> Law:
        condition = None if self.condition is None else self.condition[rows]
        start = x0 if self.transport.coupling.preserve else None
        return self.transport.law(x, t, Given(condition, start=start))

    def rate(self, rows: Tensor, u: Tensor) -> Tensor:
        """Divergence less that of the baseline at random states, per unit of u = v/v_end."""
        schedule = self.process.schedule
        last = 1 - self.end ** (1 / 3)
        left = 1 - last * u
        q = left**3
        p = last * u * (1 + left + left**2)  # 1 - (1 - v)³, without cancellation
        t = schedule.time(p, q)
        speed = schedule.rate(t)
        # A schedule that jumps at an end (`LogisticSchedule`) spends no time there.
        inside = (speed > 0) & (t > 0) & (t < 1)
        t = torch.where(inside, t, 0.5)
        x0, x1 = self._ends(rows)
        x = self.process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=self.generator)
        rate = self.process.divergence(self._law(x, t, x0, rows), x, x1, t).double()
        if self.baseline is not None:
            law = self.baseline.law(x, t, x0)
            rate = rate - self.process.divergence(law, x, x1, t).double()
        per_u = 3 * last * left**2 / torch.where(inside, speed, 1.0)
        return torch.where(inside, rate * per_u, 0.0)

    def step(self, rows: Tensor, u: Tensor) -> Tensor:
        """What `rate` is to the path, for its steps: log-ratios at a random one, times K."""
        process, count = self.process, len(self.grid) - 1
        assert isinstance(process, DiscreteProcess), "`set_grid` has checked"
        k = (u * count).long().clamp_max(count - 1)
        t, s = self.grid[k], self.grid[k + 1]
        x0, x1 = self._ends(rows)
        x_t = self.process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=self.generator)
        pinned = self.process.bridge(x_t, x1, t, s, 1.0)
        x_s = pinned.sample(generator=self.generator)
        law = self._law(x_t, t, x0, rows)
        moves = pinned, x_t, x_s, x1, t, s
        value = _step_ratio(process, law, *moves)
        if self.baseline is not None:
            value = value - _step_ratio(process, self.baseline.law(x_t, t, x0), *moves)
        return count * value

    def known(self) -> Tensor:
        """What the baseline has at the states of `rate`, integrated: (batch,)."""
        if self.baseline is None:
            return torch.zeros(len(self.x1), dtype=torch.float64, device=self.x1.device)
        return self.baseline.nats

    def decoder(self) -> Tensor:
        """E[-log p(x_1 | x_end)] of the last, untrained piece of a diffusion: (batch,)."""
        if self.end == 0:  # the path ends at the data
            return torch.zeros(len(self.x1), dtype=torch.float64, device=self.x1.device)
        x0, x1 = self._ends(torch.arange(len(self.x1), device=self.x1.device))
        return self.process.decoder(x0, x1, self.end)


def _step_ratio(
    process: DiscreteProcess,
    law: Law,
    pinned: Law,
    x_t: Tensor,
    x_s: Tensor,
    x1: Tensor,
    t: Tensor,
    s: Tensor,
) -> Tensor:
    """Log p(x_s | x_t, x_1) - log p(x_s | x_t) for one step of the bridge sampler: (batch,)."""
    stepped = process.step_law(law, x_t, t, s)
    if stepped is not None:
        return pinned.log_prob(x_s).double() - stepped.log_prob(x_s)
    if process.states is None:
        raise TypeError(
            f"the kernel of a {type(law).__name__} law on unbounded counts is not implemented: "
            "set `maximum` of the process, or take the bound in continuous time (no steps)"
        )
    # p(x_s | x_t, y) ∝ p(x_s | y)/p(x_t | y) as a function of y, and so are their ratios.
    before = process.evidence(x_t, t).double()
    news = torch.where(before > -torch.inf, process.evidence(x_s, s).double() - before, -torch.inf)
    mine = news.gather(-1, x1.unsqueeze(-1)).squeeze(-1).flatten(1).sum(1)
    return mine - law.log_average(news, x_t)


def _prior(transport: DataModel, x1: Tensor) -> Tensor:
    """KL(Π(x_0 | x_1) ‖ source) for each data point, (batch,), or an error that says why not."""
    process = transport.process
    prior = transport.coupling.prior(process, x1)
    infinite = ~torch.isfinite(prior)
    if bool(infinite.any()):
        survival = float(process.schedule.survival(0.0))
        left = f", as survival at t = 0 is {survival:.3g}, not 0" if survival > 0 else ""
        raise ValueError(
            f"the likelihood bound of data point {int(infinite.nonzero()[0])} is infinite: its "
            f"paths can start where the source has no mass{left}; {process.start_within}"
        )
    return prior


doors.guard(__name__)
