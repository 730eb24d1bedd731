"""What becomes of damaged and hostile files: a table of verdicts, and the worst offenders.

    python benchmarks/fuzz_readers.py --files 2000 --seed 0

See `tests/damage` for what is done to which files, and `tests/damage/campaign.py` for what the
verdicts mean. The exit status is 1 if there is one that is not good.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from damage.campaign import GOOD, Result, table

TESTS = Path(__file__).parents[1] / "tests"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default="", help="formats whose names begin so")
    parser.add_argument("--rest", type=int, default=40, help="how many offenders to list")
    options = parser.parse_args()
    words = [str(options.files), str(options.workers), str(options.seed), options.only]
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "damage.campaign", str(k), *words],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for k in range(options.workers)
    ]
    lines = [line for worker in workers for line in worker.communicate()[0].splitlines()]
    results = sorted((Result(**json.loads(line)) for line in lines), key=lambda r: r.index)
    if any(worker.returncode for worker in workers) or len(results) != options.files:
        sys.exit(f"only {len(results)} of {options.files} cases ran")
    print(f"{options.files} damaged files, seed {options.seed}\n\n{table(results)}\n")
    rest = [r for r in results if r.verdict not in GOOD]
    kinds = Counter(f"{r.verdict}: {r.detail[:120]}" for r in rest)
    for text, n in kinds.most_common(options.rest):
        r = next(r for r in rest if f"{r.verdict}: {r.detail[:120]}" == text)
        print(f"{n:5}  {text}\n         {r.format}, {r.victim}: {r.what} (case {r.index})")
    slow = max(results, key=lambda r: r.seconds)
    large = max(results, key=lambda r: r.megabytes)
    print(f"slowest: {slow.seconds:.2f} s, {slow.format}, {slow.what} (case {slow.index})")
    print(f"largest: {large.megabytes:,.0f} MB, {large.format}, {large.what} ({large.index})")
    sys.exit(bool(rest))


if __name__ == "__main__":
    main()
