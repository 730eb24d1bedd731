"""The hidden half of an image, drawn several times, with intervals that hold what they say.

    python examples/imputed_digits.py [--output imputed_digits.png]

`Masking` shows the network a random part of each training image, so that it learns the law of the
other pixels given those (as Ho and others, https://arxiv.org/abs/2204.03458, section 3.1).
`impute` then draws what is hidden. On images that were held out, the mean of the draws is compared
with the mean of the training images and with the best linear guess of the hidden pixels from the
shown ones; and the 90 % intervals are asked how often they hold the truth.
Takes 22 s of one core.
"""

import argparse
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge.data import Digits
from markovbridge.evaluation.restoration import Restoration, coverage
from markovbridge.networks import MLP
from markovbridge.training import Trainer, TrainingConfig
from markovbridge.transport import features

SHOWN = torch.arange(8).reshape(1, 8, 1).expand(1, 8, 8) < 4  # the upper half


def train(x, steps, width):
    process, head = mb.PureDeath(maximum=16), mb.MeanHead()
    masking = mb.Masking(low=0.2, high=0.8, none=0.1, pattern="mixed")
    seen = features(process, mb.Noised(), masking=masking, head=head)
    network = MLP((1, 8, 8), seen, head.outputs(process), width=width, depth=2)
    mean, variance = mb.statistics(x)
    moments = {"mean": mean, "variance": variance}
    model = mb.Transport(
        process, network, head, shape=(1, 8, 8), base=None, masking=masking, **moments
    )
    config = TrainingConfig(steps, 64, 2e-3, decay="cosine", ema=0.99, warmup=steps // 20)
    return Trainer(model, x, config).run()


def linear_guess(train, test):
    """E[hidden | shown] if images were Gaussian, with a ridge of one unit of variance."""
    a, b = train[:, SHOWN].double(), train[:, ~SHOWN].double()
    centred = a - a.mean(0)
    matrix = centred.mT @ centred / len(a) + torch.eye(a.shape[1])
    weights = torch.linalg.solve(matrix, centred.mT @ (b - b.mean(0)) / len(a))
    return b.mean(0) + (test[:, SHOWN].double() - a.mean(0)) @ weights


def main(output=None, steps=1500, width=256, images=120, draws=19):
    torch.manual_seed(0)
    data, test = Digits().load("train").x, Digits().load("test").x[:images]
    model = train(data, steps, width)
    rows = test.long().repeat_interleave(draws, 0)
    generator = torch.Generator().manual_seed(1)
    made = model.impute(rows, SHOWN, steps=12, block=len(rows), generator=generator)
    found = Restoration.of_rows(made, draws)

    truth = test.double()[:, ~SHOWN]
    guesses = {
        "mean of training images": data.double().mean(0)[~SHOWN].expand_as(truth),
        "best linear guess": linear_guess(data, test),
        "mean of the draws": found.mean[:, ~SHOWN],
        "one draw": found.draws[0].double()[:, ~SHOWN],
    }
    errors = {name: float((x - truth).square().mean().sqrt()) for name, x in guesses.items()}
    print("root mean squared error of the hidden pixels, of 0 to 16")
    for name, error in errors.items():
        print(f"  {name:<26}{error:5.2f}")
    hidden = (~SHOWN).expand(test.shape)
    (held,) = coverage(found, test.long(), (0.9,), where=hidden, generator=generator)
    print(f"truth inside 90 % by rank: {held.randomised:.1%} ± {held.error:.1%}")
    if output is not None:
        draw(output, test, found, errors, held)
    return errors, held, found, test


def draw(output, test, found, errors, held):
    import matplotlib.pyplot as plt

    columns = 12
    shown = torch.where(SHOWN, test[:columns].double(), 6.0)
    rows = [shown, *found.draws[:3, :columns].double(), found.mean[:columns], test[:columns]]
    names = ["shown", "draw 1", "draw 2", "draw 3", "mean", "truth"]
    figure, axis = plt.subplots(figsize=(8, 4.2), layout="constrained")
    framed = torch.nn.functional.pad(torch.stack([x[:, 0] for x in rows]), (1, 0, 1, 0), value=6.0)
    image = framed.transpose(1, 2).reshape(9 * len(rows), -1).numpy()
    axis.imshow(image, cmap="gray", vmin=0, vmax=16)
    axis.set(xticks=[], yticks=[9 * k + 4.5 for k in range(len(rows))], yticklabels=names)
    axis.set_title(
        f"the lower half is drawn: rms error {errors['mean of the draws']:.2f}, best linear guess "
        f"{errors['best linear guess']:.2f};\n"
        f"90 % intervals hold {held.randomised:.0%} of the truth",
        fontsize=10,
    )
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="imputed_digits.png")
    main(parser.parse_args().output)
