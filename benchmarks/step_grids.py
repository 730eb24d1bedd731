"""Step grids compared on the exactly known two-pixel law of `sampler_error.py`.

    python benchmarks/step_grids.py

prints the total variation between samples and data after N first-order steps, exactly, for the
grids of `markovbridge.samplers.grids`, with the mean alone (Poisson leap) and with the law per
pixel.
"""

import torch

from markovbridge import (
    CosineSchedule,
    LinearSchedule,
    LogisticSchedule,
    PureDeath,
    Transport,
    exact,
)
from markovbridge.samplers import grids
from sampler_error import ENDS, STATES, Posterior, data_law

STEPS = (5, 10, 20, 50)


def main() -> None:
    law, process = data_law(), PureDeath(maximum=STATES - 1)
    posterior = Posterior(process, law)
    pick = torch.multinomial(
        law.flatten(), 500, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    estimate = Transport(process, posterior.exact, shape=(2,))
    x1 = posterior.every[pick]
    curve = grids.measure(estimate, x1, generator=torch.Generator().manual_seed(1), block=500)
    made = {
        "cosine": lambda n: grids.uniform(n),
        "linear": lambda n: grids.like(process, LinearSchedule(), n),
        "logistic(15)": lambda n: grids.like(process, LogisticSchedule(15), n),
        "logistic(6)": lambda n: grids.like(process, LogisticSchedule(6), n),
        "equal error": curve.grid,
    }
    assert process.schedule == CosineSchedule()
    print(f"{'grid':14} {'kernel':8}" + "".join(f"{n:>9}" for n in STEPS))
    for name, grid in made.items():
        times = {n: grid(n).tolist() for n in STEPS}
        for kernel in ("poisson", "law"):
            network = posterior if kernel == "law" else exact.MeanOnly(posterior, kernel)
            model = Transport(process, network, shape=(2,))
            cells = []
            for n in STEPS:
                found = exact.output_law(
                    model, times[n], states=STATES, sites=2, ends=ENDS.get(kernel)
                )
                cells.append(f"{0.5 * float((found - law).abs().sum()):9.4f}")
                posterior.kept.clear()
            print(f"{name:14} {kernel:8}" + "".join(cells), flush=True)
        survival = process.schedule.survival(torch.tensor(times[10], dtype=torch.float64))
        print("  survival at 10 steps: " + " ".join(f"{p:.3f}" for p in survival.tolist()))


if __name__ == "__main__":
    main()
