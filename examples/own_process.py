"""A process of your own in thirty lines, checked, trained, sampled and bounded.

    python examples/own_process.py [--output own_process.png]

Lights that are on in the data go out one by one, at rate 1 on the clock -log t; the reverse lights
them again. Stated are five things: transition, bridge, source, moves and their rates;
`check_process` compares them with one another, and training, samplers and likelihood follow. The
data are the 30 bars and stripes of 4 x 4 lights, all as likely, so that no model beats
log 30 = 3.40 nats. Printed are the bound that is reached and the share of the samples that are
bars or stripes, beside that of chance. Takes 12 s of one core.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge import laws
from markovbridge.networks import MLP
from markovbridge.processes import JumpProcess
from markovbridge.processes.clock import match
from markovbridge.testing import check_process

SIDE = 4


def light(on):
    """The law of a light that is on with this probability."""
    return laws.Categorical(torch.stack([1 - on, on], -1).log())


@dataclass(frozen=True)
class Light(JumpProcess):
    """A light that is on at t = 1 is still on at t with probability t."""

    def transition(self, x, s, t):  # from the data at s towards the source, t <= s
        return light(x * match(torch.as_tensor(t) / torch.as_tensor(s), x))

    def bridge(self, x, y, s, t, u):  # x_t given x_s and x_u, s <= t <= u
        s, t, u = (torch.as_tensor(time) for time in (s, t, u))
        return light(torch.where(x == 1, 1.0, y * match((t - s) / (u - s), x)))

    def source(self, like):
        return light(torch.zeros(like.shape))

    def moves(self, x):  # where a jump leads
        return torch.ones_like(x).unsqueeze(-1)

    def rates(self, x, y, t):  # per unit of time, if the data are y
        return ((y - x).clamp_min(0) / match(1 - torch.as_tensor(t), x)).unsqueeze(-1)


def bars_and_stripes():
    """All that are made of whole rows or of whole columns: (30, 4, 4)."""
    lines = torch.cartesian_prod(*[torch.arange(2)] * SIDE)
    rows = lines.unsqueeze(2).expand(-1, SIDE, SIDE)
    return torch.cat([rows, rows.mT]).unique(dim=0)


def main(output=None, steps=900, samples=1000, looks=1024):
    generator = torch.manual_seed(0)
    process, data = Light(), bars_and_stripes()
    report = check_process(process, data)
    print(report)

    network = MLP((SIDE, SIDE), process.features, process.states, width=64, depth=2)
    model = mb.Transport(
        process,
        network,
        mb.CategoricalHead(),
        shape=(SIDE, SIDE),
        objective=mb.PathKL(damping=1.0) + mb.EndNLL(),
    )
    optimiser = torch.optim.Adam(model.parameters(), 4e-3)
    rate = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    for _ in range(steps):
        batch = data[torch.randint(len(data), (128,), generator=generator)]
        optimiser.zero_grad()
        model.loss(batch, generator=generator).mean().backward()
        optimiser.step()
        rate.step()
    model.eval()

    made = model.sample(samples, steps=16, block=samples, generator=generator)
    right = (made.unsqueeze(1) == data).all(-1).all(-1).any(1)
    nats, error = model.log_likelihood(
        data, draws=looks, block=1024, generator=generator
    ).average()
    chance = len(data) / 2 ** (SIDE * SIDE)
    share = float(right.double().mean())
    print(f"bars or stripes: {share:.1%} of the samples, by chance {chance:.2%}")
    print(
        f"bound on log p: {nats:.2f} ± {error:.2f} nats; no model beats {-math.log(len(data)):.2f}"
    )
    if output is not None:
        path = model.frames(5, torch.linspace(0, 1, 9).tolist(), generator=generator)
        draw(output, path, share, nats)
    return report, made, share, nats, error


def draw(output, path, right, nats):
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    times, n = path.shape[:2]
    framed = torch.nn.functional.pad(path.double(), (1, 1, 1, 1), value=0.5)
    side = SIDE + 2
    image = framed.permute(1, 2, 0, 3).reshape(n * side, times * side)
    figure, axis = plt.subplots(figsize=(8, 5.2), layout="constrained")
    axis.imshow(image.numpy(), cmap=ListedColormap(["black", "0.6", "gold"]))
    places = [side * k + side / 2 - 0.5 for k in range(times)]
    axis.set_xticks(places, [f"{k / (times - 1):.2f}" for k in range(times)])
    axis.set(yticks=[], xlabel="t")
    axis.set_title(
        f"lights come on: {right:.0%} of the samples are bars or stripes; "
        f"bound {nats:.2f} nats, best {-math.log(30):.2f}",
        fontsize=10,
    )
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="own_process.png")
    main(parser.parse_args().output)
