"""Chains become Gaussian diffusions: Ehrenfest's urn and the random walk on finer lattices.

    python examples/gaussian_limit.py [--output gaussian_limit.png]

With S units, z = (2x - S)/√S of Ehrenfest's urn tends to the Ornstein-Uhlenbeck process
dz = -z dτ + √2 dW, the noising process of variance-preserving diffusion models; with κ = S/2
steps each way, z = x/√S of the random walk tends to Brownian motion on the clock q, that of
variance-exploding ones. So do the *reverse* processes, from the same data law: the drift of
the chain, step · (rate up - rate down), tends to the drift with the Gaussian score,

    urn    z + 2 ∂ log f(z)  per unit of τ,        walk    ∂ log f(z)  per unit of q.

Errors fall as 1/S: the score of a diffusion model and the rates of a chain are one thing.
Takes 4 s of one core.
"""

import argparse
import math
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge.exact import Empirical, Reverse

P = 0.5  # survival at which the processes are compared
WEIGHTS, MEANS, SPREADS = (0.5, 0.5), (-1.2, 0.8), (0.3, 0.4)


def density(z, shrink=1.0, noise=0.0):
    """A mixture of two Gaussians after shrinking and noise of this variance: f and ∂ log f."""
    total, slope = torch.zeros_like(z), torch.zeros_like(z)
    for weight, mean, spread in zip(WEIGHTS, MEANS, SPREADS, strict=True):
        variance = (shrink * spread) ** 2 + noise
        gap = z - shrink * mean
        part = weight * torch.exp(-(gap**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
        total, slope = total + part, slope - part * gap / variance
    return total, slope / total


def normal(z, mean, variance):
    return torch.exp(-((z - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def instant(schedule):
    p = torch.tensor(P, dtype=torch.float64)
    return float(schedule.time(p, 1 - p))


def ehrenfest(size):
    """Lattice z, the reverse drift on it and its Gaussian limit, per unit of τ."""
    process = mb.Ehrenfest(size)
    t = instant(process.schedule)
    z = (2 * torch.arange(size + 1, dtype=torch.float64) - size) / math.sqrt(size)
    reverse = Reverse(process, density(z)[0])
    generator = reverse.generator(t)
    rate = generator.diagonal(1)[1:] - generator.diagonal(-1)[:-1]
    pace = float(process.schedule.rate(t)) / P
    drift = 2 / math.sqrt(size) * rate / pace
    inner = z[1:-1]
    return inner, drift, inner + 2 * density(inner, P, 1 - P**2)[1]


def ehrenfest_errors(size):
    """Largest errors of the transition density from z = 1 or so, and of the reverse drift."""
    process = mb.Ehrenfest(size)
    start = round((size + math.sqrt(size)) / 2)
    z = (2 * torch.arange(size + 1, dtype=torch.float64) - size) / math.sqrt(size)
    law = process.transition(torch.tensor([[start]]), 1.0, instant(process.schedule))
    found = law.log_probs.exp()[0, 0] * math.sqrt(size) / 2
    limit = normal(z, P * z[start], 1 - P**2)
    inner, drift, expected = ehrenfest(size)
    near = inner.abs() <= 1.5
    return float((found - limit).abs().max()), float((drift - expected).abs()[near].max())


def walk(size):
    """Lattice z, the reverse drift on it and its Gaussian limit, per unit of q."""
    process = mb.RandomWalk(rate=size / 2)
    t, reach = instant(process.schedule), round(4 * math.sqrt(size))
    points = torch.arange(-reach, reach + 1).unsqueeze(1)
    data = Empirical(process, points, density(points[:, 0].double() / math.sqrt(size))[0])
    x = torch.arange(-round(1.5 * math.sqrt(size)), round(1.5 * math.sqrt(size)) + 1)
    rates = process.expected_rates(data(x.unsqueeze(1), t), x.unsqueeze(1), t)[:, 0]
    drift = (rates[:, 1] - rates[:, 0]) / math.sqrt(size) / float(process.schedule.rate(t))
    z = x.double() / math.sqrt(size)
    return z, drift, density(z, 1.0, 1 - P)[1]


def walk_errors(size):
    """Largest errors of the transition density from 0, and of the reverse drift."""
    process = mb.RandomWalk(rate=size / 2)
    x = torch.arange(-4 * size // 8, 4 * size // 8 + 1).unsqueeze(1)
    law = process.transition(torch.zeros_like(x), 1.0, instant(process.schedule))
    found = law.site_log_prob(x)[:, 0].exp() * math.sqrt(size)
    limit = normal(x[:, 0].double() / math.sqrt(size), 0.0, 1 - P)
    _, drift, expected = walk(size)
    return float((found - limit).abs().max()), float((drift - expected).abs().max())


def main(output=None, sizes=(16, 64, 256)):
    errors = {"urn": [], "walk": []}
    for size in sizes:
        errors["urn"].append(ehrenfest_errors(size))
        errors["walk"].append(walk_errors(size))
        urn, step = errors["urn"][-1], errors["walk"][-1]
        print(f"S = {size:4d}   urn: density {urn[0]:.5f}, drift {urn[1]:.5f}", end="   ")
        print(f"walk: density {step[0]:.5f}, drift {step[1]:.5f}")
    if output is not None:
        draw(output, sizes, errors)


def draw(output, sizes, errors):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(8, 3.1), layout="constrained")
    for axis, make, title in (
        (axes[0], ehrenfest, "drift: urn, and OU"),
        (axes[1], walk, "drift: walk, and Brownian"),
    ):
        for size, style in zip(
            sizes[:2], ({"ms": 8, "fillstyle": "none"}, {"ms": 3}), strict=True
        ):
            z, drift, _ = make(size)
            near = z.abs() <= 1.5
            axis.plot(z[near], drift[near], "o", label=f"S = {size}", **style)
        z, _, limit = make(sizes[-1])
        near = z.abs() <= 1.5
        axis.plot(z[near], limit[near], "k-", linewidth=1, label="Gaussian limit")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("z")
        axis.legend(fontsize=8)
    for name, marker in (("urn", "o"), ("walk", "s")):
        for kind, what in enumerate(("density", "drift")):
            values = [error[kind] for error in errors[name]]
            axes[2].loglog(sizes, values, marker + "-", label=f"{name}, {what}")
    axes[2].loglog(sizes, [0.5 / size for size in sizes], "k--", linewidth=1, label="∝ 1/S")
    axes[2].set_title("largest error falls as 1/S", fontsize=10)
    axes[2].set_xlabel("S")
    axes[2].legend(fontsize=8)
    axes[2].set_ylim(2e-4, 0.5)
    axes[2].set_xticks(sizes, sizes)
    axes[2].minorticks_off()
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="gaussian_limit.png")
    main(parser.parse_args().output)
