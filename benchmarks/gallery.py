"""Run every script of examples/ and keep its picture: the gallery.

    python benchmarks/gallery.py [NAME ...] [--output docs/images/gallery]

Each script runs on its own, in one thread, and writes OUTPUT/NAME.png. Printed are the processor
seconds that it took, those that its docstring states, and the size of its picture; what a script
prints is indented below. Fails if a script fails, takes more than a minute, or draws more than
100 kB.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST, LARGEST = 60, 100_000  # processor seconds, bytes
STATED = re.compile(r"Takes\s+(\d+)\s+s\s+of\s+one\s+core")


def spent():
    """Processor seconds of all scripts that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(script, folder):
    """Whether a script did what it is to do; tells how long it took."""
    picture = folder / f"{script.stem}.png"
    before = spent()
    command = [sys.executable, str(script), "--output", str(picture)]
    ended = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = spent() - before
    stated = STATED.search(script.read_text(encoding="utf-8"))
    size = picture.stat().st_size if picture.exists() else 0
    said = stated[1] if stated else "no"
    print(f"{script.stem:24}{seconds:6.1f} s, {said:>3} s stated{size / 1000:8.1f} kB", flush=True)
    print("".join(f"    {line}\n" for line in ended.stdout.splitlines()), end="")
    if ended.returncode:
        print(ended.stderr)
    return ended.returncode == 0 and seconds <= LONGEST and 0 < size <= LARGEST


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="scripts to run; all if none are named")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "gallery")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    scripts = sorted((ROOT / "examples").glob("*.py"))
    if given.names:
        scripts = [script for script in scripts if script.stem in given.names]
    return sum(not run(script, given.output) for script in scripts)


if __name__ == "__main__":
    sys.exit(main())
