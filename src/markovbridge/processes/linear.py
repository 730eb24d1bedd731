r"""The numbers of a linear SDE: gain and variance over a piece of time, weights of its bridge.

A class below `LinearDiffusion`, which makes laws of them, so that what works with the numbers
alone (`baselines`, `decoders`, couplings) need not know of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances import Covariance, Transform
from markovbridge.processes.bands import BandClocks
from markovbridge.processes.basis import Basis, ByMode, Whole
from markovbridge.processes.schedules import Reading, Schedule, Time
from markovbridge.processes.sdes import LinearSDE
from markovbridge.processes.supports import Support

# What to do where there is no noise.
WITHOUT_NOISE = {
    "path KL": "train with EndMSE() or DriftMatching(), or take sigma > 0",
    "time reversal": "take the coupling Independent(), MinibatchOT() or Paired(), or sigma > 0",
    "score from the means of both ends": "its samplers need none, take ProbabilityFlow() without "
    "a backward model",
}
PARTS, ROUNDS = 64, 9  # the middle of a step is looked for in a 64th of a 64th of ...: 2^-54


class LinearPaths:
    """What is computed from an SDE, its clock and Γ; see `LinearDiffusion`."""

    sde: LinearSDE
    covariance: Covariance
    modes: Transform | None
    clocks: BandClocks | None
    offset: float | Tensor
    schedule: Schedule
    direction: Literal["forward", "noising"]
    support: Support | None

    def _ordered(self, *times: Time) -> tuple[Reading, ...]:
        """Times s <= t <= ... in float64."""
        return tuple(t.double() for t in self.schedule.ordered(*times))

    @property
    def noiseless(self) -> bool:
        """Whether it is a flow, σ = 0: a path is told by its ends."""
        return self.sde.noiseless

    def _check_noise(self, what: str) -> None:
        if self.noiseless:
            raise TypeError(
                f"with sigma = 0 this is a flow, which has no {what}: "
                + WITHOUT_NOISE.get(what, "take sigma > 0")
            )

    @cached_property
    def basis(self) -> Basis:
        """What weights multiply: states, or with `modes` bands of these."""
        if self.modes is None:
            return Whole(self.covariance)
        known = None if self.clocks is None else self.clocks.spectrum
        return ByMode(self.covariance, self.modes, known)

    def _noise(self, variance: Tensor) -> Tensor:
        """A variance, that a flow has per unit of σ² only, where ratios of it will not do."""
        return torch.zeros_like(variance) if self.noiseless else variance

    def _piece(self, s: Reading, t: Reading) -> tuple[Tensor, Tensor]:
        """Gain a_{st} and variance v_{st} towards the data, for float64 s <= t.

        Of a flow the variance is that per unit of σ², as in all that follows of one underscore.
        """
        r, d = self._clock(s, t)
        if self.direction == "forward":
            return self.sde.log_gain(r, d).exp(), self.sde.variance(r, d)
        gain = (-self.sde.log_gain(r, d)).exp()
        return gain, self.sde.variance(r, d) * gain**2

    def _clock(self, s: Reading, t: Reading) -> tuple[Tensor, Tensor]:
        """Where the clock of the SDE begins and how far it goes, by band if there are modes."""
        d, forward = self.schedule.increment(s, t), self.direction == "forward"
        if self.modes is None:
            return (self.schedule.survival(s) if forward else self.schedule.mortality(t)), d
        start, end, d = self._shown(s), self._shown(t), d.reshape(-1, 1)
        if self.clocks is None:
            bands = self.modes.bands
            return (start[0] if forward else end[1]).expand(-1, bands), d.expand(-1, bands)
        first = self.clocks.survival(*start) if forward else self.clocks.mortality(*end)
        return first, self.clocks.increment(start, end, d)

    def _shown(self, t: Reading) -> tuple[Tensor, Tensor]:
        """Survival and mortality, (rows, 1) each."""
        p, q = self.schedule.survival(t), self.schedule.mortality(t)
        return p.reshape(-1, 1), q.reshape(-1, 1)

    def piece(self, s: Time, t: Time) -> tuple[Tensor, Tensor]:
        """Gain a_{st} and variance v_{st} towards the data, for s <= t: float64."""
        s, t = self._ordered(s, t)
        gain, variance = self._piece(s, t)
        return gain, self._noise(variance)

    def halfway(self, s: float, t: float) -> float:
        """When half of the noise that a step from s to t leaves at its end has come.

        By mode, half of it on average over the bands.
        """
        if (s, t) not in self._halves:
            self._halves[s, t] = self._halfway(s, t)
        return self._halves[s, t]

    @cached_property
    def _halves(self) -> dict[tuple[float, float], float]:
        """`halfway` of the steps so far, which all blocks of samples take."""
        return {}

    def _halfway(self, s: float, t: float) -> float:
        start, end = self._ordered(s, t)
        half = self._piece(start, end)[1] / 2
        low, high = s, t
        for _ in range(ROUNDS):
            times = torch.linspace(low, high, PARTS + 1, dtype=torch.float64)
            left = self._piece(Reading(self.schedule, times), end)[1]
            if self.modes is not None:  # on average over the bands
                left = (left / half).mean(-1) * half.mean()
            last = max(0, int((left > half.mean()).sum()) - 1)
            low, high = times[last : last + 2].tolist()
        return (low + high) / 2

    def weights(self, s: Time, t: Time, u: Time) -> tuple[Tensor, Tensor, Tensor]:
        """p, κ and c of the bridge: x_t | x_s, x_u ~ N(p x_s + κ x_u, c Γ), float64.

        Every factor is computed from the length of its own piece, so nothing cancels at
        either end.
        """
        s, t, u = self._ordered(s, t, u)
        before, v_before = self._piece(s, t)
        after, v_after = self._piece(t, u)
        whole = v_before * after**2 + v_after
        none = whole == 0
        whole = torch.where(none, 1.0, whole)
        start = torch.where(none, 1.0, v_after * before / whole)
        return start, v_before * after / whole, self._noise(v_before * v_after / whole)

    @cached_property
    def affine(self) -> bool:
        """Whether there is a drift c beside f X."""
        return bool((torch.as_tensor(self.offset) != 0).any())

    def _shift(self, s: Reading, t: Reading) -> Tensor:
        """b_{st}: how far a drift of 1 moves the mean towards the data, for float64 s <= t."""
        d = self.schedule.increment(s, t)
        if self.direction == "forward":
            return self.sde.shift(self.schedule.survival(s), d)
        r = self.schedule.mortality(t)
        return -(-self.sde.log_gain(r, d)).exp() * self.sde.shift(r, d)

    def moved(self, weight: Tensor, x: Tensor) -> Tensor:
        """The drift c times a weight, (), or (batch,) for each row of x."""
        return self.basis.weigh(weight, x) * torch.as_tensor(self.offset).to(x)

    def carried(self, mean: Tensor, s: Time, t: Time) -> Tensor:
        """The mean of x_t given x_s, from what it is without c: moved by the shift, either way."""
        if not self.affine:
            return mean
        s, t = self.schedule.at(s), self.schedule.at(t)
        if s.precedes(t):
            s, t = self._ordered(s, t)
            return mean + self.moved(self._shift(s, t), mean)
        t, s = self._ordered(t, s)
        return mean - self.moved(self._shift(t, s) / self._piece(t, s)[0], mean)

    def shift_back(self, t: Time) -> Tensor:
        """-b_{t1}/a_{t1}, how far c of 1 moves the mean of x_t given x_1: float64."""
        t, end = self._ordered(t, 1.0)
        return -self._shift(t, end) / self._piece(t, end)[0]

    def bridged(self, mean: Tensor, s: Time, t: Time, u: Time) -> Tensor:
        """The mean of x_t given x_s and x_u, from what it is without c."""
        return mean if not self.affine else mean + self.moved(self.bridge_shift(s, t, u), mean)

    def bridge_shift(self, s: Time, t: Time, u: Time) -> Tensor:
        """(v_{tu} b_{st} - v_{st} a_{tu} b_{tu}) / v_{su}, how far c of 1 moves a bridge."""
        s, t, u = self._ordered(s, t, u)
        (_, v_before), (after, v_after) = self._piece(s, t), self._piece(t, u)
        whole = v_before * after**2 + v_after
        none = whole == 0
        moved = v_after * self._shift(s, t) - v_before * after * self._shift(t, u)
        return torch.where(none, 0.0, moved / torch.where(none, 1.0, whole))

    def rates(self, t: Time) -> tuple[Tensor, Tensor]:
        """f_t and g_t², towards the data and per unit of time: float64."""
        t = self.schedule.at(t).double()
        f, noise = self._rates(t)
        return f, self._noise(noise)

    def _rates(self, t: Reading) -> tuple[Tensor, Tensor]:
        """The same for float64 t, g² of a flow per unit of σ²."""
        speed = self.schedule.rate(t)
        f, noise = self._clock_rates(t)
        speed = speed if self.modes is None else speed.reshape(-1, 1)
        return speed * f, speed * noise

    def _clock_rates(self, t: Reading) -> tuple[Tensor, Tensor]:
        """Drift f and noise g² as rates, towards the data and per unit of clock, for float64 t."""
        r = self._clock(t, t)[0]
        f, noise = self.sde.drift_rate(r), self.sde.noise_rate(r)
        if self.direction == "noising":
            f = -f
        if self.clocks is None:
            return f, noise
        rate = self.clocks.rate(*self._shown(t))
        return rate * f, rate * noise

    def _push(self, t: Reading, speed: Tensor) -> Tensor:
        """The drift of c = 1 towards the data, of the shape of t, at this speed of the clock."""
        return speed.expand(t.shape) if self.direction == "forward" else -speed.expand(t.shape)

    def _left(self, t: Reading) -> tuple[Tensor, Tensor]:
        """a_{t1} and v_{t1} > 0, or an error at the data; v of a flow per unit of σ²."""
        gain, variance = self._piece(t, Reading(self.schedule, torch.ones_like(t), 1.0))
        if not bool((variance > 0).all()):
            raise ValueError(
                "a process pinned at x_1 has no finite drift at t = 1: ask for it at t < 1"
            )
        return gain, variance


@dataclass(frozen=True, eq=False)
class GivenEnd:
    r"""What is known of x_t and x_0 given x_1, under a linear diffusion.

        x_t | x_1          ~ N(p μ_0 + gain · x_1 + shift · c, variance · Γ)
        E[x_0 | x_t, x_1]  = μ_0 + origin · x_1 + recall · (x_t - E[x_t | x_1])

    Both are affine in x_1, so E[x_1 | x_t] may stand in for it. All fields but the mean
    are weights of the process: float64, of the shape of t and where t is, which for a float is
    the CPU, or (rows, bands).

    Attributes:
        mean: μ_0, the part of the mean of x_0 that does not depend on x_1.
        start: p, its weight at t.
        gain: Weight of x_1 in x_t.
        variance: In units of Γ.
        origin: Weight of x_1 in x_0.
        recall: Regression of x_0 on x_t.
        shift: Weight of the drift c in x_t; None if there is none.
        offset: c, the drift beside f X, a number or (*event).
        basis: What the weights multiply.
    """

    mean: Tensor
    start: Tensor
    gain: Tensor
    variance: Tensor
    origin: Tensor
    recall: Tensor
    shift: Tensor | None = None
    offset: float | Tensor = 0.0
    basis: Basis = field(default_factory=Whole)

    def centre(self, end: Tensor) -> Tensor:
        """Mean of x_t given x_1 = end."""
        terms = (self.start, self.mean.to(end)), (self.gain, end)
        return self.shifted(self.basis.combine(*terms, like=end))

    def shifted(self, mean: Tensor) -> Tensor:
        """The mean of x_t given x_1, from what it is without c."""
        if self.shift is None:
            return mean
        weight = self.basis.weigh(self.shift, mean)
        return mean + weight * torch.as_tensor(self.offset).to(mean)

    def check_spread(self) -> None:
        """An error where x_t is certain, so that its density has no score and no flow leads on."""
        if not bool((self.variance > 0).all()):
            raise ValueError(
                "the density of x_t has no score where x_t is certain, as at a Dirac source: take "
                "Midpoint(), Bridge(), StochasticAdams() or EulerMaruyama() with level 1, or a "
                "source with spread"
            )

    def smoothed_score(self, x: Tensor, end: Tensor) -> Tensor:
        """Γ ∇ log of the density of x_t at x, from end = E[x_1 | x_t = x]."""
        self.check_spread()
        return self.basis.over(self.centre(end) - x, self.variance)

    def noise(self, x: Tensor, end: Tensor) -> Tensor:
        """E[Γ^{1/2} z | x_t = x], x_t = centre + √variance Γ^{1/2} z, from the mean of the end.

        Zero where x_t is certain.
        """
        deviation = self.variance.sqrt()
        return self.basis.over(x - self.centre(end), deviation, torch.zeros_like(x))

    def start_mean(self, x: Tensor, end: Tensor) -> Tensor:
        """E[x_0 | x_t = x] from end = E[x_1 | x_t = x]."""
        residual = x - self.centre(end)
        start = self.mean.to(x) + self.basis.combine((self.origin, end))
        return start + self.basis.combine((self.recall, residual))

    def end_of_centre(self, centre: Tensor, default: Tensor) -> Tensor:
        """The end whose `centre` this is, `default` at times that do not depend on it."""
        mean = self.mean.to(centre)
        start = self.shifted(self.basis.combine((self.start, mean), like=centre))
        return self.basis.over(centre - start, self.gain, default)

    def end_of_start(self, x: Tensor, start: Tensor, default: Tensor) -> Tensor:
        """E[x_1 | x_t = x] from start = E[x_0 | x_t = x], the inverse of `start_mean`.

        `default` is what to return at times that do not depend on it.
        """
        if bool((self.origin != 0).any()) or not bool((self.recall != 0).any()):
            raise ValueError(
                "under this coupling E[x_0 | x_t] says nothing of x_1: predict the end instead "
                "of the start"
            )
        zero = self.start_mean(x, torch.zeros_like(x))
        return self.basis.over(start - zero, -self.recall * self.gain, default)


doors.guard(__name__, inside=("GivenEnd",))
