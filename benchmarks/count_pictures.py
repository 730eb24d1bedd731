"""Pictures of a count model beside cells that it has not seen.

    python benchmarks/count_pictures.py mouse-brain.h5ad --output docs/images --model brain

Fits a `CountModel` to all rows of a table but 2,000, or loads it from the folder MODEL if it has
been there before. Draws, as PNG:

    cells-components.png   held-out and synthetic rows on the principal components of the training
                           rows, scaled to one depth, as logarithms
    cells-genes.png        means and shares of zeros of each feature, and totals of rows
    cells-intervals.png    intervals of hidden entries beside the truth, how often they hold it
                           before and after `calibrate`, and the ranks of the truth

Colours are the classes of `--by`, or else groups that k-means finds in the training rows: every
row, real or synthetic, has the colour of the group it is nearest to. Half of the held-out rows is
shown, the other half is for `calibrate`. Takes matplotlib and scikit-learn.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from markovbridge import CountModel
from markovbridge.data import CountTable
from markovbridge.data.rows import dense

HELD, SEED = 2000, 0
COMPONENTS, GROUPS = 10, 6
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
ROWS = 12  # of which entries are hidden
SHOWN = 60  # hidden entries whose intervals are drawn
REAL, MADE = "tab:blue", "tab:orange"


def scaled(x, depth):
    """Counts (n, d) at one depth, as logarithms."""
    return np.log1p(x / np.maximum(x.sum(1, keepdims=True), 1) * depth)


def figure(panels, height=4.2):
    found = Figure(figsize=(4.4 * panels, height), layout="constrained")
    return found, found.subplots(1, panels)


def draw_components(path, training, real, made, kinds):
    """Held-out rows and samples on two components, by class or by the nearest group."""
    depth = np.median(training.sum(1))
    pca = PCA(COMPONENTS, random_state=SEED).fit(scaled(training, depth))
    places = {"held-out cells": real, "synthetic cells": made}
    places = {name: pca.transform(scaled(x, depth)) for name, x in places.items()}
    if kinds is None:
        means = KMeans(GROUPS, n_init=4, random_state=SEED).fit(
            pca.transform(scaled(training, depth))
        )
        own = [means.predict(z) for z in places.values()]
        names = [f"group {k + 1}" for k in range(GROUPS)]
    else:
        names = sorted({*kinds[0], *kinds[1]})
        own = [np.array([names.index(kind) for kind in each]) for each in kinds]
    picture, axes = figure(2, 4.8)
    for ax, (title, z), of in zip(axes, places.items(), own, strict=True):
        order = np.random.default_rng(SEED).permutation(len(z))
        colours = np.array([f"C{k}" for k in range(10)])[of % 10]
        ax.scatter(*z[order, :2].T, c=colours[order], s=7, alpha=0.7, linewidths=0)
        share = pca.explained_variance_ratio_
        ax.set(title=f"{len(z):,} {title}", xlabel=f"component 1 ({share[0]:.1%} of the variance)")
        ax.set(ylabel=f"component 2 ({share[1]:.1%})")
        for k, name in enumerate(names):
            label = f"{name}: {np.mean(of == k):.0%}"
            ax.scatter([], [], c=f"C{k % 10}", s=20, label=label)
        ax.legend(fontsize=8, frameon=False, ncols=2)
    low, high = (
        end(np.concatenate([z[:, :2] for z in places.values()]), 0) for end in (np.min, np.max)
    )
    for ax in axes:
        ax.set(xlim=(low[0] - 0.3, high[0] + 0.3), ylim=(low[1] - 0.3, high[1] + 2.2))
    picture.savefig(path, dpi=110)


def draw_genes(path, training, real, made):
    """Features and totals, samples against held-out rows; in grey as many rows of the training."""
    other = training[: len(real)]
    picture, axes = figure(3)
    statistics = {
        "mean of a gene": lambda x: x.mean(0),
        "share of zeros of a gene": lambda x: (x == 0).mean(0),
    }
    for ax, (name, of) in zip(axes, statistics.items(), strict=False):
        theirs, ours, again = of(real), of(made), of(other)
        for y, colour, label in ((again, "0.65", "other real cells"), (ours, MADE, "synthetic")):
            seen = (theirs > 0) & (y > 0) & (real.max(0) > 0)
            ax.scatter(theirs[seen], y[seen], s=7, c=colour, alpha=0.6, linewidths=0, label=label)
        ends = [theirs[theirs > 0].min(), theirs.max()]
        ax.plot(ends, ends, color="black", linewidth=0.8, linestyle="--")
        ax.set(title=name, xlabel="held-out cells", ylabel="other cells")
        ax.legend(fontsize=8, frameon=False)
    axes[0].set(xscale="log", yscale="log")
    totals = [np.maximum(x.sum(1), 1) for x in (real, other, made)]
    bins = np.geomspace(1, max(each.max() for each in totals), 40)
    for each, colour, label in zip(
        totals,
        (REAL, "0.65", MADE),
        ("held-out cells", "other real cells", "synthetic"),
        strict=True,
    ):
        axes[2].hist(each, bins, histtype="step", color=colour, label=label)
    axes[2].set(xscale="log", title="library size", xlabel="molecules of a cell", ylabel="cells")
    axes[2].legend(fontsize=8, frameon=False, loc="upper left")
    picture.savefig(path, dpi=110)


def draw_intervals(path, model, found, real, told):
    """Intervals beside the truth; coverage before and after; ranks."""
    rng = np.random.default_rng(SEED)
    rows = real[:ROWS]
    told = {name: values[:ROWS] for name, values in (told or {}).items()} or None
    hidden = rng.random(rows.shape) < 0.3
    holes = model.impute(rows, ~hidden, covariates=told, random_state=SEED)
    (low, high), mean = (np.stack(holes.interval(0.9)), np.asarray(holes.mean))
    candidates = np.argwhere(hidden & (mean > 0.5))
    chosen = candidates[rng.permutation(len(candidates))[:SHOWN]]
    chosen = chosen[np.argsort(mean[tuple(chosen.T)], kind="stable")]
    place = tuple(chosen.T)
    truth, bottom, top = rows[place], low[place], high[place]
    inside = (bottom <= truth) & (truth <= top)
    picture, axes = figure(3)
    across = np.arange(len(truth))
    axes[0].vlines(across, bottom, top, color=REAL, alpha=0.5, linewidth=3, label="90 % interval")
    for kept, colour, label in ((inside, "black", "truth inside"), (~inside, "red", "outside")):
        axes[0].scatter(across[kept], truth[kept], c=colour, s=9, zorder=3, label=label)
    axes[0].set(yscale="symlog", title=f"{len(truth)} hidden entries", ylabel="count")
    axes[0].set(xlabel="hidden entries by their imputed mean", ylim=(-0.5, None))
    axes[0].legend(fontsize=8, frameon=False, loc="upper left")
    levels = [one.plain.level for one in found.coverage]
    for name, values, style in (
        ("central draws, ties at random", [one.plain.randomised for one in found.coverage], "o-"),
        ("intervals before", [one.plain.conservative for one in found.coverage], "s-"),
        ("intervals after", [one.corrected for one in found.coverage], "^-"),
    ):
        axes[1].plot(levels, values, style, label=name, markersize=5)
    axes[1].plot([0.45, 0.95], [0.45, 0.95], color="black", linewidth=0.8, linestyle="--")
    axes[1].set(
        title=f"coverage, {found.rows} cells", xlabel="level", ylabel="share that holds the truth"
    )
    axes[1].legend(fontsize=8, frameon=False, loc="lower right")
    ranks = np.arange(found.draws + 1)
    shares, errors = (np.array(each) * len(ranks) for each in (found.ranks, found.errors))
    axes[2].bar(ranks, shares, yerr=errors, color=REAL, alpha=0.6)
    axes[2].axhline(1, color="black", linewidth=0.8, linestyle="--")
    axes[2].set(title=f"ranks of the truth, p = {found.uniform:.2g}", ylim=(0, None))
    axes[2].set(xlabel=f"rank among {found.draws} draws", ylabel="share, 1 if uniform")
    picture.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--output", type=Path, default=Path())
    parser.add_argument("--model", type=Path, help="folder to keep the model in")
    parser.add_argument("--by", help="covariate of classes")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rows", type=int, default=60, help="rows to calibrate with")
    options = parser.parse_args()
    by = options.by
    data = CountTable(options.table, covariates=(by,) if by else ()).load("all")
    x = dense(data.x).numpy()
    order = np.random.default_rng(SEED).permutation(len(x))
    held = min(HELD, len(x) // 5)
    shown, spare, rest = order[: held // 2], order[held // 2 : held], order[held:]
    classes = None if by is None else np.array(list(map(str, data.known[by])))

    def told(index):
        return None if classes is None else {by: classes[index]}

    if options.model is not None and options.model.is_dir():
        model = CountModel.load(options.model)
    else:
        model = CountModel(steps=options.steps, random_state=SEED, threads=1, verbose=True)
        model.fit(x[rest], covariates=told(rest))
        if options.model is not None:
            model.save(options.model)
    made = np.asarray(model.sample(len(shown), covariates=told(shown), random_state=SEED))
    kinds = None if classes is None else (classes[shown], classes[shown])
    options.output.mkdir(parents=True, exist_ok=True)
    draw_components(options.output / "cells-components.png", x[rest], x[shown], made, kinds)
    draw_genes(options.output / "cells-genes.png", x[rest], x[shown], made)
    spare = spare[: options.rows]
    facts = {"levels": LEVELS, "covariates": told(spare), "random_state": SEED}
    found = model.calibrate(x[spare], **facts)
    draw_intervals(options.output / "cells-intervals.png", model, found, x[shown], told(shown))
    print(*(f"{one.plain.level:.0%}: {one}" for one in found.coverage), sep="\n")


if __name__ == "__main__":
    main()
