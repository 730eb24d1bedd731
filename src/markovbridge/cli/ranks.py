"""Several processes that share one piece of work, as `torchrun` starts them.

Blocks of samples need no exchange, so processes only have to wait for each other:
over gloo, which needs no accelerator and is patient for a week.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed


@dataclass(frozen=True)
class Ranks:
    """This process among all of them.

    Attributes:
        rank: Its number; process 0 prints, and puts results together.
        size: How many there are.
        local: Its number on this machine, which is its accelerator's.
    """

    rank: int
    size: int
    local: int

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            distributed.barrier()

    def device(self, name: str | None) -> torch.device:
        """The device of this process.

        Args:
            name: Such as "cpu" or "cuda"; None takes an NVIDIA or AMD GPU if there is one.

        Raises:
            ValueError: If there is no such device.
        """
        if name is None:
            name = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            device = torch.device(name)
            if device.type == "cuda" and device.index is None:
                device = torch.device("cuda", self.local)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).split("\n")[0]
            raise ValueError(f"device {name!r} cannot be used: {reason}") from error
        return device


def first() -> bool:
    """Whether this process is the one that prints, joined with the others or not."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def ranks() -> Iterator[Ranks]:
    """Join the processes that torchrun started; alone without it."""
    rank, size, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    if size > 1:
        distributed.init_process_group("gloo", timeout=timedelta(days=7))
    try:
        yield Ranks(rank, size, local)
    finally:
        if size > 1:
            distributed.destroy_process_group()
