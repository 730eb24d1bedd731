r"""Checks of processes on integers, by tables over all states of a site.

With P(s→t) the transitions, stated from data to source (s ≥ t) or from source to data:

    Chapman-Kolmogorov   P(s→t) = P(s→m) P(m→t)
    Bayes                bridge(x, y, s, t, u)[z] = P(y, u→t)[z] P(z, t→s)[x] / P(y, u→s)[x]
    marginals            Σ_x noised(y)[x] bridge(x, y, 0, t, 1)[z] = P(y, 1→t)[z]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Law, SiteLaw
from markovbridge.processes.base import DiscreteProcess
from markovbridge.testing.laws import gap
from markovbridge.testing.numbers import FAR, chi_square, deviations
from markovbridge.testing.report import CheckError, Ledger, largest, seeded

MOST = 400  # states that tables are made of
VALUES = 5  # of the data that are looked at
STARTS = 12  # states that bridges start from
TINY = 1e-14  # states below are never reached
FORGOTTEN = 1e-3  # total variation between laws at t = 0 of a process that forgets the data
POSSIBLE = 1e-7  # pairs of states below are not looked at: ratios of them may be all rounding


@dataclass(frozen=True, eq=False)
class Space:
    """The states of a site, and tables over them.

    Attributes:
        process: The process.
        values: Values of the data, (V,).
        states: All states that are reached, (S,), increasing.
    """

    process: DiscreteProcess
    values: Tensor
    states: Tensor

    @classmethod
    def of(cls, process: DiscreteProcess, x1: Tensor, times: tuple[float, ...]) -> Space:
        """The space of a process with these data."""
        values = x1.flatten().unique()
        if process.states is not None:
            values = torch.arange(process.states)
        values = values[torch.linspace(0, len(values) - 1, VALUES).round().long().unique()]
        size = process.size
        if size is not None:
            return cls(process, values, torch.arange(size))
        laws = [process.transition(*cls._times(process, values, t)) for t in (0.0, *times)]
        low, high = values.min().double(), values.max().double()
        for law in laws:
            reach = 8 * law.variance.double().sqrt() + 12
            low = torch.minimum(low, (law.mean.double() - reach).min())
            high = torch.maximum(high, (law.mean.double() + reach).max())
        if float(high - low) > MOST:
            raise CheckError(
                f"{type(process).__name__}: its states reach from {float(low):.4g} to "
                f"{float(high):.4g}, too many for tables: check it with smaller data or rates"
            )
        every = torch.arange(int(low), int(high) + 1)
        space = cls(process, values, process.project(every).unique())
        mass = sum(space.towards(values, 1.0, t, 0.0).sum(0) for t in (0.0, *times))
        assert isinstance(mass, Tensor)
        seen = (mass > TINY) | torch.isin(space.states, values)
        return cls(process, values, space.states[seen])

    @staticmethod
    def _times(process: DiscreteProcess, values: Tensor, t: float) -> tuple[Tensor, float, float]:
        first, last = (1.0, t) if process.direction == "noising" else (0.0, 1.0 - t)
        return values.unsqueeze(0), first, last

    def _ask(self, law: Law, x: Tensor) -> Tensor:
        """Probabilities of states (1, n), site by site: (n,)."""
        if isinstance(law, SiteLaw):
            return law.site_log_prob(x)[0].double().exp()
        raise CheckError(
            f"{type(self.process).__name__}: its laws are {type(law).__name__}, not laws per "
            "site, which those of a process on integers are: derive them of SiteLaw"
        )

    def table(self, ask: Callable[..., Law], *given: Tensor) -> Tensor:
        """Probabilities of all states under laws: (G, S).

        Args:
            ask: Makes a law of states (1, G * S), one argument each.
            *given: States (G,).
        """
        columns = [g.repeat_interleave(len(self.states)).unsqueeze(0) for g in given]
        law = ask(*columns)
        x = self.states.repeat(len(given[0])).unsqueeze(0)
        return self._ask(law, x).reshape(len(given[0]), len(self.states))

    def transition(self, given: Tensor, s: float, t: float) -> Tensor:
        """P(s→t) from these states, as the process is stated: (G, S)."""
        return self.table(lambda x: self.process.transition(x, when(s), when(t)), given)

    def towards(self, given: Tensor, s: float, t: float, none: float) -> Tensor:
        """The same, for times as they are called by a process from data to source."""
        if self.process.direction == "noising":
            return self.transition(given, s, t)
        return self.transition(given, none, 1 - t)

    def bridge(self, x: Tensor, y: Tensor, s: float, t: float, u: float) -> Tensor:
        """Bridges between pairs of states: (G, S)."""
        return self.table(lambda x, y: self.process.bridge(x, y, when(s), when(t), when(u)), x, y)

    def bayes(self, s: float, t: float, u: float) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of ends that are possible, and what Bayes' rule says is between: x, y, (G, S)."""
        noising = self.process.direction == "noising"
        if noising:
            ends = self.values if u == 1 else self.states
            whole = self.transition(ends, u, s)  # (ends, S at s)
            before, after = self.transition(self.states, t, s), self.transition(ends, u, t)
        else:
            ends = self.states
            whole = self.transition(self.states, s, u).mT  # (S at u, S at s)
            before = self.transition(self.states, s, t).mT
            after = self.transition(self.states, t, u).mT
        y, x = (whole > POSSIBLE).nonzero(as_tuple=True)
        chosen = spread(len(y), STARTS * VALUES)
        x, y = x[chosen], y[chosen]
        product = after[y] * before[:, x].mT / whole[y, x].unsqueeze(1)
        return self.states[x], ends[y], product


def when(t: float) -> Tensor:
    """A time for a batch of one, in float64 so that laws are."""
    return torch.tensor([t], dtype=torch.float64)


def spread(n: int, most: int) -> Tensor:
    """At most so many of n numbers, evenly."""
    return torch.linspace(0, max(n - 1, 0), min(n, most)).round().long().unique()[:n]


def check_tables(
    ledger: Ledger, space: Space, times: tuple[float, ...], draws: int, tolerance: float, seed: int
) -> None:
    """Transitions, bridges, moments, draws and the marginals of `noised`."""
    process, values, states = space.process, space.values, space.states
    noising = process.direction == "noising"
    early, middle, late = times[0], times[len(times) // 2], times[-1]
    first, last = (1.0, 0.0) if noising else (0.0, 1.0)
    given = values if noising else _sources(space)
    whole = space.transition(given, first, middle)
    ledger.judge(
        "probabilities sum to 1",
        largest(whole.sum(1) - 1),
        max(tolerance, 1e-6),
        "the probabilities of `transition` over all states do not sum to 1",
    )
    inner = (late, early) if noising else (early, late)
    for s, t in ((first, inner[1]), (first, last), (inner[0], last), inner):
        start = given if s == first else states
        two = space.transition(start, s, middle) @ space.transition(states, middle, t)
        if process.size is None and s != first:  # states from which mass leaves the table
            kept = (two.sum(1) - 1).abs() < tolerance / 10
            start, two = start[kept], two[kept]
        ledger.judge(
            "Chapman-Kolmogorov",
            largest(two - space.transition(start, s, t)),
            tolerance,
            f"`transition` from {s:g} to {t:g} is not that by way of {middle:g}",
        )
    for s, t, u in ((0.0, middle, 1.0), (early, middle, 1.0), (early, middle, late)):
        x, y, wanted = space.bayes(s, t, u)
        found = space.bridge(x, y, s, t, u)
        ledger.judge(
            "Bayes: the bridge",
            largest(found - wanted),
            tolerance,
            f"`bridge` between {s:g} and {u:g} is at {t:g} not the product of transitions over "
            "the transition, as Bayes' rule has it",
        )
    x, y, _ = space.bayes(early, middle, 1.0)
    _moments(ledger, space, tolerance, "transition", (given,), first, middle)
    _moments(ledger, space, tolerance, "bridge", (x, y), early, middle, 1.0)
    _draws(ledger, space, draws, seed, "transition", (given,), first, middle)
    few = spread(len(x), 6)
    _draws(ledger, space, draws, seed, "bridge", (x[few], y[few]), early, middle, 1.0)
    for t, end, name in ((early, x, "x at s"), (1.0, y, "y at u")):
        law = process.bridge(x.unsqueeze(0), y.unsqueeze(0), when(early), when(t), when(1.0))
        wrong = (law.sample(generator=seeded(seed))[0] != end).double().mean()
        ledger.judge("ends of bridges", wrong, 0.0, f"a bridge does not pass through {name}")
    _noised(ledger, space, times, tolerance)
    _forgotten(ledger, space, tolerance)
    _evidence(ledger, space, times, tolerance)


def _sources(space: Space) -> Tensor:
    law = space.process.source(space.states.unsqueeze(0))
    mass = space._ask(law, space.states.unsqueeze(0))
    likely = space.states[mass > POSSIBLE]
    return likely[spread(len(likely), STARTS)]


def _law(space: Space, which: str, given: tuple[Tensor, ...], *times: float) -> Law:
    columns = [part.unsqueeze(0) for part in given]
    return getattr(space.process, which)(*columns, *(when(t) for t in times))


def _moments(
    ledger: Ledger,
    space: Space,
    tolerance: float,
    which: str,
    given: tuple[Tensor, ...],
    *times: float,
) -> None:
    """Mean and variance against the table."""
    law = _law(space, which, given, *times)
    mass = getattr(space, which)(*given, *times)
    values = space.states.double()
    mean = mass @ values
    variance = (mass * (values - mean.unsqueeze(1)) ** 2).sum(1)
    for name, wanted in (("mean", mean), ("variance", variance)):
        found = ledger.ask("moments", lambda name=name: getattr(law, name))
        if found is not None:
            ledger.judge(
                "moments",
                gap(found[0], wanted),
                10 * tolerance,
                f"the {name} of `{which}` is not that of its probabilities",
            )


def _draws(
    ledger: Ledger,
    space: Space,
    n: int,
    seed: int,
    which: str,
    given: tuple[Tensor, ...],
    *times: float,
) -> None:
    """Draws against the table, by chi-square."""
    mass = getattr(space, which)(*given, *times)
    law = _law(space, which, tuple(part.repeat(n) for part in given), *times)
    found = law.sample(generator=seeded(seed))[0].reshape(n, len(given[0]))
    worst = min(chi_square(found[:, i], space.states, mass[i]) for i in range(len(given[0])))
    ledger.judge(
        "draws, in standard deviations",
        deviations(worst, len(given[0])),
        FAR,
        f"draws of `{which}` do not follow its probabilities",
    )


def _noised(ledger: Ledger, space: Space, times: tuple[float, ...], tolerance: float) -> None:
    """`noised` against transitions, and what bridges make of it."""
    process, values = space.process, space.values
    what = "marginals of `noised`"
    start = ledger.ask(what, lambda: space.table(process.noised, values))
    if start is None:
        return
    if process.direction == "noising":
        ledger.judge(
            what,
            largest(start - space.transition(values, 1.0, 0.0)),
            tolerance,
            "`noised` is not the transition from 1 to 0",
        )
    y, x = (start > TINY).nonzero(as_tuple=True)
    for t in times:
        between = space.bridge(space.states[x], values[y], 0.0, t, 1.0)
        mixed = torch.zeros(len(values), len(space.states), dtype=torch.float64)
        mixed.index_add_(0, y, start[y, x].unsqueeze(1) * between)
        wanted = ledger.ask(
            what,
            lambda t=t: space.table(lambda y: process.transition(y, when(1.0), when(t)), values),
        )
        if wanted is not None:
            ledger.judge(
                what,
                largest(mixed - wanted),
                tolerance,
                f"bridges from `noised` do not have the law of x_t given x_1 at {t:g}, which is "
                "that of `transition` from 1",
            )


def _forgotten(ledger: Ledger, space: Space, tolerance: float) -> None:
    """`source` against the law at t = 0, where that is the same whatever the data."""
    process, what = space.process, "source"
    if process.direction != "noising":
        ledger.skip(what, "the process is stated from source to data")
        return
    given = torch.cat([space.values, process.project(space.values + 3)]).unique()
    ends = space.transition(given, 1.0, 0.0)
    apart = float(0.5 * (ends - ends[0]).abs().sum(1).max())
    if len(given) < 2 or apart > FORGOTTEN:
        ledger.skip(what, "at t = 0 something is left of the data, so that it is approximate")
        return
    law = ledger.ask(what, lambda: space.table(process.source, given[:1]), TypeError, ValueError)
    if law is not None:
        ledger.judge(
            what,
            largest(law - ends[:1]),
            max(tolerance, 1e-6) + 3 * apart,
            "`source` is not the law at t = 0, which `transition` from 1 has whatever the data",
        )


def _evidence(ledger: Ledger, space: Space, times: tuple[float, ...], tolerance: float) -> None:
    """`evidence` against transitions."""
    process = space.process
    if process.states is None:
        ledger.skip("evidence", "the data are unbounded")
        return
    if process.direction != "noising":
        ledger.skip("evidence", "the process is stated from source to data")
        return
    for t in times:
        given = torch.arange(process.states)
        likely = space.transition(given, 1.0, t).mT  # (S, states)
        found = process.evidence(space.states.unsqueeze(0), when(t))[0].double()
        seen = likely.sum(1) > POSSIBLE
        wanted = likely[seen] / likely[seen].sum(1, keepdim=True)
        ledger.judge(
            "evidence",
            largest(found[seen].softmax(1) - wanted),
            tolerance,
            f"`evidence` at {t:g} is not the logarithm of the transitions, up to a constant",
        )


doors.guard(
    __name__,
    inside=(
        "spread",
        "when",
    ),
)
