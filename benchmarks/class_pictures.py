"""Pictures of a run on images that is told classes: one column a class, none picked.

    python benchmarks/class_pictures.py runs/fashion-mnist-classes --output docs/images

Writes, as PNG, beside one another what one would compare:

    NAME-evaluations.png    one row a number of network evaluations, the same noise in all
    NAME-guidance.png       one row a strength of guidance, the same noise in all
    NAME-nearest.png        eight samples, and under each the nearest training image

Samples are those of seed 0, and draws of `markovbridge sample --condition.label '*'`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge.cli.models import conditioned
from markovbridge.evaluation.metrics import nearest
from markovbridge.recipes.loading import locate
from markovbridge.storage.png import grid_png
from quality import most_steps, own_sampler, say

COMPARED = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=Path("."))
    parser.add_argument("--name", default="fashion-mnist")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[2, 4, 10, 20])
    parser.add_argument("--guidance", type=float, nargs="+", default=[0.0, 1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--rounds", type=int, default=2, help="rows of each")
    parser.add_argument("--theta", type=float, help="leaps alone, of this inner time")
    parser.add_argument("--bf16", action="store_true", help="the network in bfloat16")
    arguments = parser.parse_args()
    model = mb.Transport.from_pretrained(arguments.run)
    model.autocast = torch.bfloat16 if arguments.bf16 else None
    assert model.covariates is not None, "the model is told no class"
    theta = arguments.theta
    leaps = None if theta is None else mb.HandOver(0.0, mb.Trapezoidal(theta))
    data = locate(arguments.run).recipe().dataset()
    top = data.maximum or 255
    count = len(model.covariates.names)

    def drawn(evaluations: int, guidance: float, n: int) -> tuple[Tensor, int]:
        sampler = own_sampler(model) if leaps is None else leaps
        steps, taken = most_steps(sampler, evaluations)
        x = model.sample(
            n,
            steps=steps,
            sampler=sampler,
            condition=conditioned(model, {"label": "*"}, guidance, n)[1],
            guidance=guidance,
            generator=torch.Generator().manual_seed(0),
        )
        return x, taken

    def write(kind: str, rows: list[Tensor], columns: int, says: str) -> None:
        path = arguments.output / f"{arguments.name}-{kind}.png"
        path.write_bytes(grid_png(torch.cat(rows), top, columns=columns, caption=says))
        say(f"{path}")

    rows, counts = [], []
    for evaluations in arguments.evaluations:
        x, taken = drawn(evaluations, 1.0, count * arguments.rounds)
        rows.append(x)
        counts.append(str(taken))
    each = f"{arguments.rounds} rows each of"
    write("evaluations", rows, count, f"{each} {', '.join(counts)} evaluations; a column a class")
    most = arguments.evaluations[-1]
    rows = [drawn(most, guidance, count * arguments.rounds)[0] for guidance in arguments.guidance]
    strengths = ", ".join(f"{strength:g}" for strength in arguments.guidance)
    write("guidance", rows, count, f"{each} guidance {strengths}; a column a class")
    x, _ = drawn(most, 1.0, COMPARED)
    found = nearest(x.float(), data.x)
    near = data.x[found.index[:, 0]].to(x.dtype)
    say(f"distances to the nearest: {', '.join(f'{d:.0f}' for d in found.distance[:, 0])}")
    write("nearest", [x, near], COMPARED, "samples, and below each the nearest training image")


if __name__ == "__main__":
    main()
