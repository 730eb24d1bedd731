"""Kill training runs at random moments, continue them, and compare the result bit by bit.

    python benchmarks/interruption.py --kills 20

A short run (dropout, averaged weights, the best kept, checkpoints every few steps) is trained
once without interruption. Then, for each kill, a run of its own is started, ended
by SIGKILL at a moment drawn uniformly over the length of the whole one, and
continued to the end. Equal means: weights, average, the optimiser's moments and the
weights with the lowest held-out loss in the last checkpoint have the same bytes, and so
have the logged losses. Of every
second run the newest checkpoint is cut short before it continues: it has to be
named, and the one before it used.

    python benchmarks/interruption.py --kills 0 --faults 1

fails every operation on the files of all that writes, one by one, see `faults.py`; a smaller
number than 1 is the share of them, and `--jobs report "train table"` takes some of what writes.
`--pairs 5` instead lets two processes at a time do the same, five times.

Processes are forked, so this needs Linux or macOS, and `--faults` Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

import torch
import torch._dynamo  # what an optimiser imports when it is first used: once, before the forks

from faults import enumerated, pairs
from faults_jobs import JOBS
from markovbridge import MeanHead, PureDeath, Transport
from markovbridge.doors.randomness import derive, generator
from markovbridge.networks import MLP
from markovbridge.training import Trainer, TrainingConfig

SHAPE = (1, 8, 8)
CONFIG = TrainingConfig(
    batch_size=32,
    learning_rate=1e-3,
    warmup=10,
    decay="cosine",
    accumulation=2,
    log_every=10,
    checkpoint_every=4,
    keep=2,
    validate_every=6,
    select="best",
    threads=1,
)


def train(directory: Path, steps: int) -> None:
    """Start the run, or continue it."""
    draw = generator("cpu", "interruption")
    x = torch.randint(0, 17, (532, *SHAPE), generator=draw, dtype=torch.uint8)
    process, head = PureDeath(maximum=16), MeanHead()
    torch.manual_seed(derive("interruption"))
    network = MLP(SHAPE, 1, head.outputs(process), width=32, depth=2, dropout=0.1)
    transport = Transport(process, network, head, shape=SHAPE, mean=8.0, variance=24.0)
    config = dataclasses.replace(CONFIG, steps=steps)
    own = {"validation": x[500:], "directory": directory, "resume": True}
    Trainer(transport, x[:500], config, **own).run()


def start(directory: Path, steps: int) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=train, args=(directory, steps))
    process.start()
    return process


def finish(directory: Path, steps: int) -> None:
    process = start(directory, steps)
    process.join()
    if process.exitcode:
        sys.exit(f"training in {directory} failed with exit code {process.exitcode}")


def kill(directory: Path, steps: int, delay: float) -> bool:
    """Start a run and kill it after `delay` seconds; False if it was done by then."""
    process = start(directory, steps)
    process.join(delay)
    if process.pid is None or not process.is_alive():
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def outcome(directory: Path, steps: int) -> tuple[dict[str, str], list[dict[str, float]]]:
    """Hashes of what was learned, and the logged numbers that are no times."""
    last = directory / "checkpoints" / f"step-{steps:08d}"
    files = json.loads((last / "state.json").read_text())["files"]
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return (
        {name: file["sha256"] for name, file in files.items()},
        [{k: v for k, v in row.items() if not k.endswith("_s")} for row in rows],
    )


def damage(directory: Path) -> Path | None:
    """Cut the newest checkpoint short, if there is one before it."""
    found = sorted(directory.glob("checkpoints/step-*"))
    if len(found) < 2:
        return None
    file = found[-1] / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    return found[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300, help="length of a run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--faults", type=float, default=0.0, help="share of all operations")
    parser.add_argument("--pairs", type=int, default=0, help="pairs of processes")
    parser.add_argument("--jobs", nargs="+", default=(), choices=list(JOBS), metavar="JOB")
    arguments = parser.parse_args()
    campaigns = []
    if arguments.faults:
        campaigns.append(enumerated(arguments.faults, arguments.seed, arguments.jobs))
    if arguments.pairs:
        campaigns.append(pairs(arguments.pairs, arguments.jobs))
    fine = True
    for good, line in chain(*campaigns):
        print(line, flush=True)
        fine &= good
    if not fine:
        sys.exit(1)
    if not arguments.kills:
        return
    steps = arguments.steps
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        finish(folder / "whole", steps)
        length = time.perf_counter() - began
        wanted = outcome(folder / "whole", steps)
        print(f"uninterrupted: {steps} steps in {length:.1f} s", flush=True)
        kills, equal, damaged, named = 0, 0, 0, 0
        while kills < arguments.kills:
            directory = folder / f"run{moments.random()}"
            if not kill(directory, steps, moments.uniform(0, length)):
                continue  # it was done already: draw another moment
            kills += 1
            last = max((p.name for p in directory.glob("checkpoints/step-*")), default="nothing")
            victim = damage(directory) if kills % 2 == 0 else None
            finish(directory, steps)
            same = outcome(directory, steps) == wanted
            equal += same
            line = f"kill {kills}: {last} was written"
            if victim is not None:
                told = f"{victim} is damaged" in (directory / "log.txt").read_text()
                damaged, named = damaged + 1, named + told
                line += ", then damaged" + (" and named" if told else " and NOT named")
            print(f"{line}; ended {'bit-equal' if same else 'DIFFERENT'}", flush=True)
    print(f"{equal} of {kills} killed runs ended bit-equal to the uninterrupted one")
    print(f"{named} of {damaged} damaged checkpoints were named and passed over")
    if equal < kills or named < damaged:
        sys.exit(1)


if __name__ == "__main__":
    main()
