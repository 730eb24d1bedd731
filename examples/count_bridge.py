"""One set of counts becomes another, unit by unit: a random walk between two data sets.

    python examples/count_bridge.py [--output count_bridge.png]

Pairs of counts on a cross are carried to pairs on a ring. The reference is a random walk on whole
numbers, steps up and down at the same rate; pinned at a pair of ends it is a bridge in closed
form, and of the mixture of these bridges two means have to be learned: expected steps up, and
down, from x_t to x_1; leaps of second order follow them. No state on the way is anything but whole
numbers. Printed are energy distances to the ring, before and after, beside the floor of real
points, for a few numbers of steps. Takes 19 s of one core.
"""

import argparse
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge.evaluation.metrics.distances import energy_distance
from markovbridge.networks import MLP

SIDE = 24  # counts are 0 .. 2 SIDE


def cross(n, generator):
    """Counts (n, 2) along two diagonals."""
    along = SIDE * (2 * torch.rand(n, generator=generator) - 1) * 0.8
    sign = torch.where(torch.rand(n, generator=generator) < 0.5, 1.0, -1.0)
    return (SIDE + torch.stack([along, sign * along], 1)).round().long()


def ring(n, generator):
    """Counts (n, 2) around a circle."""
    angle = 2 * torch.pi * torch.rand(n, generator=generator)
    radius = 0.75 * SIDE + 2 * torch.randn(n, generator=generator)
    return (SIDE + radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)).round().long()


def train(source, data, steps, generator):
    process, head = mb.RandomWalk(rate=40.0), mb.TwoMeansHead()
    coupling = mb.Independent(source)
    network = MLP((2,), coupling.features(process), head.outputs(process), width=64, depth=2)
    mean, variance = mb.statistics(data)
    model = mb.Transport(
        process, network, head, shape=(2,), mean=mean, variance=variance, coupling=coupling
    )
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    rate = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    for _ in range(steps):
        batch = data[torch.randint(len(data), (128,), generator=generator)]
        optimiser.zero_grad()
        model.loss(batch, generator=generator).mean().backward()
        optimiser.step()
        rate.step()
    return model.eval()


def main(output=None, steps=1000, n=1000, walks=(3, 10, 30)):
    generator = torch.manual_seed(0)
    source, data = cross(4000, generator), ring(4000, generator)
    model = train(source, data, steps, generator)
    start, fresh = cross(n, generator), ring(n, generator)
    options = {"sampler": mb.Trapezoidal(), "block": n, "generator": generator}
    found = {walk: model.translate(start, steps=walk, **options) for walk in walks}
    far = {walk: energy_distance(x.double(), fresh.double()) for walk, x in found.items()}
    before = energy_distance(start.double(), fresh.double())
    floor = energy_distance(ring(n, generator).double(), fresh.double())
    print(f"energy distance to the ring: the cross {before:.2f}, other points of it {floor:.3f}")
    for walk, distance in far.items():
        print(f"  carried in {walk:2d} steps {distance:.3f}")
    if output is not None:
        times = torch.linspace(0, 1, 41).tolist()
        path = model.frames(start, times, sampler=mb.Trapezoidal(), generator=generator)
        draw(output, times, path)
    return found, far, before, floor


def draw(output, times, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(8, 2.6), layout="constrained")
    for axis, k in zip(axes, (0, 16, 30, 40), strict=False):
        x = path[k].double() + 0.6 * (torch.rand(path[k].shape) - 0.5)
        axis.plot(*x.T, ".", markersize=1.5, color="C0" if k < 40 else "C1")
        axis.plot(*path[: k + 1, 3].T, "k-", drawstyle="steps-post", linewidth=0.8)
        axis.plot(*path[k, 3], "ro", markersize=4)
        axis.set(title=f"t = {times[k]:.2f}", xlim=(-4, 52), ylim=(-4, 52), aspect="equal")
        axis.set(xticks=[0, 24, 48], yticks=[0, 24, 48])
    figure.suptitle("1,000 pairs of counts on their way, and the path of one of them", fontsize=10)
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="count_bridge.png")
    main(parser.parse_args().output)
