"""What does a mixture of negative binomials cost: its fit, and its posterior in a training step?

    python benchmarks/mixture_cost.py
    python benchmarks/mixture_cost.py --table cells.h5ad
    python benchmarks/mixture_cost.py --rows 10000 --features 30000 --total 2000 --rounds 3

Without a file, counts are drawn from a mixture of 12 profiles, a tenth of the rows being held out.
Printed are processor seconds of `CountMixture.choose`, its nats on rows that it has not seen,
and the peak of memory. Then a training step of `CountModel`'s network on 128 rows, with and
without what it is told of the mixture (`log_excess` and residuals) at the states and times of the
step, in turns, without known sites and with those that `CountModel` shows, in half of the rows:
the median over rounds of the ratio of processor times, with its quartiles. Both are of this
machine, one thread.
"""

import argparse
import resource
import statistics
import time

import numpy as np
import torch
from scipy import sparse

import markovbridge as mb
from markovbridge.counts.fitting import MASKING
from markovbridge.data import CountTable, SparseRows
from markovbridge.data.rows import dense
from markovbridge.doors.randomness import generator
from markovbridge.exact import CountMixture
from markovbridge.samplers.known_sites import Observed

PROFILES, BATCH, BAR, SECONDS = 12, 128, 1.3, 60


def made(rows, features, total):
    """Counts of a mixture, sparse: log-normal profiles and depths, sizes around 1."""
    rng = np.random.default_rng(0)
    base = np.exp(1.8 * rng.standard_normal(features))
    profiles = base * np.exp(0.7 * rng.standard_normal((PROFILES, features)))
    profiles *= total / profiles.sum(1, keepdims=True)
    sizes = 0.7 * np.exp(rng.standard_normal(features))
    parts = []
    for first in range(0, rows, 500):
        n = min(500, rows - first)
        depth = np.exp(0.5 * rng.standard_normal((n, 1)))
        mean = depth * profiles[rng.integers(PROFILES, size=n)]
        parts.append(
            sparse.csr_matrix(rng.poisson(mean * rng.gamma(sizes, 1 / sizes, mean.shape)))
        )
    return sparse.vstack(parts).tocsr()


def tables(args):
    """Training, held-out and test rows."""
    if args.table:
        source = CountTable(args.table)
        return [dense(source.load(s).x).long() for s in ("train", "validation", "test")]
    whole = made(args.rows + args.rows // 5, args.features, args.total)
    ends = args.rows, args.rows + args.rows // 10
    parts = whole[: ends[0]], whole[ends[0] : ends[1]], whole[ends[1] :]
    return [SparseRows(part) for part in parts]


def steps(mixture, x, known):
    """Functions of no argument: a training step, and the law at its states and times."""
    d = x.shape[1]
    masking = MASKING if known else None
    process = mb.PureDeath()
    features = process.features + (masking.features(process) if masking else 0)
    network = mb.networks.MLP((d,), features=features, outputs=1, compress=True, width=256)
    mean, variance = mb.statistics(x)
    transport = mb.Transport(
        process,
        network,
        mb.MeanHead(link="exp"),
        shape=(d,),
        mean=mean,
        variance=variance,
        objective=mb.PathKL(damping=1.0),
        masking=masking,
    )
    optimiser = torch.optim.AdamW(transport.parameters(), lr=1e-3)
    rng = generator("cpu", "cost")
    t = transport.objective.times(len(x), generator=rng, device=x.device)
    state = process.bridge(torch.zeros_like(x), x, 0.0, t, 1.0).sample(generator=rng)
    observed = Observed(x, masking.draw(x, generator=rng)) if masking else None

    def step():
        optimiser.zero_grad()
        transport.loss(x, generator=rng).mean().backward()
        optimiser.step()

    def law():
        with torch.no_grad():
            told = (state, t) if observed is None else (state, t, observed)
            found = (mixture if observed is None else mixture.given_known)(*told)
            found.log_excess(state), mixture.more(found)

    return step, law


def cost(mixture, x, known, rounds):
    step, law = steps(mixture, x, known)
    step(), law()
    ratios, times = [], []
    for _ in range(rounds):
        begin = time.process_time()
        step()
        middle = time.process_time()
        law()
        times.append(middle - begin)
        ratios.append((time.process_time() - begin) / times[-1])
    low, median, high = statistics.quantiles(ratios, n=4)
    verdict = "reached" if median <= BAR else "MISSED"
    print(
        f"training step, {'with' if known else 'without'} known sites: {median:.2f} times "
        f"({low:.2f} to {high:.2f}) {1000 * statistics.median(times):.0f} ms; bar {BAR} {verdict}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", help="a file of counts that CountTable reads")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--total", type=float, default=250.0, help="counts in a row")
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    train, validation, test = tables(args)
    begin = time.process_time()
    mixture = CountMixture.choose(train, validation)
    seconds = time.process_time() - begin
    verdict = "reached" if seconds <= SECONDS else "MISSED"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{len(train):,} x {train.shape[1]:,}: {mixture.components} profiles, "
        f"{len(mixture.depths)} depths, {seconds:.0f} s; bar {SECONDS} {verdict}; "
        f"{-float(mixture.log_prob(test).mean()):.2f} nats on test; peak {memory:.1f} GiB"
    )
    x = train[:BATCH].long()
    for known in (False, True):
        cost(mixture, x, known, args.rounds)


if __name__ == "__main__":
    main()
