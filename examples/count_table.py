"""A table of counts in three lines: new rows, restored depth, imputed entries.

    python examples/count_table.py [--output count_table.png]

The table is made up, so that the truth is known: 1,500 cells of two types, twelve genes, the
first six high in one type and the others in the other, and a depth that differs from cell to
cell. Printed are errors beside those of the mean of a gene and of its true rate, which nothing
beats. For a real table: docs/how-to/cells.md. Takes 21 s of one core.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from markovbridge import CountModel

GENES = [f"gene{k}" for k in range(12)]


def cells(n, seed):
    """Counts (n, 12) as a data frame, with the type and the depth of each cell."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["neuron", "glia"], size=n)
    high, low = np.full(6, 6.0), np.full(6, 0.6)
    means = np.where(kind[:, None] == "neuron", np.r_[high, low], np.r_[low, high])
    depth = rng.lognormal(sigma=0.4, size=(n, 1))
    table = pd.DataFrame(rng.poisson(depth * means), columns=GENES)
    table.insert(0, "type", kind)
    return table, depth * means


def main(output=None, steps=400, rows=300):
    train, _ = cells(1500, seed=0)
    test, truth = cells(rows, seed=1)
    counts = test[GENES]

    model = CountModel(steps=steps, width=64, learning_rate=3e-3, random_state=0)
    model.fit(train, covariates=["type"])

    made = model.sample(1000, covariates={"type": "neuron"})
    print("genes of neurons, mean:     made  real")
    real = train[train["type"] == "neuron"]
    for name in ("gene0", "gene11"):
        print(f"  {name:<24}{made[name].mean():6.2f}{real[name].mean():6.2f}")

    # Half of the units are lost. What they were is drawn, given those that are left.
    rng = np.random.default_rng(2)
    shallow = test.assign(**{name: rng.binomial(test[name], 0.5) for name in GENES})
    restored = model.restore(shallow, survival=0.5)
    low, high = restored.interval(0.9)
    inside = ((low[GENES] <= counts) & (counts <= high[GENES])).to_numpy().mean()

    # A third of the entries were never measured, and the type of the cell is not known.
    hidden = rng.random(counts.shape) < 1 / 3
    imputed = model.impute(counts.mask(hidden), covariates={"type": None})

    def error(guess, where=...):
        return ((np.asarray(guess) - counts.to_numpy())[where] ** 2).mean() ** 0.5

    gene = np.broadcast_to(train[GENES].mean(), counts.shape)
    errors = {
        "restored": error(restored.mean[GENES]),
        "counts / 0.5": error(shallow[GENES] / 0.5),
        "imputed": error(imputed.mean, hidden),
        "mean of the gene": error(gene, hidden),
        "true rate of the gene": error(truth, hidden),
    }
    print("root mean squared error")
    for name, error in errors.items():
        print(f"  {name:<24}{error:6.2f}")
    print(f"intervals of 90 % hold the truth in {inside:.0%}")
    if output is not None:
        draw(output, made[GENES], real[GENES], errors)
    return model, made, errors, inside


def draw(output, made, real, errors):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for k, (x, label) in enumerate(((real, "real neurons"), (made, "made neurons"))):
        values = [x[name].to_numpy() for name in GENES]
        places = np.arange(12) + 0.4 * k - 0.2
        left.bar(places, [v.mean() for v in values], 0.36, label=label)
        spread = np.array([np.quantile(v, (0.1, 0.9)) for v in values]).T
        left.vlines(places, *spread, color="black", linewidth=1, zorder=3)
    left.plot([], [], "k-", linewidth=1, label="a tenth above, a tenth below")
    left.set_xticks(range(0, 12, 2))
    left.set(xlabel="gene", ylabel="counts", ylim=(0, 18))
    left.set_title("rows of a type that is asked for", fontsize=10)
    left.legend(fontsize=8)
    colors = ["C1" if name in ("restored", "imputed") else "0.7" for name in errors]
    right.barh(list(errors), list(errors.values()), color=colors)
    for k, error in enumerate(errors.values()):
        right.text(error, k, f" {error:.2f}", va="center", fontsize=8)
    right.invert_yaxis()
    right.set(xlabel="root mean squared error", xlim=(0, 1.15 * max(errors.values())))
    right.set_title("the model (orange) and what it is to beat", fontsize=10)
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="count_table.png")
    main(parser.parse_args().output)
