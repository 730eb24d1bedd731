r"""Heads: how a network's output becomes the law of x_1 given x_t.

Every head here states the law of the **remaining count** m = x_1 - x_t, or is
truncated to x_1 >= x_t, so no mass lies where thinning cannot come from, and
every head is centred so that a zero output is a sensible first guess: with data
mean μ and mortality q, the remaining count is about qμ.

All of it runs in log space and in float32: on the whole of t in [0, 1] no
output underflows to log 0 or makes a NaN. Sources: the mean head with its
softplus is that of Santos et al. (https://arxiv.org/abs/2305.11089), the
discretised logistic that of Salimans et al. (https://arxiv.org/abs/1701.05517).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors, laws
from markovbridge.doors import checks
from markovbridge.heads.base import CorrectingHead, Head
from markovbridge.laws import LOG_TINY, Law, Shifted
from markovbridge.processes.base import DiscreteProcess, Process, Setting
from markovbridge.processes.clock import match
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.bridge import Bridge
from markovbridge.samplers.second_order import Trapezoidal

# softplus(raw + CENTRE) is 1 at raw = 0.
CENTRE = math.log(math.e - 1)
LIMIT = 20.0  # of an output that is exponentiated
REACH = 4.0  # likewise, of one that corrects a base law: by a factor of 55 at most


def log_softplus(raw: Tensor) -> Tensor:
    """log(softplus(raw)), exact where softplus itself underflows."""
    far = raw < -15
    near = F.softplus(torch.where(far, 0.0, raw)).log()
    return torch.where(far, raw - 0.5 * torch.where(far, raw, 0.0).exp(), near)


def _check_thins(process: Process) -> None:
    """Check that what remains of a count is all that is not known of it.

    Raises:
        TypeError: If the process is another one than pure death.
    """
    if not process.thins:
        raise TypeError(
            f"heads for remaining counts need PureDeath, not {type(process).__name__}: take "
            "CategoricalHead for finitely many states, TwoMeansHead for counts that step up and "
            "down, GammaHead for a GammaProcess, EndpointHead for other reals"
        )


def _log_mortality(process: Process, t: Tensor, x: Tensor) -> Tensor:
    _check_thins(process)
    q = match(process.schedule.mortality(t), x)
    return q.clamp_min(math.exp(LOG_TINY)).log().to(torch.float32)


def _maximum(process: Process, head: Head) -> int:
    states = process.states if process.thins and isinstance(process, DiscreteProcess) else None
    if not isinstance(process, DiscreteProcess):
        raise TypeError(
            f"{type(head).__name__} is for whole numbers, not for {type(process).__name__}: take "
            "GammaHead for a GammaProcess, EndpointHead for other reals"
        )
    if states is None:
        raise ValueError(
            f"{type(head).__name__} needs bounded counts: set `maximum` of the process, "
            "or take MeanHead or NegativeBinomialHead"
        )
    return states - 1


def apart(components: int, device: torch.device) -> Tensor:
    """Where components lie if the network says nothing: evenly from -1 to 1; one alone at 0."""
    if components == 1:
        return torch.zeros(1, device=device)
    return torch.linspace(-1, 1, components, device=device)


def leaping(process: Process) -> Sampler:
    """Leaps of second order, where a mean is all they need; else `Bridge`."""
    return Trapezoidal() if process.thins else Bridge()


def _log_scale(setting: Setting, x: Tensor, t: Tensor) -> Tensor:
    """Log of what remains on average: as the base law says, qμ without one."""
    if setting.base is not None:
        return setting.base.log_excess(x).float().clamp_min(LOG_TINY)
    return _log_mortality(setting.process, t, x) + setting.mean.clamp_min(1e-6).log()


@dataclass(frozen=True)
class MeanHead(CorrectingHead):
    """The conditional mean of the remaining count: the paper's head.

    Attributes:
        kernel: The law given to the remaining count around its mean m. "poisson" (the
            default) makes the bridge sampler the paper's tau-leap; "stochastic", one of
            the two integers next to m, unbiased and never above the ceiling of m;
            "nearest", the integer nearest to m, the paper's binomial bridge, biased at
            every number of steps.
        bounded: m = (maximum - x) · sigmoid instead of softplus: exact for binary data.
        link: How the network's output becomes a positive factor: "softplus", as published, or
            "exp", where effects multiply: depth times profile, for tables of counts. A base law
            is corrected by at most e^4, so that where training has not been it has its say.
    """

    kernel: Literal["poisson", "stochastic", "nearest"] = "poisson"
    bounded: bool = False
    link: Literal["softplus", "exp"] = "softplus"

    @property
    def starts_from_moments(self) -> bool:
        """Yes; with `bounded` it starts from that of binomial counts by itself."""
        return not self.bounded

    def outputs(self, process: Process) -> int:
        """One: the mean."""
        _check_thins(process)
        if self.bounded:
            _maximum(process, self)
        return 1

    def sampler(self, process: Process) -> Sampler:
        """Leaps of second order, which ask for the mean alone; `Bridge` for another kernel."""
        return leaping(process) if self.kernel == "poisson" else Bridge()

    def __call__(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Law:
        return self.around(x, self._log_mean(setting, raw[:, 0], x, t))

    def around(self, x: Tensor, log_mean: Tensor) -> Shifted:
        """The law of x_1 whose remaining count has this log-mean and the head's kernel."""
        if self.kernel == "poisson":
            return Shifted(x, laws.Poisson(log_mean))
        return Shifted(x, laws.Rounded(log_mean, stochastic=self.kernel == "stochastic"))

    def _log_mean(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Tensor:
        if not self.bounded:
            if self.link == "softplus":
                log = log_softplus(raw + CENTRE)
            elif setting.base is None:
                log = raw.clamp(-LIMIT, LIMIT)
            else:
                log = REACH * (raw / REACH).tanh()
            return _log_scale(setting, x, t) + log
        maximum = _maximum(setting.process, self)
        room = (maximum - x).clamp_min(math.exp(LOG_TINY))
        if setting.base is None:
            # Binomial(maximum, θ) data have m = (maximum - x) · θq/(1 - θp): the first guess.
            share = (setting.mean / maximum).clamp(1e-6, 1 - 1e-6)
            odds = _log_mortality(setting.process, t, x) + (share / (1 - share)).log()
        else:
            log = setting.base.log_excess(x).float()
            odds = log - (room - log.exp()).clamp_min(1e-6).log()
        return (room.log() + F.logsigmoid(raw + odds)).clamp_min(LOG_TINY)


@dataclass(frozen=True)
class CategoricalHead(Head):
    """A table over the values x_1 = 0, 1, ... at each site, for bounded data.

    The network gives log-weights of the values; what x_t says of x_1 is known and added
    (`DiscreteProcess.evidence`), so that the law is right at both ends of time from the start.
    Of a base law of single sites, which knows it too, the log-probabilities take its place.
    """

    @property
    def corrects(self) -> bool:
        """Yes."""
        return True

    def outputs(self, process: Process) -> int:
        """One for each state."""
        if not isinstance(process, DiscreteProcess) or process.states is None:
            raise ValueError(
                "CategoricalHead needs a bounded number of states: set `maximum` of the "
                "process, or take MeanHead or NegativeBinomialHead"
            )
        return process.states

    def __call__(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Law:
        process = setting.process
        self.outputs(process)  # refuses what follows cannot do
        assert isinstance(process, DiscreteProcess) and process.states is not None
        base = setting.base
        if base is None or type(base).site_table is Law.site_table:  # which knows no single sites
            known = process.evidence(x, t)
        else:
            known = base.site_table(x, process.states)
        return laws.Categorical(raw.movedim(1, -1) + known)


@dataclass(frozen=True)
class LogisticMixtureHead(Head):
    """A mixture of discretised logistics per site, truncated to [x_t, maximum].

    Under another process than pure death it is over all values of the data, times what x_t
    says of them (`DiscreteProcess.evidence`): a table of few parameters, for ordered values.

    Attributes:
        components: Number of logistics.
    """

    components: int = 3

    def __post_init__(self) -> None:
        checks.whole(self.components, "components", least=1)

    def outputs(self, process: Process) -> int:
        """Weight, centre and scale of each logistic."""
        if not isinstance(process, DiscreteProcess) or process.states is None:
            _maximum(process, self)
        return 3 * self.components

    def __call__(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Law:
        weights, centres, scales = raw.float().movedim(1, -1).chunk(3, -1)
        process, mean, variance = setting.process, setting.mean, setting.variance
        self.outputs(process)
        assert isinstance(process, DiscreteProcess) and process.states is not None
        if process.thins:
            q = _log_mortality(process, t, x).exp()
            # Standard deviation of the remaining count if it knew nothing of x_t.
            spread, low, start = (q * mean + q**2 * variance), x, x + q * mean
        else:
            spread, low, start = variance, torch.zeros_like(x), mean
        spread = spread.clamp_min(1e-6).sqrt().expand(x.shape).unsqueeze(-1)
        offsets = apart(self.components, x.device)
        centre = start.expand(x.shape).unsqueeze(-1) + spread * (centres + offsets)
        # A logistic of scale s has standard deviation sπ/√3; below .02 it is one value.
        log_scale = (scales + (spread * (math.sqrt(3) / math.pi)).log()).clamp(
            math.log(0.02), math.log(4 * process.states)
        )
        law = laws.LogisticMixture(
            weights, centre.float(), log_scale.float(), low, process.states - 1
        )
        if process.thins:
            return law
        return laws.Categorical(law.table().logits + process.evidence(x, t))


@dataclass(frozen=True)
class NegativeBinomialHead(CorrectingHead):
    """Negative binomials for the remaining count, bounded or not: for over-dispersion.

    Without a mixture it is exact for negative binomial data from the start.

    Attributes:
        components: How many are mixed at each site. A zero output weighs them alike, with
            means from e times smaller to e times larger, that of the mixture being qμ.
    """

    components: int = 1

    def __post_init__(self) -> None:
        checks.whole(self.components, "components", least=1)

    def outputs(self, process: Process) -> int:
        """Mean and size; of a mixture, weight, mean and size of each component."""
        _check_thins(process)
        return 2 if self.components == 1 else 3 * self.components

    def sampler(self, process: Process) -> Sampler:
        """Leaps of second order, which ask for the mean alone."""
        return leaping(process)

    def __call__(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Law:
        mean, variance = setting.mean, setting.variance
        scale = _log_scale(setting, x, t)
        # The size that fits the data's own over-dispersion: μ²/(σ² - μ).
        prior = (mean**2 / (variance - mean).clamp_min(1e-3 * mean + 1e-6)).clamp(1e-2, 1e3)
        if setting.base is not None:
            prior = setting.size + x  # of what remains, given that there are x already
        if self.components == 1:
            return Shifted(x, _negative_binomial(scale, prior, raw[:, 0], raw[:, 1]))
        weights, means, sizes = raw.float().movedim(1, -1).chunk(3, -1)
        offsets = apart(self.components, raw.device)
        scale = scale.unsqueeze(-1) + offsets - offsets.exp().mean().log()
        mixed = _negative_binomial(scale, prior.unsqueeze(-1), means, sizes)
        return Shifted(x, laws.SiteMixture(weights.log_softmax(-1), mixed))


def _negative_binomial(
    scale: Tensor, prior: Tensor, raw_mean: Tensor, raw_size: Tensor
) -> laws.NegativeBinomial:
    """Of mean exp(scale) and size `prior` where the outputs are zero."""
    size = (F.softplus(raw_size + CENTRE) * prior).clamp(1e-3, 1e6)
    return laws.NegativeBinomial(scale + log_softplus(raw_mean + CENTRE), size)


doors.guard(__name__, inside=("apart", "log_softplus"))
