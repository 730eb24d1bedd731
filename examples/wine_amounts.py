"""Amounts of four substances in 178 wines: a model on positive reals by a gamma process.

    python examples/wine_amounts.py [--output wine_amounts.png]

Malic acid, flavanoids, colour intensity and proline of wines of three growers (Forina and others
1991, as scikit-learn ships them: https://doi.org/10.24432/C5PC7J). A gamma process takes each
amount to 0 by beta thinning, and the model makes it grow back by jumps of all sizes, so that no
sample is negative. Trained on half of the wines, its samples are compared with both halves by the
energy distance. Drawn are samples beside wines, and ways there.
Takes 18 s of one core.
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_wine

import markovbridge as mb
from markovbridge.evaluation.metrics.distances import energy_distance
from markovbridge.networks import MLP

NAMES = ("malic_acid", "flavanoids", "color_intensity", "proline")


def wines():
    """Amounts (178, 4), each in units of its mean."""
    table = load_wine()
    columns = [table.feature_names.index(name) for name in NAMES]
    x = torch.tensor(table.data[:, columns], dtype=torch.float32)
    return x / x.mean(0)


def train(data, steps, generator):
    process, head = mb.GammaProcess(shape=8.0), mb.GammaHead()
    network = MLP((len(NAMES),), process.features, head.outputs(process), width=64, depth=2)
    mean, variance = mb.statistics(data)
    model = mb.Transport(
        process,
        network,
        head,
        shape=(len(NAMES),),
        mean=mean,
        variance=variance,
        objective=mb.EndNLL(),
    )
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    rate = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    for _ in range(steps):
        batch = data[torch.randint(len(data), (64,), generator=generator)]
        optimiser.zero_grad()
        model.loss(batch, generator=generator).mean().backward()
        optimiser.step()
        rate.step()
    return model.eval()


def draw(output, data, samples, times, paths):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
    for axis, (i, j) in zip(axes, ((1, 2), (0, 3)), strict=False):
        axis.plot(samples[:, i], samples[:, j], ".", ms=2, alpha=0.4, label="samples")
        axis.plot(data[:, i], data[:, j], ".", ms=4, label="wines")
        axis.set(xlabel=NAMES[i], ylabel=NAMES[j], xlim=(0, 3), ylim=(0, 3))
        axis.set_title("samples and wines", fontsize=10)
        axis.legend(fontsize=8)
    axes[2].step(times, paths.numpy(), where="post")
    axes[2].set(xlabel="t", ylabel=NAMES[2])
    axes[2].set_title("ways from 0 to a sample", fontsize=10)
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


def main(output=None, steps=500):
    generator = torch.manual_seed(0)
    data = wines()
    order = torch.randperm(len(data), generator=generator)
    seen_half, other_half = data[order[::2]], data[order[1::2]]
    model = train(seen_half, steps, generator)

    way = []
    samples = model.sample(
        500,
        steps=50,
        generator=generator,
        block=500,
        callback=lambda t, x: way.append((t, x[:8, 2].clone())),
    )
    columns = [column[torch.randperm(len(column), generator=generator)] for column in seen_half.mT]
    errors = {
        name: (energy_distance(x, seen_half), energy_distance(x, other_half))
        for name, x in (
            ("samples", samples),
            ("the wines seen", seen_half),
            ("the same, columns shuffled", torch.stack(columns, 1)),
        )
    }
    print("energy distance to              the wines seen    the others")
    for name, (seen, other) in errors.items():
        print(f"  {name:<30}{seen:14.4f}{other:14.4f}")
    if output is not None:
        draw(output, data, samples, [t for t, _ in way], torch.stack([x for _, x in way]))
    return samples, data, errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="wine_amounts.png")
    main(parser.parse_args().output)
