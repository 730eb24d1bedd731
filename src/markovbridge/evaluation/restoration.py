r"""Restoration: draws of x_1 given an observed state, what they say, and whether it is true.

Counts thinned with known survival p are a state x_t of the pure-death process at the time t
whose survival is p. Walking on from there is exact posterior sampling: each walk is one draw
of the full-depth counts x_1 given x_t, with no approximation but those of network and steps.
Of many draws, `restore` makes mean, spread and central intervals per site; `coverage` and
`score` measure, against the truth, how often such intervals hold it and how far the mean is.

**Intervals from D draws.** Under a perfect sampler the truth and the draws are exchangeable.
So for a continuous law the k-th smallest and the k-th largest draw enclose it with probability
(D + 1 - 2k)/(D + 1), exactly; k is chosen as large as the level allows. 19 draws are the
fewest that give 90 %, and they give 50 % and 90 % exactly; so do 39, 59, ...

**Discrete counts need care.** An interval of integers that holds a share of at least 0.9
usually holds more, so even a perfect sampler covers its truth more often than that: closed
intervals are conservative. Calibration is therefore measured on the randomised probability
integral transform. With L of the draws below the truth and E equal to it, the rank

    R = L + (number, uniform on 0 .. E)      is uniform on 0 .. D      (ties in random order)

exactly, for any D and any law, discrete or not (Smith, 1985, on PIT; Czado, Gneiting & Held,
https://doi.org/10.1111/j.1541-0420.2009.01191.x, on counts). With one more uniform number V,
(R + V)/(D + 1) is uniform on [0, 1], and falls into the central part of level c with
probability c: that is the randomised coverage, equal to the nominal one if and only if ranks
are uniform in the centre.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Unpack

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks, randomness
from markovbridge.laws.numbers import binomial
from markovbridge.samplers.walks import check_rows
from markovbridge.transport.draws import Sampling
from markovbridge.transport.options import DrawOptions

LEVELS = (0.5, 0.9)
DRAWS = 19  # the fewest for intervals of 90 %, and exact for both levels


@dataclass(frozen=True, eq=False)
class Restoration:
    """Draws of x_1 given the same observations.

    Attributes:
        draws: (draws, n, *event), in the type of the data.
        widening: How far intervals are corrected, by level: see `evaluation.conformal`. Numbers
            that broadcast to (n, *event), in units of 1 + the length of an interval.
        least: What no truth is below, likewise, as counts are not below what was seen of them.
    """

    draws: Tensor
    widening: Mapping[float, Tensor] = field(default_factory=dict)
    least: Tensor | None = None

    def __post_init__(self) -> None:
        if self.draws.ndim < 3 or not len(self.draws):
            raise ValueError(
                f"a restoration is draws (draws, n, *event), not {tuple(self.draws.shape)}"
            )

    @classmethod
    def of_rows(cls, rows: Tensor, draws: int) -> Restoration:
        """From rows (n · draws, *event), all draws of an observation after each other."""
        return cls(rows.unflatten(0, (-1, draws)).transpose(0, 1))

    @property
    def mean(self) -> Tensor:
        """Mean of the draws, the estimate of least squared error: (n, *event) float64."""
        return self.draws.double().mean(0)

    @property
    def std(self) -> Tensor:
        """Standard deviation of a draw, unbiased in square, NaN of one draw: (n, *event)."""
        square = (self.draws.double() - self.mean).square().sum(0)
        return (square / (len(self.draws) - 1)).sqrt()

    def corrected(self, level: float = 0.9) -> bool:
        """Whether `interval` of a level is corrected."""
        return level in self.widening

    def interval(
        self, level: float = 0.9, *, corrected: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """Central intervals [low, high], ends included: (n, *event) twice.

        The ends are order statistics, the narrowest that hold a further draw with probability
        `level` at least; for counts they are integers, and hold more: conservative.

        Args:
            level: The probability.
            corrected: Whether to widen them as `widening` says; None where it says something.

        Raises:
            ValueError: If there are too few draws for the level, with how many it takes, or no
                correction of it.
        """
        draws = len(self.draws)
        if draws < least_draws(level):
            raise ValueError(
                f"intervals of level {level} take at least {least_draws(level)} draws, not {draws}"
            )
        if corrected and not self.corrected(level):
            known = ", ".join(map(str, self.widening)) or "no level"
            raise ValueError(
                f"there is a correction of {known}, not of {level}: calibrate with that level, "
                "and as many draws"
            )
        k = int((draws + 1) * (1 - level) / 2 + 1e-9)
        ordered = self.draws.sort(0).values
        low, high = ordered[k - 1], ordered[draws - k]
        if corrected is False or not self.corrected(level):
            return low, high
        return self._widened(low, high, self.widening[level])

    def _widened(self, low: Tensor, high: Tensor, widening: Tensor) -> tuple[Tensor, Tensor]:
        """Intervals with all that lies no further outside; of counts, whole numbers."""
        more = widening.to(low.device) * (1.0 + (high - low).double())
        below, above = low - more, high + more
        if not low.is_floating_point():
            slack = 1e-9 * (1 + more)  # a distance that is met exactly is not lost to rounding
            below, above = (below - slack).ceil(), (above + slack).floor()
        if self.least is not None:
            below = torch.maximum(below, self.least.to(below))
        return below.to(low.dtype), above.to(high.dtype)


def least_draws(level: float) -> int:
    """How many draws the central interval of a level takes at least."""
    _check_level(level)
    return math.ceil(2 / (1 - level) - 1 - 1e-9)


def thin(x1: Tensor, survival: float, seed: int = 0) -> Tensor:
    """Counts of which each unit is kept with a probability: what a short exposure sees.

    Args:
        x1: Counts of full depth, (n, *event), of an integer type.
        survival: The probability, in (0, 1).
        seed: Of the draws; the first rows are the same for any n.

    Returns:
        Counts of the same type.
    """
    if not 0 < survival < 1:
        raise ValueError(f"survival must lie in (0, 1), not {survival}")
    if not len(x1):
        return x1.clone()
    parts = []
    for index, part in enumerate(x1.split(64)):
        rng = randomness.generator("cpu", "thin", seed, index)
        share = torch.tensor(survival, dtype=torch.float64)
        parts.append(binomial(part.cpu(), share, rng))
    return torch.cat(parts).to(x1)


def shown(x: Tensor, share: float, seed: int = 0) -> Tensor:
    """Sites that are known at random: (n, *event) bool.

    Args:
        x: Rows, (n, *event), of which the shape counts.
        share: How many of their sites, in [0, 1].
        seed: Of the choice; the first rows are the same for any n.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of known sites must lie in [0, 1], not {share}")
    mask = torch.zeros(x.shape, dtype=torch.bool)
    for index in range(len(x)):
        rng = randomness.generator("cpu", "observed", seed, index)
        mask[index] = torch.rand((1, *x.shape[1:]), generator=rng)[0] < share
    return mask


def restore(
    transport: Sampling,
    x: Tensor,
    t: float | None = None,
    *,
    survival: float | None = None,
    draws: int = DRAWS,
    generator: torch.Generator | None = None,
    **options: Unpack[DrawOptions],
) -> Restoration:
    """Draw x_1 given x_t several times.

    Args:
        transport: The model.
        x: What was observed, (n, *event).
        t: The time it stands for; or else
        survival: the known share of units that survived, in (0, 1).
        draws: How many draws for each row of x.
        generator: Where the key of these draws is drawn from; fresh if None.
        **options: `steps`, `sampler`, `condition` (n, C), `guidance`, `block`, `callback`: see
            `markovbridge.transport.options.DrawOptions`.

    Returns:
        The draws: `transport.restore` of x with each row repeated. Those of a full block depend
        on the generator's state, the rows in it, the number of draws and the block size, not on
        how many more rows there are.
    """
    checks.whole(draws, "draws", least=1)
    checks.room(draws * x.numel(), f"draws = {draws} of {tuple(x.shape)}", "take fewer")
    condition = options.get("condition")
    if condition is not None:
        check_rows(condition, len(x))
        options["condition"] = condition.repeat_interleave(draws, 0)
    rows = x.repeat_interleave(draws, 0)
    made = transport.restore(rows, t, survival=survival, generator=generator, **options)
    return Restoration.of_rows(made, draws)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"a level lies in (0, 1), such as 0.9, not {level}")


def ranks(
    restoration: Restoration, truth: Tensor, *, generator: torch.Generator | None = None
) -> Tensor:
    """Rank of the truth among the draws, ties in random order: (n, *event) in 0 .. draws.

    Uniform under a perfect sampler, so their histogram shows what is wrong with another:
    U-shaped if draws are too close together, humped if too far, sloped if off.
    """
    draws = restoration.draws
    if truth.shape != draws.shape[1:]:
        raise ValueError(
            f"the truth has shape {tuple(truth.shape)}, the draws {tuple(draws.shape[1:])}"
        )
    checks.parameter(truth, "the truth")
    below = (draws < truth).sum(0)
    equal = (draws == truth).sum(0)
    u = torch.rand(truth.shape, dtype=torch.float64, device=truth.device, generator=generator)
    return below + (u * (equal + 1)).long().clamp_max(equal)


@dataclass(frozen=True)
class Coverage:
    """How often central intervals of a level hold the truth.

    Attributes:
        level: The nominal share.
        randomised: Share by randomised ranks: equal to `level` under a perfect sampler.
        error: Its standard error, from the spread between rows (sites of a row depend).
        conservative: Share of truths inside the closed intervals `Restoration.interval`: at
            least `randomised` for counts, and the one a user of those intervals meets. NaN if
            there are too few draws for intervals of that level.
        width: Mean length of the intervals, in units of the data, or NaN likewise.
    """

    level: float
    randomised: float
    error: float
    conservative: float
    width: float


def coverage(
    restoration: Restoration,
    truth: Tensor,
    levels: Sequence[float] = LEVELS,
    *,
    where: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> list[Coverage]:
    """Measure the coverage of central intervals on data whose truth is known.

    Args:
        restoration: Draws for each observation.
        truth: What was thinned or noised, (n, *event).
        levels: Nominal levels.
        where: Sites to count, (n, *event) bool; all if None. Choose it without looking at the
            truth (observed counts above 0, say), or coverage loses its meaning.
        generator: Source of randomness for ties.
    """
    rank = ranks(restoration, truth, generator=generator)
    v = torch.rand(rank.shape, dtype=torch.float64, device=rank.device, generator=generator)
    place = (rank + v) / (len(restoration.draws) + 1)
    if where is None:
        where = torch.ones_like(truth, dtype=torch.bool)
    if where.shape != truth.shape or not bool(where.any()):
        raise ValueError("where must mark at least one site, in the shape of the truth")
    found = []
    for level in levels:
        _check_level(level)
        randomised, error = held((place - 0.5).abs() <= level / 2, where)
        inside = width = math.nan
        if len(restoration.draws) >= least_draws(level):
            low, high = restoration.interval(level)
            inside, _ = held((truth >= low) & (truth <= high), where)
            width = float((high - low).double()[where].mean())
        found.append(Coverage(level, randomised, error, inside, width))
    return found


def held(inside: Tensor, where: Tensor) -> tuple[float, float]:
    """Share of marked sites inside, and its standard error with rows as units.

    Args:
        inside: Which are, (n, *event) bool.
        where: Which sites are marked, at least one, likewise.
    """
    if inside.shape != where.shape or not bool(where.any()):
        raise ValueError("where must mark at least one site, in the shape of what is inside")
    n = len(inside)
    hits = (inside & where).reshape(n, -1).sum(1).double()
    sites = where.reshape(n, -1).sum(1).double()
    found = float(hits.sum() / sites.sum())
    # Ratio of sums over independent rows.
    spread = float(((hits - found * sites) ** 2).sum().sqrt()) / float(sites.sum())
    return found, spread * (n / max(n - 1, 1)) ** 0.5


@dataclass(frozen=True)
class Score:
    """How good a restoration is where the truth is known.

    Attributes:
        method: What made it.
        mse: Mean squared error of its estimate, over rows and sites.
        error: Standard error of that, from the spread between rows.
        coverage: Of central intervals; empty for an estimate without any.
    """

    method: str
    mse: float
    error: float
    coverage: tuple[Coverage, ...] = ()


def score(
    method: str,
    truth: Tensor,
    estimate: Tensor,
    restoration: Restoration | None = None,
    *,
    levels: Sequence[float] = LEVELS,
    generator: torch.Generator | None = None,
) -> Score:
    """Score an estimate, and the draws it came of, against the truth.

    Args:
        method: What to call it.
        truth: (n, *event).
        estimate: (n, *event).
        restoration: Draws whose intervals are to be scored, if there are any.
        levels: Of the intervals.
        generator: Source of randomness for ties.
    """
    each = (estimate.double() - truth.double()).square().flatten(1).mean(1)
    error = float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else math.nan
    found = (
        () if restoration is None else coverage(restoration, truth, levels, generator=generator)
    )
    return Score(method, float(each.mean()), error, tuple(found))


doors.guard(__name__, records=("Coverage", "Score"))
