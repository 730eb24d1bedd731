r"""Laws of sums and differences of counts: what moves up and down at once.

`Convolved` is A + B with A bounded; `Skellam` the difference of two Poissons;
`SkellamBridge` and `SurvivorBridge` are the bridges of the random walk and of
birth and death with immigration, whose structure makes a draw a handful of
binomials given one hidden count.

All sums have positive terms and run in log space, over a window of the hidden
count that is centred at its mode and wide enough for float64: for log-concave
terms with mode m* the variance is at most m*, and nine standard deviations
leave less than 1e-16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import BLOCK, Binomial, Categorical, Poisson, SiteLaw


@dataclass(frozen=True, eq=False)
class Convolved(SiteLaw):
    """A + B for independent A (binomial) and B >= 0."""

    first: Binomial
    second: SiteLaw

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return self.first.sample(generator=generator) + self.second.sample(generator=generator)

    def site_log_prob(self, x: Tensor) -> Tensor:
        # No more of A than there can be.
        ceiling = torch.where(self.first.probability > 0, self.first.count, 0)
        most = int(torch.minimum(ceiling, x).clamp_min(0).max()) if x.numel() else 0
        total = torch.full(x.shape, -math.inf, dtype=self.second.mean.dtype, device=x.device)
        for a in range(most + 1):
            part = torch.full_like(x, a)
            each = self.first.site_log_prob(part) + self.second.site_log_prob(x - a)
            total = torch.logaddexp(total, each.to(total))
        return total

    @property
    def mean(self) -> Tensor:
        return self.first.mean + self.second.mean

    @property
    def variance(self) -> Tensor:
        return self.first.variance + self.second.variance

    @property
    def window(self) -> tuple[Tensor, Tensor] | None:
        first, second = self.first.window, self.second.window
        return None if second is None else (first[0] + second[0], first[1] + second[1])


def meetings(distance: Tensor, log_up: Tensor, log_down: Tensor) -> tuple[Tensor, Tensor]:
    r"""The number m of pairs (an up, a down) given that U - D = d, for Poisson U and D.

    Its weights are those of U = m + max(d, 0) and D = m + max(-d, 0); for equal means it is
    the Bessel law of Yuan & Kalbfleisch (2000).

    Args:
        distance: d, integer, (batch, *event).
        log_up: Log of the mean of U, broadcastable to d.
        log_down: Log of the mean of D.

    Returns:
        Values of m and their joint log-probabilities with U - D = d, (batch, *event, W).
    """
    apart = distance.abs().to(log_up.dtype)
    product = (log_up + log_down).exp()
    mode = (2 * product / (apart + (apart**2 + 4 * product).sqrt()).clamp_min(1e-30)).floor()
    reach = int(9 * float(mode.max().sqrt()) + 20) if mode.numel() else 0
    window = torch.arange(-reach, reach + 1, device=distance.device)
    m = mode.to(torch.int64).unsqueeze(-1) + window
    up = m + distance.clamp_min(0).unsqueeze(-1)
    down = m + (-distance).clamp_min(0).unsqueeze(-1)
    shape = distance.shape
    joint = Poisson(log_up.expand(shape).unsqueeze(-1)).site_log_prob(up) + Poisson(
        log_down.expand(shape).unsqueeze(-1)
    ).site_log_prob(down)
    return m.clamp_min(0), torch.where(m >= 0, joint, -math.inf)


@dataclass(frozen=True, eq=False)
class Skellam(SiteLaw):
    """Offset + U - D, with Poisson U and D of means exp(log_up) and exp(log_down)."""

    offset: Tensor
    log_up: Tensor
    log_down: Tensor

    def _steps(self) -> tuple[Poisson, Poisson]:
        shape = self.offset.shape
        return Poisson(self.log_up.expand(shape)), Poisson(self.log_down.expand(shape))

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        up, down = (steps.sample(generator=generator) for steps in self._steps())
        return self.offset + up - down

    def site_log_prob(self, x: Tensor) -> Tensor:
        return meetings(x - self.offset, self.log_up, self.log_down)[1].logsumexp(-1)

    @property
    def mean(self) -> Tensor:
        return self.offset + self.log_up.exp() - self.log_down.exp()

    @property
    def variance(self) -> Tensor:
        return (self.log_up.exp() + self.log_down.exp()).expand(self.offset.shape)

    @property
    def window(self) -> tuple[Tensor, Tensor]:
        return self._near()


@dataclass(frozen=True, eq=False)
class SkellamBridge(SiteLaw):
    """A symmetric random walk between two states, after a share of its time.

    Given how many steps up and down the whole walk makes, each falls before the time asked
    for with probability `share`, independently.

    Attributes:
        start: State at the one end, (batch, *event).
        end: State at the other.
        log_total: Log of the expected steps up, and down, over the whole time.
        share: Share of the time that has passed, and what is `left` of it.
        left: 1 - share.
    """

    start: Tensor
    end: Tensor
    log_total: Tensor
    share: Tensor
    left: Tensor

    def _hidden(self) -> tuple[Tensor, Tensor]:
        return meetings(self.end - self.start, self.log_total, self.log_total)

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        m, joint = self._hidden()
        draw = Categorical(joint).sample(generator=generator).unsqueeze(-1)
        pairs, apart = m.gather(-1, draw).squeeze(-1), self.end - self.start
        up = Binomial(pairs + apart.clamp_min(0), self.share).sample(generator=generator)
        down = Binomial(pairs + (-apart).clamp_min(0), self.share).sample(generator=generator)
        return self.start + up - down

    def site_log_prob(self, x: Tensor) -> Tensor:
        before, after = self.log_total + self.share.log(), self.log_total + self.left.log()
        return (
            Skellam(self.start, before, before).site_log_prob(x)
            + Skellam(x, after, after).site_log_prob(self.end)
            - self._hidden()[1].logsumexp(-1)
        )

    @property
    def mean(self) -> Tensor:
        return self.start + self.share * (self.end - self.start)

    @property
    def variance(self) -> Tensor:
        m, joint = self._hidden()
        steps = 2 * (joint.softmax(-1) * m).sum(-1) + (self.end - self.start).abs()
        return steps * self.share * self.left


@dataclass(frozen=True, eq=False)
class SurvivorBridge(SiteLaw):
    """Birth and death with immigration between two counts: four sources of units.

    Of the units at the data's end, K survive to the other end; K is what is hidden. The
    rest of either end was there at the time asked for with a known probability each, and
    units that came and went in between are Poisson:

        X = K + Binomial(end - K, died) + Binomial(start - K, came) + Poisson(passing)

    Attributes:
        start: Count nearer to the source, (batch, *event).
        end: Count nearer to the data.
        survival: Probability that a unit of `end` is there at `start`.
        log_arrived: Log of the mean number of immigrants at `start`.
        died: Probability that a unit that does not survive was still there.
        came: Probability that an immigrant was already there.
        log_passing: Log of the mean number of immigrants that came and went.
    """

    start: Tensor
    end: Tensor
    survival: tuple[Tensor, Tensor]
    log_arrived: Tensor
    died: Tensor
    came: Tensor
    log_passing: Tensor

    def _hidden(self) -> tuple[Tensor, Tensor]:
        return survivors(self.start, self.end, *self.survival, self.log_arrived)

    def _parts(self, k: Tensor) -> list[SiteLaw]:
        shape = k.shape
        return [
            Binomial(self.end - k, self.died),
            Binomial(self.start - k, self.came),
            Poisson(self.log_passing.expand(shape)),
        ]

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        # In blocks of sites, as a table of K for each of a large batch need not be kept.
        fields = (self.start, self.end, *self.survival, self.log_arrived)
        flat = [field.expand(self.start.shape).reshape(-1) for field in fields]
        most = int(torch.minimum(self.start, self.end).max()) if self.start.numel() else 0
        blocks = zip(*(field.split(max(1, BLOCK // (most + 1))) for field in flat), strict=True)
        draws = [Categorical(survivors(*block)[1]).sample(generator=generator) for block in blocks]
        k = torch.cat(draws).reshape(self.start.shape)
        return k + sum(part.sample(generator=generator) for part in self._parts(k))

    def site_log_prob(self, x: Tensor) -> Tensor:
        values, joint = self._hidden()
        total = torch.full(x.shape, -math.inf, dtype=joint.dtype, device=x.device)
        for index, k in enumerate(values.tolist()):
            possible = joint[..., index] > -math.inf
            hidden = torch.where(possible, k, 0)
            died, came, passing = self._parts(hidden)
            assert isinstance(died, Binomial) and isinstance(came, Binomial)
            rest = Convolved(died, Convolved(came, passing)).site_log_prob(x - hidden)
            total = torch.logaddexp(
                total, torch.where(possible, rest + joint[..., index], -math.inf)
            )
        return total - joint.logsumexp(-1)

    @property
    def mean(self) -> Tensor:
        values, joint = self._hidden()
        k = joint.softmax(-1) @ values.to(joint.dtype)
        passing = self.log_passing.exp()
        return k + (self.end - k) * self.died + (self.start - k) * self.came + passing

    @property
    def variance(self) -> Tensor:
        values, joint = self._hidden()
        weights, values = joint.softmax(-1), values.to(joint.dtype)
        k = weights @ values
        spread = (weights * (values - k.unsqueeze(-1)) ** 2).sum(-1)
        died, came = self.died * (1 - self.died), self.came * (1 - self.came)
        within = (self.end - k) * died + (self.start - k) * came + self.log_passing.exp()
        return within + spread * (1 - self.died - self.came) ** 2


def survivors(
    start: Tensor, end: Tensor, kept: Tensor, lost: Tensor, log_arrived: Tensor
) -> tuple[Tensor, Tensor]:
    """How many of the units of `end` are among those of `start`, the others having arrived.

    Args:
        start: Counts after the time, (batch, *event).
        end: Counts before it.
        kept: Probability of surviving, broadcastable.
        lost: 1 - kept.
        log_arrived: Log of the mean number of immigrants.

    Returns:
        Values 0 .. W-1 and joint log-probabilities with `start` given `end`,
        (batch, *event, W).
    """
    most = int(torch.minimum(start, end).max()) if start.numel() else 0
    values = torch.arange(most + 1, device=start.device)
    largest = int(torch.maximum(start, end).max()) if start.numel() else 0
    counts = torch.arange(largest + 1, device=start.device, dtype=torch.float64)
    factorials = torch.lgamma(counts + 1).to(log_arrived.dtype)  # looked up: lgamma is slow
    dead, arrived = end.unsqueeze(-1) - values, start.unsqueeze(-1) - values
    possible = (dead >= 0) & (arrived >= 0)
    dead, arrived = dead.clamp_min(0), arrived.clamp_min(0)
    joint = (
        factorials[end].unsqueeze(-1)
        - (factorials[: most + 1] + factorials[dead] + factorials[arrived])
        + torch.xlogy(values, kept.unsqueeze(-1))
        + torch.xlogy(dead, lost.unsqueeze(-1))
        + torch.xlogy(arrived, log_arrived.exp().unsqueeze(-1))
        - log_arrived.exp().unsqueeze(-1)
    )
    return values, torch.where(possible, joint, -math.inf)


@dataclass(frozen=True, eq=False)
class TwoMeans(SiteLaw):
    """A law of x_1 known by two means: of the steps up and of the steps down from x_t to it.

    The two means determine the rates of the generative process exactly; `base` is a law
    that has them, so that x_1 can be drawn.
    """

    log_up: Tensor
    log_down: Tensor
    base: SiteLaw
    means_only: ClassVar[bool] = True

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return self.base.sample(generator=generator)

    def site_log_prob(self, x: Tensor) -> Tensor:
        return self.base.site_log_prob(x)

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    @property
    def variance(self) -> Tensor:
        return self.base.variance


doors.guard(__name__, inside=("survivors",))
