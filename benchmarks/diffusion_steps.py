"""The error of diffusion samplers with a perfect network, exactly: no training, no noise.

A Gaussian source goes to Gaussian data. The posterior mean is affine in x, so every step of
every sampler is x -> a x + b + c · noise, and the mean and variance of the samples are
products of numbers. What is off is the sampler's own error.

    python benchmarks/diffusion_steps.py

prints (1) the variance of the samples of N(0, 1) -> N(2, 1/4) under Brownian motion, beside
the values it is expected to have, and fails if any differs; (2) the error in the standard
deviation of N(0, 1) -> N(2, 9/4), where no flow is straight, at doubled step counts on two
clocks, with the order of convergence seen between the last two; (3) the bias of time
reversal from its prior, against none of the bridge mixture; (4) the largest error of three points
under a flow, a diffusion without noise from N(-1, 1/4) to N(2, 9/4), whose map is
2 + 3(x + 1). Rows:

    bridge, law        x1 drawn from its posterior, then the bridge: exact at any N
    bridge, plug-in    the bridge towards the posterior mean
    bridge, spread 1   the bridge towards the mean with the noise of the reference
    EM, noise          Euler-Maruyama, noise in the last step as in every step
    EM, mean           Euler-Maruyama, no noise in the last step
    EM, level 1/2      half the noise, with the score that makes up for it
    flow, Euler        probability-flow ODE
    flow, Heun         the same, second order
    flow, Adams        likewise, its linear part exact, one evaluation a step
    Heun, level 0.3    the same with noise of that level, and of level 1
    midpoint           second order with noise: bridges towards means seen twice a step
"""

import math
import sys
from dataclasses import dataclass, field

import torch
from torch import Tensor

from markovbridge import (
    VP,
    Bridge,
    Brownian,
    CosineSchedule,
    EulerMaruyama,
    Independent,
    LinearDiffusion,
    LinearSchedule,
    Noised,
    ProbabilityFlow,
    StochasticHeun,
    Transport,
    exact,
)
from markovbridge.couplings import Gaussian
from markovbridge.covariances import Isotropic
from markovbridge.laws import Delta, Law
from markovbridge.samplers import Midpoint, Sampler

STEPS = (5, 10, 30, 100, 1000)
DOUBLED = (8, 16, 32, 64, 128)
EXPECTED = {
    "bridge, law": (0.25, 0.25, 0.25, 0.25, 0.25),
    "bridge, plug-in": (0.090488, 0.135928, 0.188439, 0.221882, 0.245043),
    "EM, noise": (0.335122, 0.287621, 0.261517, 0.253353, 0.250331),
    "EM, mean": (0.135122, 0.187621, 0.228184, 0.243353, 0.249331),
}


@dataclass(frozen=True)
class Fixed(Isotropic):
    """Noise that is 0 but for one draw, which is 1: it makes a step a function.

    Attributes:
        draw: Which draw; 0 for none.
        made: One entry for each draw so far.
    """

    draw: int = 0
    made: list[None] = field(default_factory=list)

    def sample(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        self.made.append(None)
        return torch.full_like(like, float(len(self.made) == self.draw))


SAMPLERS: dict[str, tuple[Sampler, float | None]] = {
    "bridge, law": (Bridge(), None),
    "bridge, plug-in": (Bridge(), 0.0),
    "bridge, spread 1": (Bridge(), 1.0),
    "EM, noise": (EulerMaruyama(last="noise"), 0.0),
    "EM, mean": (EulerMaruyama(), 0.0),
    "EM, level 1/2": (EulerMaruyama(level=0.5), 0.0),
    "flow, Euler": (ProbabilityFlow("euler"), 0.0),
    "flow, Heun": (ProbabilityFlow("heun"), 0.0),
    "flow, Adams": (ProbabilityFlow("adams"), 0.0),
    "Heun, level 0.3": (StochasticHeun(0.3), 0.0),
    "Heun, level 1": (StochasticHeun(1.0), 0.0),
    "midpoint": (Midpoint(), 0.0),
}


FLOWS = {
    "EM, mean": 1,
    "flow, Euler": 1,
    "flow, Heun": 2,
    "flow, Adams": 2,
    "midpoint": 3,
}  # and their orders


def data(process: LinearDiffusion, variance: float, coupling: Independent | Noised):
    mean = torch.tensor([2.0], dtype=torch.float64)
    spread = torch.tensor([[variance]], dtype=torch.float64)
    return exact.Gaussian.coupled(process, coupling, mean, spread)


def end_variance(
    process: LinearDiffusion, exact_law: Law, t: float, spread: float | None
) -> float:
    """Variance of the law around the mean that this way of drawing x_1 has."""
    if spread is None:
        return float(exact_law.variance[0])
    gain, noise = process.piece(t, 1.0)
    return spread * float(noise / gain**2)


def samples(name: str, schedule, steps: int, variance: float) -> tuple[float, float]:
    """Mean and variance of the samples."""
    sampler, spread = SAMPLERS[name]
    coupling = Independent()
    process = LinearDiffusion(Brownian(), schedule=schedule)
    law = data(process, variance, coupling)
    moments = 0.0, 1.0
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    if isinstance(sampler, ProbabilityFlow):  # no noise, so that the walk is one affine map
        model = Transport(process, law, shape=(1,), coupling=coupling)
        low, high = model.translate(ends, steps=steps, sampler=sampler).ravel().tolist()
        return low, (high - low) ** 2
    grid = process.schedule.grid(steps).tolist()
    for t, s in zip(grid, grid[1:], strict=False):
        known = {t: law(ends, t)}

        def network(x: Tensor, time: Tensor, condition: Tensor | None) -> Law:
            # Asked at the step's own states only: second stages are elsewhere.
            now = float(time[0])
            here = known[now] if now in known and torch.equal(x, ends) else law(x, now)  # noqa: B023
            return Delta(here.mean)

        moved = []
        for draw in (0, 1, 2):
            noisy = LinearDiffusion(Brownian(), Fixed(draw=draw), schedule)
            model = Transport(noisy, network, shape=(1,), coupling=coupling)
            moved.append(sampler.step(model, ends, t, s))
        noise = sum(float((other - moved[0])[0]) ** 2 for other in moved[1:])
        if isinstance(sampler, Bridge):
            gain = float(process.weights(t, s, 1.0)[1])
            noise += gain**2 * end_variance(process, known[t], t, spread)
        slope = float(moved[0][1] - moved[0][0])
        moments = slope * moments[0] + float(moved[0][0]), slope**2 * moments[1] + noise
    return moments


def bias(b: float, coupling: Independent | Noised, steps: int = 4000) -> tuple[float, float]:
    """Mean and variance of the exact process of VP with ∫β = b from N(0, 1)."""
    process = LinearDiffusion(VP(b, b), direction="noising", schedule=CosineSchedule())
    law = data(process, 0.25, coupling)
    mean, variance = 0.0, 1.0
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    grid = process.schedule.grid(steps).tolist()
    for t, s in zip(grid, grid[1:], strict=False):
        # A bridge step towards a drawn end is exact for the law that has this posterior.
        posterior = law(ends, t)
        start, gain, noise = (float(w) for w in process.weights(t, s, 1.0))
        moved = start * ends + gain * posterior.mean
        slope = float(moved[1] - moved[0])
        mean = slope * mean + float(moved[0])
        variance = slope**2 * variance + noise + gain**2 * float(posterior.variance[0])
    return mean, variance


def flow_error(name: str, steps: int) -> float:
    """Largest distance of samples from where the flow leads their sources."""
    process, source = LinearDiffusion(Brownian(0.0)), Gaussian(mean=-1.0, std=0.5)
    law = data(process, 2.25, Independent(source))
    model = Transport(process, law, shape=(1,), coupling=law.coupling)
    x = torch.tensor([[-1.7], [-1.0], [0.1]], dtype=torch.float64)
    moved = model.translate(x, steps=steps, sampler=SAMPLERS[name][0])
    return float((moved - (2 + 3 * (x + 1))).abs().max())


def main() -> int:
    failed = 0
    print("variance of the samples, N(0, 1) -> N(2, 1/4)")
    print(f"{'steps':18s}" + "".join(f"{n:>12d}" for n in STEPS))
    for name in SAMPLERS:
        found = [samples(name, LinearSchedule(), n, 0.25) for n in STEPS]
        print(f"{name:18s}" + "".join(f"{variance:12.6f}" for _, variance in found))
        failed += any(abs(mean - 2) > 1e-6 for mean, _ in found)
        for (_, variance), expected in zip(found, EXPECTED.get(name, ()), strict=False):
            failed += abs(variance - expected) > 1e-6
    print("\nerror of the standard deviation, N(0, 1) -> N(2, 9/4)")
    print(f"{'steps':26s}" + "".join(f"{n:>11d}" for n in DOUBLED) + f"{'order':>8s}")
    for schedule in (LinearSchedule(), CosineSchedule()):
        for name in SAMPLERS:
            error = [math.sqrt(samples(name, schedule, n, 2.25)[1]) - 1.5 for n in DOUBLED]
            exact_already = max(map(abs, error)) < 1e-9
            order = math.log2(abs(error[-2] / error[-1])) if not exact_already else math.inf
            label = f"{type(schedule).__name__.lower()}: {name}"
            print(f"{label:26s}" + "".join(f"{e:11.1e}" for e in error) + f"{order:8.2f}")
            failed += name == "bridge, law" and not exact_already
    print("\nfrom N(0, 1) to N(2, 1/4) under VP: mean and variance")
    print(f"{'integral of beta':18s}{'time reversal':>22s}{'bridge mixture':>22s}")
    for b in (1, 2, 5, 10):
        row = [bias(b, coupling) for coupling in (Noised(), Independent())]
        print(f"{b:<18d}" + "".join(f"{m:12.6f}{v:10.6f}" for m, v in row))
        failed += abs(row[1][0] - 2) > 1e-6 or abs(row[1][1] - 0.25) > 1e-6
    print("\nlargest error of a flow, N(-1, 1/4) -> N(2, 9/4)")
    print(f"{'steps':18s}" + "".join(f"{n:>11d}" for n in DOUBLED) + f"{'order':>8s}")
    for name, order in FLOWS.items():
        errors = [flow_error(name, n) for n in DOUBLED]
        seen = math.log2(errors[-2] / errors[-1])
        print(f"{name:18s}" + "".join(f"{e:11.1e}" for e in errors) + f"{seen:8.2f}")
        failed += abs(seen - order) > 0.2
    print("\nall as expected" if not failed else f"\n{failed} rows differ from what is expected")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
