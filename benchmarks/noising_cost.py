"""The cost of drawing x_t for 8-bit images: one binomial draw against tables.

    python benchmarks/noising_cost.py --threads 1

The published implementation of Blackout Diffusion tabulates the distribution function of
Binomial(x_1, p_t) for 1000 times, 256 starting values and 256 results in float64, half a
gigabyte, gathers a row of 256 numbers for every pixel of a batch, and compares it with a
uniform number. It is rebuilt here from that description, without its host-to-device
copies. Against it stands what a training step of this package does,

    process.bridge(x0, x1, 0, t, 1).sample(),

which needs no table and takes any t. Both draw for the same batch of 64 images of
3 x 32 x 32 pixels, in one process, in turns; the median of the repetitions counts. The
package is to take at most 1/20 of the time. Give it no more threads than cores are idle:
waiting for a thread that another program holds up costs more than the draw itself.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from markovbridge import LogisticSchedule, PureDeath
from markovbridge.doors.randomness import generator

TIMES, LEVELS = 1000, 256
BATCH = (64, 3, 32, 32)
MIB = 2**20


class Tables:
    """The table method: table[k, n, m] is P(x_t <= n | x_1 = m) at the k-th time."""

    def __init__(self, process: PureDeath) -> None:
        p = process.schedule.survival(torch.arange(TIMES) / TIMES).double().numpy()
        values = np.arange(LEVELS)
        self.table = torch.empty(TIMES, LEVELS, LEVELS, dtype=torch.float64)
        for k in range(TIMES):
            cumulative = stats.binom.cdf(values[:, None], values[None, :], p[k])
            self.table[k] = torch.from_numpy(cumulative)

    def draw(self, x1: Tensor, k: Tensor, g: torch.Generator) -> Tensor:
        """x_t at the k-th times: the first value whose distribution function exceeds u."""
        rows = self.table[k.reshape(-1, 1, 1, 1), :, x1.long()]  # (*batch, 256)
        u = torch.rand((*x1.shape, 1), generator=g)
        return (u < rows).long().argmax(-1)

    def memory(self) -> tuple[int, int]:
        """Bytes of the table, and of the largest intermediates for a batch."""
        pixels = torch.Size(BATCH).numel()
        return self.table.numel() * 8, pixels * LEVELS * (8 + 1 + 8)


def draw(process: PureDeath, x1: Tensor, t: Tensor, g: torch.Generator) -> Tensor:
    """x_t as in a training step."""
    x1 = process.check(x1)
    return process.bridge(process.noised(x1).sample(), x1, 0.0, t, 1.0).sample(generator=g)


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of both methods")
    parser.add_argument("--repetitions", type=int, default=15, help="how often each is timed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    g = generator("cpu", "noising cost")
    process = PureDeath(LEVELS - 1, LogisticSchedule(15))
    x1 = torch.randint(0, LEVELS, BATCH, generator=g, dtype=torch.uint8)

    build = time.perf_counter()
    tables = Tables(process)
    build = time.perf_counter() - build
    table_times, ours_times = [], []
    for repetition in range(options.repetitions + 1):
        k = torch.randint(0, TIMES, (len(x1),), generator=g)
        by_table = seconds(lambda k=k: tables.draw(x1, k, g))
        by_draw = seconds(lambda k=k: draw(process, x1, k / TIMES, g))
        if repetition:  # the first one warms up
            table_times.append(by_table)
            ours_times.append(by_draw)

    # The same law: averages over the batch agree within their standard error.
    k = torch.full((len(x1),), TIMES // 2)
    means = [tables.draw(x1, k, g), draw(process, x1, k / TIMES, g)]
    first, second = (float(m.double().mean()) for m in means)
    assert abs(first - second) < 0.1, f"the methods disagree: {first} and {second}"

    table, ours = (statistics.median(v) for v in (table_times, ours_times))
    resident, transient = tables.memory()
    own = x1.numel() * (8 + 8 + 8)  # remaining counts, as floats, and the draw
    print(f"x_t for {' x '.join(map(str, BATCH))} pixels of 8 bits, {options.threads} thread(s)")
    print(f"{'':10}{'time':>12}{'range':>22}{'kept':>12}{'passing':>12}")
    for name, values, kept, passing in (
        ("tables", table_times, resident, transient),
        ("binomial", ours_times, 0, own),
    ):
        spread = f"{min(values) * 1e3:.1f} .. {max(values) * 1e3:.1f} ms"
        print(
            f"{name:10}{statistics.median(values) * 1e3:>9.1f} ms{spread:>22}"
            f"{kept / MIB:>8.0f} MiB{passing / MIB:>8.0f} MiB"
        )
    print(f"ratio {table / ours:.1f} (at least 20 is wanted); building the tables {build:.0f} s")
    return int(table / ours < 20)


if __name__ == "__main__":
    sys.exit(main())
