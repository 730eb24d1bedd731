"""The likelihood of counts, in bits: a bound that is tight, and what steps take from it.

    python examples/likelihood.py [--output likelihood.png]

`log_likelihood` bounds log p(x) by the path KL between the process that makes x and the model's.
At the true posterior mean the bound is -log p(x) itself, point by point; so an exact law shows
what the estimate is worth. Six laws of counts are measured against their entropy. A sampler of K
Poisson leaps is another model, and its own bound is larger by a share that falls as 1/K.
Takes 5 s of one core.
"""

import argparse
import math
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge import exact

LN2 = math.log(2)


def laws():
    """Six laws of one count, each exact under pure death."""
    free, ten = mb.PureDeath(), mb.PureDeath(10)
    return {
        "Poisson(0.3)": exact.Poisson(free, 0.3),
        "Poisson(3)": exact.Poisson(free, 3.0),
        "neg. binomial(3, 2)": exact.NegativeBinomial(free, 3.0, 2.0),
        "Bernoulli(0.3)": exact.Binomial(mb.PureDeath(1), 1, 0.3),
        "Binomial(10, 0.4)": exact.Binomial(ten, 10, 0.4),
        "zero-inflated Poisson": exact.ZeroInflatedPoisson(free, 0.6, 4.0),
    }


def points(law, n):
    """Draws of a law, (n, 1), and log p of each of them in nats."""
    marginal = law.marginal(torch.zeros((n, 1), dtype=torch.int64), 1.0)
    x = marginal.sample(generator=torch.Generator().manual_seed(1))
    return x, marginal.log_prob(x).double()


def bound(process, law, x, looks, steps=None):
    """The bound of each point, in bits, and the standard error of its mean."""
    model = mb.Transport(process, law, shape=(1,))
    generator = torch.Generator().manual_seed(0)
    options = {} if steps is None else {"steps": steps}
    found = model.log_likelihood(x, draws=looks, generator=generator, block=2**15, **options)
    error = float(found.standard_error.square().sum().sqrt()) / len(x)
    return -found.nats.double() / LN2, error / LN2


def main(output=None, n=300, looks=800, leaps=(4, 8, 16, 32, 64)):
    rows = {}
    print(f"{'bits a count':<24}exactly    bound   difference")
    for name, law in laws().items():
        x, truth = points(law, n)
        found, error = bound(law.process, law, x, looks)
        bits = float(-truth.mean()) / LN2
        rows[name] = bits, float(found.mean()) - bits, error
        print(
            f"{name:<24}{bits:7.4f}{float(found.mean()):9.4f}{rows[name][1]:+9.4f} ± {error:.4f}"
        )
    law = laws()["neg. binomial(3, 2)"]
    x, truth = points(law, n)
    mean_only = exact.MeanOnly(law, "poisson")
    gaps = []
    for steps in leaps:
        found, error = bound(law.process, mean_only, x, looks, steps)
        gaps.append((float((found + truth / LN2).mean()), error))
        print(f"{steps:3d} Poisson leaps: {gaps[-1][0]:.4f} ± {error:.4f} bits more")
    if output is not None:
        draw(output, rows, leaps, gaps)
    return rows, gaps


def draw(output, rows, leaps, gaps):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for k, (bits, gap, error) in enumerate(rows.values()):
        left.plot([bits], [k], "ko", markersize=9, fillstyle="none")
        left.errorbar([bits + gap], [k], xerr=2 * error, fmt="C1.")
        side = (bits + 0.12, "left") if bits < 1.8 else (bits - 0.12, "right")
        left.text(side[0], k, f"{gap:+.4f} ± {error:.4f}", ha=side[1], va="center", fontsize=8)
    left.plot([], [], "ko", fillstyle="none", markersize=9, label="-log p, exactly")
    left.errorbar([], [], xerr=[], fmt="C1.", label="bound, ± 2 standard errors")
    left.set_yticks(range(len(rows)), rows)
    left.set(xlabel="bits a count", xlim=(0, 3.6), ylim=(-0.6, 7.2))
    left.legend(fontsize=8, loc="upper left")
    left.set_title("the bound of an exact law is tight", fontsize=10)
    right.errorbar(
        leaps, [g for g, _ in gaps], yerr=[2 * e for _, e in gaps], fmt="o", label="measured"
    )
    scale = gaps[0][0] * leaps[0]
    right.plot(leaps, [scale / k for k in leaps], "k--", linewidth=1, label="∝ 1/K")
    right.axhline(0, color="0.7", linewidth=1)
    right.set(xscale="log", xlabel="Poisson leaps K", ylabel="bits too many")
    right.set_xticks(leaps, leaps)
    right.minorticks_off()
    right.set_title("what a sampler of K steps loses", fontsize=10)
    right.legend(fontsize=8)
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="likelihood.png")
    main(parser.parse_args().output)
