"""Joint draws on two pixels whose law is known: how far is what is learned from the truth?

    python benchmarks/joint_pixels.py
    python benchmarks/joint_pixels.py --rule energy --steps 12000 --noise 2 --draws 2

Two pixels hold counts 0 .. 31, of the law of `sampler_error.py`: four bumps. A small network with
`JointHead` is trained on draws of it, by the log score of a mixture of products or by the energy
score of ends that are made of noise, and sampled by bridge steps to jointly drawn ends, beside
leaps of its mean. Printed is the total variation between 400,000 samples and the law, with that of
as many draws of the law itself.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge.networks import MLP
from markovbridge.training import Trainer, TrainingConfig
from markovbridge.transport import features
from sampler_error import STATES, data_law

DRAWS = 400_000


def drawn(law: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draws of the two pixels, (n, 2)."""
    cell = law.flatten().multinomial(n, True, generator=generator)
    return torch.stack([cell // STATES, cell % STATES], 1)


def variation(x: Tensor, law: Tensor) -> float:
    """Total variation between samples, (n, 2), and a law."""
    counts = (x[:, 0] * STATES + x[:, 1]).bincount(minlength=STATES**2).double()
    return float((counts / len(x) - law.flatten()).abs().sum()) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rule", choices=("energy", "log"), default="log")
    parser.add_argument("--products", type=int, default=8, help="of the mixture, under log")
    parser.add_argument("--noise", type=int, default=1)
    parser.add_argument("--draws", type=int, help="1 under the log score, 2 under energy")
    parser.add_argument("--exponent", type=float, default=1.0)
    parser.add_argument("--early", type=float, default=2.0)
    parser.add_argument("--weight", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(told.seed)
    law = data_law()
    data = drawn(law, DRAWS, rng)
    process = mb.PureDeath(STATES - 1, mb.CosineSchedule())
    head = mb.JointHead(
        given_noise=mb.CategoricalHead() if told.rule == "log" else None,
        noise=told.noise,
        draws=told.draws or (1 if told.rule == "log" else 2),
        exponent=told.exponent,
        weight=told.weight,
        early=told.early,
        rule=told.rule,
        products=told.products if told.rule == "log" else 1,
    )
    torch.manual_seed(told.seed)
    seen = features(process, mb.Noised(), head=head)
    network = MLP((2,), seen, head.outputs(process), width=told.width, depth=3)
    mean, variance = mb.statistics(data)
    model = mb.Transport(
        process, network, head, shape=(2,), mean=mean, variance=variance, base=None
    )
    config = TrainingConfig(
        steps=told.steps,
        batch_size=told.batch,
        learning_rate=2e-3,
        decay="cosine",
        ema=0.998,
        log_every=1000,
        seed=told.seed,
        threads=1,
        planning=False,
    )
    model = Trainer(model, data, config).run()
    say(f"{DRAWS} draws of the law itself: {variation(drawn(law, DRAWS, rng), law):.4f}")
    for name, sampler, counts in (
        ("joint draws, evaluations", mb.Bridge(), (1, 2, 5, 10)),
        ("leaps, steps of two", mb.Trapezoidal(), (1, 2, 5, 10)),
    ):
        for steps in counts:
            grid = process.schedule.grid(steps)
            x = model.sample(DRAWS, steps=grid, sampler=sampler, generator=rng, block=20_000)
            say(f"{name} {steps:3d}: {variation(x, law):.4f}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
