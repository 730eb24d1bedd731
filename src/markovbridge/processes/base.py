r"""What every reference process answers.

A reference is a Markov process on [0, 1] whose transitions and bridges are
tractable. Its bridge `x_t | x_s = x, x_u = y` is the one primitive: training
draws x_t from it, sampling draws x_s from it towards a drawn end. The bridge is
a product of transitions over a transition, so it reads the same whichever way
the process is stated (`direction`): from source to data ("forward"), or from
data to source ("noising").

Jump processes add the rates of the pinned process. The rates of the generative
process are their posterior average, E[rate(x, X_1, t) | x_t = x] (Santos et al.,
https://arxiv.org/abs/2305.11089; the mixture theorem of Peluchetti,
https://arxiv.org/abs/2312.14589, at generator level).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Law, SiteLaw
from markovbridge.laws.base import UNBOUNDED
from markovbridge.processes.baselines import Baseline, Pairing
from markovbridge.processes.linear import GivenEnd
from markovbridge.processes.schedules import LinearSchedule, Schedule, Time
from markovbridge.processes.supports import Support

LOOKS = 36  # times at which the error of a best guess is measured


class Process(ABC):
    """Reference Markov process on [0, 1] with tractable transitions and bridges.

    States are (batch, *event); times are floats or (batch,) tensors. Laws come in the
    type of the times: float64 for Python floats.
    """

    schedule: Schedule = LinearSchedule()
    """How fast time runs: what divides steps and training times; `LinearSchedule` says nothing."""
    direction: ClassVar[Literal["forward", "noising"]] = "noising"
    dtype: ClassVar[torch.dtype]
    """The type of states."""
    states_are_called: ClassVar[tuple[str, ...]] = ("x", "y", "x1")
    """Arguments of methods that are states; see `markovbridge.doors`."""
    takes_anything: ClassVar[tuple[str, ...]] = ("__init__", "check", "project")
    """Methods whose argument may be any tensor."""
    support: Support | None = None
    """Coordinates of the data in which states are carried; None if states are the data."""
    dies_out: ClassVar[bool] = False
    """Whether all paths end at the source, a point, where the schedule leaves nothing at t = 0."""
    start_within: ClassVar[str] = (
        "take CosineSchedule(), or LogisticSchedule(exact_ends=True), under which nothing of the "
        "data is left at t = 0"
    )
    """What to do where data start outside of the source."""

    @abstractmethod
    def transition(self, x: Tensor, s: Time, t: Time) -> Law:
        """The law of x_t given x_s = x, along `direction` (noising: s >= t)."""

    @abstractmethod
    def bridge(self, x: Tensor, y: Tensor, s: Time, t: Time, u: Time) -> Law:
        """The law of x_t given x_s = x and x_u = y, for s <= t <= u."""

    def noised(self, x1: Tensor) -> Law:
        """The law of x_0 given x_1 = x1: the coupling of time reversal."""
        if self.direction == "forward":
            raise TypeError(
                f"{type(self).__name__} is stated from source to data and says nothing of x_0 "
                "given x_1 (`noised`): take another coupling, such as Dirac or Independent"
            )
        law = self.transition(x1, 1.0, 0.0)  # which checks the states, of the type of the class
        nothing_left = self.dies_out and float(self.schedule.survival(0.0)) == 0
        return self.source(x1) if nothing_left else law

    @abstractmethod
    def source(self, like: Tensor) -> Law:
        """The law where sampling starts, in the shape of `like`."""

    def divergence(self, law: Law, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """Rate of path KL between the process pinned at y and the model with `law`.

        Returns:
            (batch,), nats per unit of time, summed over sites. Its integral over [0, 1],
            averaged over x_t, bounds -log p(y) for a source that is known exactly.

        Raises:
            TypeError: If the process states none.
        """
        raise TypeError(
            f"{type(self).__name__} states no rate of path KL (`divergence`): train with EndNLL() "
            "or EndMSE(), and take the likelihood of a number of steps"
        )

    @abstractmethod
    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """Network features (batch, features, *event) of unit variance given t.

        Args:
            x: State at t, (batch, *event).
            t: Time.
            setting: Moments of the data, and of the source.
        """

    @property
    @abstractmethod
    def features(self) -> int:
        """How many features per site `standardise` makes."""

    @abstractmethod
    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """Return x as a state tensor, or raise an error that names the offending value."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """Put a state a sampler overshot back into the state space."""

    def settled(self, x: Tensor) -> Tensor:
        """States at t = 1 as data: cut at the ends of these, where steps led beyond them."""
        return x

    def baseline(
        self, coupling: Pairing, x1: Tensor, x0: Tensor | None, end: float
    ) -> Baseline | None:
        """A model whose likelihood bound is known, which takes variance away from that of others.

        Args:
            coupling: Says which states go with x1, if x0 is None.
            x1: Data points, (n, *event).
            x0: Their sources, or None.
            end: Mortality at which paths are stopped (diffusions only).

        Returns:
            None if there is no good one: bounds are then right all the same, with more noise.
        """
        return None

    thins: ClassVar[bool] = False
    """Whether of every unit of x_1 a share p(t) is left in x_t: thinning of counts."""
    jumps: ClassVar[bool] = False
    """Whether it moves by jumps, at `rates`."""

    @property
    def noiseless(self) -> bool:
        """Whether it is a flow: a path is told by its ends, and bridges are points."""
        return False

    @property
    def has_path_kl(self) -> bool:
        """Whether `divergence` is known, which training and likelihood bounds are made of."""
        return not self.noiseless

    def truncation(self, event: torch.Size) -> float:
        """Mortality at which a likelihood bound stops paths and decodes: 0, at the data."""
        return 0.0

    def decoder(self, x0: Tensor, x1: Tensor, end: float) -> Tensor:
        """E[-log p(data | x_end)] of the last piece of a path, past `truncation`: (batch,)."""
        return torch.zeros(len(x1), dtype=torch.float64, device=x1.device)

    def log_volume(self, data: Tensor) -> Tensor:
        """Log |dz/dx| of the coordinates in which data are carried: (batch,) float64."""
        return torch.zeros(len(data), dtype=torch.float64)

    def error_times(self, x1: Tensor) -> list[float]:
        """Times from 0 on, at which to ask how far a model's best guess is from the data x1."""
        return torch.linspace(0, 1, LOOKS + 1, dtype=torch.float64)[:-1].tolist()

    def pull(self, law: Law, x: Tensor, t: float) -> Tensor:
        """How hard the process is pulled from its reference, or how often it jumps: ().

        Raises:
            TypeError: If it states neither a drift nor rates.
        """
        raise TypeError(
            f"{type(self).__name__} has neither a drift nor rates to look at: take a process in "
            "continuous time"
        )

    @property
    def samplers(self) -> tuple[str, ...]:
        """The samplers to take when another one is refused, the best first."""
        return ("Bridge()",)

    def between(self, first: Law, second: Law, x: Tensor, strength: float) -> Law:
        """The law of x_1 given x_t = x at this strength, between two or beyond the first.

        Raises:
            TypeError: If there is none between laws of these kinds.
        """
        return first.between(second, strength)

    def closed_form(self, x: Tensor, t: Time, setting: Setting) -> Law | None:
        """The law of x_1 given x_t = x of independent sites with the moments of the data.

        A network then only has to correct it. None where there is no closed form.
        """
        self.schedule.at(t)  # which refuses what is no time
        return None

    @property
    def base_features(self) -> int:
        """How many features per site tell a network what its base law says."""
        return 1

    def standardise_base(self, law: Law, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """What a network is told of a base law, the law of x_1 given x_t = x that it corrects.

        Returns:
            (batch, base_features, *event) float32: by default E[x_1], in standard deviations of
            the data from their mean.
        """
        self.schedule.at(t)  # which refuses what is no time
        apart = law.mean.float() - setting.mean
        return (apart / setting.variance.clamp_min(1e-12).sqrt()).unsqueeze(1)

    def pinned(self, law: Law, x: Tensor, t: Time, values: Tensor, mask: Tensor) -> Law:
        """A law of x_1 given x_t = x, certain of the values where the mask is True."""
        return law.pinned(values, mask)

    def observed_time(self, survival: float) -> float:
        """The time at which a known share of units has survived.

        Raises:
            ValueError: If the share is not in (0, 1).
        """
        if not 0 < survival < 1:
            raise ValueError(f"survival must lie in (0, 1), not {survival}")
        p = torch.tensor(survival, dtype=torch.float64)
        return float(self.schedule.time(p, 1 - p))


@dataclass(frozen=True, eq=False)
class Setting:
    """What the numbers of a model are relative to, those that its network sees and puts out.

    Attributes:
        process: The reference process.
        coupling: Which source goes with which data point.
        mean: Mean of the data, broadcastable to event.
        variance: Variance of the data, likewise.
        base: The law of x_1 given x_t, in closed form, that the output corrects: an output of
            zeros states this law. None where a head starts from what it knows itself.
    """

    process: Process
    coupling: Pairing
    mean: Tensor
    variance: Tensor
    base: Law | None = None

    @property
    def size(self) -> Tensor:
        """Size r = μ²/(σ² - μ) of negative binomial counts of these moments, in [0.01, 1000 μ]."""
        mean = self.mean.clamp_min(1e-6)
        return (mean**2 / (self.variance - mean).clamp_min(1e-3 * mean)).clamp_min(1e-2)

    def source(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and variance of x_0 per site, broadcastable to the event of x.

        Those of the data, where nothing is known. None is time reversal: x_0 is the data, noised.
        """
        if self.coupling.reverses:
            return None
        return self.coupling.moments(self.process, x) or (self.mean, self.variance)

    def standardise(self, x: Tensor, t: Time) -> Tensor:
        """Network features of x_t = x, (batch, features, *event); see `Process.standardise`."""
        return self.process.standardise(x, t, self)

    def kernel(self, t: Time) -> GivenEnd:
        """The law of x_t given x_1 in numbers, for linear diffusions.

        Raises:
            ValueError: If it is not known, with what to use instead.
        """
        return self.coupling.kernel(self.process, t)


class DiscreteProcess(Process):
    """A process on integers, site by site."""

    dtype: ClassVar[torch.dtype] = torch.int64
    noun: ClassVar[str] = "process"
    """What errors call it."""
    additive: ClassVar[bool] = False
    """Whether states are amounts, so that several jumps of one step add up."""

    @property
    def size(self) -> int | None:
        """How many states there are, 0 .. size-1; None if unbounded. By default the source's."""
        return self.source(torch.zeros((1, 1), dtype=torch.int64)).categories

    @property
    def states(self) -> int | None:
        """How many values the data have at a site, 0 .. states-1; None if unbounded.

        All states, if the process says no less.
        """
        return self.size

    def step_law(self, law: Law, x: Tensor, t: Tensor, s: Tensor) -> SiteLaw | None:
        """The law of x_s that `Bridge` draws from x_t = x, in closed form; None without one.

        Bounded data need none: it is a sum over their values.
        """
        return None

    def ends(self, x: Tensor) -> Tensor:
        """All values that x_1 may have at each site: (batch, *event, states).

        Raises:
            ValueError: If they are unbounded.
        """
        if self.states is None:
            raise ValueError(UNBOUNDED)
        return torch.arange(self.states, device=x.device).expand(*x.shape, self.states)

    def evidence(self, x: Tensor, t: Time) -> Tensor:
        """What x_t says of x_1: log p(x_t = x | x_1 = v) for each v, (batch, *event, states).

        Up to a term that is the same for all v. Bounded data only.
        """
        ends = self.ends(x)
        law = self.transition(ends, 1.0, t)
        if not isinstance(law, SiteLaw):
            raise TypeError(
                f"{type(self).__name__} has transitions without a law per site, and states no "
                "`evidence` of its own: take laws of x_1 that need no table"
            )
        return law.site_log_prob(x.unsqueeze(-1).expand_as(ends))

    @property
    def features(self) -> int:
        """One number for amounts and where states are unbounded; else one-hot."""
        return 1 if self.additive or self.size is None else self.size

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """One-hot states scaled by the source's law; of amounts (x - m)/√v.

        There m and v are those of x_t if x_1 is one of the two values next to μ ± σ.
        """
        size = self.size
        if self.features > 1 and size is not None:
            law = self.source(x[:1]).site_table(x[:1], size).exp().float()
            spread = (law * (1 - law)).clamp_min(0.25 / size).sqrt()
            return ((F.one_hot(x, size) - law) / spread).movedim(-1, 1)
        centre, _, spread = self._line(x, t, setting)
        return ((x - centre) / spread).float().unsqueeze(1)

    def _line(self, x: Tensor, t: Time, setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
        """Of x_t, if x_1 is μ ± σ: its mean, how far apart the two are, and its deviation."""
        deviation = setting.variance.sqrt()
        ends = [setting.mean - deviation, setting.mean + deviation]
        ends = [self.project(end.round().to(self.dtype).expand(x.shape)) for end in ends]
        low, high = (self.transition(end, 1.0, t) for end in ends)
        centre, apart = (low.mean + high.mean) / 2, (high.mean - low.mean) / 2
        spread = ((low.variance + high.variance) / 2 + apart**2).clamp_min(1e-6).sqrt()
        return centre, apart, spread

    def estimate(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """The best linear guess of amounts x_1 given x_t = x, site by site: (batch, *event)."""
        centre, apart, spread = self._line(x, t, setting)
        slope = setting.variance.sqrt() * apart / spread**2
        return (setting.mean + slope * (x - centre)).float()

    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """States as int64: integers, of 0 .. size-1 if there is an end of them."""
        if x.dtype == torch.bool or x.is_complex():
            raise TypeError(f"{name} must hold integer states, not {x.dtype}")
        if x.is_floating_point():
            bad = ~(torch.isfinite(x) & (x == x.round()))
            if bool(bad.any()):
                raise ValueError(
                    f"{name} holds {x[bad][0].item()}, which is no state: use integers"
                )
        size = self.size
        if x.numel() and size is not None:
            low, high = x.min().item(), x.max().item()
            if low < 0 or high >= size:
                bad = low if low < 0 else high
                raise ValueError(
                    f"{name} holds {bad}, but the states of this {self.noun} are 0 .. {size - 1}: "
                    f"relabel the data, or give the {self.noun} more states"
                )
        return x.to(torch.int64)

    def project(self, x: Tensor) -> Tensor:
        """Cut at the first and last state, if there is an end of them."""
        size = self.size
        return x if size is None else x.clamp(0, size - 1)


doors.guard(__name__)
