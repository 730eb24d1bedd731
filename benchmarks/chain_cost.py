"""What it costs to draw x_t under a chain on 256 states, against a network's forward pass.

    python benchmarks/chain_cost.py --device cpu
    python benchmarks/chain_cost.py --device cuda

For a batch of 64 images of 32x32x3 bytes, each with a time of its own, as in training:
the time to draw x_0 and then x_t from the bridge, and the memory that takes beyond the
batch. Bars: less than one forward pass of the U-Net of the CIFAR-10 recipe, and 1 GiB.
Every process is measured in a process of its own, whose peak memory is read at its end.
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
import yaml

import markovbridge as mb
from markovbridge import recipes
from markovbridge.networks import UNet

STATES, SHAPE, BATCH = 256, (3, 32, 32), 64
LIMIT = 1.0  # GiB


def user_chain() -> mb.FiniteChain:
    """A dense chain that is not reversible."""
    rates = np.random.default_rng(0).uniform(size=(STATES, STATES))
    np.fill_diagonal(rates, 0)
    rates /= rates.sum(1).mean()
    return mb.FiniteChain(rates - np.diag(rates.sum(1)), ordered=True)


def banded_chain() -> mb.FiniteChain:
    """A walk between neighbouring values with a drift, scaled to forget at rate about 1."""
    up, down = np.full(STATES - 1, 1.1), np.full(STATES - 1, 0.9)
    rates = (np.diag(up, 1) + np.diag(down, -1)) * STATES**2 / 20
    return mb.FiniteChain(rates - np.diag(rates.sum(1)), ordered=True)


PROCESSES = {
    "FiniteChain, dense": user_chain,
    "FiniteChain, banded": banded_chain,
    "UniformChain": lambda: mb.UniformChain(STATES),
    "AbsorbingChain": lambda: mb.AbsorbingChain(STATES),
    "DiscretisedGaussianChain": lambda: mb.DiscretisedGaussianChain(STATES),
    "Ehrenfest": lambda: mb.Ehrenfest(STATES - 1),
    "BirthDeath": lambda: mb.BirthDeath(100.0, maximum=STATES - 1),
    "PureDeath": lambda: mb.PureDeath(STATES - 1),
}


def synchronised(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()  # of the processor: other work on the machine does not count


def peak(device: str) -> float:
    """Peak memory so far, GiB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    # Not resource.getrusage, whose peak a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def measure(name: str, device: str) -> dict[str, float]:
    """Seconds and GiB of one process, in this Python process."""
    x1 = torch.randint(0, STATES, (BATCH, *SHAPE), device=device)
    process = PROCESSES[name]()
    generator = torch.Generator(device).manual_seed(0)

    def draw(images: torch.Tensor) -> torch.Tensor:
        t = torch.rand(len(images), device=device, generator=generator)
        x0 = process.noised(images).sample(generator=generator)
        return process.bridge(x0, images, 0.0, t, 1.0).sample(generator=generator)

    draw(x1[:1])  # what is made once for a process
    before = peak(device)
    began = synchronised(device)
    draw(x1)
    first = synchronised(device) - began
    repeats = 2 if device == "cpu" else 10
    began = synchronised(device)
    for _ in range(repeats):
        draw(x1)
    seconds = min(first, (synchronised(device) - began) / repeats)
    return {"seconds": seconds, "gib": peak(device) - before}


def forward(device: str) -> float:
    """Seconds of one forward pass of the CIFAR-10 recipe's U-Net."""
    recipe = yaml.safe_load(recipes.find("cifar10").read_text())
    network = UNet(SHAPE, 1, 1, **recipe["network"]["init_args"]).to(device).eval()
    x, t = torch.randn(BATCH, 1, *SHAPE, device=device), torch.rand(BATCH, device=device)
    with torch.no_grad():
        network(x[:2], t[:2])
        if device == "cuda":
            network(x, t)
        began = synchronised(device)
        network(x, t)
        return synchronised(device) - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", help="measure one process and print JSON")
    arguments = parser.parse_args()
    if arguments.only:
        sys.stdout.write(json.dumps(measure(arguments.only, arguments.device)) + "\n")
        return 0
    network = forward(arguments.device)
    rows = [
        f"batch {BATCH} of {SHAPE}, {STATES} states, {arguments.device}, "
        f"{torch.get_num_threads()} threads; U-Net forward {network:.3g} s",
        f"{'process':28s} {'draw x_t':>10s} {'of forward':>11s} {'memory':>10s}",
    ]
    good = True
    for name in PROCESSES:
        command = [sys.executable, __file__, "--only", name, "--device", arguments.device]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        share = found["seconds"] / network
        good &= share < 1 and found["gib"] < LIMIT
        rows.append(f"{name:28s} {found['seconds']:8.3f} s {share:11.3f} {found['gib']:6.2f} GiB")
    sys.stdout.write("\n".join(rows) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
