r"""Beyond the training data: how far samples may go, and what is said when they do.

A network is asked at states that no training data led to when its own errors, or a strong
condition, lead there. Where effects multiply, as with `MeanHead(link="exp")`, a small error of the
output is then a large factor, which feeds back: a count of thousands ends in millions. So a
model remembers the least and the largest value of each site in training, and of counts

    E[x_1 | x_t]  <=  max(2 M, x_t + 2 M q)

with M the largest (at least 1) and q the mortality, for whatever is **drawn**: no count is
expected to end above twice what training has seen, and where there are more already, as in
data of a depth of its own, no more come than 2 M units would still give. The expectation given
any state that data led to is at most M, so in the range of the data nothing changes. Losses
and likelihoods are those of the network as it is.

Samples that lie far out all the same, by more than half of the range of the training data and
10 counts, are reported. So are samples of no condition whose deviation is less than half of
that of the training data, which is what happens to the small features of a wide table.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.rows import Rows, parts
from markovbridge.laws import Law
from markovbridge.processes.base import Process
from markovbridge.processes.clock import match
from markovbridge.processes.schedules import Time

REACH = 2.0  # how much more than the largest training value may be expected
MARGIN = 0.5  # of the range of the training data: beyond, a sample is far out
COUNTS = 10  # that a sample may lie above the margin: what chance does to small counts
SHOWN = 3  # sites in a message
NARROW = 0.5  # of the deviation of the training data: less is reported
CHANCE = 1e-3  # that a report of narrow samples is chance


def extremes(x: Tensor | Rows) -> Tensor:
    """Least and largest value at each site of data (N, *event): (2, *event), int64 or float32."""
    if isinstance(x, Rows):
        found = x.summary()
        return torch.stack([found.least, found.largest])
    least = largest = None
    for part in parts(x):
        low, high = part.amin(0), part.amax(0)
        least = low if least is None else torch.minimum(least, low)
        largest = high if largest is None else torch.maximum(largest, high)
    if least is None or largest is None:
        raise ValueError("there are no data to take the extremes of")
    both = torch.stack([least, largest])
    return both.float() if both.is_floating_point() else both.long()


def floor(average: float, counts: bool) -> float:
    """The least mean or variance of a site that a model works with, given the average over sites.

    A thousandth of the average, and of counts at most 1: at a site of almost none a unit is
    then no outlier, and a site of hundreds keeps its own scale beside one of millions.
    """
    least = 1e-3 * average + 1e-6
    return min(least, 1.0) if counts else least


def capped(process: Process, law: Law, x: Tensor, t: Time, seen: Tensor | None) -> Law:
    """The law of x_1 given x_t = x, its means no larger than training bears out.

    Args:
        process: The process.
        law: What the network says.
        x: States, (batch, *event).
        t: A time, or one per sample.
        seen: The `extremes` of the training data; None, and reals, have no cap.
    """
    most = largest(process, x, t, seen)
    return law if most is None else law.capped(most)


def largest(process: Process, x: Tensor, t: Time, seen: Tensor | None) -> Tensor | None:
    """What may at most be expected of x_1, (batch, *event) float64; None without a cap."""
    if seen is None or seen.is_floating_point() or x.is_floating_point():
        return None
    reach = REACH * seen[1].clamp_min(1).to(torch.float64)
    left = match(process.schedule.mortality(t).double(), x)
    return torch.maximum(reach.expand(x.shape), x + reach * left)


def far_out(
    samples: Tensor | Rows, seen: Tensor | None, names: Sequence[str] | None = None
) -> str | None:
    """What to say of samples that lie far outside of the training data; None if none do.

    Args:
        samples: Samples (n, *event), in the units of the data.
        seen: The `extremes` of the training data, or None.
        names: Names of the sites, for events of one axis.
    """
    if seen is None or samples.shape[1:] != seen.shape[1:]:
        return None
    low, high = seen.to(samples.device).flatten(1).double()
    counts = not (samples.is_floating_point() or seen.is_floating_point())
    low = low.clamp_max(0) if counts else low  # few of a count are never a surprise
    margin = MARGIN * (high - low)
    if counts:
        margin = margin + COUNTS
    else:  # a site that hardly varies is measured by the others, as in `statistics`
        margin = margin.clamp_min(0.1 * float(margin.mean()))
        margin = margin + 1e-3 * torch.maximum(low.abs(), high.abs())
    number, above, rows = torch.zeros_like(low, dtype=torch.int64), low < low, 0
    for part in parts(samples):  # of many samples some at a time, as reals take room
        x = part.flatten(1)
        over = x > high + margin
        out = over | (x < low - margin)
        number, above = number + out.sum(0), above | over.any(0)
        rows += int(out.any(1).sum())
    if not rows:
        return None
    least, most = extremes(samples).flatten(1)
    worst = number.argsort(descending=True, stable=True)[: min(SHOWN, int((number > 0).sum()))]
    found = []
    for site in worst.tolist():
        end, reached, value = "largest", most[site], high[site]
        if not bool(above[site]):
            end, reached, value = "least", least[site], low[site]
        where = _name(site, samples.shape[1:], names)
        found.append(
            f"{int(number[site]):,} in {where} ({end} {reached.item():,.6g}, in training "
            f"{value.item():,.6g})"
        )
    sites = int((number > 0).sum())
    more = f" and in {sites - SHOWN:,} others" if sites > SHOWN else ""
    return (
        f"{rows:,} of {len(samples):,} samples lie far outside of the training data: "
        f"{', '.join(found)}{more}; there the model extrapolates"
    )


def narrow(
    samples: Tensor | Rows,
    seen: Tensor | None,
    variance: Tensor,
    names: Sequence[str] | None = None,
) -> str | None:
    """What to say of samples (n, *event) that spread far less than the training data, or None.

    Args:
        samples: Samples of no condition, in the units of the data.
        seen: The `extremes` of the training data; None says that nothing is known of them.
        variance: Variance of the training data, broadcastable to event, as `statistics` has it:
            sites whose variance is floored there, and all that share the least, are not looked
            at.
        names: Names of the sites, for events of one axis.

    A variance V in a range R may be carried by as few as one row in R^2 / V, so that n samples
    hold about n V / R^2 of those: only what a Poisson number of them, at all the sites, would
    hardly ever be so far below is reported.
    """
    if seen is None or len(samples) < 2 or samples.shape[1:] != seen.shape[1:]:
        return None
    expected = variance.to(samples.device).expand(samples.shape[1:]).flatten().double()
    if isinstance(samples, Rows):
        found, n = samples.summary(), len(samples)
        spread = (found.squares - found.sums**2 / n) / (n - 1)
    else:
        spread = samples.flatten(1).double().var(0)
    ratio = (spread / expected).sqrt()
    known = expected > 1.01 * floor(float(expected.mean()), not seen.is_floating_point())
    least = expected <= 1.001 * expected.min()
    if int(least.sum()) > 1:
        known &= ~least
    width = (seen[1].double() - seen[0].double()).to(samples.device).flatten()
    carriers = len(samples) * expected / width.square().clamp_min(1e-300)
    chance = torch.special.gammaincc((carriers * ratio.square()).floor() + 1, carriers)
    known &= chance * len(chance) < CHANCE
    ratio = torch.where(known, ratio, 1.0)
    sites = int((ratio < NARROW).sum())
    if not sites:
        return None
    found = [
        f"{float(ratio[site]):.2f} of it in {_name(site, samples.shape[1:], names)}"
        for site in ratio.argsort(stable=True)[: min(SHOWN, sites)].tolist()
    ]
    more = f" and less than {NARROW:g} in {sites - SHOWN:,} others" if sites > SHOWN else ""
    return (
        "the samples vary less than the training data: their deviation is "
        f"{', '.join(found)}{more}"
    )


def tell(found: str | None) -> None:
    """Warn those who asked for samples."""
    if found is not None:
        warnings.warn(found, stacklevel=3)


def _name(site: int, event: Sequence[int], names: Sequence[str] | None) -> str:
    """A site as one would call it: a feature by its name, a pixel by its place."""
    if len(event) == 1:
        return f"feature {site}" if names is None else f"feature {names[site]}"
    place = []
    for size in reversed(event):
        site, at = divmod(site, size)
        place.append(at)
    return f"site ({', '.join(map(str, reversed(place)))})"


doors.guard(__name__)
