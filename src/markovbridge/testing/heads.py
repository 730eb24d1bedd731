"""The check of a head: does every output of a network become a law that all can work with?"""

from __future__ import annotations

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Noised
from markovbridge.couplings.base import Coupling
from markovbridge.doors import checks
from markovbridge.heads.base import Head
from markovbridge.laws import Law, SiteLaw
from markovbridge.processes.base import Process, Setting
from markovbridge.processes.jumps import JumpProcess
from markovbridge.samplers.base import Sampler
from markovbridge.testing.laws import check_config, check_draws, check_law, densities, gap
from markovbridge.testing.numbers import FAR, chi_square, deviations, moments_off
from markovbridge.testing.report import CheckReport, Ledger, seeded

SCALES = (0.0, 1.0, 8.0)  # of what networks put out, trained or not
ROWS = 6
MOST = 2000  # values of a law that are looked at


def check_head(
    head: Head,
    process: Process,
    x1: Tensor,
    *,
    coupling: Coupling | None = None,
    times: tuple[float, float, float] = (0.15, 0.45, 0.8),
    draws: int = 2000,
    seed: int = 0,
) -> CheckReport:
    """Check that whatever a network puts out becomes a law of x_1 that is one.

    Args:
        head: The head.
        process: A process that it is for.
        x1: Data points, (n, *event).
        coupling: The coupling of the transport; by default time reversal.
        times: Times that are looked at, inside (0, 1), beside both ends.
        draws: Draws of each law, compared with its probabilities at level 1e-5.
        seed: Seed of all draws.

    Returns:
        What was checked, with the largest error of each, and what was not, with the reason.

    Raises:
        CheckError: If a promise is broken, naming it.
        TypeError: If the head refuses the process.
        ValueError: If it refuses the process or the coupling.
    """
    checks.whole(draws, "draws", least=100)
    ledger = Ledger(type(head).__name__)
    coupling, generator = coupling or Noised(), seeded(seed)
    head.check(process, coupling)
    x1 = process.check(x1).to(process.dtype)
    x1 = x1.repeat(-(-ROWS // len(x1)), *[1] * (x1.ndim - 1))[:ROWS]
    variance = x1.float().var(0, correction=0).clamp_min(0.1)
    setting = Setting(process, coupling, x1.float().mean(0), variance)
    outputs = head.outputs(process)
    whole = isinstance(outputs, int) and outputs >= 1
    ledger.demand("outputs", whole, f"`outputs` is {outputs!r}; it must be a number from 1")
    x0 = coupling.pair(process, x1, generator=generator)
    for t in (0.0, *times, 1.0):
        at = torch.full((len(x1),), t)
        x = process.bridge(x0, x1, 0.0, at, 1.0).sample(generator=generator)
        for scale in SCALES:
            shape = (len(x1), outputs, *x1.shape[1:])
            raw = scale * torch.randn(shape, generator=generator)
            law = head(setting, raw, x, at)
            name = f"the law at t = {t:g} of outputs of size {scale:g}"
            _sound(ledger, name, process, law, x, at, seed)
            single = head(setting, raw[-1:], x[-1:], at[-1:])
            error = gap(law.mean[-1:], single.mean)
            ledger.judge("rows, one by one", error, 1e-4, f"{name} depends on other rows")
            if t in times and scale == 1:
                _draws(ledger, name, setting, head, (raw, x, at), draws, seed)
                _gradient(ledger, name, setting, head, (raw, x, at), x1)
        if head.noise:
            _ends(ledger, setting, head, x, at, x1, generator)
    sampler = head.sampler(process)
    ledger.demand("sampler", isinstance(sampler, Sampler), "`sampler` gives no Sampler")
    check_config(ledger, head)
    return ledger.report()


def _sound(
    ledger: Ledger, name: str, process: Process, law: Law, x: Tensor, t: Tensor, seed: int
) -> None:
    """Shapes and types, finite moments, draws that are possible, and rates that are rates."""
    check_law(ledger, name, law, x, seed)
    check_draws(ledger, name, law, seed)
    finite = bool(law.mean.isfinite().all()) and not bool(law.variance.isnan().any())
    ledger.demand("finite", finite, f"{name} has a mean or variance that is not finite")
    drawn = law.sample(generator=seeded(seed))
    if process.support is None:  # what is beyond a range is cut, and then a state
        cut = process.project(drawn)
        ledger.ask("draws", lambda: process.check(cut), NotImplementedError)
    log = densities(law, drawn)
    if log is not None:
        good = log.shape == x.shape[:1] and bool(log.isfinite().all())
        ledger.demand("draws", good, f"{name} says of its own draws that they cannot be")
    if isinstance(process, JumpProcess) and 0 < float(t[0]) < 1:
        rates = ledger.ask(
            "rates", lambda: process.expected_rates(law, x, t), TypeError, ValueError
        )
        if rates is not None:
            size = float(rates.abs().max()) + 1e-12
            good = bool(rates.isfinite().all()) and float(rates.min()) >= -1e-5 * size
            ledger.demand("rates", good, f"rates of {name} are negative or not finite")


def _ends(
    ledger: Ledger,
    setting: Setting,
    head: Head,
    x: Tensor,
    t: Tensor,
    x1: Tensor,
    generator: torch.Generator,
) -> None:
    """Ends that are made of noise: states that can be, and a score with a slope."""
    name, process = f"an end made at t = {float(t[0]):g}", setting.process
    n = head.draws
    shape = (n * len(x), head.outputs(process), *x.shape[1:])
    raw = torch.randn(shape, generator=generator).requires_grad_()
    states, times = x.repeat(n, *[1] * (x.ndim - 1)), t.repeat(n)
    ends = head.from_noise(setting, raw, states, times)
    drawn = process.project(head.whole(ends, states).sample(generator=generator))
    if process.support is None:
        ledger.ask("ends", lambda: process.check(drawn), NotImplementedError)
    score = head.score(setting, ends, x1)
    good = score.shape == x.shape[:1] and bool(score.isfinite().all())
    ledger.demand("score", good, f"the score of {name} is no number for each row")
    (slope,) = torch.autograd.grad(score.sum(), raw)
    ledger.demand("score", bool(slope.isfinite().all()), f"the score of {name} has no slope")
    when = head.times(len(x), generator, "cpu")
    inside = bool(((when >= 0) & (when < 1)).all())
    ledger.demand("times of ends", inside, "times of ends lie outside of [0, 1)")


def _draws(
    ledger: Ledger,
    name: str,
    setting: Setting,
    head: Head,
    asked: tuple[Tensor, Tensor, Tensor],
    n: int,
    seed: int,
) -> None:
    """Draws against probabilities, and moments against both."""
    process, x = setting.process, asked[1]
    raw, states, t = (part.repeat(n, *[1] * (part.ndim - 1)) for part in asked)
    drawn = head(setting, raw, states, t).sample(generator=seeded(seed))
    law, drawn = head(setting, *asked), drawn.reshape(n, *x.shape)
    if process.dtype.is_floating_point:
        off = moments_off(drawn, law.mean, law.variance)
        ledger.judge(
            "moments, in standard deviations", off, FAR, f"draws of {name} have other moments"
        )
        return
    values = _values(process, law)
    if values is None or not isinstance(law, SiteLaw):
        ledger.skip("probabilities", "the law has no table and no window")
        return
    log = torch.stack([law.site_log_prob(torch.full_like(x, int(v))) for v in values], -1)
    mass = log.double().exp()
    total = mass.sum(-1)
    ledger.judge(
        "probabilities sum to 1",
        (total - 1).abs().max(),
        1e-4,
        f"the probabilities of {name} do not sum to 1",
    )
    if not law.biased:
        mean = (mass * values).sum(-1)
        spread = (mass * (values - mean.unsqueeze(-1)) ** 2).sum(-1)
        wrong = max(gap(mean, law.mean), gap(spread, law.variance))
        ledger.judge("moments", wrong, 1e-3, f"moments of {name} are not of its probabilities")
    flat, found = mass.flatten(0, -2), drawn.flatten(1)
    worst = min(chi_square(found[:, i], values, flat[i]) for i in range(len(flat)))
    ledger.judge(
        "draws, in standard deviations",
        deviations(worst, len(flat)),
        FAR,
        f"draws of {name} do not follow its probabilities",
    )


def _values(process: Process, law: Law) -> Tensor | None:
    """All values that a law may have at a site."""
    if law.categories is not None:
        return torch.arange(law.categories)
    if law.window is not None:
        low, high = int(law.window[0].min()), int(law.window[1].max())
    else:
        reach = 10 * law.variance.double().sqrt() + 40
        low = int((law.mean.double() - reach).min())
        high = int((law.mean.double() + reach).max())
    if high - low > MOST:
        return None
    least = int(process.project(torch.tensor([[low]])))  # no counts below 0
    return torch.arange(max(low, least) if least <= 0 else low, high + 1)


def _gradient(
    ledger: Ledger,
    name: str,
    setting: Setting,
    head: Head,
    asked: tuple[Tensor, Tensor, Tensor],
    x1: Tensor,
) -> None:
    """A loss has a gradient that reaches the network."""
    raw, x, t = asked
    raw = raw.clone().requires_grad_()
    with torch.enable_grad():
        law = head(setting, raw, x, t)
        loss = ledger.ask("path KL", lambda: setting.process.divergence(law, x, x1, t), TypeError)
        loss = law.log_prob(x1) if loss is None else loss
        (slope,) = torch.autograd.grad(loss.sum(), raw)
    good = bool(slope.isfinite().all()) and bool((slope != 0).any())
    ledger.demand(
        "gradient", good, f"{name} gives the network no gradient, or none that is finite"
    )


doors.guard(__name__)
