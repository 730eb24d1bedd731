r"""Self-consistency: what the mean of a pure-death model must obey if it is one at all.

Whatever the data, the posterior mean y_i(x, t) = E[m_i | x_t = x] of the remaining counts
m = x_1 - x_t determines their second moments and its own change in time. With e_i one unit
at site i, and u = -log(1 - p) the clock in which every remaining unit is born at rate 1,

    Cov(m_i, m_j | x)    =  y_i(x) [y_j(x + e_i) - y_j(x) + δ_ij]
    y_i(x) y_j(x + e_i)  =  y_j(x) y_i(x + e_j)                        (integrability)
    ∂_u y_i              =  -Σ_j Cov(m_i, m_j | x)                     (derivative)

(Bayes under thinning: one more unit seen at i reweights x_1 by m_i.) A network is trained
towards the mean only, so these say how far it is from being the mean of *any* law, without
knowing the true one. The first is compared with data as well: the residuals m - y of pinned
states have mean 0 and that covariance, if the model is right.

States are those of data, thinned at random times; sites i and j are drawn with
probabilities y/Σy, where the model expects births next. All numbers are relative, and 0
for an exact law up to the error stated beside them. `over_time` asks at one piece of time
after the other, which shows where a model is off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.processes.base import Process
from markovbridge.processes.clock import match
from markovbridge.samplers.model import DataModel, Given

STEP = 0.02  # of u, in the difference quotient, but no more than a quarter of u itself
SURVIVAL = (0.05, 0.95)  # is drawn in between

MEANING = {
    "mean": "Units still to come beyond those expected, as a share of these.",
    "variance": "Squared error of the expected count of a site, against the variance that its "
    "own change with one more unit implies.",
    "covariance": "The same with the errors of all sites: do they go together as the model's "
    "own changes imply?",
    "integrability": "A unit at i and then at j must be as likely as j and then i: relative "
    "difference.",
    "derivative": "Change of the expected counts over time, against what their changes with "
    "one more unit imply.",
    "law variance": "Variance of the law that steps are drawn from, against the implied one; a "
    "Poisson law around a mean is not meant to have it.",
}


@dataclass(frozen=True)
class Check:
    """How far an identity is violated.

    Attributes:
        value: The violation, relative to the size of what is compared.
        error: What an exact law would show: a standard error for means over data, which have
            a sign, or the accuracy of the arithmetic for root mean squares.
    """

    value: float
    error: float


@dataclass(frozen=True)
class TimeSpan:
    """The checks of a piece of time.

    Attributes:
        times: Where it begins and ends.
        survival: Survival there.
        checks: By name, as of `self_consistency`.
    """

    times: tuple[float, float]
    survival: tuple[float, float]
    checks: dict[str, Check]


@torch.no_grad()
def self_consistency(
    transport: DataModel,
    x1: Tensor,
    *,
    survival: tuple[float, float] = SURVIVAL,
    condition: Tensor | None = None,
    generator: torch.Generator | None = None,
    block: int = 64,
) -> dict[str, Check]:
    """How far a model is from being the posterior mean of a law of counts.

    Args:
        transport: A model of `PureDeath`.
        x1: Data, (n, *event), preferably held out: one thinned state is made of each point
            and costs seven evaluations. Errors fall as n^-1/2.
        survival: States are thinned to survivals between these two.
        condition: What to condition on, (n, ...).
        generator: Source of randomness on the device of the transport.
        block: How many states the network sees at once.

    Returns:
        Over data, with standard errors: "mean", E[Σ_i (m_i - y_i)] over E[Σ_i y_i];
        "variance" and "covariance", E[(m_i - y_i)²] and E[(m_i - y_i) Σ_j (m_j - y_j)] less
        what the identity says, over the latter. Root mean squares, without data:
        "integrability", the relative difference of its two sides; "derivative", its
        violation relative to the right-hand side; "law variance", the same for the variance
        of the model's law against that of the identity (0 for laws that are right, 1 minus
        Fano factor for a Poisson law around the mean).

    Raises:
        TypeError: If the process is not pure death.
        ValueError: If the data are fewer than 2, or all 0.
    """
    process = transport.process
    if not process.thins:
        raise TypeError(
            f"these identities are those of PureDeath, not of {type(process).__name__}"
        )
    if not 0 < survival[0] < survival[1] < 1:
        raise ValueError(f"survival must rise between two numbers in (0, 1), not {survival}")
    x1 = transport.check(x1, "x1").to(transport.device)
    if len(x1) < 2:
        raise ValueError(f"self-consistency needs at least 2 data points, not {len(x1)}")
    if condition is not None and len(condition) != len(x1):
        raise ValueError(f"condition has {len(condition)} rows for {len(x1)} data points")
    rows = torch.arange(len(x1), device=x1.device)
    with transport.evaluating():
        found = [
            _observe(
                transport,
                process,
                x1[part],
                survival,
                None if condition is None else condition[part],
                generator,
            )
            for part in rows.split(block)
        ]
    seen = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    if not len(seen["total"]) or float(seen["total"].sum()) <= 0:
        raise ValueError("the model expects no further counts anywhere: nothing to compare")
    coarse = _rms(seen["derivative"] - seen["coarse derivative"], seen["sum"])
    rounding = 8 * torch.finfo(torch.float32).eps
    return {
        "mean": _over_data(seen["residual"], seen["total"]),
        "variance": _over_data(seen["square"] - seen["own"], seen["own"]),
        "covariance": _over_data(seen["product"] - seen["cross"], seen["cross"]),
        "integrability": Check(_rms(seen["asymmetry"], torch.ones(1)), rounding),
        # The quotient over twice the step has four times the error.
        "derivative": Check(_rms(seen["derivative"] + seen["sum"], seen["sum"]), coarse / 3),
        "law variance": Check(_rms(seen["law variance"] - seen["own"], seen["own"]), rounding),
    }


def over_time(
    transport: DataModel,
    x1: Tensor,
    *,
    pieces: int = 6,
    survival: tuple[float, float] = (0.01, 0.95),
    condition: Tensor | None = None,
    generator: torch.Generator | None = None,
    block: int = 64,
    callback: Callable[[TimeSpan], None] | None = None,
) -> list[TimeSpan]:
    """Self-consistency at one piece of time after the other, of equal length in t.

    Args:
        transport: A model of `PureDeath`.
        x1: Data, (n, *event): all of them in each piece.
        pieces: How many.
        survival: Where the first begins and the last ends.
        condition: What to condition on, (n, ...).
        generator: Source of randomness on the device of the transport.
        block: How many states the network sees at once.
        callback: Called with each piece when it is done.

    Raises:
        TypeError: As `self_consistency`.
        ValueError: As `self_consistency`.
    """
    if pieces < 1:
        raise ValueError(f"pieces must be at least 1, not {pieces}")
    schedule = transport.process.schedule
    p = torch.tensor(survival, dtype=torch.float64)
    start, end = schedule.time(p, 1 - p).tolist()
    edges = torch.linspace(start, end, pieces + 1, dtype=torch.float64)
    alive = [survival[0], *schedule.survival(edges[1:-1]).tolist(), survival[1]]
    found = []
    for k in range(pieces):
        between = alive[k], alive[k + 1]
        checks = self_consistency(
            transport, x1, survival=between, condition=condition, generator=generator, block=block
        )
        found.append(TimeSpan((float(edges[k]), float(edges[k + 1])), between, checks))
        if callback is not None:
            callback(found[-1])
    return found


def _observe(
    transport: DataModel,
    process: Process,
    x1: Tensor,
    survival: tuple[float, float],
    condition: Tensor | None,
    generator: torch.Generator | None,
) -> dict[str, Tensor]:
    """Both sides of every identity at one state for each data point."""
    schedule, n = process.schedule, len(x1)
    u = torch.rand(n, dtype=torch.float64, device=x1.device, generator=generator)
    low, high = survival
    q = 1 - (low + (high - low) * u)
    t = schedule.time(1 - q, q)
    x0 = transport.coupling.sources(process, x1, condition, generator=generator)
    x = process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=generator)
    given = Given(condition, start=x0 if transport.coupling.preserve else None)

    def mean(state: Tensor, left: Tensor) -> Tensor:
        law = transport.law(state, schedule.time(1 - left, left), given)
        return law.log_excess(state).double().exp().flatten(1)

    law = transport.law(x, t, given)
    y = law.log_excess(x).double().exp().flatten(1)
    maximum = getattr(process, "maximum", None)
    room = torch.ones_like(y) if maximum is None else (x < maximum).flatten(1)
    weights = torch.where(room > 0, y, 0.0)
    # A state from which the model expects nothing has nothing to say; it goes at the end.
    alive = weights.sum(1) > 1e-9
    weights = torch.where(alive.unsqueeze(1), weights, 1.0)
    i, j = torch.multinomial(weights, 2, replacement=True, generator=generator).unbind(1)
    at_i, at_j = i.unsqueeze(1), j.unsqueeze(1)

    def plus(site: Tensor) -> Tensor:
        added = torch.zeros_like(x).flatten(1).scatter_(1, site, 1).reshape(x.shape)
        # Where the state is full, and dropped below, it stays.
        return process.project(x + added * match(alive, x))

    y_plus_i, y_plus_j = mean(plus(at_i), q), mean(plus(at_j), q)
    y_i = y.gather(1, at_i).squeeze(1)
    own = y_i * (y_plus_i.gather(1, at_i).squeeze(1) - y_i + 1)
    cross = y_i * ((y_plus_i - y).sum(1) + 1)
    one = y_i * y_plus_i.gather(1, at_j).squeeze(1)
    other = y.gather(1, at_j).squeeze(1) * y_plus_j.gather(1, at_i).squeeze(1)
    # Twice the step backwards must not lead beyond the source, at u = 0.
    step = (-q.log() / 4).clamp_max(STEP)
    rates = []
    for h in (step, 2 * step):
        later, earlier = mean(x, q * (-h).exp()), mean(x, q * h.exp())
        rates.append((later - earlier).gather(1, at_i).squeeze(1) / (2 * h))
    m = (x1 - x).double().flatten(1)
    residual = m - y
    r_i = residual.gather(1, at_i).squeeze(1)
    variance = law.variance.double().flatten(1).gather(1, at_i).squeeze(1)
    # Relative to y_i, so that no single bright site decides.
    seen = {
        "residual": residual.sum(1),
        "total": y.sum(1),
        "square": r_i**2 / y_i,
        "own": own / y_i,
        "product": r_i * residual.sum(1) / y_i,
        "cross": cross / y_i,
        "asymmetry": 2 * (one - other) / (one + other).clamp_min(1e-30),
        "sum": cross / y_i,
        "derivative": rates[0] / y_i,
        "coarse derivative": rates[1] / y_i,
        "law variance": variance / y_i,
    }
    return {name: value[alive] for name, value in seen.items()}


def _rms(difference: Tensor, size: Tensor) -> float:
    return float((difference**2).mean().sqrt() / (size**2).mean().sqrt().clamp_min(1e-30))


def _over_data(difference: Tensor, size: Tensor) -> Check:
    scale = size.mean().abs().clamp_min(1e-30)
    error = difference.std() / len(difference) ** 0.5
    return Check(float(difference.mean() / scale), float(error / scale))


doors.guard(__name__)
