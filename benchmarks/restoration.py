"""Restoration of held-out images at 5 and 20 % exposure: calibration, error, and baselines.

    markovbridge train fashion-mnist --output runs/fashion-mnist
    python benchmarks/restoration.py runs/fashion-mnist --picture restored.png

thins the first test images, restores them with the trained run at several samplers, and prints
beside the best linear restorations the mean squared error of the mean of the draws and how often
the truth lies in the central half and nine tenths of the draws: by rank, ties in random order,
where a perfect model has exactly that share, and inside the closed intervals, which hold more;
over all pixels, and over those where the input has seen something. It fails if the last sampler
has a 90 % interval outside 87 to 93 % by rank, or a larger error than a linear restoration.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from markovbridge import Transport
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.linear_restoration import Wiener
from markovbridge.evaluation.restoration import coverage, restore, score, thin
from markovbridge.samplers import Bridge, Trapezoidal
from markovbridge.storage.config import from_config
from markovbridge.storage.png import grid_png
from markovbridge.training.run_folder import RunFolder

LEVELS = (0.5, 0.9)
LOW, HIGH = 0.87, 0.93
SHOWN = 8


def line(name, evaluations, seconds, found, seen):
    cells = [f"{c.randomised:6.1%} ± {c.error:.1%} {c.conservative:6.1%}" for c in found.coverage]
    cells += [f"{c.randomised:6.1%} {c.conservative:6.1%}" for c in seen]
    print(
        f"{name:30} {evaluations:>5} {seconds:8.0f} {found.mse:8.1f} ± {found.error:4.1f}  "
        + "   ".join(cells),
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--draws", type=int, default=19)
    parser.add_argument("--exposures", type=float, nargs="+", default=[0.05, 0.2])
    parser.add_argument("--samplers", nargs="+", default=["Trapezoidal:10"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    source = from_config(RunFolder(options.run).configuration()["data"])
    transport = Transport.from_pretrained(options.run / "model").eval()
    training = source.load("train").x
    truth = source.load("test").x[: options.images]
    maximum = transport.process.maximum
    failed = 0
    for exposure in options.exposures:
        x = thin(truth, exposure, 0)
        print(f"\nexposure {exposure:.0%}, {len(x)} images, {options.draws} draws of each")
        print(
            f"{'':30} {'evals':>5} {'seconds':>8} {'MSE':>8}         50 %: rank, interval     "
            "90 %: rank, interval     and where seen"
        )

        def told(name, evaluations, began, mean, made, x=x):
            ties = {"generator": generator("cpu", "ties")}
            found = score(name, truth, mean, made, levels=LEVELS, **ties)
            seen = () if made is None else coverage(made, truth, LEVELS, where=x > 0, **ties)
            line(name, evaluations, time.perf_counter() - began, found, seen)
            return found

        began = time.perf_counter()
        told("input / exposure", 0, began, x.double() / exposure, None)
        baselines = []
        for transform in ("counts", "anscombe"):
            began = time.perf_counter()
            linear = Wiener.fit(training, exposure, transform=transform, maximum=maximum)
            made = linear.restore(x, options.draws, generator=generator("cpu", "linear"))
            name = f"best linear, {transform}"
            baselines.append(told(name, 0, began, linear.estimate(x), made).mse)
        began = time.perf_counter()
        t = transport.process.observed_time(exposure)
        with torch.no_grad():
            parts = [transport.law(part.long(), t).mean for part in x.split(64)]
        told("the model's expected count", 1, began, torch.cat(parts), None)
        for name in options.samplers:
            kind, _, steps = name.partition(":")
            sampler = {"Trapezoidal": Trapezoidal(), "Bridge": Bridge()}[kind]
            began = time.perf_counter()
            made = restore(
                transport,
                x,
                survival=exposure,
                draws=options.draws,
                steps=int(steps),
                sampler=sampler,
                generator=torch.Generator().manual_seed(0),
            )
            found = told(name, sampler.evaluations(int(steps)), began, made.mean, made)
        share = found.coverage[1].randomised
        failed += not LOW <= share <= HIGH or found.mse >= min(baselines)
        if options.picture and exposure == options.exposures[0]:
            bright = (x[:SHOWN] / exposure).round().clamp_max(maximum)
            columns = [bright, *made.draws[:3, :SHOWN], made.mean[:SHOWN].round(), truth[:SHOWN]]
            rows = torch.stack([c.long() for c in columns], 1).flatten(0, 1)
            options.picture.write_bytes(grid_png(rows, maximum, columns=len(columns), scale=3))
    return failed


if __name__ == "__main__":
    sys.exit(main())
