"""Handwritten digits grow out of black images, by a model that trains in less than a minute.

    python examples/digits.py [--output digits.png]

Blackout Diffusion (Santos and others 2023, https://arxiv.org/abs/2305.11089): seen from the data
every unit of brightness dies, x_t ~ Binomial(x_1, p_t), and the model learns how many are still to
come. `JointHead` also draws whole images from noise, trained by the energy score, so that even a
single evaluation of the network makes digits; more make better ones. Printed are energy distances
to the 1,797 digits of UCI, beside the floor: one half of the real images against the other half.
Takes 27 s of one core.
"""

import argparse
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge.data import Digits
from markovbridge.evaluation.metrics.distances import energy_distance
from markovbridge.networks import MLP
from markovbridge.training import Trainer, TrainingConfig
from markovbridge.transport import features


def train(data, steps, width):
    """A network that states the mean of the whole image and, shown noise, draws one."""
    process, head = mb.PureDeath(maximum=16), mb.JointHead(share=1.0)
    seen = features(process, mb.Noised(), head=head)
    network = MLP((1, 8, 8), seen, head.outputs(process), width=width, depth=2)
    mean, variance = mb.statistics(data)
    model = mb.Transport(
        process, network, head, shape=(1, 8, 8), mean=mean, variance=variance, base=None
    )
    config = TrainingConfig(steps, 64, 2e-3, decay="cosine", ema=0.99, warmup=steps // 20)
    return Trainer(model, data, config).run()


def draw_counting(model, n, steps):
    """Samples, and how often the network was asked for each of them."""
    asked = []
    hook = model.network.register_forward_hook(lambda *_: asked.append(1))
    samples = model.sample(n, steps=steps, block=n, generator=torch.Generator().manual_seed(1))
    hook.remove()
    return samples, len(asked)


def main(output=None, steps=1000, width=256, samples=1797):
    torch.manual_seed(0)
    data = Digits().load("all").x
    model = train(data, steps, width)

    real = data.flatten(1).double()
    order = torch.randperm(len(real))
    floor = energy_distance(real[order[::2]], real[order[1::2]])
    rows = {}
    for walk in (1, 4, 10):
        made, asked = draw_counting(model, samples, walk)
        rows[asked] = made, energy_distance(made.flatten(1).double(), real)
    for asked, (_, distance) in rows.items():
        print(f"energy distance to the data, {asked:2d} evaluations a sample: {distance:.3f}")
    print(f"one half of the data to the other: {floor:.3f}")

    if output is not None:
        times = torch.linspace(0, 1, 11).tolist()
        path = model.frames(2, times, generator=torch.Generator().manual_seed(2))
        draw(output, rows, floor, path, data)
    return {asked: distance for asked, (_, distance) in rows.items()}, floor


def draw(output, rows, floor, path, data):
    import matplotlib.pyplot as plt

    shown = [
        (f"{asked} evaluation{'s'[: asked > 1]}: distance {distance:.2f}", made[:18])
        for asked, (made, distance) in rows.items()
    ]
    shown.append((f"real images: half to half {floor:.2f}", data[:18]))
    figure = plt.figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplot_mosaic("PPPP;ABCD", height_ratios=(5, 4))
    frames = path.transpose(0, 1).flatten(0, 1)
    axes["P"].imshow(tiled(frames, len(path)), cmap="gray", vmin=0, vmax=16)
    axes["P"].set_title("two paths from black (left) to a digit (right)", fontsize=9)
    for name, (title, images) in zip("ABCD", shown, strict=True):
        axes[name].imshow(tiled(images, 6), cmap="gray", vmin=0, vmax=16)
        axes[name].set_title(title, fontsize=8)
    for axis in axes.values():
        axis.axis("off")
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


def tiled(images, columns):
    """Images (n, 1, 8, 8) side by side, row by row, with grey lines between them."""
    framed = torch.nn.functional.pad(images[:, 0], (1, 0, 1, 0), value=6)
    rows = framed.unflatten(0, (-1, columns)).transpose(1, 2)
    return rows.flatten(2).flatten(0, 1).numpy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="digits.png")
    main(parser.parse_args().output)
