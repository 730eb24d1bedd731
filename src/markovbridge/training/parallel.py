"""The device of this process, and the other processes of the run.

Start several with `torchrun --standalone --nproc_per_node=2`. On a CPU,
`accelerate` has to be asked for the CPU by name: otherwise each process trains as
if it were alone, without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator

from markovbridge import doors
from markovbridge.doors import checks


def accelerator() -> Accelerator:
    """The GPU, or the CPU if there is none, of this process, and its fellow processes.

    Raises:
        RuntimeError: If the processes did not find each other.
    """
    # Apple's MPS counts as no GPU: it has no float64, which processes compute in.
    gpu = torch.cuda.is_available() or torch.xpu.is_available()
    found = Accelerator(mixed_precision="no", cpu=not gpu)
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    if found.num_processes != expected:
        raise RuntimeError(
            f"{expected} processes were started, but accelerate was already set up for "
            f"{found.num_processes}; call markovbridge before any other use of it."
        )
    return found


@contextmanager
def threaded(threads: int | None) -> Iterator[None]:
    """Use so many CPU threads while inside; None for as many as torch has.

    Raises:
        ValueError: If it is no whole number of at least 1.
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(checks.whole(threads, "threads", least=1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def placed(found: Accelerator) -> str:
    """Where a run runs, in words."""
    world = found.num_processes
    threads = torch.get_num_threads()
    return f"on {world} process{'es' * (world > 1)} ({found.device.type}, threads: {threads})"


doors.guard(__name__)
