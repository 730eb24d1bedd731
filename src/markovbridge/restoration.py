r"""Restoration: what repeated draws of `Transport.restore` say, and whether it is true.

From a state x_t, counts thinned with known survival say, each call of `restore` is one draw
of x_1 given x_t. Of many draws, `restore` here makes mean, spread and central intervals per
site; `coverage` measures, against the truth, how often such intervals hold it.

**Discrete counts need care.** An interval of integers [l, u] that holds a share of at least
0.9 usually holds more, so even a perfect sampler covers its truth more often than that: such
intervals are conservative. Calibration is therefore measured on the randomised probability
integral transform. With D draws, L of them below the truth and E equal to it, the truth and
the draws are exchangeable under a perfect sampler, so the rank

    R = L + (number, uniform on 0 .. E)      is uniform on 0 .. D      (ties in random order)

exactly, for any D and any law, discrete or not (Smith, 1985, on PIT; Czado, Gneiting & Held,
https://doi.org/10.1111/j.1541-0420.2009.01191.x, on counts). With one more uniform number V,
(R + V)/(D + 1) is uniform on [0, 1], and falls into the central part of level c with
probability c: that is the randomised coverage, equal to the nominal one if and only if ranks
are uniform in the centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from markovbridge.transport import Transport

__all__ = ["Coverage", "Restoration", "coverage", "ranks", "restore"]


@dataclass(frozen=True, eq=False)
class Restoration:
    """Draws of x_1 given the same observations.

    Attributes:
        draws: (draws, n, *event), in the type of the data.
    """

    draws: Tensor

    def __post_init__(self) -> None:
        if self.draws.ndim < 3 or len(self.draws) < 2:
            raise ValueError(
                "a restoration is at least 2 draws (draws, n, *event), not "
                f"{tuple(self.draws.shape)}"
            )

    @property
    def mean(self) -> Tensor:
        """Mean of the draws, the estimate of least squared error: (n, *event) float64."""
        return self.draws.double().mean(0)

    @property
    def std(self) -> Tensor:
        """Standard deviation of a draw around the mean, unbiased in square: (n, *event)."""
        return self.draws.double().std(0)

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Central intervals [low, high], ends included: (n, *event) twice.

        The ends are order statistics such that at most (1 - level)/2 of the draws lie beyond
        each. For counts they are integers, and hold at least `level`: conservative.
        """
        _check_level(level)
        ordered = self.draws.sort(0).values
        beyond = int(len(ordered) * (1 - level) / 2 + 1e-9)
        return ordered[beyond], ordered[len(ordered) - 1 - beyond]


def restore(
    transport: Transport,
    x: Tensor,
    t: float | None = None,
    *,
    draws: int = 20,
    generator: torch.Generator | None = None,
    **options: object,
) -> Restoration:
    """Draw x_1 given x_t several times.

    Args:
        transport: The model.
        x: What was observed, (n, *event).
        t: The time it stands for; or `survival=`, the share of units that survived.
        draws: How many draws for each row of x.
        generator: Source of randomness.
        **options: As of `Transport.restore`: survival, steps, sampler, condition, block.
    """
    if draws < 2:
        raise ValueError(f"draws must be at least 2, not {draws}")
    made = [
        transport.restore(x, t, generator=generator, **options)  # pyright: ignore[reportArgumentType]
        for _ in range(draws)
    ]
    return Restoration(torch.stack(made))


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
            least `randomised` for counts, and the one a user of those intervals meets.
        width: Mean length of the intervals, in units of the data.
    """

    level: float
    randomised: float
    error: float
    conservative: float
    width: float


def coverage(
    restoration: Restoration,
    truth: Tensor,
    levels: Sequence[float] = (0.5, 0.9),
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
        low, high = restoration.interval(level)
        randomised, error = _share((place - 0.5).abs() <= level / 2, where)
        inside, _ = _share((truth >= low) & (truth <= high), where)
        width = float((high - low).double()[where].mean())
        found.append(Coverage(level, randomised, error, inside, width))
    return found


def _share(inside: Tensor, where: Tensor) -> tuple[float, float]:
    """Share of marked sites inside, and its standard error with rows as units."""
    n = len(inside)
    hits = (inside & where).reshape(n, -1).sum(1).double()
    sites = where.reshape(n, -1).sum(1).double()
    share = float(hits.sum() / sites.sum())
    # Ratio of sums over independent rows.
    spread = float(((hits - share * sites) ** 2).sum().sqrt()) / float(sites.sum())
    return share, spread * (n / max(n - 1, 1)) ** 0.5
