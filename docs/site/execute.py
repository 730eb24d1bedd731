"""Run the blocks of the README and of the pages of the site, and say what came of them.

    python docs/site/execute.py                   # all pages, briefly, as `make docs` does
    python docs/site/execute.py start/errors.md   # some pages
    python docs/site/execute.py --whole           # as they are written, for hours
    python docs/site/execute.py how-to/restore.md --at 52 63   # these blocks as they are written
    python docs/site/execute.py --count           # say what there is, and run nothing

With --whole the processor seconds of each block are kept in `docs/site/times.json`, by what the
block is, and the site shows them beside it. With --at this is done for the blocks at these lines
of one page, and the others are run briefly: so a block is timed without the hours of a training
before it. Of a block that has no time there, the site says that it was not measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
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


def beside(block: blocks.Block, seconds: Mapping[str, float]) -> str:
    """What stands below a block: how long it takes, that it fails, or why it is not run.

    Args:
        block: One that readers see.
        seconds: Processor seconds of what was measured, by `key`.
    """
    if block.skipped:
        return f"*Not run here: {block.options['skip']}.*"
    if "error" in block.options:
        return "*This ends with the error.*"
    took = seconds.get(key(block))
    if took is None:
        return "*How long this takes as it is written was not measured.*"
    return f"*Takes {took:.0f} s of one core.*" if took >= SHOWN else ""


def execute(name: str, *, whole: bool, at: Collection[int] = ()) -> str:
    """Run a page in a folder of its own, and say how long it took; keep times of what is whole.

    Args:
        name: The page.
        whole: Whether all of its blocks are run as they are written.
        at: Lines of those that are in any case.

    Raises:
        ValueError: If no block that is run starts at one of these lines.
    """
    found = {block.line: key(block) for block in blocks.blocks(name) if not block.skipped}
    if lost := set(at) - set(found):
        raise ValueError(f"{name} has no block to run at line {min(lost)}")
    start, measured = time.process_time(), set(found) if whole else set(at)
    long = {block.line for block in blocks.blocks(name) if "long" in block.options}
    longer = whole or not at or bool(long & set(at))
    with tempfile.TemporaryDirectory() as folder:
        _, seconds = blocks.run(name, Path(folder), briefly=not whole, longer=longer, whole=at)
    if measured:
        there = {key(block) for page in blocks.sources() for block in blocks.blocks(page)}
        known = {one: took for one, took in times().items() if one in there}
        known |= {found[line]: round(seconds[line], 1) for line in measured}
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
    known = times()
    untimed = [b for b in found if not b.skipped and not b.hidden and key(b) not in known]
    lines += [f"  not timed: {b.page}:{b.line}" for b in untimed if "error" not in b.options]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", default=[])
    parser.add_argument("--whole", action="store_true", help="as written, with times")
    parser.add_argument("--at", nargs="+", type=int, default=[], help="lines of one page")
    parser.add_argument("--count", action="store_true", help="run nothing")
    options = parser.parse_args()
    names = options.pages or [name for name in blocks.sources() if blocks.blocks(name)]
    if options.at and len(names) != 1:
        parser.error("--at is of the lines of one page")
    failed = []
    for name in [] if options.count else names:
        try:
            print(f"{name}: {execute(name, whole=options.whole, at=options.at)}", flush=True)
        except blocks.Failed as error:
            failed.append(name)
            print(f"{name}: FAILED: {error}", flush=True)
    print(count(names))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
