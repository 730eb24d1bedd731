"""A model away from home is too sure of itself, and how its intervals are corrected.

    python examples/calibrated_intervals.py [--output calibrated_intervals.png]

Counts of species are learned at dry sites and imputed at wet ones as well, of which the model
knows nothing, so that its intervals are too narrow. `calibrate` measures that on some rows from
all sites, and widens intervals by their errors (conformal prediction: Romano and others 2019,
https://arxiv.org/abs/1905.03222): for rows like these they hold the truth with probability `level`
at least, whatever the model. Printed is how often they hold it on 300 fresh rows, before and
after, and how long they are. Takes 18 s of one core.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from markovbridge import CountModel

FEATURES = [f"species {k}" for k in range(8)]
LEVELS = (0.5, 0.7, 0.9)
SHOWN = 0.6  # of the entries


def sites(n, seed, wettest=1.0):
    """Counts of eight species, which live in the dry or in the wet: (n, 8)."""
    rng = np.random.default_rng(seed)
    wet = wettest * rng.random(size=(n, 1))
    preference = np.linspace(0, 1, len(FEATURES))
    means = 60 * np.exp(-(((wet - preference) / 0.35) ** 2)) * rng.gamma(4, 1 / 4, size=(n, 1))
    return pd.DataFrame(rng.poisson(means), columns=FEATURES)


def main(output=None, steps=400, rows=400, held_out=200, fresh=300):
    model = CountModel(
        steps=steps,
        width=128,
        learning_rate=3e-3,
        random_state=0,
    )
    model.fit(sites(rows, seed=0, wettest=0.5))
    model.calibrate(sites(held_out, seed=1), observed=SHOWN, levels=LEVELS, random_state=1)

    truth = sites(fresh, seed=2)
    hidden = np.random.default_rng(3).random(truth.shape) > SHOWN
    imputed = model.impute(truth.mask(hidden), random_state=4)
    found = {}
    print("level   as drawn: held, length   corrected: held, length")
    for level in LEVELS:
        row = []
        for corrected in (False, True):
            low, high = (np.asarray(x) for x in imputed.interval(level, corrected=corrected))
            inside = (low <= truth.to_numpy()) & (truth.to_numpy() <= high)
            row.append((inside[hidden].mean(), (high - low)[hidden].mean()))
        found[level] = row
        print(f"{level:5.0%}", *(f"{held:18.1%}{length:8.1f}" for held, length in row))
    if output is not None:
        draw(output, found)
    return found


def draw(output, found):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
    levels = list(found)
    for k, (name, mark) in enumerate((("as drawn", "o"), ("corrected", "s"))):
        left.plot(levels, [row[k][0] for row in found.values()], mark + "-", label=name)
        right.plot(levels, [row[k][1] for row in found.values()], mark + "-", label=name)
    left.plot([0.4, 1], [0.4, 1], "k:", label="as promised")
    left.set(xlabel="level of the interval", ylabel="share that holds the truth")
    left.set_title("intervals of fresh rows: promised and kept", fontsize=10)
    left.legend(fontsize=8)
    right.set(xlabel="level of the interval", ylabel="mean length, counts", ylim=(0, None))
    right.set_title("what that costs", fontsize=10)
    for axis in (left, right):
        axis.set_xticks(levels)
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="calibrated_intervals.png")
    main(parser.parse_args().output)
