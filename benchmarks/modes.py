"""Noise of which colour, and clocks by mode: digits under VP, an MLP of 512 x 3.

    python benchmarks/modes.py --seeds 0 1 2

Trains a bridge mixture with each choice and seed, 2,500 steps of 128, all else as in the recipe
`digits-bridge`, and prints the energy distance of as many samples as there are digits to these, in
raw values, at 20, 10 and 6 evaluations of `Midpoint` and of `StochasticAdams`, 19 of Heun's flow
and 20 to 3 of Adams'; at the end the mean and range over seeds. Figures are kept under --output,
so that a second call goes on.

    python benchmarks/modes.py --levels --seeds 0 1 2

Samples each model in 20 steps of Euler-Maruyama with noise of other levels: numbers, powers of the
covariance of the data, and some of its eigenvectors, the strongest counted first; then in 10 steps
of Heun's method, 19 evaluations, with a little noise, and in 20 of Adams', beside Heun's flow and
`Midpoint`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge import processes
from markovbridge.covariances import Cosine, Covariance, Isotropic, Modal, Power
from markovbridge.evaluation import metrics
from markovbridge.evaluation.bands import even_clocks, opposite, plot_bands
from markovbridge.networks import MLP
from markovbridge.samplers import Level, Levels
from trained_runs import averaged

WALKS = {
    "noise, 20": (mb.Midpoint(), 10),
    "noise, 10": (mb.Midpoint(), 5),
    "noise, 6": (mb.Midpoint(), 3),
    "flow, 19": (mb.ProbabilityFlow(), 10),
    **{f"adams, {n}": (mb.ProbabilityFlow("adams"), n) for n in (20, 10, 6, 4, 3)},
    **{f"noisy adams, {n}": (mb.StochasticAdams(), n) for n in (20, 10, 6)},
}
EDGES = tuple(k / 32 for k in range(1, 24, 2))  # bands of a cosine transform of 8 x 8
COUPLING = mb.Independent(mb.couplings.Gaussian(correlated=True))
SUPPORT = processes.RoundedSupport(16)


def levels_of(x: Tensor) -> dict[str, tuple[mb.samplers.Sampler, int]]:
    """Noise that a sampler may add, of models of white noise, and its steps."""
    data = opposite(x).base
    white = float(x.var(0).mean())
    numbers: dict[str, float | Covariance | Level] = {f"{n:g}": n for n in (0.01, 0.25, 0.5, 1.0)}
    for exponent in (-0.5, -0.25, 0.25, 0.5):
        numbers[f"C^{exponent}"] = Power(data, exponent)
    for low, high in ((0, 8), (0, 32), (8, 64), (32, 64)):
        some = tuple(white if low <= k < high else 0.0 for k in range(64))
        numbers[f"of modes {low + 1} to {high}"] = Modal(data.modes, some)
    numbers["1, then 0.01"], numbers["0.01, then 1"] = (
        Levels(times=(0.5,), levels=early_late) for early_late in ((1.0, 0.01), (0.01, 1.0))
    )
    heun: dict[str, float | Covariance | Level] = {f"{n:g}": n for n in (0.1, 0.2, 0.3, 0.5)}
    for low, high in ((0, 8), (8, 64), (0, 32), (32, 64)):
        some = tuple(0.09 * white if low <= k < high else 0.0 for k in range(64))
        heun[f"0.3 of modes {low + 1} to {high}"] = Modal(data.modes, some)
    for exponent in (-0.25, 0.25):
        spectrum = 0.09 * Power(data, exponent).eigenvalues(x.shape[1:]).ravel()
        heun[f"0.3 of C^{exponent}"] = Modal(data.modes, tuple(spectrum.tolist()))
    heun["0.3, then 0"], heun["0, then 0.3"] = (
        Levels(times=(0.5,), levels=early_late) for early_late in ((0.3, 0.0), (0.0, 0.3))
    )
    return {
        **{f"level {name}": (mb.EulerMaruyama(level), 20) for name, level in numbers.items()},
        **{f"heun {name}": (mb.StochasticHeun(level), 10) for name, level in heun.items()},
        **{f"adams {n:g}": (mb.StochasticAdams(n), 20) for n in (0.2, 0.5, 1.0)},
        "flow": (mb.ProbabilityFlow(), 10),
        "midpoint": (mb.Midpoint(), 10),
    }


def process_of(name: str, x: Tensor, steps: int = 0, seed: int = 0) -> mb.LinearDiffusion:
    """The diffusion of a choice: a power of the covariance, or clocks by mode.

    Clocks that are asked of a model have it trained first, as long as the other.
    """
    white = Isotropic(float(x.var(0).mean()))
    options = {"direction": "noising", "support": SUPPORT}
    if name == "white":
        return mb.LinearDiffusion(mb.VP(), white, **options)
    if name.startswith("power"):
        return mb.LinearDiffusion(mb.VP(), opposite(x, float(name.split()[1])), **options)
    modes = opposite(x).modes if "eigenvectors" in name else Cosine(edges=EDGES)
    plain = mb.LinearDiffusion(mb.VP(), white, **options)
    model = trained(plain, x, steps, seed) if "asked" in name.split() else None
    noise = torch.Generator().manual_seed(seed)
    clocks = even_clocks(plain, COUPLING, modes, x, model=model, generator=noise)
    if name.startswith("alike"):
        clocks = processes.BandClocks((1.0,) * clocks.bands, clocks.spectrum)
    if name.startswith("half"):
        clocks = processes.BandClocks(tuple(m**0.5 for m in clocks.odds), clocks.spectrum)
    if name.endswith("bare"):
        clocks = processes.BandClocks(clocks.odds)
    return mb.LinearDiffusion(mb.VP(), white, modes=modes, clocks=clocks, **options)


def trained(process: mb.LinearDiffusion, x: Tensor, steps: int, seed: int) -> mb.Transport:
    torch.manual_seed(seed)
    head, event = mb.EndpointHead("residual"), tuple(x.shape[1:])
    mean, variance = mb.statistics(x)
    parts = {"shape": event, "mean": mean, "variance": variance, "coupling": COUPLING}
    network = MLP(event, 1, 1, width=512, depth=3)
    model = mb.Transport(process, network, head, objective=mb.PathKL(damping=1.0), **parts)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1e-3, steps, pct_start=min(0.5, 50 / steps), div_factor=50, final_div_factor=1e3
    )
    data = process.support.decode(x) if process.support is not None else x

    def loss(noise: torch.Generator) -> Tensor:
        rows = torch.randint(len(x), (128,), generator=noise)
        return model.loss(data[rows], generator=noise).mean()

    return averaged(model, loss, rate, steps, seed, decay=0.995)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--only",
        nargs="+",
        default=["white", "power -0.25", "power -0.5", "even eigenvectors", "even cosine"],
        help="white; 'power GAMMA'; 'even', 'half' (roots of the odds) or 'alike' (no clocks, "
        "guess by mode), each with 'eigenvectors' or 'cosine', 'bare' without a spectrum, and "
        "'asked' by the errors of a model that is trained before",
    )
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--levels", action="store_true", help="levels of noise, of white models")
    parser.add_argument("--output", type=Path, default=Path("runs/modes"))
    parser.add_argument("--figure", type=Path, help="write what was chosen here, and stop")
    arguments = parser.parse_args()
    data = mb.data.Digits().load("all").x
    x = SUPPORT.encode(data.float())
    if arguments.figure is not None:
        draw(arguments.only, x, arguments.figure)
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    walks = WALKS
    if arguments.levels:
        arguments.only = ["white"]
        walks = levels_of(x)
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in arguments.seeds:
        for name in arguments.only:
            end = " levels of noise" if arguments.levels else ""
            file = arguments.output / f"{name} {seed} {arguments.steps}{end}.json"
            kept = json.loads(file.read_text()) if file.is_file() else {}
            if not walks.keys() <= kept.keys():
                start = time.process_time()
                process = process_of(name, x, arguments.steps, seed)
                model = trained(process, x, arguments.steps, seed)
                kept = scores(model, data, seed, walks)
                file.write_text(json.dumps(kept))
                took = time.process_time() - start
                print(f"{name}, seed {seed}: {took:.0f} s of a processor", flush=True)
            found[name].append(kept)
            row = "  ".join(f"{word} {v:.3f}" for word, v in found[name][-1].items())
            print(f"  {name}, seed {seed}: {row}", flush=True)
    for name, rows in found.items():
        cells = []
        for word in walks:
            values = [row[word] for row in rows]
            cells.append(
                f"{word}: {sum(values) / len(values):.3f} ({min(values):.3f}-{max(values):.3f})"
            )
        print(f"{name:20s} {'  '.join(cells)}")


def scores(
    model: mb.Transport,
    data: Tensor,
    seed: int,
    walks: dict[str, tuple[mb.samplers.Sampler, int]],
) -> dict[str, float]:
    found = {}
    for word, (sampler, steps) in walks.items():
        generator = torch.Generator().manual_seed(100 + seed)
        drawn = model.sample(
            len(data), steps=steps, sampler=sampler, generator=generator, block=600
        )
        found[word] = metrics.energy_distance(drawn.double(), data.double())
    return found


def draw(names: list[str], x: Tensor, path: Path) -> None:
    """Shares of bands that are open over time, a panel for each choice."""
    import matplotlib.pyplot as plt

    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.4 * columns, 3 * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(names) :]:
        ax.remove()
    for name, ax in zip(names, axes.flat, strict=False):
        process = process_of(name, x)
        plot_bands(process, COUPLING, x, modes=process.modes or opposite(x).modes, ax=ax)
        ax.set_title(name)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
