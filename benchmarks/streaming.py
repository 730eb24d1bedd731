"""Training on a table of counts that is left in its file: memory, and who waits for whom.

    python benchmarks/streaming.py --folder /path/with/room --threads 1

makes `cells.h5ad`, 1,000,000 cells x 2,000 genes with about 100 nonzero counts a cell,
written chunk by chunk and compressed as such files usually are, and then, each in a process
of its own:

- `read`: hands out batches in the order of training, and does nothing with them;
- `learn`: trains a small network on one batch over and over, reading nothing;
- `train`: trains it from the file, from the statistics of the data to the last step.

Reported are rows a second and the largest resident memory of each. The bars: `train` stays
under 4 GiB, and `read` is at least as fast as `learn`, so that the network never waits.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

import markovbridge as mb
from markovbridge.data import CountTable
from markovbridge.networks import MLP
from markovbridge.training import Examples, Trainer, TrainingConfig
from markovbridge.training.examples import Batches
from markovbridge.transport import statistics

GIB = 2**30
BLOCK = 20_000  # cells made and written at once
BATCH = 256


def make(path, cells, genes, draws):
    """Write cells whose counts are multinomial, of log-normal depth, in 8 kinds of cells."""
    import anndata
    import h5py
    import pandas as pd

    rng = np.random.default_rng(0)
    profiles = rng.gamma(0.3, size=(8, genes)) + 1e-3
    profiles = np.cumsum(profiles / profiles.sum(1, keepdims=True), axis=1)
    with h5py.File(path, "w") as file:
        empty = sparse.csr_matrix((0, genes), dtype=np.int32)
        anndata.AnnData(empty, var=pd.DataFrame(index=[f"gene{k}" for k in range(genes)])).write(
            path.with_suffix(".empty.h5ad")
        )
        with h5py.File(path.with_suffix(".empty.h5ad")) as other:  # all but the counts
            for name in other:
                if name not in ("X", "obs"):
                    other.copy(name, file)
            file.attrs.update(other.attrs)
        path.with_suffix(".empty.h5ad").unlink()
        anndata.io.write_elem(file, "obs", pd.DataFrame(index=[f"cell{k}" for k in range(cells)]))
        group = file.create_group("X")
        group.attrs.update(
            {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (cells, genes)}
        )
        stored = {
            name: group.create_dataset(
                name, (0,), kind, maxshape=(None,), chunks=(2**15,), compression="gzip"
            )
            for name, kind in (("data", np.float32), ("indices", np.int32))
        }
        ends = [np.zeros(1, np.int64)]
        for start in range(0, cells, BLOCK):
            n = min(BLOCK, cells - start)
            depth = rng.poisson(draws * rng.lognormal(0, 0.5, n))
            cell = np.repeat(np.arange(n), depth)
            kind, u = rng.integers(8, size=n)[cell], rng.random(len(cell))
            gene = np.empty(len(cell), np.int64)
            for k, profile in enumerate(profiles):
                gene[kind == k] = np.searchsorted(profile, u[kind == k])
            ones = np.ones(len(cell), np.float32)
            gene = gene.clip(max=genes - 1)
            block = sparse.coo_matrix((ones, (cell, gene)), shape=(n, genes)).tocsr()
            for name, values in (("data", block.data), ("indices", block.indices)):
                stored[name].resize(int(ends[-1][-1]) + block.nnz, axis=0)
                stored[name][int(ends[-1][-1]) :] = values
            ends.append(block.indptr[1:] + ends[-1][-1])
        group.create_dataset("indptr", data=np.concatenate(ends))
    return {"nonzero": int(ends[-1][-1]), "bytes": path.stat().st_size}


def model(rows, first):
    """A small network with expected counts as its head."""
    process = mb.PureDeath(maximum=None)
    mean, variance = statistics(rows if first is None else first)
    torch.manual_seed(0)
    coupling, head = mb.Noised(), mb.NegativeBinomialHead()
    network = MLP(tuple(rows.shape[1:]), coupling.features(process), head.outputs(process), 128, 2)
    return mb.Transport(
        process, network, head, shape=tuple(rows.shape[1:]), mean=mean, variance=variance
    )


def read(path, steps):
    """Rows a second of the reader alone, in the order of training."""
    rows = CountTable(path, backed=True).load("train").x
    batches, examples = Batches(len(rows), BATCH, 0, rows.chunk), Examples(rows)
    began = time.perf_counter()
    for step in range(steps):
        examples.rows(batches[step], torch.device("cpu"))
        examples.prefetch(batches.ahead(step))
    seconds = time.perf_counter() - began
    return {"rows/s": steps * BATCH / seconds, "chunk": rows.chunk}


def learn(path, steps):
    """Rows a second of the network alone."""
    rows = CountTable(path, backed=True).load("train").x
    batch = rows[:BATCH].clone()
    trainer = Trainer(
        model(rows, batch), batch, TrainingConfig(steps=steps + 20, batch_size=BATCH)
    )
    states = iter(trainer)
    for _ in range(20):
        next(states)
    began = time.perf_counter()
    for _ in range(steps):
        next(states)
    return {"rows/s": steps * BATCH / (time.perf_counter() - began)}


def train(path, steps):
    """Rows a second of training from the file, and how long statistics took."""
    began = time.perf_counter()
    rows = CountTable(path, backed=True).load("train").x
    transport = model(rows, None)
    ready = time.perf_counter()
    trainer = Trainer(transport, rows, TrainingConfig(steps=steps + 20, batch_size=BATCH))
    states = iter(trainer)
    for _ in range(20):  # which read the first window
        next(states)
    warm = time.perf_counter()
    losses = [float(next(states).loss) for _ in range(steps)]
    seconds = time.perf_counter() - warm
    return {
        "rows/s": steps * BATCH / seconds,
        "statistics s": ready - began,
        "first window s": warm - ready,
        "loss": [sum(losses[:50]) / 50, sum(losses[-50:]) / 50],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where to make the file")
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--draws", type=float, default=130, help="molecules of a usual cell")
    parser.add_argument("--steps", type=int, default=1500, help="batches of 256")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="do not delete the file")
    parser.add_argument("--stage", choices=("make", "read", "learn", "train"))
    args = parser.parse_args()
    path = args.folder / "cells.h5ad"
    if args.stage:
        torch.set_num_threads(args.threads)
        if args.stage == "make":
            result = make(path, args.cells, args.genes, args.draws)
        else:
            result = {"read": read, "learn": learn, "train": train}[args.stage](path, args.steps)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({**result, "GiB": peak / GIB}))
        return 0
    results = {}
    for stage in ("make", "read", "learn", "train"):
        if stage == "make" and path.exists():
            continue
        words = [sys.executable, __file__, "--stage", stage, *sys.argv[1:]]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        results[stage] = json.loads(done.stdout.splitlines()[-1])
        print(f"{stage:6} {results[stage]}", flush=True)
    if not args.keep:
        path.unlink()
    ratio = results["read"]["rows/s"] / results["learn"]["rows/s"]
    print(f"the reader is {ratio:.2f} times as fast as the network (bar: 1)")
    print(f"training from the file takes {results['train']['GiB']:.2f} GiB (bar: 4)")
    return int(ratio < 1 or results["train"]["GiB"] >= 4)


if __name__ == "__main__":
    raise SystemExit(main())
