"""A table of counts from a file: likelihood, samples, restored depth and imputed entries.

    python benchmarks/count_table.py cells.h5ad --steps 1500

trains a `CountModel` on 80 % of the rows and prints, on the tenth held out as a test set:

- nats per row, against negative binomials with size factors (one profile, and a mixture of
  profiles whose number a validation set chooses; `exact.CountMixture`);
- log-scale correlations of mean, variance and zero fraction of each feature between samples
  and training rows, over features seen in 50 rows or more;
- depth restoration by molecular cross-validation: of each row one half of the units is shown
  and the other predicted, against size-factor scaling and the baselines;
- imputation of 30 % of the entries, hidden at random, against the conditional means of the
  baselines.

Every figure stands beside what it has to beat, or the floor that real data set.
"""

import argparse
import time

import torch

from markovbridge import CountModel
from markovbridge.data import CountTable
from markovbridge.data.rows import dense
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import (
    agreement,
    best_pseudocount,
    held_out,
    held_out_table,
    margins,
    scale_depth,
    thin,
)
from markovbridge.exact import CountMixture

SURVIVAL, HIDDEN, SEEN, BAR = 0.5, 0.3, 50, 0.98


def verdict(ours, bar, *, higher=False):
    return "reached" if (ours >= bar if higher else ours < bar) else "MISSED"


def likelihood(model, baselines, test, rows, draws):
    x = test[:rows]
    start = time.perf_counter()
    ours = -model.score_samples(x, draws=draws)
    error = ours.std() / len(x) ** 0.5
    print(f"\nnats per row, {len(x)} test rows (bound; {time.perf_counter() - start:.0f} s)")
    print(f"  model                                    {ours.mean():9.2f} ± {error:.2f}")
    for name, baseline in baselines.items():
        nats = -baseline.log_prob(x).numpy()
        gain = nats - ours
        error = gain.std() / len(x) ** 0.5
        bar = verdict(ours.mean(), nats.mean())
        print(
            f"  {name:<40} {nats.mean():9.2f}, that is {gain.mean():.2f} ± {error:.2f} more  {bar}"
        )


def samples(model, train, count):
    start = time.perf_counter()
    made = torch.from_numpy(model.sample(count))
    seconds = time.perf_counter() - start
    whole = margins(train)
    chosen = whole.seen >= SEEN
    order = torch.randperm(len(train), generator=generator("cpu", "floor"))
    floor = agreement(margins(train[order[:count]]), whole, chosen)
    print(f"\nsamples, {count} in {seconds:.0f} s: log correlation (median error), beside as many")
    print(f"real rows; {int(chosen.sum())} features seen in {SEEN} rows or more")
    for name, found in agreement(margins(made), whole, chosen).items():
        real, bar = floor[name], ""
        if "Fano" not in name:
            bar = verdict(found.correlation, BAR, higher=True)
        print(
            f"  {name:<16} {found.correlation:.4f} ({found.median_error:.3f})   "
            f"{real.correlation:.4f} ({real.median_error:.3f})  {bar}"
        )
    totals = made.sum(1).double(), train.sum(1).double()
    print(
        f"  {'library size':<16} mean {totals[0].mean():.0f}, deviation {totals[0].std():.0f}; "
        f"real {totals[1].mean():.0f}, {totals[1].std():.0f}"
    )


def depth(model, baselines, train, test):
    kept, lost = thin(test, SURVIVAL, generator=generator("cpu", "kept"))
    start = time.perf_counter()
    found = model.restore(kept, SURVIVAL)
    seconds = time.perf_counter() - start
    halves = thin(train, SURVIVAL, generator=generator("cpu", "halves"))
    pseudocount = best_pseudocount(*halves, SURVIVAL)
    ties = generator("cpu", "ties")
    restored = type(found.restoration)(found.restoration.draws - kept)
    scores = {
        "model, expected counts": held_out(found.expected - kept, lost),
        "model, 19 draws": held_out(restored, lost, generator=ties),
        "size-factor scaling": held_out(
            scale_depth(kept, SURVIVAL, pseudocount=pseudocount), lost
        ),
        **{name: held_out(b.lost(kept, SURVIVAL), lost) for name, b in baselines.items()},
    }
    print(f"\ndepth: half the units predicted from the other, {len(test)} rows ({seconds:.0f} s)")
    print(held_out_table(scores))
    ours, scaling = (scores[k].deviance for k in ("model, expected counts", "size-factor scaling"))
    print(f"  deviance below that of scaling: {verdict(ours, scaling)}")


def imputation(model, baselines, test):
    chance = torch.rand(test.shape, generator=generator("cpu", "hidden"))
    hidden = chance < HIDDEN
    start = time.perf_counter()
    found = model.impute(test, (~hidden).numpy())
    seconds = time.perf_counter() - start
    ties = generator("cpu", "ties")
    scores = {
        "model, 19 draws": held_out(found.restoration, test, hidden, generator=ties),
        **{name: held_out(b.impute(test, hidden), test, hidden) for name, b in baselines.items()},
    }
    print(f"\nimputation of {HIDDEN:.0%} of the entries, {len(test)} rows ({seconds:.0f} s)")
    print(held_out_table(scores))
    ours = scores["model, 19 draws"]
    for name in baselines:
        rank = verdict(ours.spearman, scores[name].spearman, higher=True)
        error = verdict(ours.rmse, scores[name].rmse)
        print(f"  against {name}: Spearman {rank}, RMSE {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", help="a file of counts that CountTable reads")
    parser.add_argument("--layer")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--library-size", choices=["covariate"])
    parser.add_argument("--model", help="a folder: loaded if there is one, else written")
    parser.add_argument("--rows", type=int, default=500, help="test rows for nats")
    parser.add_argument("--draws", type=int, default=64, help="looks at each, for nats")
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    source = CountTable(args.table, layer=args.layer)
    parts = {s: dense(source.load(s).x).long() for s in ("train", "validation", "test")}
    train, test = parts["train"], parts["test"]
    print(f"{args.table}: {len(train):,} training rows of {train.shape[1]:,} features")
    try:
        model = CountModel.load(args.model) if args.model else None
    except FileNotFoundError:
        model = None
    if model is None:
        model = CountModel(
            steps=args.steps, width=args.width, library_size=args.library_size, random_state=0
        )
        start = time.perf_counter()
        model.fit(train)
        minutes = (time.perf_counter() - start) / 60
        print(f"trained {args.steps} steps in {minutes:.1f} minutes on {args.threads} thread(s)")
        if args.model:
            model.save(args.model)
    start = time.process_time()
    one = CountMixture.fit(train)
    best = CountMixture.choose(train, parts["validation"])
    print(f"fitted the baselines in {time.process_time() - start:.0f} s of one processor")
    baselines = {"negative binomials": one, f"mixture of {best.components}": best}
    likelihood(model, baselines, test, args.rows, args.draws)
    samples(model, train, args.samples)
    depth(model, baselines, train, test)
    imputation(model, baselines, test)


if __name__ == "__main__":
    main()
