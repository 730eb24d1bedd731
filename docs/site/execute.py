"""Run the blocks of the README and of the pages of the site, and say what came of them.

    python docs/site/execute.py                   # all pages, briefly, as `make docs` does
    python docs/site/execute.py start/faq.md      # some pages
    python docs/site/execute.py --whole           # as they are written, for hours
    python docs/site/execute.py --count           # say what there is, and run nothing

With --whole the processor seconds of each block are kept in `docs/site/times.json`, by what the
block is, and the site shows them beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

import blocks

TIMES = Path(__file__).parent / "times.json"
SHOWN = 2.0  # seconds from which on the site says how long a block takes


def key(block: blocks.Block) -> str:
    """What a block is, and on which page; another one as soon as its code changes."""
    return hashlib.sha256(f"{block.page}\n{block.code}".encode()).hexdigest()[:16]


def times() -> dict[str, float]:
    """Processor seconds by block, of blocks that were run as they are written."""
    return json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.exists() else {}


def execute(name: str, *, whole: bool) -> str:
    """Run a page in a folder of its own, and say how long it took; keep times of a whole one."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        _, seconds = blocks.run(name, Path(folder), briefly=not whole, longer=True)
    if whole:
        found = {block.line: key(block) for block in blocks.blocks(name)}
        known = times() | {found[line]: round(took, 1) for line, took in seconds.items()}
        TIMES.write_text(json.dumps(known, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    return f"{len(seconds)} blocks, {time.process_time() - start:.1f} s"


def count(names: list[str]) -> str:
    """How many blocks there are, and which are not run, with the reason."""
    found = [block for name in names for block in blocks.blocks(name)]
    skipped = [block for block in found if block.skipped]
    long = [block for block in found if "long" in block.options]
    lines = [
        f"{len(found)} blocks on {len({block.page for block in found})} pages, of which "
        f"{sum(block.language == 'python' for block in found)} are Python; "
        f"{len(found) - len(skipped)} are run, {len(long)} of these by `make docs` only"
    ]
    lines += [f"  not run: {b.page}:{b.line}: {b.options['skip']}" for b in skipped]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", default=[])
    parser.add_argument("--whole", action="store_true", help="as written, with times")
    parser.add_argument("--count", action="store_true", help="run nothing")
    options = parser.parse_args()
    names = options.pages or [name for name in blocks.sources() if blocks.blocks(name)]
    failed = []
    for name in [] if options.count else names:
        try:
            print(f"{name}: {execute(name, whole=options.whole)}", flush=True)
        except blocks.Failed as error:
            failed.append(name)
            print(f"{name}: FAILED: {error}", flush=True)
    print(count(names))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
