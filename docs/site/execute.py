"""Run the blocks of the README and of the pages of the site, and say what came of them.

    python docs/site/execute.py                   # all pages, briefly, as `make docs` does
    python docs/site/execute.py start/errors.md   # some pages
    python docs/site/execute.py --whole           # as they are written, for hours
    python docs/site/execute.py how-to/restore.md --at 52 63   # these blocks as they are written
    python docs/site/execute.py --count           # say what there is, and run nothing
    python docs/site/execute.py how-to/cells.md --whole --files mouse-brain.h5ad
    python docs/site/execute.py how-to/fid.md --whole --trained runs --steps 300

With --whole the processor seconds of each block are kept in `docs/site/times.json`, by what the
block is, and the site shows them beside it. With --at this is done for the blocks at these lines
of one page, and the others are run briefly: so a block is timed without the hours of a training
before it. With --files these are there from the beginning, in place of what hidden blocks make
up. With --trained, runs of recipes are kept there, and not trained anew by each page; and with
--steps 300 only so many steps of them are done, and the seconds of all are told from these. Of a
block that has no time and does not say what it takes, the site says that it was not measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import blocks

TIMES = Path(__file__).parent / "times.json"
SHOWN = 2.0  # seconds from which on the site says how long a block takes
UNKNOWN = "*How long this takes as it is written was not measured.*"


def key(block: blocks.Block) -> str:
    """What a block is, and on which page; another one as soon as its code changes."""
    return hashlib.sha256(f"{block.page}\n{block.code}".encode()).hexdigest()[:16]


def times() -> dict[str, float | str]:
    """Processor seconds by block, of blocks that were run as they are written; or "about 240"."""
    return json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.exists() else {}


def beside(block: blocks.Block, seconds: Mapping[str, float | str]) -> str:
    """What stands below a block: how long it takes, that it fails, or why it is not run.

    Args:
        block: One that readers see.
        seconds: Processor seconds of what was measured, by `key`.
    """
    if block.skipped:
        return f"*Not run here: {block.options['skip']}.*"
    if "error" in block.options:
        return "*This ends with the error.*"
    if "takes" in block.options:
        return f"*Takes {block.options['takes']}.*"
    took = seconds.get(key(block))
    if took is None:
        return UNKNOWN
    if isinstance(took, str):
        return f"*Takes {took} s of one core, told from a part of it.*"
    return f"*Takes {took:.0f} s of one core.*" if took >= SHOWN else ""


def execute(
    name: str,
    *,
    whole: bool,
    at: Collection[int] = (),
    files: Collection[Path] = (),
    trained: Path | None = None,
    steps: int | None = None,
) -> str:
    """Run a page in a folder of its own, and say how long it took; keep times of what is whole.

    Args:
        name: The page.
        whole: Whether all of its blocks are run as they are written.
        at: Lines of those that are in any case.
        files: What lies in the folder before.
        trained: Where runs of recipes are kept; None to train them anew.
        steps: How many steps of a recipe are done at most.

    Raises:
        ValueError: If no block that is run starts at one of these lines.
    """
    found = {block.line: key(block) for block in blocks.blocks(name) if not block.skipped}
    if lost := set(at) - set(found):
        raise ValueError(f"{name} has no block to run at line {min(lost)}")
    start, measured = blocks.processor(), set(found) if whole else set(at)
    long = {block.line for block in blocks.blocks(name) if "long" in block.options}
    longer = whole or not at or bool(long & set(at))
    seconds: dict[int, blocks.Took] = {}
    kept = blocks.Trained(trained.resolve(), steps) if trained else None
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            shutil.copy(file, folder)
        try:
            blocks.run(
                name,
                Path(folder),
                briefly=not whole,
                longer=longer,
                whole=at,
                trained=kept,
                seconds=seconds,
            )
        finally:
            _note({found[line]: seconds[line] for line in measured & set(seconds)})
    return f"{len(seconds)} blocks, {blocks.processor() - start:.1f} s"


def _note(seconds: Mapping[str, blocks.Took]) -> None:
    """Keep times, and none of blocks that are gone."""
    if not seconds:
        return
    there = {key(block) for page in blocks.sources() for block in blocks.blocks(page)}
    known = {one: took for one, took in times().items() if one in there}
    for one, took in seconds.items():
        about = f"about {float(f'{took.seconds:.2g}'):g}"
        known[one] = round(took.seconds, 1) if took.measured else about
    TIMES.write_text(json.dumps(known, indent=0, sort_keys=True) + "\n", encoding="utf-8")


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
    lines += [
        f"  not timed: {b.page}:{b.line}"
        for b in found
        if not b.hidden and beside(b, known) == UNKNOWN
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", default=[])
    parser.add_argument("--whole", action="store_true", help="as written, with times")
    parser.add_argument("--at", nargs="+", type=int, default=[], help="lines of one page")
    parser.add_argument("--files", nargs="+", type=Path, default=[], help="there beforehand")
    parser.add_argument("--trained", type=Path, help="folder of runs that are trained once")
    parser.add_argument("--steps", type=int, help="of these, at most so many")
    parser.add_argument("--count", action="store_true", help="run nothing")
    options = parser.parse_args()
    names = options.pages or [name for name in blocks.sources() if blocks.blocks(name)]
    if options.at and len(names) != 1:
        parser.error("--at is of the lines of one page")
    failed = []
    asked = {name: getattr(options, name) for name in ("whole", "at", "files", "trained", "steps")}
    for name in [] if options.count else names:
        try:
            print(f"{name}: {execute(name, **asked)}", flush=True)
        except blocks.Failed as error:
            failed.append(name)
            print(f"{name}: FAILED: {error}", flush=True)
    print(count(names))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
