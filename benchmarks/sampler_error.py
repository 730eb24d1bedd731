"""The error of samplers with a perfect network, exactly: no training, no Monte Carlo.

Two pixels hold counts 0 .. 31. The data law on the 32 x 32 grid is made of four Gaussian
bumps. Its posterior under thinning is a table, so a sampler of N steps is a product of N
known kernels, and the total variation between its samples and the data is a number.

    python benchmarks/sampler_error.py

prints that number for the samplers of this package beside the values it is expected to
have, and fails if any is off by more than 0.001. Rows:

    nearest      binomial bridge to the mean rounded to the nearest integer (as published)
    stochastic   binomial bridge to the mean rounded at random to one of the two nearest
    poisson      Poisson leap of the mean (as published)
    law          x1 drawn at each pixel from its posterior, then the bridge
"""

import sys
import time

import torch
from torch import Tensor

from markovbridge import CosineSchedule, LogisticSchedule, PureDeath, Transport, exact
from markovbridge.laws import Categorical

STATES = 32
ENDS = {"poisson": 96}  # ends x1 summed over: the Poisson leap can aim above 31
STEPS = (5, 10, 20, 50, 100, 200)
GRIDS = {"logit15": LogisticSchedule(15), "cosine": CosineSchedule()}
EXPECTED = {
    ("logit15", "nearest"): (0.852, 0.468, 0.296, 0.185, 0.149, 0.139),
    ("logit15", "stochastic"): (0.805, 0.433, 0.226, 0.094, 0.050, 0.026),
    ("logit15", "poisson"): (0.696, 0.378, 0.208, 0.085, 0.043, 0.021),
    ("logit15", "law"): (0.280, 0.087, 0.037, 0.013, 0.0065, 0.0033),
    ("cosine", "nearest"): (0.361, 0.251, 0.162, 0.148, 0.136, 0.139),
    ("cosine", "stochastic"): (0.307, 0.167, 0.090, 0.038, 0.019, 0.0096),
    ("cosine", "poisson"): (0.245, 0.130, 0.068, 0.028, 0.014, 0.0069),
    ("cosine", "law"): (0.041, 0.019, 0.0094, 0.0037, 0.0019, 0.0009),
}


def data_law() -> Tensor:
    """The law of the two pixels, (32, 32) float64."""
    value = torch.arange(STATES, dtype=torch.float64)
    first, second = torch.meshgrid(value, value, indexing="ij")
    bumps = ((0.4, 4, 5, 1.5), (0.3, 26, 8, 2.0), (0.2, 20, 27, 1.2), (0.1, 0, 30, 1.0))
    total = sum(
        weight * torch.exp(-((first - a) ** 2 + (second - b) ** 2) / (2 * scale**2))
        for weight, a, b, scale in bumps
    )
    return total / total.sum()


class Posterior:
    """The posterior of each pixel at all states, kept per time: samplers share it."""

    def __init__(self, process: PureDeath, law: Tensor) -> None:
        value = torch.arange(STATES)
        self.every = torch.cartesian_prod(value, value)
        self.exact = exact.Empirical(process, self.every, law.reshape(-1), states=STATES)
        self.kept: dict[float, Tensor] = {}

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Categorical:
        time = float(t[0])
        if time not in self.kept:
            # The state is possible only at the source if it is all zeros.
            states = self.every[:1] if time == 0 else self.every
            self.kept[time] = self.exact(states, time).logits
        return Categorical(self.kept[time][x[:, 0] * STATES + x[:, 1]])


def error(law: Tensor, posterior: Posterior, kernel: str, steps: int) -> float:
    """Total variation between the data law and the samples after `steps` steps."""
    network = posterior if kernel == "law" else exact.MeanOnly(posterior, kernel)
    model = Transport(posterior.exact.process, network, shape=(2,))
    grid = model.process.schedule.grid(steps).tolist()
    output = exact.output_law(model, grid, states=STATES, sites=2, ends=ENDS.get(kernel))
    return 0.5 * float((output - law).abs().sum())


def main() -> int:
    law, largest, began = data_law(), 0.0, time.perf_counter()
    print("total variation to the data after N steps; expected value in brackets")
    print(f"{'grid':8} {'sampler':11}" + "".join(f"{n:>17}" for n in STEPS))
    for name, schedule in GRIDS.items():
        posterior = Posterior(PureDeath(maximum=STATES - 1, schedule=schedule), law)
        for kernel in ("nearest", "stochastic", "poisson", "law"):
            cells = []
            for steps, expected in zip(STEPS, EXPECTED[name, kernel], strict=True):
                found = error(law, posterior, kernel, steps)
                largest = max(largest, abs(found - expected))
                cells.append(f"{found:.4f} ({expected:g})".rjust(17))
            print(f"{name:8} {kernel:11}" + "".join(cells), flush=True)
    print(f"largest deviation {largest:.4f}, in {time.perf_counter() - began:.0f} s")
    return int(largest > 0.001)


if __name__ == "__main__":
    sys.exit(main())
