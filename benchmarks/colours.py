r"""Noise of which colour for images: one recipe of bridges, many choices of the noise.

    python benchmarks/colours.py fashion-mnist-bridge --choices white "power -0.25" --steps 1600 \
        --split test --samples 1000 --extractor mobilenet:weights.pt --bf16
    python benchmarks/colours.py cifar10-bridge --data markovbridge.data.Arrays \
        --data.path patches.npy ...

Trains a recipe of a linear diffusion with each choice and seed, all else alike, and prints the
energy distance in raw values and the Fréchet distance of features of samples by `Midpoint`, Heun's
and Adams' flow and, with --walks, `StochasticAdams` and `StochasticHeun` (of some waves if the
noise is white) at so many evaluations; then the variance of the samples over that of the data by
spatial frequency, for each.
Choices, all of the total variance of white noise:

    white              as the recipe has it, if it is isotropic
    power GAMMA        C^GAMMA, C a Matérn kernel on the torus, fitted to their spectrum
    clocks SHARE       white noise, clocks by octave of cosines: odds of `even_clocks` to a power
    one clock SHARE    these clocks' geometric mean for all bands: a schedule, no order of bands

Runs are kept under --output, so that a second call goes on. Words that the script does not know
go to the recipe.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
import zlib
from pathlib import Path

import torch
import yaml
from torch import Tensor

import markovbridge as mb
from compare_runs import BANDS, variances
from markovbridge.covariances import Cosine, Isotropic, Matern, Modal, Power, Torus, fit
from markovbridge.evaluation.bands import even_clocks
from markovbridge.evaluation.metrics import extractor_of
from markovbridge.recipes.loading import locate
from markovbridge.recipes.recipe import Recipe
from markovbridge.samplers import Levels, Sampler
from markovbridge.storage.config import to_config
from quality_scores import Against
from trained_runs import trained


def walks_of(process: mb.LinearDiffusion) -> dict[str, tuple[Sampler, int]]:
    """Ways to sample models of a process, and their steps: "heun" with a little noise."""
    ways: dict[str, tuple[Sampler, int]] = {
        "noise, 20": (mb.Midpoint(), 10),
        "noise, 10": (mb.Midpoint(), 5),
        "noise, 6": (mb.Midpoint(), 3),
        "flow, 19": (mb.ProbabilityFlow(), 10),
        "flow, 9": (mb.ProbabilityFlow(), 5),
        **{f"adams, {n}": (mb.ProbabilityFlow("adams"), n) for n in (20, 10)},
        **{f"adams {n}, 20": (mb.StochasticAdams(n), 20) for n in (0.2, 0.5, 1.0)},
        **{f"heun {n}, 19": (mb.StochasticHeun(n), 10) for n in (0.15, 0.3, 0.45, 0.6)},
        "heun 0.3 late, 19": (mb.StochasticHeun(Levels((0.0, 0.3), (0.5,))), 10),
    }
    if isinstance(process.covariance, Isotropic):
        noise = 0.09 * process.covariance.marginal
        for word, some in (("coarse", (noise, 0.0)), ("fine", (0.0, noise))):
            level = Modal(Cosine(edges=(0.2,)), some)  # waves a pixel
            ways[f"heun 0.3 {word}, 19"] = (mb.StochasticHeun(level), 10)
    return ways


WALKS = tuple(walks_of(mb.LinearDiffusion()))
USUAL = ("noise, 20", "noise, 10", "noise, 6", "flow, 19", "flow, 9", "adams, 20", "adams, 10")
FITTED = 5000  # images that a kernel is fitted to


def chosen(recipe: Recipe, choice: str, x: Tensor) -> mb.LinearDiffusion:
    """The process of a choice, for data in its coordinates."""
    process = recipe.process
    assert isinstance(process, mb.LinearDiffusion)
    assert isinstance(process.covariance, Isotropic), "take a recipe with white noise"
    if choice == "white":
        return process
    kind, number = choice.rsplit(maxsplit=1)
    scale = float(process.covariance.marginal)
    if kind in ("clocks", "one clock"):
        assert recipe.coupling is not None
        modes = Cosine()
        clocks = even_clocks(process, recipe.coupling, modes, x).between(float(number))
        if kind == "one clock":
            common = statistics.geometric_mean(clocks.odds)
            clocks = dataclasses.replace(clocks, odds=(common,) * len(clocks.odds))
        return dataclasses.replace(process, modes=modes, clocks=clocks)
    base = fit(Torus(Matern(scale, 3.0, 0.5)), x).covariance
    assert isinstance(base, Torus)
    # The total variance of white noise, whatever the fit has found.
    kernel = dataclasses.replace(base.kernel, variance=scale)
    return dataclasses.replace(process, covariance=Power(Torus(kernel), float(number)))


def run_of(recipe: Recipe, choice: str, seed: int, x: Tensor, arguments) -> Path:
    """The folder of a trained run of a choice."""
    told = str(zlib.crc32(repr((arguments.words, arguments.bf16)).encode()))
    name = f"{arguments.recipe}-{choice.replace(' ', '')}-{arguments.steps}-{seed}-{told}"
    run = arguments.output / name
    file = run.with_name(f"{name}.yaml")
    if not file.is_file():
        document = yaml.safe_load(locate(arguments.recipe).file.read_text())
        document["process"] = to_config(chosen(recipe, choice, x))
        file.write_text(yaml.safe_dump(document))
    words = [*arguments.words, "--trainer.steps", str(arguments.steps)]
    words += ["--trainer.seed", str(seed)]
    words += ["--trainer.precision", "bf16"] if arguments.bf16 else []
    return trained(run, str(file), *words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--choices", nargs="+", default=["white", "power -0.25"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--split", default="test", help="of the data, to compare with")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--walks", nargs="+", choices=WALKS, default=USUAL)
    parser.add_argument("--extractor", default="pixels", help="pixels or mobilenet:PATH")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("runs/colours"))
    arguments, arguments.words = parser.parse_known_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    recipe = locate(arguments.recipe).recipe(arguments.words)
    some = recipe.dataset().x
    some = some[torch.randperm(len(some), generator=torch.Generator().manual_seed(0))[:FITTED]]
    process = recipe.process
    x = some.float() if process.support is None else process.support.encode(some.float())
    runs = {
        (choice, seed): run_of(recipe, choice, seed, x, arguments)
        for seed in arguments.seeds
        for choice in arguments.choices
    }
    if arguments.train_only:
        return
    data = recipe.data.load(arguments.split)
    seen = extractor_of(arguments.extractor, maximum=data.maximum or 255)
    real = data.x[torch.randperm(len(data), generator=torch.Generator().manual_seed(0))]
    scores, whole = Against(real, seen), variances(real)
    half = min(arguments.samples, len(real) // 2)
    floor = scores.floor(half)
    print(
        f"{arguments.samples} samples against {len(real)} of {data.name}; {half} real ones "
        f"against the others: {floor[0]:.3g} / {floor[1]:.3g}; bands: below "
        f"{', '.join(map(str, BANDS[1:-1]))}, above"
    )
    for (choice, seed), run in runs.items():
        for word in arguments.walks:
            features = arguments.extractor.split(":")[0]
            file = run / f"{word} {arguments.samples} {arguments.split} {features}.json"
            if not file.is_file():
                file.write_text(json.dumps(scored(run, word, scores, whole, arguments)))
            row = json.loads(file.read_text())
            bands = " ".join(f"{v:.2f}" for v in row["bands"])
            found = f"{row['energy']:8.2f} / {row['frechet']:6.4g}"
            print(
                f"{choice:14s} seed {seed}  {word:10s} {found}  variance {bands}  "
                f"{row['seconds']:.4f} s a sample",
                flush=True,
            )


def scored(run: Path, word: str, scores: Against, whole: list[float], arguments) -> dict:
    """Scores of a walk of a run."""
    model = mb.Transport.from_pretrained(run)
    model.autocast = torch.bfloat16 if arguments.bf16 else None
    assert isinstance(model.process, mb.LinearDiffusion)
    sampler, steps = walks_of(model.process)[word]
    began = time.perf_counter()
    made = model.sample(
        arguments.samples,
        steps=steps,
        sampler=sampler,
        generator=torch.Generator().manual_seed(0),
        block=256,
    )
    seconds = (time.perf_counter() - began) / arguments.samples
    energy, distance = scores(made)
    ratios = [a / b for a, b in zip(variances(made), whole, strict=True)]
    return {"energy": energy, "frechet": distance, "bands": ratios, "seconds": seconds}


if __name__ == "__main__":
    main()
