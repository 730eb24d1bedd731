"""How the public functions take hostile values: a table of verdicts, and the worst offenders.

    python benchmarks/fuzz.py --inputs 10000 --seed 0

See `tests/fuzzing.py` for what a case is, and what the verdicts mean.
"""

import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fuzz_targets import targets
from fuzzing import GOOD, REST, VERDICTS, campaign, summary


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rest", type=int, default=40, help="how many offenders to list")
    options = parser.parse_args()
    parts = [range(k, options.inputs, options.workers) for k in range(options.workers)]
    with ThreadPoolExecutor(options.workers) as pool:
        jobs = [pool.submit(campaign, part, options.seed) for part in parts]
        results = [result for job in jobs for result in job.result()]
    counts, share = summary(results)
    print(f"{len(targets())} targets, {len(results)} cases, seed {options.seed}")
    for verdict in (*VERDICTS, *REST):
        print(f"  {verdict:10} {counts[verdict]:6}")
    print(f"  good       {share:.2%} of those that ran")
    bare = {str(name) for _, name, _, verdict, _ in results if verdict in REST}
    print(f"\n{len(bare)} without arguments that they take: {', '.join(sorted(bare)) or 'none'}\n")
    rest = [r for r in results if r[3] not in (*GOOD, *REST)]
    worst = Counter(f"{verdict}: {detail[:110]}" for _, _, _, verdict, detail in rest)
    for text, n in worst.most_common(options.rest):
        index, name, bad, _, _ = next(r for r in rest if f"{r[3]}: {r[4][:110]}" == text)
        print(f"{n:5}  {text}\n         {name} {bad} (case {index})")


if __name__ == "__main__":
    main()
