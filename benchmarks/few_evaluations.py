"""From 2 evaluations on: joint draws that hand over to leaps, beside leaps alone.

    python benchmarks/few_evaluations.py --seeds 0 1 2 --figure few-evaluations.png
    python benchmarks/few_evaluations.py --data fashion-mnist --run runs/fashion-mnist \
        --samples 1000 --extractor mobilenet:weights.pt --pictures few-fashion.png

Trains the recipe on all images (or takes a run that is there), with the default head and with
`MeanHead`, once for each seed. Then draws samples at every number of network evaluations: by the
best plan of `markovbridge.transport.planning`, which is found with other noise than it is judged
by, and by leaps alone. Prints for each the energy distance in raw values, the Fréchet distance of
features and the variance in units of that of the data, as mean and deviation over seeds, with
floors: what two halves of the data score.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge.data import IDX, Digits
from markovbridge.evaluation import metrics
from markovbridge.evaluation.metrics import extractor_of
from markovbridge.samplers.hand_over import walk
from markovbridge.storage.png import grid_png
from markovbridge.transport.planning import THETA, best, chosen, plans
from trained_runs import trained

DATA = {"digits": Digits(), "fashion-mnist": IDX(name="fashion-mnist")}
HEADS = {"joint": [], "leaps": ["--head", "markovbridge.MeanHead"]}


def model_of(name: str, arguments: argparse.Namespace, seed: int) -> mb.Transport:
    """The model of the recipe, or of its twin with a mean alone."""
    if arguments.run is not None:
        return mb.Transport.from_pretrained(arguments.run)
    run = arguments.output / f"{arguments.data}-{name}-{seed}-{arguments.steps or 'whole'}"
    words = ["--split", "all", *HEADS[name], "--trainer.seed", str(seed)]
    words += ["--trainer.sample_every", "0"]
    words += ["--trainer.steps", str(arguments.steps)] if arguments.steps else []
    return mb.Transport.from_pretrained(trained(run, arguments.data, *words))


def walks(model: mb.Transport, real: Tensor, counts: list[int], samples: int) -> dict[int, dict]:
    """How to draw at each number of evaluations: options of `sample`."""
    if not model.draws_jointly:
        model.sampler = chosen(model, plans(model, real, samples=samples, seed=1))
        return {n: {"steps": n // 2} for n in counts if n > 1}
    steps = sorted({2, *(1 + (n - 1) // 2 for n in counts), *(1 + n // 2 for n in counts)} - {1})
    found = plans(model, real, steps=steps, samples=samples, seed=1)
    options = {}
    for count in counts:
        plan = min(best(found, count).values(), key=lambda plan: (-plan.draws, plan.error))
        then = mb.Trapezoidal(plan.theta or THETA, powers=(plan.power,))
        sampler, times = walk(model, plan.steps, plan.joint, then)
        grid = torch.tensor(times, dtype=torch.float64)
        options[count] = {"steps": grid, "sampler": sampler}
        joint = ", ".join(f"{t:.3f}" for t in plan.joint)
        leaps = f"leaps of theta {plan.theta}, power {plan.power}"
        say(f"  {count:4d}: joint draws to t = {joint}; {leaps}")
    return options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=list(DATA), default="digits")
    parser.add_argument("--steps", type=int, help="of training; the recipe's own if not given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--evaluations", type=int, nargs="+", default=[1, 2, 3, 4, 6, 10, 20])
    parser.add_argument("--samples", type=int, default=1797)
    parser.add_argument("--plans", type=int, default=2048, help="samples of a plan that is tried")
    parser.add_argument("--only", nargs="+", choices=list(HEADS), default=list(HEADS))
    parser.add_argument("--extractor", default="pixels", help="pixels or mobilenet:PATH")
    parser.add_argument("--output", type=Path, default=Path("runs/few-evaluations"))
    parser.add_argument("--run", type=Path, help="take this run, and no other")
    parser.add_argument("--pictures", type=Path, help="write the first samples of each row here")
    parser.add_argument("--figure", type=Path, help="write a plot of energy distances here")
    arguments = parser.parse_args()
    data = DATA[arguments.data].load("all" if arguments.data == "digits" else "test")
    seen = extractor_of(arguments.extractor, maximum=data.maximum or 255)
    real = data.x.long()
    variance = float(real.float().var(0).sum())

    def scores(x: Tensor, y: Tensor) -> tuple[float, float, float]:
        return (
            metrics.energy_distance(x.flatten(1).double(), y.flatten(1).double()),
            metrics.frechet_distance(seen(x).double(), seen(y).double()),
            float(x.float().var(0).sum()) / variance,
        )

    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    half = min(arguments.samples, len(real) // 2)
    floor = scores(real[order[:half]], real[order[half : 2 * half]])
    say(f"halves of {half}: {floor[0]:.3f} / {floor[1]:.4g}")
    found: dict[tuple[str, int], list[tuple[float, ...]]] = defaultdict(list)
    pictures = []
    names = ["run"] if arguments.run is not None else arguments.only
    for seed in arguments.seeds:
        for name in names:
            model = model_of(name, arguments, seed)
            found_walks = walks(model, real[order[:2048]], arguments.evaluations, arguments.plans)
            for count, options in found_walks.items():
                drawn = model.sample(
                    arguments.samples,
                    generator=torch.Generator().manual_seed(100 + seed),
                    **options,
                )
                found[name, count].append(scores(drawn, real))
                pictures += [drawn[:10]] if seed == arguments.seeds[0] else []
    for (name, count), rows in found.items():
        table = torch.tensor(rows)
        spread = table.std(0) if len(rows) > 1 else torch.zeros(3)
        cells = [
            f"{m:.3g} ± {s:.1g}"
            for m, s in zip(table.mean(0).tolist(), spread.tolist(), strict=True)
        ]
        say(f"{name:8s} {count:4d}: {' / '.join(cells)}")
    if arguments.pictures is not None:
        arguments.pictures.write_bytes(
            grid_png(torch.cat(pictures), data.maximum or 255, columns=10)
        )
    if arguments.figure is not None:
        plot(found, floor[0], arguments.figure)


def plot(found: dict[tuple[str, int], list[tuple[float, ...]]], floor: float, path: Path) -> None:
    """Energy distance over evaluations, both logarithmic, with the range over seeds."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for name in dict.fromkeys(name for name, _ in found):
        counts = [count for other, count in found if other == name]
        energies = [[row[0] for row in found[name, count]] for count in counts]
        axes.plot(counts, [sum(e) / len(e) for e in energies], marker="o", label=name)
        axes.fill_between(
            counts, [min(e) for e in energies], [max(e) for e in energies], alpha=0.2
        )
    axes.axhline(floor, color="grey", linewidth=0.8, linestyle=":", label="real against real")
    axes.set(xscale="log", yscale="log", xlabel="network evaluations a sample")
    axes.set_ylabel("energy distance to the data")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
