"""A wide sparse table: fit, sample, restore and impute, with seconds and peak memory.

    python benchmarks/wide_table.py --rows 10000 --features 30000 --steps 300

makes rows of about 2,000 units from a mixture of 8 negative binomials (size 2), sparse as a table
of single cells is, and takes a `CountModel` through what it can do with them, on as many threads
as torch has. A tenth of the rows is kept for the questions. Floors: the same figures of the law
that the rows are drawn from.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch
from scipy import sparse

from markovbridge import CountModel, PureDeath
from markovbridge.evaluation.metrics import poisson_deviance
from markovbridge.exact import CountMixture

KINDS, SIZE, UNITS = 8, 2.0, 2000.0


def law(features: int, seed: int) -> CountMixture:
    """The law of the rows."""
    draw = torch.Generator().manual_seed(seed)
    usual = torch.randn(features, generator=draw).mul(1.5).exp()
    apart = torch.randn(KINDS, features, generator=draw).mul(0.7).exp()
    profiles = (usual * apart).double()
    profiles /= profiles.sum(1, keepdim=True)
    depths = UNITS * torch.linspace(-1, 1, 9, dtype=torch.float64).exp()
    weights = -(torch.linspace(-2, 2, 9).square() / 2).double().unsqueeze(1).expand(-1, KINDS)
    sizes = torch.full((features,), SIZE, dtype=torch.float64)
    return CountMixture.of(PureDeath(), weights, depths, profiles, sizes)


def table(known: CountMixture, rows: int, seed: int) -> sparse.csr_matrix:
    """Rows of a law, sparse."""
    draw, parts = torch.Generator().manual_seed(seed), []
    for first in range(0, rows, 256):
        nothing = torch.zeros(min(256, rows - first), known.profiles.shape[1]).long()
        drawn = known(nothing, 0.0).sample(generator=draw)
        parts.append(sparse.csr_matrix(drawn.numpy().astype(np.int32)))
    return sparse.csr_matrix(sparse.vstack(parts))


def told(name: str, began: tuple[float, float]) -> tuple[float, float]:
    """Say how long something took, and start again."""
    wall, own = time.perf_counter(), time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{name:<10} {wall - began[0]:7.1f} s by the clock, {own - began[1]:7.1f} of processors, "
        f"peak so far {peak:.2f} GiB",
        flush=True,
    )
    return time.perf_counter(), time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=30_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--questions", type=int, default=64, help="rows restored and imputed")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--tolerance", type=float, default=1.0, help="of steps; 0.1 is usual")
    options = parser.parse_args()
    known = law(options.features, seed=0)
    began = time.perf_counter(), time.process_time()
    x = table(known, options.rows + 256, seed=1)
    x, test = x[: options.rows], x[options.rows :]
    began = told("made", began)
    model = CountModel(steps=options.steps, tolerance=options.tolerance, random_state=0).fit(x)
    began = told("fitted", began)
    made = model.sample(options.samples, random_state=0)
    began = told("sampled", began)
    for name, rows in ((type(made).__name__, made), ("training", x)):
        zeros = 1 - rows.nnz / np.prod(rows.shape)
        print(f"  {name}: mean of library sizes {rows.sum(1).mean():.0f}, zeros {zeros:.4f}")
    full = torch.from_numpy(test[: options.questions].toarray()).long()
    draw = torch.Generator().manual_seed(2)
    kept = torch.binomial(full.double(), torch.tensor(0.5).double(), generator=draw).long()
    restored = model.restore(
        sparse.csr_matrix(kept.numpy()), 0.5, draws=options.draws, random_state=0
    )
    began = told("restored", began)
    lost, best = full - kept, known.lost(kept, 0.5)
    guess = restored.expected.double() - kept
    print(f"  deviance {float(poisson_deviance(guess.clamp_min(1e-9), lost).mean()):.4f}", end="")
    print(f" (the law's {float(poisson_deviance(best, lost).mean()):.4f})")

    seen = torch.rand(full.shape, generator=draw) > 0.3
    imputed = model.impute(full.numpy(), seen.numpy(), draws=options.draws, random_state=0)
    began = told("imputed", began)
    best = known.impute(full, ~seen)
    for name, found in (("the model", torch.from_numpy(imputed.mean)), ("the law", best)):
        error = (found.double() - full)[~seen].square().mean().sqrt()
        print(f"  root mean squared error of {name}: {float(error):.4f}")


if __name__ == "__main__":
    main()
