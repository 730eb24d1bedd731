"""The pairs, found by looking into the package, and what comes of one."""

import importlib
import inspect
import pkgutil
import sys
import time
import traceback
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import product
from pathlib import Path

import torch

import markovbridge as mb
from grid import amounts, integers, reals
from grid.heads import LAWS, MORE_LAWS, OWN_LIMIT
from grid.reals import DIFFUSIONS
from grid.settings import MODES, SAMPLERS
from grid.worlds import INTEGERS
from markovbridge import heads, processes, samplers


def concrete(base):
    """All public classes of the package below one, found by importing all of it."""
    for module in pkgutil.walk_packages(mb.__path__, "markovbridge."):
        if module.name.split(".")[1] in ("samplers", "processes", "heads"):
            importlib.import_module(module.name)
    found, left = [], [base]
    while left:
        for one in left.pop().__subclasses__():
            left.append(one)
            if one.__module__.startswith("markovbridge.") and one not in found:
                found.append(one)
    return [one for one in found if not inspect.isabstract(one) and one.__name__[0] != "_"]


def missing():
    """A sentence for each class without a recipe."""
    recipes = {
        samplers.Sampler: ("SAMPLERS in tests/grid/settings.py", SAMPLERS),
        processes.Process: (
            "INTEGERS in tests/grid/worlds.py",
            {**INTEGERS, mb.LinearDiffusion: DIFFUSIONS, mb.GammaProcess: amounts},
        ),
        processes.LinearSDE: ("DIFFUSIONS in tests/grid/reals.py", DIFFUSIONS),
        heads.base.Head: ("LAWS in tests/grid/heads.py", LAWS),
    }
    return [
        f"add an instance of {one.__name__} to {where}: every sampler is tested with every "
        "process and law"
        for base, (where, known) in recipes.items()
        for one in concrete(base)
        if one not in known
    ]


@dataclass(frozen=True)
class Pair:
    """One pair: how it is named, and how it is drawn and judged."""

    sampler: type
    process: str
    law: str
    mode: str
    run: object = field(compare=False, repr=False)

    def __str__(self):
        return f"{self.sampler.__name__} x {self.process} x {self.law} x {self.mode}"


def outcome(pair):
    """None if a pair's law is right, what the library says if it refuses, an error otherwise.

    Raises:
        AssertionError: If the law is wrong.
        Exception: If it ends in words that are not the library's.
    """
    torch.manual_seed(0)
    try:
        pair.run()
    except (ValueError, TypeError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        own = "markovbridge" in Path(last.filename).parts and "raise" in (last.line or "")
        if not own:
            raise
        return str(error)
    return None


@cache
def pairs():
    """All of them."""
    return [*on_integers(), *_on_reals(), *_on_amounts()]


def place(sampler, process):
    """Where a sampler and a process are listed: one more from one to the next of either."""
    return list(SAMPLERS).index(sampler) + _processes().index(process)


@cache
def _processes():
    return list(dict.fromkeys(pair.process for pair in pairs()))


def chosen(sampler, process, *, whole=False):
    """A part of the pairs of one sampler and process: one mode, laws taking turns.

    Which mode alternates from a sampler to the next and from a process to the next, so that
    each mode meets every sampler and every process. For each the laws come in an order of its
    own: the first that is not refused stands for all.
    """
    every = [p for p in pairs() if (p.sampler, p.process) == (sampler, process)]
    at = place(sampler, process)
    for i, mode in enumerate(MODES):
        if (at + i) % len(MODES) and not whole:
            continue
        laws = [pair for pair in every if pair.mode == mode]
        first = (zlib.crc32(f"{sampler.__name__} {process}".encode()) + i) % max(1, len(laws))
        yield laws[first:] + laws[:first]


def on_integers():
    """Those of processes on integers."""
    on = [on for instances in INTEGERS.values() for on in instances()]
    kinds = {name: make for name, make in {**LAWS, **MORE_LAWS}.items() if make is not None}
    for sampler, (process, low, states), (kind, make), mode in product(
        SAMPLERS, on, kinds.items(), MODES
    ):
        if sampler is mb.Corrected:
            continue
        if (type(process), kind) in OWN_LIMIT and mode not in OWN_LIMIT[type(process), kind]:
            continue
        name = kind if isinstance(kind, str) else kind.__name__
        run = partial(integers.judge, sampler, process, low, states, kind, make, mode)
        yield Pair(sampler, _short(process), name, mode, run)


def _on_reals():
    for sampler, sde, kind, mode in product(SAMPLERS, DIFFUSIONS, ("joint", "Endpoint"), MODES):
        if sampler is not mb.Corrected:
            run = partial(reals.judge, sampler, sde, kind, mode)
            yield Pair(sampler, sde.__name__, kind, mode, run)


def _on_amounts():
    for sampler, mode in product(SAMPLERS, amounts.MODES):
        if sampler is not mb.Corrected:
            run = partial(amounts.judge, sampler, mode)
            yield Pair(sampler, "GammaProcess", "joint", mode, run)


def _short(process):
    bounded = "" if process.states is not None else ", unbounded"
    mask = ", mask of its own" if getattr(process, "mask", 0) is None else ""
    driven = "" if getattr(process, "clocked", True) else ", driven"
    return type(process).__name__ + bounded + mask + driven


def main():
    every, began, only = pairs(), time.process_time(), sys.argv[1:]
    counts, refusals, wrong, spent = Counter(), Counter(), [], Counter()
    for pair in every:
        if only and not all(word in str(pair) for word in only):
            continue
        start = time.process_time()
        try:
            said = outcome(pair)
            counts["refused" if said else "right"] += 1
            if said:
                refusals[said[:90]] += 1
        except Exception as error:
            counts["wrong"] += 1
            wrong.append(f"{pair}: {type(error).__name__}: {error}")
            print(wrong[-1][:250], flush=True)
        spent[pair.sampler.__name__, pair.process] += time.process_time() - start
        spent[pair.sampler.__name__, pair.law, pair.mode] += time.process_time() - start
    print(f"{sum(counts.values())} pairs: {dict(counts)}, {time.process_time() - began:.0f} s CPU")
    for sentence, number in refusals.most_common(30):
        print(f"{number:6} refused: {sentence}")
    for name, seconds in spent.most_common(24):
        print(f"{seconds:8.1f} s CPU {name}")
    for sentence in missing():
        print(sentence)
    return int(bool(wrong) or bool(missing()))


if __name__ == "__main__":
    sys.exit(main())
