"""Particles that exclude one another: the reverse of a lattice gas, learned from its paths.

    python examples/exclusion.py [--output exclusion.png]

Four particles hop on a ring of twelve sites where there is room, three times as often one way.
The data are trains, four particles in a row. A hop changes two sites, so that no law per site
knows this process; its moves and rates are all that is stated here. Run long enough it forgets
where it started, and all arrangements are equally likely. Drawn are three reverse paths; printed
is a bound on log p of the trains, of which no model has more than -log 12.
Takes 22 s of one core.
"""

import argparse
import math
from pathlib import Path

import torch

from markovbridge.evaluation.plots import plot_values
from markovbridge.networks import MLP
from markovbridge.simulated import OneTime, Reactions, ReverseRates, StartLaw, fit

SITES, PARTICLES = 12, 4
PACE = 12.0


def hops():
    """From each site to the next, and back."""
    there = torch.eye(SITES, dtype=torch.int64).roll(1, 1) - torch.eye(SITES, dtype=torch.int64)
    rates = PACE * torch.tensor([0.75] * SITES + [0.25] * SITES, dtype=torch.float64)
    return Reactions(torch.cat([there, -there]), lambda x, t: rates.expand(len(x), -1), most=1)


class Anywhere(StartLaw):
    """All arrangements of the particles, equally likely."""

    def sample(self, n, *, generator=None):
        order = torch.rand(n, SITES, generator=generator).argsort(1)
        return (order < PARTICLES).long()

    def log_prob(self, x):
        arrangements = math.comb(SITES, PARTICLES)
        return torch.full((len(x),), -math.log(arrangements), dtype=torch.float64)


def trains():
    first = torch.tensor([1] * PARTICLES + [0] * (SITES - PARTICLES))
    return torch.stack([first.roll(k) for k in range(SITES)])


def main(output=None, steps=700):
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = MLP((SITES,), features=2, outputs=2, width=64, depth=1)
    model = ReverseRates(hops(), network, Anywhere(), OneTime(points=4, neighbours=2))
    data = trains()
    fit(model, data, steps, batch_size=64, learning_rate=5e-3)

    samples = model.sample(300, generator=generator)
    rows = (samples.unsqueeze(1) == data).all(2).any(1).double().mean()
    by_chance = SITES / math.comb(SITES, PARTICLES)
    print(f"trains among the samples: {float(rows):.3f} (by chance {by_chance:.3f})")
    bound = model.log_likelihood(data.repeat(4, 1), paths=4, generator=generator)
    mean, error = bound.average()
    print(f"bound on log p: {mean:.2f} ± {error:.2f} nats; no model beats {-math.log(SITES):.2f}")
    if output is not None:
        draw(output, model, generator)
    return float(rows), mean, error


def draw(output, model, generator):
    import matplotlib.pyplot as plt

    times = torch.linspace(0, 1, 121).tolist()
    frames = model.frames(3, times, generator=generator)
    figure, axes = plt.subplots(1, 3, figsize=(8, 3), sharey=True, layout="constrained")
    for k, axis in enumerate(axes):
        plot_values(frames[:, k], times, cmap="Greys", ax=axis).set_ylabel("" if k else "site")
    figure.suptitle(
        "three reverse paths: from anywhere (left) to four in a row (right)", fontsize=10
    )
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="exclusion.png")
    main(parser.parse_args().output)
