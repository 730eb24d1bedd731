"""What do the checks at the doors of the package cost?

    python benchmarks/door_cost.py --rounds 40

Two processes run the same work in turns, so that both have the same machine: one with doors, one
in which `markovbridge.doors.guard` does nothing. The work is

    training   loss, backward pass and optimiser step of the `digits` recipe
    sampling   100 steps of tau-leaping with a small network, 64 samples

Given is the median over rounds of the ratio of processor times, doors on over doors off, with
its quartiles. Both processes draw the same numbers, which is checked.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator

BAR = 1.02  # of training


def training(steps: int) -> Callable[[], float]:
    """So many steps of training, which return a number that tells their draws."""
    import torch

    from markovbridge import recipes
    from markovbridge.doors.randomness import generator

    recipe = recipes.load("digits")
    config, dataset = recipe.trainer, recipe.dataset()
    transport = recipe.transport(dataset)
    optimizer = torch.optim.AdamW(transport.parameters(), lr=1e-4)
    random = generator("cpu", 0)
    x1 = dataset.x[: config.batch_size]

    def work() -> float:
        for _ in range(steps):
            loss = transport.loss(x1, generator=random).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    return work


def sampling(steps: int) -> Callable[[], float]:
    """A sample of 64 in so many steps."""
    import torch

    import markovbridge as mb
    from markovbridge.doors.randomness import generator

    torch.manual_seed(0)
    network = mb.networks.MLP((16,), features=1, outputs=1, width=64, depth=2)
    transport = mb.Transport(mb.PureDeath(), network, mb.MeanHead(), shape=(16,), mean=3.0)
    sampler = mb.samplers.TauLeaping()

    def work() -> float:
        x = transport.sample(64, steps=steps, sampler=sampler, generator=generator("cpu", 0))
        return float(x.double().mean())

    return work


def child(what: str, open_doors: bool, steps: int) -> None:
    """Work once for each line that comes in; answer with seconds and what came of it."""
    if open_doors:
        guarding = types.ModuleType("markovbridge.doors.guarding")
        guarding.guard = lambda *_, **__: None  # pyright: ignore[reportAttributeAccessIssue]
        sys.modules[guarding.__name__] = guarding
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    work = {"training": training, "sampling": sampling}[what](steps)
    checked = hasattr(importlib.import_module("markovbridge").Transport.loss, "__wrapped__")
    assert checked is not open_doors
    work()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.process_time()
        result = work()
        print(time.process_time() - began, repr(result), flush=True)


def ratios(what: str, rounds: int, steps: int) -> Iterator[tuple[float, float]]:
    """Seconds of each round, with doors and without."""
    children = [
        subprocess.Popen(
            [sys.executable, __file__, "--child", what, "--steps", str(steps), *flag],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for flag in ([], ["--open"])
    ]
    try:
        for process in children:
            assert process.stdout and process.stdout.readline() == "ready\n"
        for number in range(rounds):
            found: list[list[str]] = [[], []]
            # Who is first changes from round to round.
            for index in (0, 1) if number % 2 else (1, 0):
                process = children[index]
                assert process.stdin and process.stdout
                process.stdin.write("go\n")
                process.stdin.flush()
                found[index] = process.stdout.readline().split()
            assert found[0][1] == found[1][1], "the two draw other numbers"
            yield float(found[0][0]), float(found[1][0])
    finally:
        for process in children:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, help="of a round; 10 in training, 100 in sampling")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--open", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.open, options.steps)
        return
    good = True
    for what, steps in (("training", 10), ("sampling", 100)):
        steps = options.steps or steps
        pairs = list(ratios(what, options.rounds, steps))
        low, middle, high = statistics.quantiles([shut / free for shut, free in pairs], n=4)
        shut, free = (1000 * statistics.median(side) / steps for side in zip(*pairs, strict=True))
        bar = f" (at most {BAR})" if what == "training" else ""
        print(
            f"{what:9} {middle:.3f} [{low:.3f}, {high:.3f}]{bar}: {shut:.2f} ms a step with "
            f"doors, {free:.2f} without, {options.rounds} rounds of {steps}"
        )
        good &= what != "training" or middle <= BAR
    sys.exit(not good)


if __name__ == "__main__":
    main()
