r"""Baselines: models whose likelihood bound is known, to measure others against.

A bound on -log p(x_1) is an integral of divergences at random states, and most of their
noise has nothing to do with the model: which unit is born when. A baseline with independent
sites sees the same states, and its own integral is known in closed form, so that

    bound(model) = integral(baseline) + E ∫ [divergence(model) - divergence(baseline)] dt

is estimated from differences, in which that noise cancels. Any baseline leaves the estimate
unbiased, and a good one makes its variance small; those here are fitted to the data points in
question. A process says which is its own
(`Process.baseline`); a jump process that says nothing has the histogram.

=================== ============================= ===========================================
process             data law of the baseline      its integral
=================== ============================= ===========================================
`PureDeath`         negative binomial             -log probability of x_1: the bound is tight
chains that forget  histogram of the values       the same
other jumps, few    histogram of the values       the same, less KL(x_0 given x_1 ‖ x_0)
`LinearDiffusion`   Gaussian, of covariance ∝ Γ   of E|x_1 - ŷ|², ŷ affine in x_t: quadrature
=================== ============================= ===========================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Categorical, Delta, Law, NegativeBinomial, Shifted, SiteLaw
from markovbridge.laws.numbers import rule
from markovbridge.processes.clock import match
from markovbridge.processes.linear import GivenEnd, LinearPaths
from markovbridge.processes.schedules import Schedule, Time

NODES = 400  # of the quadrature over time
FEW = 64  # data points below which sites share their moments
TOLD = 1e-9  # nats that a source may tell of the data and count as one that tells nothing
MOST_VALUES = 64  # of integers: with more, a look at a table costs more than the noise it takes


class Pairing(Protocol):
    """What a process asks of a coupling: how data are paired with where paths begin."""

    reverses: ClassVar[bool]
    """Whether x_0 is the data point as the process noises it: time reversal."""

    def pair(self, process: Any, x1: Tensor) -> Tensor:
        """A source state for each data point: (batch, *event)."""
        ...

    def kernel(self, process: Any, t: Time) -> GivenEnd:
        """The law of x_t given x_1, for linear diffusions; ValueError if it is not known."""
        ...

    def moments(self, process: Any, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and variance of x_0 per site; None if nothing is known of them."""
        ...


Evidence = Callable[[Tensor, Tensor], Tensor]
"""`DiscreteProcess.evidence` of a process."""
Noised = Callable[[Tensor], Law]
"""`Process.noised` of one."""


class Baseline(ABC):
    """A model whose path KL to given data points is known."""

    nats: Tensor
    """∫ E[divergence] over the whole path to each data point, (n,) float64.

    For counts and categories it is the same for the path KL of any steps: the law is an exact
    posterior, so is the kernel of a step.
    """

    @abstractmethod
    def law(self, x: Tensor, t: Tensor, x0: Tensor) -> Law:
        """The law of x_1 given x_t = x and x_0, for times (batch,) float64."""


def _within(x: Tensor, states: int | None) -> bool:
    """Whether all values are among 0 .. states-1."""
    return not x.numel() or (int(x.min()) >= 0 and (states is None or int(x.max()) < states))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance per site, or of all sites together if data points are few."""
    x = x.double()
    if len(x) < FEW:
        return x.mean(), x.var(correction=0)
    return x.mean(0), x.var(0, correction=0)


class Counts(Baseline):
    """Negative binomial counts above the source, with the moments of the data."""

    def __init__(self, schedule: Schedule, x1: Tensor, x0: Tensor) -> None:
        self.schedule = schedule
        born = x1 - x0
        mean, variance = _moments(born)
        self.mean = mean.clamp_min(1e-3)
        excess = (variance - self.mean).clamp_min(1e-6 * self.mean**2)
        self.size = (self.mean**2 / excess).clamp_min(1e-2)
        log_mean, size = torch.broadcast_tensors(self.mean.log(), self.size)
        shape = born.shape
        law = NegativeBinomial(log_mean.expand(shape), size.expand(shape))
        self.nats = -law.log_prob(born)

    def law(self, x: Tensor, t: Tensor, x0: Tensor) -> Law:
        p = match(self.schedule.survival(t), x)
        q = match(self.schedule.mortality(t), x)
        size = self.size + (x - x0)
        mean = q * self.mean * size / (self.size + p * self.mean)
        return Shifted(x, NegativeBinomial(mean.log(), size))


class Values(Baseline):
    """Independent values with the histogram of the data, the same at every site."""

    def __init__(self, evidence: Evidence, states: int, x1: Tensor) -> None:
        self.evidence = evidence
        counts = torch.bincount(x1.flatten(), minlength=states).double() + 0.5
        self.log_prior = (counts / counts.sum()).log()
        self.nats = -self.log_prior[x1].flatten(1).sum(1)

    def law(self, x: Tensor, t: Tensor, x0: Tensor) -> Law:
        return Categorical(self.evidence(x, t).double() + self.log_prior)


class _Started(Values):
    """The baseline `Values` where x_0 depends on the data.

    The relative entropy of the path law given x_1 is that of x_0, from what x_0 is on average,
    and the integral.
    """

    def __init__(self, evidence: Evidence, noised: Noised, states: int, x1: Tensor) -> None:
        super().__init__(evidence, states, x1)
        values = torch.arange(states, device=x1.device).unsqueeze(1)
        window = noised(values).window
        assert window is not None, "asked before"
        low, high = int(window[0].min()), int(window[1].max())
        starts = torch.arange(low, high + 1, device=x1.device).expand(states, -1)
        log_p = noised(values.expand(starts.shape))
        assert isinstance(log_p, SiteLaw), "it has a window"
        log_p = log_p.site_log_prob(starts).double()
        average = (log_p + self.log_prior.unsqueeze(1)).logsumexp(0)
        self.told = torch.where(log_p > -torch.inf, log_p.exp() * (log_p - average), 0.0).sum(1)
        self.nats = self.nats - self.told[x1].flatten(1).sum(1)


def starting(
    evidence: Evidence, noised: Noised, states: int | None, x1: Tensor, reverses: bool
) -> Baseline | None:
    """The histogram of few values, for any jump process; None if there is none.

    Args:
        evidence: What x_t says of x_1, `DiscreteProcess.evidence`.
        noised: The law of x_0 given x_1, `Process.noised`.
        states: How many values there are.
        x1: Data points, (n, *event).
        reverses: Whether x_0 is x_1 as the process noised it. If it is not, and tells something
            of the data, the integral is not known.
    """
    if states is None or states > MOST_VALUES or not _within(x1, states):
        return None
    if noised(torch.arange(states, device=x1.device).unsqueeze(1)).window is None:
        return None
    found = _Started(evidence, noised, states, x1)
    return found if reverses or float(found.told.abs().max()) < TOLD else None


def _shifted(kernel: GivenEnd, mean: Tensor, t: Tensor) -> Tensor:
    return kernel.shifted(mean)


@dataclass(frozen=True)
class _Regression:
    """ŷ = m + slope · (x - start · x_0 - centre(m)), all of the shape of t."""

    start: Tensor  # weight of x_0, 0 unless it is given
    offset: Tensor  # weight of the mean of the source, 0 if x_0 is given
    gain: Tensor
    slope: Tensor
    variance: Tensor
    shifted: Callable[[Tensor, Tensor], Tensor]  # means at times, moved by the drift c


class Normals(Baseline):
    """Gaussian data, whose conditional mean is affine in the state."""

    def __init__(
        self, process: LinearPaths, coupling: Pairing | None, x1: Tensor, end: float
    ) -> None:
        self.process, self.coupling = process, coupling
        self.mean, variance = _moments(x1)
        sites, event = x1[0].numel(), x1.shape[1:]
        self.ratio = float(variance.mean()) * sites / process.covariance.trace(event)
        self.source: Tensor | float = 0.0
        # The rate is w(t) [(1 - slope · gain)² |x_1 - m|² + slope² · variance · sites].
        nodes, weights = rule(NODES)
        last = 1 - end ** (1 / 3)
        left = 1 - last * nodes
        q = left**3
        t = process.schedule.time(1 - q, q)
        t = t.clamp(1e-12, 1 - 1e-12)
        dt = weights * last * 3 * left**2 / process.schedule.rate(t)
        dt = dt if process.modes is None else dt.unsqueeze(1)
        guess = self._regression(t)
        gain, noise = process.piece(t, 1.0)
        weight = 0.5 * process.rates(t)[1] * (gain / noise) ** 2 * dt
        far = (weight * (1 - guess.slope * guess.gain) ** 2).sum(0, keepdim=True)
        near = (weight * guess.slope**2 * guess.variance).sum(0, keepdim=True)
        z = (x1.double() - self.mean).to(x1.dtype)
        self.nats = process.basis.norm(far, z) + process.basis.total(near, z)

    def _regression(self, t: Tensor) -> _Regression:
        kernel = None
        if self.coupling is not None:
            try:
                kernel = self.coupling.kernel(self.process, t)
            except ValueError:
                pass  # not known: take the source as given
        if kernel is None:
            start, gain, variance = self.process.weights(0.0, t, 1.0)
            offset = torch.zeros_like(gain)
            shifted = self._bridged
        else:
            start, offset = torch.zeros_like(kernel.gain), kernel.start
            gain, variance = kernel.gain, kernel.variance
            self.source = kernel.mean
            shifted = partial(_shifted, kernel)
        total = (gain**2 * self.ratio + variance).clamp_min(1e-300)
        return _Regression(start, offset, gain, gain * self.ratio / total, variance, shifted)

    def _bridged(self, mean: Tensor, t: Tensor) -> Tensor:
        return self.process.bridged(mean, 0.0, t, 1.0)

    def law(self, x: Tensor, t: Tensor, x0: Tensor) -> Law:
        guess, basis = self._regression(t), self.process.basis
        source = torch.as_tensor(self.source, device=x.device)
        centre = basis.combine((guess.gain, self.mean), (guess.offset, source), like=x)
        centre = guess.shifted(centre + basis.combine((guess.start, x0), like=x), t)
        return Delta((self.mean + basis.combine((guess.slope, x - centre), like=x)).to(x.dtype))


doors.guard(__name__, inside=("starting",))
