r"""Exact laws of x_1 given x_t.

Each data law answers `marginal(x, t)`, the law of x_t, and, called as
`(x, t, condition)`, the law of x_1 given x_t = x. So it stands where a network
would: `Transport(process, exact.Poisson(process, 3.0), shape=(1,))`.

Under thinning with survival p and mortality q, by Bayes:

=========================== ======================== ============================
data                        x_t                      x_1 - x_t given x_t = x
=========================== ======================== ============================
Poisson(μ)                  Poisson(pμ)              Poisson(qμ)
Binomial(N, θ)              Binomial(N, pθ)          Binomial(N - x, qθ/(1 - pθ))
NB(mean μ, size r)          NB(pμ, r)                NB(qμ(r + x)/(r + pμ), r + x)
zero-inflated Poisson       zero-inflated Poisson    the same, zeros only at x = 0
mixture of the above        mixture                  mixture, reweighted by x
=========================== ======================== ============================

Data sets are in `empirical`, Gaussian data in `gaussians`; a mixture may be of any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from markovbridge import doors, laws
from markovbridge.couplings import Coupling, Independent, Noised
from markovbridge.doors import checks
from markovbridge.exact.base import DataLaw, Pairs
from markovbridge.heads import MeanHead
from markovbridge.laws import Law, Shifted, SiteLaw
from markovbridge.processes.base import Process
from markovbridge.processes.clock import match
from markovbridge.processes.pure_death import TINY, PureDeath
from markovbridge.processes.schedules import Time


class _Thinned(DataLaw):
    """A data law under pure death."""

    coupling: Coupling = Noised()

    def _clock(self, x: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        if not isinstance(self.process, PureDeath):
            raise TypeError(
                f"{type(self).__name__} data have a closed form under PureDeath, not under "
                f"{type(self.process).__name__}: use Empirical"
            )
        schedule = self.process.schedule
        t = schedule.at(t)
        return match(schedule.survival(t), x), match(schedule.mortality(t), x)


def _log(value: Tensor, x: Tensor) -> Tensor:
    return value.log().expand(x.shape)


@dataclass(frozen=True)
class Poisson(_Thinned):
    """Independent Poisson counts with this mean per site (a float or broadcastable)."""

    process: Process
    mean: float | Tensor

    def __post_init__(self) -> None:
        checks.parameter(self.mean, "mean", least=0)

    def marginal(self, x: Tensor, t: Time) -> SiteLaw:
        p, _ = self._clock(x, t)
        return laws.Poisson(_log(p * self.mean, x))

    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> SiteLaw:
        _, q = self._clock(x, t)
        return Shifted(x, laws.Poisson(_log(q * self.mean, x)))


@dataclass(frozen=True)
class Binomial(_Thinned):
    """Independent binomial counts: `count` trials with this `probability`."""

    process: Process
    count: int
    probability: float | Tensor

    def __post_init__(self) -> None:
        checks.whole(self.count, "count", least=0)
        checks.parameter(self.probability, "probability", least=0, most=1)

    def marginal(self, x: Tensor, t: Time) -> SiteLaw:
        p, _ = self._clock(x, t)
        return laws.Binomial(torch.full_like(x, self.count), p * self.probability)

    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> SiteLaw:
        _, q = self._clock(x, t)
        # 1 - pθ = (1 - θ) + qθ without cancellation; 0 only at the data, where nothing remains.
        absent = torch.as_tensor(1 - self.probability, dtype=q.dtype)
        dead = (absent + q * self.probability).clamp_min(TINY)
        return Shifted(
            x, laws.Binomial(self.count - x, q * self.probability / dead, absent / dead)
        )


@dataclass(frozen=True)
class NegativeBinomial(_Thinned):
    """Independent negative-binomial counts with this mean and size."""

    process: Process
    mean: float | Tensor
    size: float | Tensor

    def __post_init__(self) -> None:
        checks.parameter(self.mean, "mean", least=0)
        checks.parameter(self.size, "size", above=0)

    def marginal(self, x: Tensor, t: Time) -> SiteLaw:
        p, _ = self._clock(x, t)
        mean = p * self.mean
        size = torch.as_tensor(self.size, dtype=mean.dtype, device=x.device)
        return laws.NegativeBinomial(_log(mean, x), size.expand(x.shape))

    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> SiteLaw:
        p, q = self._clock(x, t)
        size = self.size + x.to(p.dtype)
        mean = q * self.mean * size / (self.size + p * self.mean)
        return Shifted(x, laws.NegativeBinomial(mean.log(), size))


@dataclass(frozen=True)
class ZeroInflatedPoisson(_Thinned):
    """Independent counts that are 0 with probability `zero`, else Poisson(`mean`)."""

    process: Process
    zero: float
    mean: float | Tensor

    def __post_init__(self) -> None:
        if not 0 <= self.zero < 1:
            raise ValueError(f"zero must lie in [0, 1), not {self.zero}")
        checks.parameter(self.mean, "mean", least=0)

    def marginal(self, x: Tensor, t: Time) -> SiteLaw:
        p, _ = self._clock(x, t)
        zero = torch.full(x.shape, self.zero, dtype=p.dtype, device=x.device)
        return laws.ZeroInflated(zero, laws.Poisson(_log(p * self.mean, x)))

    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> SiteLaw:
        p, q = self._clock(x, t)
        seen_zero = (1 - self.zero) * torch.exp(-p * self.mean)
        zero = torch.where(x == 0, self.zero / (self.zero + seen_zero), 0.0)
        return Shifted(x, laws.ZeroInflated(zero, laws.Poisson(_log(q * self.mean, x))))


@dataclass(frozen=True)
class Mixture(DataLaw):
    """A finite mixture of data laws over the whole event.

    Its coupling is that of its components. If they have several, x_0 goes with x_1 as in the
    component that x_1 is drawn from, for components that can be `reversed()`.
    """

    process: Process
    weights: Sequence[float]
    components: Sequence[DataLaw]
    coupling: Coupling = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.components) or not self.components:
            raise ValueError(
                f"a mixture needs one weight per component, not {len(self.weights)} for "
                f"{len(self.components)}"
            )
        if min(self.weights) < 0 or not math.isclose(sum(self.weights), 1, abs_tol=1e-9):
            raise ValueError(f"weights must be probabilities that sum to 1, not {self.weights}")
        for component in self.components:
            component.check(self.process, component.coupling)
        object.__setattr__(self, "coupling", self._own())

    def _own(self) -> Coupling:
        """That of all components, or the mixture of theirs."""
        first = self.components[0].coupling
        try:
            for component in self.components:
                component.check(self.process, first)
        except ValueError as error:
            if not all(hasattr(component, "reversed") for component in self.components):
                raise ValueError(
                    f"the components of a mixture have one coupling, but {error}"
                ) from error
            return Pairs(self)
        return first

    def reversed(self) -> Mixture:
        """The same pairs with source and data exchanged, for components that can be reversed."""
        for component in self.components:
            if not hasattr(component, "reversed"):
                raise TypeError(
                    f"source and data of {type(component).__name__} cannot be exchanged: take "
                    "components that can be reversed, such as Gaussian"
                )
        parts = [component.reversed() for component in self.components]  # pyright: ignore
        return Mixture(parts[0].process, self.weights, parts)

    def check(self, process: Process, coupling: Coupling) -> None:
        if isinstance(self.coupling, Pairs):
            super().check(process, coupling)
        else:
            for component in self.components:
                component.check(process, coupling)

    def _log_weights(self, each: Sequence[Law], x: Tensor) -> Tensor:
        likelihood = torch.stack([law.log_prob(x) for law in each], 1)
        prior = torch.tensor(self.weights, dtype=likelihood.dtype, device=x.device).log()
        return (prior + likelihood).log_softmax(1)

    def marginal(self, x: Tensor, t: Time) -> Law:
        each = [component.marginal(x, t) for component in self.components]
        prior = torch.tensor(self.weights, dtype=torch.float64, device=x.device).log()
        return laws.Mixture(prior.expand(len(x), -1), each)

    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Law:
        weights = self._log_weights([c.marginal(x, t) for c in self.components], x)
        return laws.Mixture(weights, [c(x, t) for c in self.components])

    def _passing(self, x: Tensor, t: Time, start: Tensor) -> Tensor:
        """Log of weight_k p_k(x_0 = start, x_t = x), but for what all share: (batch, K)."""
        each = torch.stack([c.log_passing(x, t, start) for c in self.components], 1).double()
        return each + self._starting(start)

    def _starting(self, start: Tensor) -> Tensor:
        """Log of weight_k p_k(x_0 = start), normalised: (batch, K)."""
        prior = torch.tensor(self.weights, dtype=torch.float64, device=start.device).log()
        if not isinstance(self.coupling, Independent):  # under which x_0 tells nothing
            each = [c.marginal(start, 0.0).log_prob(start) for c in self.components]
            prior = prior + torch.stack(each, 1).double()
        return prior.log_softmax(-1).expand(len(start), -1)

    def given_start(
        self, x: Tensor, t: Time, start: Tensor, condition: Tensor | None = None
    ) -> Law:
        if self.coupling.pinned and not self.coupling.preserve:
            return self(x, t)
        weights = self._passing(x, t, start).log_softmax(1)
        return laws.Mixture(weights, [c.given_start(x, t, start) for c in self.components])

    def log_passing(self, x: Tensor, t: Time, start: Tensor) -> Tensor:
        return self._passing(x, t, start).logsumexp(1)


@dataclass(frozen=True, eq=False)
class MeanOnly:
    """What a perfect network with `MeanHead` knows of a posterior: its mean per site.

    The samplers of that head can so be tested, and compared, without training. Its coupling is
    that of the posterior, None for a function that has none.

    Attributes:
        posterior: Called as (x, t, condition), gives the law of x_1 given x_t = x.
        kernel: The law around the mean, as in `heads.MeanHead`.
    """

    posterior: Callable[[Tensor, Time, Tensor | None], Law]
    kernel: Literal["poisson", "stochastic", "nearest"] = "poisson"

    @property
    def coupling(self) -> Coupling | None:
        """That of the posterior, if it says one."""
        return getattr(self.posterior, "coupling", None)

    def check(self, process: Process, coupling: Coupling) -> None:
        """As of the posterior, if it is a `DataLaw`."""
        if isinstance(self.posterior, DataLaw):
            self.posterior.check(process, coupling)

    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> SiteLaw:
        """The law of x_1 given x_t = x as that head would state it."""
        return MeanHead(self.kernel).around(x, self.posterior(x, t, condition).log_excess(x))


doors.guard(__name__)
