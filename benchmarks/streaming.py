"""Training on a table of counts that is left in its file: memory, and who waits for whom.

    python benchmarks/streaming.py --folder /path/with/room --threads 1

makes `cells.h5ad`, 1,000,000 cells x 2,000 genes with about 100 nonzero counts a cell,
written chunk by chunk and compressed as such files usually are, and then, each in a process
of its own:

- `read`: goes through the file in turns: once in order, values and columns as HDF5 unpacks them
  and nothing else; once in batches in the order of training, checked and dense, as they go to a
  device and as the loss takes them (int64); once in those of the training split, of which every
  fifth row of the file is not a part. Non-zero counts handed out in a second of processor time;
- `learn`: trains a small network on one batch over and over, reading nothing;
- `train`: trains it from the file, from the statistics of the data to the last step.

`--genes 30000 --draws 2000 --cells 10000` makes a wide one. Reported are also the largest resident
memory of each, and how much of it came while reading. The bars: `read` is half as fast as the
file is read in order, and at least as fast as `learn`, so that the network never waits; reading
takes no more than 0.3 GiB; `train` stays under 4 GiB.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import torch
from scipy import sparse

import markovbridge as mb
from markovbridge.data import CountTable
from markovbridge.data.rows import WINDOW
from markovbridge.networks import MLP
from markovbridge.training import Examples, Trainer, TrainingConfig
from markovbridge.training.examples import Batches
from markovbridge.transport import statistics

GIB = 2**30
BLOCK = 20_000  # cells made and written at once
BATCH = 256
ROUNDS = 3


def make(path, cells, genes, draws):
    """Write cells whose counts are multinomial, of log-normal depth, in 8 kinds of cells."""
    import anndata
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


def in_order(path):
    """Non-zero counts of the file, read in order, and seconds of the processor."""
    with h5py.File(path) as file:
        data, indices = file["X/data"], file["X/indices"]
        began = time.process_time()
        for start in range(0, data.size, 2**17):
            data[start : start + 2**17], indices[start : start + 2**17]
        return data.size, time.process_time() - began


def in_batches(path, split, widen):
    """Non-zero counts of a split, read once in the order of training, and seconds likewise."""
    rows = CountTable(path, backed=True).load(split).x
    batches, examples = Batches(len(rows), BATCH, 0, rows.chunk), Examples(rows)
    steps, window = len(rows) // BATCH, -(-min(WINDOW * rows.chunk, len(rows)) // BATCH)
    began = time.process_time()
    examples.prefetch(batches.first(0))
    for step in range(steps):
        if widen:
            examples.rows(batches[step], torch.device("cpu"))
        else:
            rows.narrow(batches[step])
        if step + window < steps:  # what is beyond would be read, and not be handed out
            examples.prefetch(batches.following(step))
    seconds = time.process_time() - began
    return rows.stored.stored * steps * BATCH // rows.stored.shape[0], seconds


def read(path, steps):
    """How fast the reader alone is, in turns with a reading of the file in order."""
    passes = {
        "in order": lambda: in_order(path),
        "batches": lambda: in_batches(path, "all", False),
        "int64": lambda: in_batches(path, "all", True),
        "training split": lambda: in_batches(path, "train", False),
    }
    rows = CountTable(path, backed=True).load("train").x
    per_row, chunk = rows.stored.stored / rows.stored.shape[0], rows.chunk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rates = {name: [] for name in passes}
    for _ in range(ROUNDS):
        for name, run in passes.items():
            count, seconds = run()
            rates[name].append(count / seconds)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ratios = {
        name: median(a / b for a, b in zip(found, rates["in order"], strict=True))
        for name, found in rates.items()
    }
    return {
        "nonzeros/s": {name: round(median(found)) for name, found in rates.items()},
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "rows/s": median(rates["int64"]) / per_row,
        "reading GiB": more * 1024 / GIB,
        "chunk": chunk,
    }


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
    began = time.process_time()
    for _ in range(steps):
        next(states)
    return {"rows/s": steps * BATCH / (time.process_time() - began)}


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
    share, more = results["read"]["ratios"]["batches"], results["read"]["reading GiB"]
    print(f"batches come {share:.2f} times as fast as the file is read in order (bar: 0.5)")
    print(f"reading takes {more:.2f} GiB (bar: 0.3)")
    print(f"training from the file takes {results['train']['GiB']:.2f} GiB (bar: 4)")
    return int(ratio < 1 or share < 0.5 or more > 0.3 or results["train"]["GiB"] >= 4)


if __name__ == "__main__":
    raise SystemExit(main())
