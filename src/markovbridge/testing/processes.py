"""The check of a process: does all that it states belong to one Markov process?"""

from __future__ import annotations

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Noised
from markovbridge.doors import checks
from markovbridge.laws import Law
from markovbridge.processes.base import DiscreteProcess, Process, Setting
from markovbridge.testing.integers import Space, check_tables
from markovbridge.testing.jumps import check_jumps
from markovbridge.testing.laws import (
    check_config,
    check_draws,
    check_law,
    check_states,
    densities,
    gap,
)
from markovbridge.testing.reals import check_densities
from markovbridge.testing.report import CheckError, CheckReport, Ledger

TIMES = (0.15, 0.45, 0.8)
SINGLE = 1e-4  # relative difference of what is computed in float32


def check_process(
    process: Process,
    x1: Tensor,
    *,
    times: tuple[float, float, float] = TIMES,
    draws: int = 2000,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> CheckReport:
    """Check that transitions, bridges, rates and laws of a process belong together.

    Processes on integers are checked by tables over all states of a site, those on reals by
    their densities; events of one number, (n, 1), are checked best. Laws are asked for at
    tensors of float64 times, and are most exact if they come in that type.

    Args:
        process: The process.
        x1: Data points, (n, *event).
        times: Times that are looked at, increasing inside (0, 1).
        draws: Draws of each law that is compared with its probabilities, at level 1e-5.
        tolerance: Largest error of probabilities.
        seed: Seed of all draws.

    Returns:
        What was checked, with the largest error of each, and what was not, with the reason.

    Raises:
        CheckError: If a promise is broken, naming it.
        ValueError: If there are no data points, or times do not increase inside (0, 1).
    """
    checks.whole(draws, "draws", least=100)
    if x1.ndim < 2 or not len(x1):
        raise ValueError(
            f"x1 has shape {tuple(x1.shape)}: give at least one data point, (n, *event)"
        )
    if not all(0 < s < t < 1 for s, t in zip(times, times[1:], strict=False)):
        raise ValueError(f"times must increase inside (0, 1), not {times}")
    ledger = Ledger(type(process).__name__)
    x = _states(ledger, process, x1)
    _surface(ledger, process, x, times, seed)
    _features(ledger, process, x, times)
    if isinstance(process, DiscreteProcess):
        space = Space.of(process, x, times)
        check_tables(ledger, space, times, draws, tolerance, seed)
        check_jumps(ledger, space, times, tolerance, seed)
    elif process.dtype.is_floating_point:
        check_densities(ledger, process, x, times, draws, tolerance, seed)
    else:
        raise CheckError(
            f"{ledger.of}: its states are {process.dtype}, but it is no DiscreteProcess: derive "
            "a process on integers of DiscreteProcess or JumpProcess"
        )
    check_config(ledger, process)
    return ledger.report()


def _states(ledger: Ledger, process: Process, x1: Tensor) -> Tensor:
    """The data as states: accepted as they are, others refused."""
    x = process.check(x1)
    ledger.demand(
        "dtype",
        x.dtype in (process.dtype, torch.float64) and x.is_floating_point()
        == process.dtype.is_floating_point,
        f"`check` gives {x.dtype}, but `dtype` of the process is {process.dtype}",
    )  # fmt: skip
    ledger.demand("shapes", x.shape == x1.shape, f"`check` turns {x1.shape} into {x.shape}")
    alike = torch.equal(process.project(x), x)
    ledger.demand("states", alike, "`project` changes states that are valid")
    wrong = torch.full(x1.shape, torch.nan)
    try:
        process.check(wrong)
    except (ValueError, TypeError):
        ledger.demand("states", True, "")
    else:
        raise CheckError(f"{ledger.of}: `check` takes NaN for a state: refuse it by a ValueError")
    return x


def _surface(
    ledger: Ledger, process: Process, x: Tensor, times: tuple[float, ...], seed: int
) -> None:
    """Shapes, types, repeated draws, and times as numbers or one per sample."""
    x = x[:8].to(process.dtype)
    noising = process.direction == "noising"
    early, late = times[0], times[-1]
    s, t = (late, early) if noising else (early, late)
    first, last = (1.0, 0.0) if noising else (0.0, 1.0)
    source = process.source(x)
    check_law(ledger, "`source`", source, x, seed)
    check_draws(ledger, "`source`", source, seed)
    given = x if noising else source.sample(generator=torch.Generator().manual_seed(seed))
    inner = process.transition(given, first, s)
    between = inner.sample(generator=torch.Generator().manual_seed(seed))
    check_states(ledger, "draws of `transition`", between, x)
    end = process.transition(between, s, last).sample(
        generator=torch.Generator().manual_seed(seed)
    )
    near, far = (end, given) if noising else (given, end)
    laws: dict[str, tuple[object, ...]] = {
        "transition": (between, s, t),
        "bridge": (near, far, 0.0, times[1], 1.0),
    }
    for name, arguments in laws.items():
        ask = getattr(process, name)
        law = ask(*arguments)
        check_law(ledger, f"`{name}`", law, x, seed)
        check_draws(ledger, f"`{name}`", law, seed)
        many = [
            torch.full((len(x),), a, dtype=torch.float64) if isinstance(a, float) else a
            for a in arguments
        ]
        _alike(ledger, f"`{name}` at a number and at one time per sample", law, ask(*many))
        row = [a[-1:] if isinstance(a, torch.Tensor) else a for a in many]
        _alike(ledger, f"`{name}` of one row and of many", _Row(law), ask(*row))
    noised = ledger.ask("noised", lambda: process.noised(x))
    if noised is not None:
        check_law(ledger, "`noised`", noised, x, seed)
        check_draws(ledger, "`noised`", noised, seed)
    ledger.findings.pop("noised", None)  # what is said of it is said of its marginals


class _Row:
    """The last row of what a law says."""

    def __init__(self, law: Law) -> None:
        self.mean, self.variance, self._law = law.mean[-1:], law.variance[-1:], law

    def log_prob(self, x: Tensor) -> Tensor:
        """Of an event, (1,)."""
        return self._law.log_prob(x.expand(len(self._law.mean), *x.shape[1:]))[-1:]


def _alike(ledger: Ledger, name: str, first: Law | _Row, second: Law) -> None:
    """Check that two laws say the same."""
    point = second.sample(generator=torch.Generator().manual_seed(0))
    values = [(first.mean, second.mean), (first.variance, second.variance)]
    logs = densities(first, point), densities(second, point)  # pyright: ignore
    certain = point.is_floating_point() and not bool((second.variance != 0).any())
    if not certain and logs[0] is not None and logs[1] is not None:
        ledger.demand(
            "shapes",
            logs[1].shape == point.shape[:1],
            f"log_prob of {name} has shape {tuple(logs[1].shape)}; it must be (batch,), one for "
            "each event",
        )
        values.append((logs[0], logs[1]))
    error = max(gap(a, b) for a, b in values)
    ledger.judge("times and rows, one by one", error, SINGLE, f"{name} differ")


def _features(ledger: Ledger, process: Process, x: Tensor, times: tuple[float, ...]) -> None:
    """What a network sees of the states."""
    x = x.to(process.dtype)
    variance = x.float().var(0, correction=0).clamp_min(1e-2)
    setting = Setting(process, Noised(), x.float().mean(0), variance)
    for t in (0.0, *times, 1.0):
        at = torch.full((len(x),), t)
        seen = setting.standardise(x, at)
        wanted = (len(x), process.features, *x.shape[1:])
        ledger.demand(
            "features",
            tuple(seen.shape) == wanted and seen.is_floating_point(),
            f"`standardise` gives {tuple(seen.shape)} of {seen.dtype}; it must be reals of shape "
            f"{wanted}, `features` being {process.features}",
        )
        finite = bool(seen.isfinite().all())
        ledger.demand("features", finite, f"`standardise` is not finite at t = {t:g}")


doors.guard(__name__)
