"""Glauber dynamics run backwards: a cold magnet out of a warm one.

    python examples/ising.py [--output ising.png]

Spins on a 4x4 torus flip at rates that depend on their neighbours, r_i = pace/(1 + e^(2βs_i h_i))
with h_i the sum of the neighbours: Glauber dynamics, whose stationary law is that of the Ising
model at inverse temperature β. The noising process is warm, β = 0.1; the data are cold, β = 0.4.
Its bridges are not known, its moves and rates are. The 65,536 states are few enough to have both
laws in a table, and to compare the energies of samples with the exact ones.
Takes 21 s of one core.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from markovbridge.simulated import JumpDynamics, OneTime, ReverseRates, Tabulated, Thinning, fit

SIDE = 4
WARM, COLD, PACE = 0.1, 0.4, 4.0


def neighbours(x):
    """The sum of the four neighbours of each spin ±1."""
    return sum(x.roll(step, axis) for axis in (-2, -1) for step in (-1, 1))


@dataclass
class Glauber(JumpDynamics):
    """Spins, stored as 0 and 1, that flip one at a time."""

    beta: float = WARM
    pace: float = PACE

    shape = (SIDE, SIDE)
    labels = SIDE * SIDE

    def moves(self, x):
        flips = torch.eye(self.labels, dtype=torch.int64).reshape(-1, SIDE, SIDE)
        return x.unsqueeze(1) ^ flips

    origins = moves  # a flip is undone by itself

    def rates(self, x, t):
        return self.flips(2 * x.double() - 1)

    def bound(self, x, late, early):
        return self.rates(x, late).sum(1)  # constant in time

    def inward(self, x, t):
        """From the flipped state: the spin is the other one, its neighbours are the same."""
        spins = 2 * x.double() - 1
        return self.pace * torch.sigmoid(2 * self.beta * spins * neighbours(spins)).flatten(1)

    def flips(self, spins):
        return self.pace * torch.sigmoid(-2 * self.beta * spins * neighbours(spins)).flatten(1)


def energy(x):
    """Minus the sum over bonds, of states (..., SIDE, SIDE)."""
    spins = 2 * x.double() - 1
    return -(spins * neighbours(spins)).sum((-2, -1)) / 2


def table(beta):
    """The Ising model: all states and their weights."""
    bits = torch.arange(2 ** (SIDE * SIDE)).unsqueeze(1) >> torch.arange(SIDE * SIDE)
    states = (bits & 1).reshape(-1, SIDE, SIDE)
    return Tabulated(states, torch.softmax(-beta * energy(states), 0))


class Network(nn.Module):
    """Three convolutions on the torus: all places are alike."""

    def __init__(self, width=32):
        super().__init__()
        sizes = (3, width, width, 1)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, padding_mode="circular")
            for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )

    def forward(self, features, t):
        time = t.reshape(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE)
        x = torch.cat([2 * features[:, :1] - 1, features[:, 1:], time], 1)
        for layer in self.layers[:-1]:
            x = nn.functional.silu(layer(x))
        return self.layers[-1](x)


def main(output=None, steps=500):
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    cold, warm = table(COLD), table(WARM)
    model = ReverseRates(Glauber(), Network(), warm, OneTime(points=2, neighbours=1))
    fit(model, cold.sample(20_000, generator=generator), steps, learning_rate=1e-2)

    samples = model.sample(400, Thinning(windows=15), generator=generator)
    exact = {
        name: law.probabilities @ energy(law.states)
        for name, law in (("warm", warm), ("cold", cold))
    }
    found = float(energy(samples).mean())
    print(
        f"mean energy: source {exact['warm']:.2f}, data {exact['cold']:.2f}, samples {found:.2f}"
    )
    x = cold.sample(100, generator=generator)
    mean, error = model.log_likelihood(x, paths=4, generator=generator).average()
    best = float(cold.log_prob(x).mean())
    print(f"bound on log p: {mean:.2f} ± {error:.2f} nats; truly {best:.2f}")
    if output is not None:
        draw(output, samples, cold, warm)
    return found, float(exact["cold"]), mean, best


def draw(output, samples, cold, warm):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    levels = range(-32, 33, 4)
    for law, label in ((warm, "source, β = 0.1"), (cold, "data, β = 0.4")):
        of = energy(law.states)
        left.plot(
            levels, [float(law.probabilities[of == e].sum()) for e in levels], "o-", label=label
        )
    of = energy(samples)
    left.plot(levels, [float((of == e).double().mean()) for e in levels], "kx", label="samples")
    left.set(xlabel="energy", ylabel="probability", title="exact energies, and those of samples")
    left.legend()
    grid = torch.full((3 * 5 + 1, 8 * 5 + 1), 0.5)
    for k, x in enumerate(samples[:24]):
        row, column = 5 * (k // 8) + 1, 5 * (k % 8) + 1
        grid[row : row + 4, column : column + 4] = x
    right.imshow(grid.numpy(), cmap="Greys", vmin=0, vmax=1)
    right.set_title("samples: cold magnets, mostly of one sign")
    right.axis("off")
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="ising.png")
    main(parser.parse_args().output)
