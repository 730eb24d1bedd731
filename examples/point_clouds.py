"""One point cloud becomes another: diffusion bridges, with and without optimal transport.

    python examples/point_clouds.py [--output point_clouds.png]

A mixture of bridges (Peluchetti, https://arxiv.org/abs/2312.14589) carries any source to any data.
Which source point belongs to which data point is the coupling: any to any, or nearest in the batch
by optimal transport (`MinibatchOT`), which makes shorter ways, and so better samples of few steps.
Printed are, after 2 and 20 steps, energy distances to the data, with their floor, and the mean
square way of a point, with the least that there is: that of the optimal assignment of all points.
Takes 18 s of one core.
"""

import argparse
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment

import markovbridge as mb
from markovbridge.evaluation.metrics.distances import energy_distance
from markovbridge.networks import MLP


def eight_spots(n, generator):
    angle = torch.randint(8, (n,), generator=generator) * torch.pi / 4
    centre = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    return centre + 0.2 * torch.randn(n, 2, generator=generator)


def two_moons(n, generator):
    upper = torch.rand(n, generator=generator) < 0.5
    angle = torch.pi * torch.rand(n, generator=generator)
    x = torch.where(upper, angle.cos() - 0.5, 0.5 - angle.cos())
    y = torch.where(upper, angle.sin() - 0.25, 0.25 - angle.sin())
    return torch.stack([x, y], 1) * 1.5 + 0.1 * torch.randn(n, 2, generator=generator)


def train(coupling, data, steps, generator):
    """A small network that says E[x_1 | x_t] of the bridges of a coupling."""
    process, head = mb.LinearDiffusion(mb.Brownian(0.3)), mb.EndpointHead("residual")
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


def squared_ways(x, y):
    """Mean square way, and that of the optimal assignment of x to y."""
    cost = torch.cdist(x.double(), y.double()).square()
    rows, columns = linear_sum_assignment(cost.numpy())
    return float((x - y).square().sum(1).mean()), float(cost[rows, columns].mean())


def main(output=None, steps=700, n=1000):
    generator = torch.manual_seed(0)
    source, data = eight_spots(4000, generator), two_moons(4000, generator)
    start, fresh = eight_spots(n, generator), two_moons(n, generator)
    floor = energy_distance(fresh, two_moons(n, generator))
    least = squared_ways(start, fresh)[1]

    found, paths = {}, {}
    for name, coupling in (
        ("any to any", mb.Independent(source)),
        ("optimal transport", mb.MinibatchOT(source)),
    ):
        model = train(coupling, data, steps, generator)
        for walk in (2, 20):
            end = model.translate(start, steps=walk, block=n, generator=generator)
            found[name, walk] = energy_distance(end, fresh), squared_ways(start, end)[0]
        times = torch.linspace(0, 1, 41).tolist()
        paths[name] = model.frames(start[:250], times, generator=generator)
    print(f"{'coupling':<20}steps   energy distance   mean square way")
    for (name, walk), (distance, way) in found.items():
        print(f"{name:<20}{walk:5d}{distance:18.4f}{way:18.2f}")
    print(f"{'real, and optimal':<25}{floor:18.4f}{least:18.2f}")
    if output is not None:
        draw(output, paths, found, least)
    return found, floor, least


def draw(output, paths, found, least):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 4.2), sharey=True, layout="constrained")
    for axis, (name, path) in zip(axes, paths.items(), strict=True):
        axis.plot(path[:, :25, 0], path[:, :25, 1], "-", color="0.8", linewidth=0.6)
        axis.plot(*path[0].T, ".", markersize=2, label="source")
        axis.plot(*path[-1].T, ".", markersize=2, label="after the bridge")
        axis.set(xlim=(-3, 3), ylim=(-2.7, 2.7), aspect="equal")
        axis.set(xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        way = found[name, 20][1]
        title = f"{name}: mean square way {way:.2f}\n(least possible {least:.2f})"
        axis.set_title(title, fontsize=10)
    axes[0].legend(loc="upper left", fontsize=8)
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="point_clouds.png")
    main(parser.parse_args().output)
