"""Imputation by a network that is told what is known, and by replacement with rounds.

    python benchmarks/imputation.py                       two pixels, a perfect network
    python benchmarks/imputation.py runs/digits-classes   held-out digits, one network

The first prints the total variation to the exact conditional law of one pixel given the
other. The second shows the upper half of test images to the run's network, or hides the known
values from that same network, which then imputes by replacement, and prints the error of the
mean of 20 draws and of one draw, and how often the central 90 % of the draws hold the truth.
"""

import sys

import torch
from torch import Tensor, nn

from markovbridge import PureDeath, Transport, UniformChain, exact
from markovbridge.data import Digits
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.restoration import Restoration, coverage
from markovbridge.laws import Atoms, Categorical
from markovbridge.samplers.known_sites import Masking

SIZE, DRAWS = 5, 10_000
VALUE = 3  # of the known pixel
ROUNDS = (1, 2, 4, 10, 16, 40)
IMAGES, REPEATS, STEPS = 48, 20, 25


def data_law() -> Tensor:
    """The law of two pixels of counts 0 .. 4."""
    first, second = torch.meshgrid(*[torch.arange(SIZE).double()] * 2, indexing="ij")
    table = torch.exp(-((first + second - 4) ** 2) / 1.5 - (first - 1) ** 2 / 4)
    table = table + 0.02 * (first == second)
    return table / table.sum()


class Perfect:
    """The law of each pixel given x_t, and given what is known if told."""

    def __init__(self, process, told):
        self.points = torch.cartesian_prod(torch.arange(SIZE), torch.arange(SIZE))
        self.joint = exact.Empirical(process, self.points, data_law().flatten())
        states = torch.arange(getattr(process, "size", SIZE))
        self.states, self.size = torch.cartesian_prod(states, states), len(states)
        self.told, self.kept = told, {}

    def __call__(self, x, t, condition=None, observed=None):
        t = float(t[0])
        if self.told:
            law = self.joint(x, t)
            same = (self.points == observed.values.unsqueeze(1)) | ~observed.mask.unsqueeze(1)
            weights = torch.where(same.all(-1), law.log_weights, -torch.inf)
            return Atoms(law.points, weights.log_softmax(1)).sites(SIZE)
        if t == 0:
            return self.joint(x, t).sites(SIZE)
        if t not in self.kept:
            self.kept[t] = self.joint(self.states, t).sites(SIZE).logits
        return Categorical(self.kept[t][x[:, 0] * self.size + x[:, 1]])


def error(model, **options):
    """Total variation of the second pixel given the first."""
    x = torch.tensor([[VALUE, 0]]).expand(DRAWS, 2)
    options |= {"generator": generator("cpu", "impute"), "block": DRAWS}
    draws = model.impute(x, torch.tensor([True, False]), **options)[:, 1]
    law = data_law()[VALUE] / data_law()[VALUE].sum()
    return 0.5 * float((torch.bincount(draws, minlength=SIZE) / DRAWS - law).abs().sum())


def two_pixels():
    print("process  network  steps", *(f"{r:5d}" for r in ROUNDS), "rounds")
    for process in (PureDeath(SIZE - 1), UniformChain(SIZE)):
        name = type(process).__name__
        told = Transport(process, Perfect(process, True), shape=(2,), masking=Masking())
        for steps in (1, 8):
            print(f"{name:12s} told     {steps:3d} {error(told, steps=steps):6.3f}")
        model = Transport(process, Perfect(process, False), shape=(2,))
        for steps in (8, 16):
            row = [error(model, steps=steps, rounds=rounds) for rounds in ROUNDS]
            print(f"{name:12s} replaced {steps:3d}", *(f"{e:6.3f}" for e in row), flush=True)


class Untold(nn.Module):
    """A network trained with known sites, from which they are hidden."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, features, t, condition=None):
        nothing = torch.zeros_like(features)
        return self.network(torch.cat([features, nothing, nothing], 1), t, condition)


def digits(run):
    told = Transport.from_pretrained(f"{run}/model")
    moments = {"mean": told.mean, "variance": told.variance}
    untold = Transport(
        told.process, Untold(told.network), told.head, shape=told.shape, **moments
    ).eval()
    x = Digits().load("test").x[:IMAGES].long()
    mask = torch.zeros(told.shape, dtype=torch.bool)
    mask[:, :4] = True
    print(f"{'':9s} rounds  rmse of mean  of one draw  coverage of 90 %")
    for name, model, rounds in (
        ("told", told, 1),
        ("replaced", untold, 1),
        ("replaced", untold, 4),
        ("replaced", untold, 10),
    ):
        rows = x.repeat_interleave(REPEATS, 0)
        g = torch.Generator().manual_seed(0)
        made = model.impute(rows, mask, steps=STEPS, rounds=rounds, block=len(rows), generator=g)
        result = Restoration.of_rows(made, REPEATS)
        rmse = [
            float(((guess - x)[:, ~mask] ** 2).mean().sqrt())
            for guess in (result.mean, result.draws[0].double())
        ]
        hidden = (~mask).expand(x.shape)
        (held,) = coverage(result, x, (0.9,), where=hidden, generator=generator("cpu", 0))
        print(
            f"{name:9s} {rounds:6d}  {rmse[0]:12.2f}  {rmse[1]:11.2f}  "
            f"{held.randomised:.3f} ± {held.error:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    digits(sys.argv[1]) if len(sys.argv) > 1 else two_pixels()
