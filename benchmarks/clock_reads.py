"""How often are times read from their device to be checked, and what does it cost?

    python benchmarks/clock_reads.py --rounds 200

Three models of the digits with a small network, each with its default sampler. Counted are the
reads of times, each of which waits for the device, in one `Transport.loss` and in one step of the
sampler. Timed is the loss as it is and with checks that pass whatever they are given, in turns;
given is the median over rounds of the ratio of processor times, with its quartiles. Both draw the
same numbers, which is checked.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch

import markovbridge as mb
from markovbridge import heads, networks, processes
from markovbridge.doors.randomness import generator
from markovbridge.processes import schedules

BAR = 1.05  # of the loss
READS = {"loss": 1, "step": 0}  # at most
CASES = {
    "pure death, MeanHead": (processes.PureDeath(16), heads.MeanHead()),
    "uniform chain, CategoricalHead": (processes.UniformChain(17), heads.CategoricalHead()),
    "linear diffusion, EndpointHead": (processes.LinearDiffusion(), heads.EndpointHead()),
}


def model(process: processes.Process, head: heads.Head, x: torch.Tensor) -> mb.Transport:
    """A transport with a small network."""
    shape = x.shape[1:]
    network = networks.MLP(shape, process.features, head.outputs(process), width=64, depth=1)
    mean, variance = mb.statistics(x)
    return mb.Transport(process, network, head, shape=shape, mean=mean, variance=variance)


@contextmanager
def counted() -> Iterator[list[int]]:
    """A list that grows by one entry with each read of times."""
    found: list[int] = []
    read = schedules._all
    with mock.patch.object(schedules, "_all", lambda true: found.append(1) or read(true)):
        yield found


@contextmanager
def unchecked() -> Iterator[None]:
    """Times that are believed."""
    with (
        mock.patch.object(schedules, "_checked", lambda t: t),
        mock.patch.object(schedules, "_all", lambda true: True),
    ):
        yield


def reads(transport: mb.Transport, x: torch.Tensor) -> dict[str, int]:
    """How often times are read in a loss and in a step from 0.3 to 0.5."""
    with counted() as loss:
        transport.loss(x, generator=generator("cpu", 0))
    with torch.no_grad(), counted() as step:
        sampler = transport.default_sampler()
        state = transport.process.bridge(x, x, 0.3, 0.3, 1.0).mean.to(x.dtype)
        sampler.step(transport, state, 0.3, 0.5, generator=generator("cpu", 0))
    return {"loss": len(loss), "step": len(step)}


def seconds(transport: mb.Transport, x: torch.Tensor, steps: int) -> tuple[float, float]:
    """Processor time of so many losses, and their sum."""
    random, total = generator("cpu", 0), 0.0
    began = time.process_time()
    for _ in range(steps):
        total += transport.loss(x, generator=random).detach().sum().item()
    return time.process_time() - began, total


def ratios(transport: mb.Transport, x: torch.Tensor, rounds: int, steps: int) -> list[float]:
    """Time with checks over time without, round by round."""
    found = []
    for number in range(-2, rounds):  # two to warm up
        # Who is first changes from round to round.
        for checks in (True, False) if number % 2 else (False, True):
            if checks:
                on = seconds(transport, x, steps)
            else:
                with unchecked():
                    off = seconds(transport, x, steps)
        assert on[1] == off[1], "the two draw other numbers"
        if number >= 0:
            found.append(on[0] / off[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--steps", type=int, default=4, help="losses of a round")
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    good = True
    for name, (process, head) in CASES.items():
        x = process.check(mb.data.Digits().load("all").x[: options.batch])
        transport = model(process, head, x)
        found = reads(transport, x)
        low, middle, high = statistics.quantiles(
            ratios(transport, x, options.rounds, options.steps), n=4
        )
        print(
            f"{name:27} {found['loss']} reads in a loss, {found['step']} in a step of "
            f"{type(transport.default_sampler()).__name__}; loss with checks over without "
            f"{middle:.3f} [{low:.3f}, {high:.3f}] (at most {BAR})"
        )
        good &= middle <= BAR and all(found[what] <= most for what, most in READS.items())
    sys.exit(not good)


if __name__ == "__main__":
    main()
