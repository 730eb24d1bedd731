"""Letters out of masks or out of noise: what the number of steps costs, with an exact law.

    python examples/masked_text.py [--output masked_text.png]

Text is a Markov chain of letters here, as often next to each other as in the Zen of Python (any
letter after any other in a fiftieth). Its posterior given noised letters is known (the
forward-backward recursions), and stands where a network would. `AbsorbingChain` turns letters into
masks, `UniformChain` into other letters. A sampler draws all sites at once in each step, so that
few steps make neighbours that do not fit; `SecondOrderBridge` looks twice a step, and needs fewer
looks. Printed is the total variation of pairs of neighbours from the truth, beside what as many
samples of the truth have by chance. Takes 29 s of one core.
"""

import argparse
import codecs
import contextlib
import io
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge.laws import Categorical
from markovbridge.samplers import SecondOrderBridge

LENGTH = 16  # letters of a text
ANY = 0.02  # probability of any letter after any other


def zen():
    """Letters and single spaces of the Zen of Python."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    text = codecs.decode(this.s, "rot13").lower()
    return " ".join("".join(c if c.isalpha() else " " for c in text).split())


LETTERS = "".join(sorted(set(zen())))
SIZE = len(LETTERS)


def language():
    """The law of the first letter (SIZE,), and of the next one given a letter (SIZE, SIZE)."""
    text = torch.tensor([LETTERS.index(c) for c in zen() + " "])
    pairs = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    pairs.index_put_((text[:-1], text[1:]), torch.ones(1).double(), accumulate=True)
    following = (1 - ANY) * pairs / pairs.sum(1, keepdim=True) + ANY / SIZE
    first = torch.linalg.matrix_power(following, 1000)[0]  # the stationary law
    return first / first.sum(), following


class MarkovText:
    """The law of x_1 given x_t, site by site: p(letter | all noised letters)."""

    def __init__(self, process):
        self.process, (self.first, self.following) = process, language()

    def __call__(self, x, t, condition=None):
        seen = self.process.evidence(x, t).double().exp()  # p(x_t | letter), (n, LENGTH, SIZE)
        before, after = [self.first * seen[:, 0]], [torch.ones_like(seen[:, 0])]
        for k in range(1, LENGTH):
            step = before[-1] / before[-1].sum(1, keepdim=True)
            before.append(step @ self.following * seen[:, k])
            step = (after[0] * seen[:, LENGTH - k]) @ self.following.mT
            after.insert(0, step / step.sum(1, keepdim=True))
        return Categorical((torch.stack(before, 1) * torch.stack(after, 1)).log())


def pairs_of(x):
    """How often letters are next to each other, (SIZE, SIZE)."""
    both = (SIZE * x[:, :-1] + x[:, 1:]).flatten()
    return torch.bincount(both, minlength=SIZE**2).double().reshape(SIZE, SIZE) / both.numel()


def by_chance(n, generator):
    """As far as n texts of the language itself are from it."""
    first, following = language()
    x = [torch.multinomial(first, n, replacement=True, generator=generator)]
    for _ in range(LENGTH - 1):
        x.append(torch.multinomial(following[x[-1]], 1, generator=generator)[:, 0])
    return distance(torch.stack(x, 1))


def distance(x):
    first, following = language()
    return float((pairs_of(x) - first.unsqueeze(1) * following).abs().sum() / 2)


def main(output=None, looks=(2, 4, 8, 16, 32), n=3000):
    generator = torch.Generator().manual_seed(0)
    models = {
        name: mb.Transport(process, MarkovText(process), shape=(LENGTH,))
        for name, process in (("masks", mb.AbsorbingChain(SIZE)), ("noise", mb.UniformChain(SIZE)))
    }
    samplers = {"one look a step": (mb.Bridge(), 1), "two looks": (SecondOrderBridge(), 2)}
    found = {}
    for name, model in models.items():
        for kind, (sampler, each) in samplers.items():
            found[name, kind] = []
            for number in looks:
                steps = number // each
                x = model.sample(n, steps=steps, sampler=sampler, block=n, generator=generator)
                found[name, kind].append(distance(x))
    floor = by_chance(n, generator)
    print("total variation of pairs of letters; looks:", *(f"{k:7d}" for k in looks))
    for (name, kind), errors in found.items():
        print(f"  out of {name}, {kind:<28}", *(f"{error:7.3f}" for error in errors))
    print(f"  the language itself, by chance {floor:.3f}")
    if output is not None:
        times = torch.linspace(0, 1, 9).tolist()
        path = models["masks"].frames(1, times, generator=torch.Generator().manual_seed(3))
        draw(output, looks, found, floor, times, path[:, 0].tolist())
    return found, floor


def draw(output, looks, found, floor, times, path):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8, 3.4), width_ratios=(1, 1.1), layout="constrained"
    )
    for row, (t, letters) in enumerate(zip(times, path, strict=True)):
        for column, letter in enumerate(letters):
            known = letter < SIZE
            text = LETTERS[letter].replace(" ", "␣") if known else "■"
            color = "black" if known else "0.85"
            left.text(column, -row, text, color=color, ha="center", family="DejaVu Sans Mono")
        left.text(-1.5, -row, f"t = {t:.2f}", ha="right", fontsize=8)
    left.set(xlim=(-6, LENGTH), ylim=(-len(times) + 0.3, 1))
    left.axis("off")
    left.set_title("a path out of masks", fontsize=10)
    for (name, kind), errors in found.items():
        style = {"color": "C0" if name == "masks" else "C1", "marker": "o"}
        line = "-" if kind == "two looks" else "--"
        right.loglog(looks, errors, line, label=f"{name}, {kind}", **style)
    right.axhline(floor, color="black", linestyle=":", label="the truth, by chance")
    right.set_xticks(looks, looks)
    right.set_yticks((0.03, 0.05, 0.1, 0.2, 0.3), (0.03, 0.05, 0.1, 0.2, 0.3))
    right.minorticks_off()
    right.set(xlabel="looks at the law a sample", ylabel="total variation, pairs of letters")
    right.set_title("error of the steps alone: the law is exact", fontsize=10)
    right.legend(fontsize=8)
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="masked_text.png")
    main(parser.parse_args().output)
