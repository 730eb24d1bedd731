r"""Trained diffusions side by side: several samplers, one table, one picture.

    python benchmarks/compare_runs.py runs/digits-bridge runs/digits-reversal \
        --flow 10 50 --noise 20 100 --figure rows.png

Draws samples of each run by Heun's probability flow in FLOW steps (2 FLOW - 1 evaluations of
the network) and by Euler-Maruyama in NOISE steps, and prints the energy distance in raw values
and the Fréchet distance to the data of the first run, beside those of two halves of the data;
then, for the last flow, the variance of the samples over that of the data by spatial frequency.
The picture has a row of data and a row of samples of each run, by the last flow.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge.data import Dataset
from markovbridge.evaluation import metrics
from markovbridge.evaluation.metrics import extractor_of
from markovbridge.samplers import Sampler
from markovbridge.storage.config import from_config
from markovbridge.storage.png import grid_png
from markovbridge.training.run_folder import RunFolder

COLUMNS = 16  # of the picture
BLOCK = 512
BANDS = (0.0, 0.1, 0.2, 0.3, 1.0)  # of spatial frequency, waves a pixel


def variances(x: Tensor) -> list[float]:
    """Variance of images (N, *channels, h, w) in each band of frequencies, all sites together."""
    centred = x.double() - x.double().mean(0)
    power = torch.fft.fft2(centred, norm="ortho").abs().square().flatten(0, -3).mean(0)
    rows, columns = (torch.fft.fftfreq(size, dtype=torch.float64) for size in power.shape)
    waves = (rows[:, None] ** 2 + columns**2).sqrt()
    edges = zip(BANDS, BANDS[1:], strict=False)
    return [power[(waves >= low) & (waves < high)].sum().item() for low, high in edges]


def data_of(run: Path, split: str | None) -> Dataset:
    """The data that a run was trained on, or another part of them."""
    config = RunFolder(run).configuration()
    return from_config(config["data"]).load(split or config.get("split", "train"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--flow", type=int, nargs="*", default=[10, 50])
    parser.add_argument("--noise", type=int, nargs="*", default=[20, 100])
    parser.add_argument("--samples", type=int, default=1797)
    parser.add_argument("--split", help="part of the data to compare with")
    parser.add_argument("--extractor", default="pixels", help="pixels or mobilenet:PATH")
    parser.add_argument("--figure", type=Path, help="write a picture of samples here")
    arguments = parser.parse_args()
    data = data_of(arguments.runs[0], arguments.split)
    features = extractor_of(arguments.extractor, maximum=data.maximum or 255)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    real = data.x[order]

    def seen(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1).double(), features(x).double()

    def scores(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> str:
        energy = metrics.energy_distance(a[0], b[0])
        return f"{energy:.3f} / {metrics.frechet_distance(a[1], b[1]):.3g}"

    walks: dict[str, tuple[Sampler, int]] = {
        **{f"flow, {2 * n - 1}": (mb.ProbabilityFlow(), n) for n in arguments.flow},
        **{f"noise, {n}": (mb.EulerMaruyama(), n) for n in arguments.noise},
    }
    n = arguments.samples
    raw, known = seen(real)
    half = min(n, len(real) // 2)
    first, second = ((raw[k], known[k]) for k in (slice(half), slice(half, 2 * half)))
    lines = [
        f"{n} samples against {len(real)} of {data.name}; energy / Fréchet distance "
        f"({features.name}); {half} real ones against {half} others: "
        f"{scores(first, second)}",
        "| run | " + " | ".join(walks) + " |\n" + "|---" * (1 + len(walks)) + "|",
    ]
    whole = variances(real)
    names = [f"below {high}" for high in BANDS[1:-1]] + ["above"]
    bands = [
        "\nVariance over that of the data, by spatial frequency in waves a pixel:",
        f"| run | {' | '.join(names)} |\n" + "|---" * (1 + len(names)) + "|",
        f"| share of the data | {' | '.join(f'{v / sum(whole):.3f}' for v in whole)} |",
    ]
    rows = [real[:COLUMNS]]
    for run in arguments.runs:
        model, cells, shown = mb.Transport.from_pretrained(run / "model"), [], None
        for name, (sampler, steps) in walks.items():
            noise = torch.Generator().manual_seed(0)
            made = model.sample(n, steps=steps, sampler=sampler, generator=noise, block=BLOCK)
            cells.append(scores(seen(made), (raw, known)))
            if shown is None or isinstance(sampler, mb.ProbabilityFlow):
                shown = made
            sys.stderr.write(f"{run.name}, {name}: {cells[-1]}\n")
        lines.append(f"| {run.name} | {' | '.join(cells)} |")
        if shown is not None:
            ratios = [a / b for a, b in zip(variances(shown), whole, strict=True)]
            bands.append(f"| {run.name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
            rows.append(shown[:COLUMNS].to(real.dtype))
    sys.stdout.write("\n".join(lines + bands) + "\n")
    if arguments.figure is not None:
        picture = grid_png(torch.cat(rows), data.maximum or 255, columns=COLUMNS)
        arguments.figure.write_bytes(picture)


if __name__ == "__main__":
    main()
