"""The check of a coupling: do sources, start and what it says of x_t belong together?"""

from __future__ import annotations

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings.base import Coupling
from markovbridge.doors import checks
from markovbridge.laws import Law
from markovbridge.processes.base import DiscreteProcess, Process
from markovbridge.testing.integers import Space
from markovbridge.testing.laws import check_config, check_law, check_repeats, check_states, gap
from markovbridge.testing.numbers import FAR, chi_square, deviations, moments_off, normal_off
from markovbridge.testing.report import CheckReport, Ledger, largest, seeded

ROWS = 6


def check_coupling(
    coupling: Coupling,
    process: Process,
    x1: Tensor,
    *,
    times: tuple[float, float, float] = (0.15, 0.45, 0.8),
    draws: int = 2000,
    seed: int = 0,
) -> CheckReport:
    """Check that what a coupling draws and what it says of it belong together.

    Args:
        coupling: The coupling.
        process: A process that it is for.
        x1: Data points, (n, *event).
        times: Times that are looked at, inside (0, 1).
        draws: Draws for each data point, compared at level 1e-5.
        seed: Seed of all draws.

    Returns:
        What was checked, with the largest error of each, and what was not, with the reason.

    Raises:
        CheckError: If a promise is broken, naming it.
    """
    checks.whole(draws, "draws", least=100)
    ledger = Ledger(type(coupling).__name__)
    x = process.check(x1)[:ROWS].to(process.dtype)
    generator = seeded(seed)
    many = x.repeat(draws, *[1] * (x.ndim - 1))

    def pair(data: Tensor, generator: torch.Generator) -> Tensor:
        return coupling.pair(process, data, generator=generator)

    x0 = ledger.ask("pair", lambda: pair(x, seeded(seed)), ValueError)
    start = ledger.ask(
        "start", lambda: coupling.start(process, x, generator=seeded(seed)), ValueError
    )
    if x0 is not None:
        check_states(ledger, "sources that `pair` draws", x0, x)
        check_repeats(ledger, "`pair`", lambda g: pair(x, g), seed)
        told = torch.zeros(len(x), 1)
        told[::2] = 1
        ledger.demand(
            "pair",
            coupling.sources(process, x, told, generator=seeded(seed)).shape == x.shape,
            "`sources` of data with a condition have another shape than the data",
        )
        # One that matches sources to rows is given a batch at a time.
        parts = [x] * draws if coupling.batched else [many]
        x0 = torch.cat([pair(part, generator) for part in parts])
    if start is not None:
        check_states(ledger, "states of `start`", start, x)
        check_repeats(ledger, "`start`", lambda g: coupling.start(process, x, generator=g), seed)
    if x0 is not None and start is not None:
        _start(ledger, coupling, process, x0, many, generator)
    for t in (0.0, *times):
        _given_end(ledger, coupling, process, x, x0, t, draws, generator, times)
    _moments(ledger, coupling, process, x)
    prior = ledger.ask("prior", lambda: coupling.prior(process, x), ValueError, TypeError)
    if prior is not None:
        ledger.demand(
            "prior",
            prior.shape == x.shape[:1] and bool((prior >= -1e-5).all()),
            f"`prior` is {prior.tolist()}; it must be one relative entropy for each data point, "
            "(batch,), which is never negative",
        )
    check_config(ledger, coupling)
    return ledger.report()


def _start(
    ledger: Ledger,
    coupling: Coupling,
    process: Process,
    x0: Tensor,
    many: Tensor,
    generator: torch.Generator,
) -> None:
    """Where sampling starts against the sources of training, by their first two moments."""
    what = "start, as the sources, in standard deviations"
    if coupling.reverses:
        ledger.skip(what, "under time reversal sampling starts where the process forgets the data")
        return
    start = coupling.start(process, many, generator=generator).double()
    x0 = x0.double()[torch.randperm(len(x0), generator=generator)]
    off = max(normal_off(start - x0, 0.0), normal_off(start**2 - x0**2, 0.0))
    ledger.judge(
        what,
        off,
        FAR,
        "states of `start` do not have the moments of the sources of `pair`",
    )


def _given_end(
    ledger: Ledger,
    coupling: Coupling,
    process: Process,
    x: Tensor,
    x0: Tensor | None,
    t: float,
    n: int,
    generator: torch.Generator,
    times: tuple[float, ...],
) -> None:
    """The law of x_t given x_1 against draws of sources and bridges."""
    what = "x_t given x_1"
    law = ledger.ask(what, lambda: coupling.given_end(process, x, t), ValueError)
    if law is None:
        return
    check_law(ledger, "`given_end`", law, x)
    if x0 is None:
        ledger.skip(what, "no sources to compare it with")
        return
    many = x.repeat(n, *[1] * (x.ndim - 1))
    drawn = process.bridge(x0, many, 0.0, t, 1.0).sample(generator=generator)
    drawn = drawn.reshape(n, *x.shape)
    if isinstance(process, DiscreteProcess):
        off = _off(process, law, x, drawn, times)
    else:
        off = moments_off(drawn, law.mean, law.variance)
    ledger.judge(
        f"{what}, in standard deviations",
        off,
        FAR,
        f"`given_end` at {t:g} is not the law of bridges from the sources that `pair` draws",
    )
    ledger.findings.pop(what, None)
    numbers = "numbers of x_t given x_1"
    kernel = ledger.ask(numbers, lambda: coupling.kernel(process, t), ValueError)
    if kernel is not None:
        spread = kernel.basis.deviation(kernel.variance, x) ** 2
        wrong = max(
            gap(kernel.centre(x), law.mean),
            largest(spread - law.variance.double()),
        )
        ledger.judge(
            numbers,
            wrong,
            1e-4,
            f"`kernel` at {t:g} has not the mean and variance of `given_end`",
        )


def _off(
    process: DiscreteProcess, law: Law, x: Tensor, drawn: Tensor, times: tuple[float, ...]
) -> float:
    """By how many standard deviations draws (n, batch, *event) on integers are off a law."""
    low, high = int(drawn.min()), int(drawn.max())
    states = Space.of(process, x, times).states
    states = torch.arange(min(low, int(states[0])), max(high, int(states[-1])) + 1)
    size = process.size
    states = states if size is None else states[(states >= 0) & (states < size)]
    log = torch.stack(
        [law.site_log_prob(torch.full_like(x, int(v))) for v in states],  # pyright: ignore
        -1,
    )
    mass, found = log.double().exp().flatten(0, -2), drawn.flatten(1)
    worst = min(chi_square(found[:, i], states, mass[i]) for i in range(len(mass)))
    return deviations(worst, len(mass))


def _moments(ledger: Ledger, coupling: Coupling, process: Process, x: Tensor) -> None:
    """Moments of sources have a shape that fits the event."""
    found = ledger.ask("moments", lambda: coupling.moments(process, x), ValueError)
    if found is None:
        ledger.skip("moments", "nothing is known of them")
        return
    event = x.shape[1:]
    fits = all(torch.broadcast_shapes(part.shape, event) == event for part in found)
    good = fits and bool(found[0].isfinite().all()) and bool((found[1] >= 0).all())
    ledger.demand("moments", good, "`moments` must be a mean and a variance for each site")


doors.guard(__name__)
