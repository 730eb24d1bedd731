"""What a closed form is worth at the start: held-out loss over training steps, base by base.

    python benchmarks/base_laws.py --data fashion-mnist --steps 300 --every 50
    python benchmarks/base_laws.py --data patches --package scikit_image-0.26.0-*.whl \
        --figure base-laws-patches.png

Trains a recipe with `MeanHead` once for each base law: `null`, from qμ; `moments`, the closed form
of each site; `FitLinearCounts`, each site guessed from the others; all else is the same. Prints
the held-out loss after every so many steps, and draws it.

`patches` are colour images of 16 x 16, counts 0 .. 255: five photographs of a wheel that
`pip download --no-deps scikit-image==0.26.0` brought, cut without overlap, or the two of
scikit-learn. They have the network of `fashion-mnist` with two levels and no attention. Words
that the script does not know go to all recipes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from photo_patches import patches, photos  # noqa: E402
from quality import say  # noqa: E402
from trained_runs import trained  # noqa: E402

SIZE = 16
BASES = {
    "null": "null",
    "moments": "moments",
    "FitLinearCounts": "markovbridge.exact.FitLinearCounts",
}
NAMES = {
    "null": "from qμ",
    "moments": "closed form of each site",
    "FitLinearCounts": "each site guessed from the others",
}


def told(arguments: argparse.Namespace) -> list[str]:
    """The recipe and its options."""
    if arguments.data != "patches":
        return [arguments.data]
    file = arguments.output / "patches.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    cut = np.concatenate([patches(photo, SIZE, SIZE) for photo in photos(arguments.package)])
    np.save(file, np.random.default_rng(0).permutation(cut))
    words = ["fashion-mnist", "--data", "markovbridge.data.Arrays", "--data.path", str(file)]
    words += ["--data.maximum", "255", "--data.test", "0", "--data.channels", "first"]
    return [*words, "--network.channels", "[32,64]", "--network.attention", "[]"]


def losses(base: str, words: list[str], arguments: argparse.Namespace) -> dict[int, float]:
    """Held-out loss by step, of a run that is made unless it is there."""
    run = arguments.output / f"{arguments.data}-{base}-{arguments.steps}"
    words = [*words, "--head", "markovbridge.MeanHead", "--base", BASES[base]]
    words += ["--trainer.steps", str(arguments.steps)]
    words += ["--trainer.validate_every", str(arguments.every)]
    words += ["--trainer.sample_every", "0", "--trainer.checkpoint_every", "0"]
    trained(run, *words, *arguments.words)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if "validation_loss" in row]
    return {row["step"]: row["validation_loss"] for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", "fashion-mnist", "patches"], default="digits")
    parser.add_argument("--package", type=Path, help="the wheel that photographs come from")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--bases", nargs="+", choices=list(BASES), default=list(BASES))
    parser.add_argument("--output", type=Path, default=Path("runs/base-laws"))
    parser.add_argument("--figure", type=Path, help="write a plot here")
    arguments, arguments.words = parser.parse_known_args()
    words = told(arguments)
    found = {base: losses(base, words, arguments) for base in arguments.bases}
    steps = sorted(found[arguments.bases[0]])
    say(f"{'held-out loss after':36s}" + "".join(f"{step:>9d}" for step in steps))
    for base, by_step in found.items():
        say(f"{NAMES[base]:36s}" + "".join(f"{by_step[step]:9.1f}" for step in steps))
    if arguments.figure is not None:
        plot(found, arguments)


def plot(found: dict[str, dict[int, float]], arguments: argparse.Namespace) -> None:
    """Held-out losses over steps, both logarithmic."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for base, by_step in found.items():
        axes.plot(
            list(by_step), list(by_step.values()), marker="o", markersize=4, label=NAMES[base]
        )
    axes.set(xscale="log", yscale="log", xlabel="training steps", ylabel="held-out loss")
    axes.set_title(f"{arguments.data}: MeanHead, by what the network corrects")
    axes.legend(frameon=False)
    figure.savefig(arguments.figure, dpi=110)


if __name__ == "__main__":
    main()
