r"""Ends drawn jointly: noise in, end out, beside the law that another head states.

A bridge step is exact, however long, if x_1 is drawn from the *joint* law of its sites given x_t.
Laws per site draw sites that do not see each other, and a mean draws nothing; so below ten
evaluations something else has to decide what a sample will be. A joint law need not have a density
for that: draws are enough. Here the same network is shown standard normal noise z, and a second
set of outputs makes an end y(x_t, t, z) of it, in the terms of the other head. It is trained by
the energy score (Gneiting & Raftery 2007, https://doi.org/10.1198/016214506000001437),

    S = E‖y - x_1‖^β - ½ E‖y - y'‖^β,    0 < β < 2,

with y and y' of independent noise at the same x_t: strictly proper, so that its one minimiser
over laws of whole events is the true p(x_1 | x_t). No teacher, no adversary, no density.

Or, with `rule="log"`, for few sites: an end is then a draw of a law q given the noise, independent
over sites, and the score that of the mixture over the noise,

    S = -log 1/M Σ_m q(x_1 | x_t, z_m),

an upper bound on the log score of what is drawn, tight as the draws z_1 .. z_M become many
(Burda et al., https://arxiv.org/abs/1509.00519, without an encoder). Those of one x_t are a
Latin hypercube (McKay et al. 1979, https://doi.org/10.2307/1268522): each is standard normal, and
of each number they have one in every M-th part of its law. This score sees what is drawn
between modes, of which an energy distance sees little; but M draws tell at most M modes apart, and
images have more. With `products` q is itself a mixture of laws that are independent over sites,
whose weights the network gives, so that one evaluation knows several modes.

At z = 0 the network states the law of the other head, for rates, means and likelihoods. What is
left to decide changes on the way: what a sample will be, by one joint draw; what its sites are, by
leaps of the mean. `samplers.HandOver` goes from one to the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling
from markovbridge.doors import checks
from markovbridge.heads.base import Head
from markovbridge.heads.counts import MeanHead, apart
from markovbridge.laws import Binomial, Delta, Law, Mixture, Shifted
from markovbridge.laws.numbers import by_row, stratified
from markovbridge.processes.base import Process, Setting
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.hand_over import HandOver

LEAST = 1e-12  # variance
TINY = 1e-6  # of squared distances, whose root has no slope at 0
TAIL = 1e-12  # beyond which no quantile is asked for
FINE = 256  # parts of the normal law, within which its place says nothing of the order of draws


@dataclass(frozen=True, eq=False)
class Products(Mixture):
    """A mixture of laws per site, whose weights know of the sites that are known.

    What is between two of them mixes part k with part k, and weights with weights: it is not the
    geometric mean of the two mixtures.
    """

    def pinned(self, values: Tensor, mask: Tensor) -> Products:
        each = [law.pinned(values, mask) for law in self.components]
        return Products(self.log_weights, each)

    def between(self, other: Law, strength: float) -> Law:
        if not isinstance(other, Products):
            return super().between(other, strength)
        pairs = zip(self.components, other.components, strict=True)
        weights = strength * self.log_weights + (1 - strength) * other.log_weights
        return Products(weights.log_softmax(1), [a.between(b, strength) for a, b in pairs])


@dataclass(frozen=True)
class JointHead(Head):
    """The law of another head, and ends that are drawn jointly over all sites.

    The loss is that of the objective, for the law, and `weight` times the score of ends. `Bridge`
    and `HandOver` draw jointly; leaps, rates and likelihoods are those of the law. There is no
    density of the joint law: the likelihood of a number of steps of the bridge is refused.

    Attributes:
        law: The head of the law.
        noise: Standard normal numbers shown to the network at each site.
        draws: Ends made of each training sample; each costs an evaluation beside that of the law.
            At least two; under "log" one is enough.
        exponent: β. Near 2 far more than the mean is hardly seen; small, what is near counts more.
        weight: Of the score beside the objective.
        share: Of the rows of a batch that ends are made for: 1/4 costs half a step more.
        early: Times of its training are u^early, u being uniform: joint draws are for the
            beginning, where all is open.
        units: What distances are measured in: the deviation of the whole "event", as for images,
            or that of each "site", for tables whose features have scales of their own. The log
            score has no distances, and no exponent.
        given_noise: The head in whose terms ends are made of noise: the mean of its law given the
            noise, or its table; None is that of the law.
        rule: The score: "energy", or "log", under which ends are draws of the law given the noise.
        products: Of how many laws per site the law given the noise is a mixture, under "log".
    """

    law: Head = field(default_factory=MeanHead)
    noise: int = 1  # pyright: ignore[reportIncompatibleMethodOverride]
    draws: int = 2  # pyright: ignore[reportIncompatibleVariableOverride]
    exponent: float = 1.0
    weight: float = 4.0
    share: float = 1.0
    early: float = 4.0
    units: Literal["event", "site"] = "event"
    given_noise: Head | None = None
    rule: Literal["energy", "log"] = "energy"
    products: int = 1

    def __post_init__(self) -> None:
        for name, head in (("law", self.law), ("given_noise", self.given_noise)):
            if head is not None and head.noise:
                raise ValueError(f"{name} must be a head that states laws, not {head}: MeanHead()")
        checks.whole(self.noise, "noise", least=1)
        checks.whole(self.draws, "draws", least=1 if self.rule == "log" else 2)
        if checks.whole(self.products, "products", least=1) > 1 and self.rule == "energy":
            raise ValueError('products need a density: take rule="log", or products=1')
        checks.number(self.exponent, "exponent", above=0, below=2)
        checks.number(self.weight, "weight", above=0)
        checks.number(self.share, "share", above=0, most=1)
        checks.number(self.early, "early", least=1, most=100)

    @property
    def corrects(self) -> bool:
        """As the head of the law."""
        return self.law.corrects

    @property
    def starts_from_moments(self) -> bool:
        """As the head of the law."""
        return self.law.starts_from_moments

    @property
    def made(self) -> Head:
        """The head in whose terms ends are made."""
        return self.law if self.given_noise is None else self.given_noise

    def outputs(self, process: Process) -> int:
        """Those of the law, and those of the end."""
        each = self.made.outputs(process)
        several = self.products * (each + 1)  # weights are means over the sites
        return self.law.outputs(process) + (each if self.products == 1 else several)

    def check(self, process: Process, coupling: Coupling) -> None:
        """As the heads of the law and of the ends."""
        self.law.check(process, coupling)
        self.made.check(process, coupling)

    def sampler(self, process: Process) -> Sampler:
        """One joint draw, and then what is usual for the law."""
        return HandOver(then=self.law.sampler(process))

    def __call__(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Law:
        return self.law(setting, raw[:, : self.law.outputs(setting.process)], x, t)

    def times(
        self, n: int, generator: torch.Generator | None, device: torch.device | str
    ) -> Tensor:
        """Times of the training of ends, one in each stratum, in random order: (n,) float32."""
        t = stratified(n, generator, device) ** self.early
        return t.to(torch.float32).clamp_max(1 - 2**-24)

    @property
    def stated(self) -> Head:
        """The head of the law."""
        return self.law

    def from_noise(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Law:
        """The end that is made of the noise, in the terms of `given_noise`."""
        raw = raw[:, self.law.outputs(setting.process) :]
        if self.products == 1:
            return self.made(setting, raw, x, t)
        parts = raw.unflatten(1, (self.products, -1))
        weights = parts[:, :, 0].flatten(2).mean(2).log_softmax(1)
        offsets = self._offsets(parts.shape[2] - 1, raw.device)
        moved = parts[:, :, 1:] + offsets.reshape(*offsets.shape, *[1] * (x.dim() - 1))
        return Products(weights, [self.made(setting, one, x, t) for one in moved.unbind(1)])

    def _offsets(self, outputs: int, device: torch.device) -> Tensor:
        """Where the parts of a mixture start, (products, outputs): two alike would stay alike."""
        k = torch.arange(self.products, device=device) + 0.5
        j = (torch.arange(outputs, device=device) + 0.5) / outputs
        waves = (math.pi * k[:, None] * j).cos()
        return 0.5 * (waves + apart(self.products, device)[:, None])

    def evened(self, noise: Tensor) -> Tensor:
        """Noise of the ends of a score: under the log score evenly spread over those of a row."""
        if self.rule == "energy":
            return noise
        if self.draws == 1:
            return noise
        each = noise.unflatten(0, (self.draws, -1)).double()
        places = each.argsort(0).argsort(0)
        inside = torch.special.ndtr(each) * FINE % 1
        even = ((places + inside) / self.draws).clamp(TAIL, 1 - TAIL)
        return torch.special.ndtri(even).reshape(noise.shape).to(noise.dtype)

    def whole(self, law: Law, x: Tensor) -> Law:
        """Of a table its law; else the mean, or of whole numbers one of the two next to it.

        Under the log score it is the law given the noise.
        """
        if self.rule == "log":
            return law
        if law.categories is not None:
            return law.table()
        if x.is_floating_point():
            return Delta(law.mean)
        excess = law.excess(x)
        below = excess.floor()
        return Shifted(x + below.long(), Binomial(torch.ones_like(x), excess - below))

    def points(self, setting: Setting, x: Tensor, categories: int | None = None) -> Tensor:
        """States as points whose distances count: (batch, d).

        Args:
            setting: Moments of the data, whose deviation is the unit.
            x: States, (batch, *event).
            categories: How many values they are one of, each of which is a direction then.
        """
        if categories is not None:
            return by_row(F.one_hot(x.long(), categories).float())
        variance = setting.variance.expand(x.shape[1:]).clamp_min(LEAST)
        unit = variance.sqrt() if self.units == "site" else variance.mean().sqrt()
        return by_row(x / unit)

    def score(self, setting: Setting, ends: Law, x1: Tensor) -> Tensor:
        """`weight` times the score of the ends: (batch,)."""
        if self.rule == "log":
            log = ends.log_prob(x1.repeat(self.draws, *[1] * (x1.dim() - 1)))
            mixed = log.unflatten(0, (self.draws, len(x1))).logsumexp(0)
            if not bool(torch.isfinite(mixed).all()):
                raise ValueError(
                    f"the law given the noise of {self.made} gives some data no probability, and "
                    'rule="log" needs one: take given_noise=CategoricalHead() for counts, '
                    'EndpointHead(spread=1.0) for reals, or rule="energy"'
                )
            return self.weight * (math.log(self.draws) - mixed)
        categories = ends.categories
        if categories is None:
            seen = self.points(setting, ends.mean)
        else:
            seen = by_row(ends.table().log_probs.exp())
        true, drawn = self.points(setting, x1, categories), seen.split(len(x1))
        n = len(drawn)
        far = torch.stack([self._distance(y, true) for y in drawn]).mean(0)
        pairs = [self._distance(y, z) for i, y in enumerate(drawn) for z in drawn[:i]]
        return self.weight * (far - torch.stack(pairs).sum(0) / (n * (n - 1)))

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        return ((a - b).square().sum(1) + TINY) ** (self.exponent / 2)


doors.guard(__name__)
