"""What the first draw of x_t costs under a chain of many states: tables against vectors.

    python benchmarks/large_chains.py

Chains of S states are made anew, each in a Python process of its own, and x_0 and then x_t are
drawn for a batch of 16 states, each with a time of its own. `tables` are what chains up to 512
states use, matrices S x S for each time; `vectors` what larger ones use; `modes` are the
eigenvectors of a chain of steps to neighbours, when it is fast. The largest rate times the
longest clock is given as `jumps`. Seconds are of the processor; memory is the peak of the whole
process, torch included. Bar for 4,096 states and 2,000 jumps: 2 s and 1 GiB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

import markovbridge as mb
from markovbridge.processes import sparse as vectors

BATCH, EARLIEST = 16, 0.25  # times lie between it and 1
CLOCK = -np.log(np.sin(np.pi * EARLIEST / 2) ** 2)


def walk(size: int, jumps: float) -> sparse.csr_matrix:
    """Steps to neighbours, with a drift back to the middle."""
    down = 1 + np.linspace(-10, 10, size - 1) / size
    return _scaled(sparse.diags([down[::-1], down], [1, -1], format="csr"), jumps)


def graph(size: int, jumps: float) -> sparse.csr_matrix:
    """A ring of which every state leads to four others as well, which is not reversible."""
    random = np.random.default_rng(0)
    rows, columns = np.repeat(np.arange(size), 4), random.integers(0, size, 4 * size)
    ring = sparse.csr_matrix((np.ones(size), (np.arange(size), (np.arange(size) + 1) % size)))
    rates = random.uniform(0.1, 1, 4 * size)
    matrix = ring + sparse.csr_matrix((rates, (rows, columns)), shape=(size, size))
    matrix.setdiag(0)
    matrix.eliminate_zeros()
    return _scaled(matrix.tocsr(), jumps)


def _scaled(matrix: sparse.csr_matrix, jumps: float) -> sparse.csr_matrix:
    exits = np.asarray(matrix.sum(1)).reshape(-1)
    factor = jumps / CLOCK / exits.max()
    return (matrix * factor - sparse.diags(exits * factor)).tocsr()


# name, chain, states, jumps, whether by tables
CASES = [
    ("walk", 512, 250.0, "tables"),
    ("walk", 1024, 500.0, "tables"),
    ("walk", 512, 250.0, "vectors"),
    ("walk", 1024, 500.0, "vectors"),
    ("walk", 4096, 2000.0, "vectors"),
    ("walk", 4096, 2e6, "modes"),
    ("graph", 512, 250.0, "tables"),
    ("graph", 1024, 500.0, "tables"),
    ("graph", 512, 250.0, "vectors"),
    ("graph", 1024, 500.0, "vectors"),
    ("graph", 4096, 2000.0, "vectors"),
    ("graph", 16384, 2000.0, "vectors"),
]


def measure(name: str, size: int, jumps: float, way: str) -> dict[str, float]:
    """Seconds of the first and of a second draw, and GiB, in this Python process."""
    matrix = {"walk": walk, "graph": graph}[name](size, jumps)
    vectors.FEW = size if way == "tables" else 0
    generator = torch.manual_seed(0)
    x1 = torch.randint(0, size, (BATCH, 1), generator=generator)

    def draw() -> float:
        began = time.process_time()
        t = EARLIEST + (1 - EARLIEST) * torch.rand(BATCH, generator=generator)
        t[0] = EARLIEST
        x0 = process.noised(x1).sample(generator=generator)
        process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=generator)
        return time.process_time() - began

    began = time.process_time()
    process = mb.FiniteChain(matrix, ordered=True)
    made = time.process_time() - began
    first, second = made + draw(), draw()
    # Not resource.getrusage, whose peak a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    return {
        "first": first,
        "second": second,
        "gib": int(status.split("VmHWM:")[1].split()[0]) / 2**20,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int, help="measure one case and print JSON")
    arguments = parser.parse_args()
    if arguments.only is not None:
        sys.stdout.write(json.dumps(measure(*CASES[arguments.only])) + "\n")
        return 0
    torch.set_num_threads(1)
    rows = [
        f"{'chain':8s} {'states':>7s} {'jumps':>8s} {'way':>8s}  first draw    second     peak"
    ]
    good = True
    for i, (name, size, jumps, way) in enumerate(CASES):
        command = [sys.executable, __file__, "--only", str(i)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        if size == 4096 and jumps == 2000:
            good &= found["first"] < 2 and found["gib"] < 1
        rows.append(
            f"{name:8s} {size:7d} {jumps:8.4g} {way:>8s} {found['first']:9.2f} s "
            f"{found['second']:7.2f} s {found['gib']:5.2f} GiB"
        )
        sys.stdout.write(rows[-1] + "\n") if i else sys.stdout.write("\n".join(rows) + "\n")
        sys.stdout.flush()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
