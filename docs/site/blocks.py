r"""The blocks of code in the README and on the pages of the site: found, and executed.

A page is run as a reader would run it, from its first line to its last, in an empty folder: blocks
of Python in one namespace, commands one after another. What a block needs that no reader has to
see, such as a run that another page trains, stands in a comment of the page, in a block as well:

    <!--
    ```bash
    markovbridge train digits
    ```
    -->

Behind the language of a block may stand

| option | the block |
|---|---|
| `skip="reason"` | is not run, for this reason |
| `long="reason"` | is run by `make docs` only |
| `error="words"` | ends with an error whose message has these words |
| `file=NAME` | is a file, which is written before it is run |
| `first` | is run before the others of the page |

Briefly, as in the tests, commands do a few steps on a few rows (`BRIEF`), and Python is shortened
by what a comment of the page says, `<!-- briefly: steps=2000 -> steps=2; ... -->`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BESIDE = Path(__file__).with_name("readme.txt")  # what the README needs and does not show
FENCE = re.compile(r"^(?P<pad> *)```(python|bash)([^\n]*)\n(.*?)^(?P=pad)```$", re.M | re.S)
BRIEFLY = re.compile(r"<!-- briefly:(.*?)-->", re.S)
SHELL = re.compile(r"[|><&;$`]")
BRIEF = {  # options of commands, which a page may have in any number
    "train": {"trainer.steps": "2", "trainer.batch_size": "16"},
    "sample": {"n": "24", "steps": "2"},
    "translate": {"steps": "2"},
    "restore": {"n": "4", "steps": "2"},
    "impute": {"n": "4", "steps": "2"},
    "calibrate": {"n": "24", "steps": "2"},
}
SHORTER = {"--likelihood": "8", "--looks": "2", "--trainer.warmup": "1"}  # where they are named
TRAINING_ONLY = ("--print_config", "--dry-run", "--dry_run", "--help")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code: where it stands, what it is, and what is said of running it."""

    page: str
    line: int
    language: str
    code: str
    options: Mapping[str, str]
    hidden: bool

    @property
    def skipped(self) -> bool:
        """Whether it cannot be run here; `options` has the reason."""
        return "skip" in self.options


def sources() -> dict[str, Path]:
    """The README, and the pages of the site that people wrote, by name."""
    pages = sorted((ROOT / "docs").rglob("*.md"))
    made = ("reference",)  # by Sphinx
    found = {"README.md": ROOT / "README.md"}
    for path in pages:
        name = path.relative_to(ROOT / "docs")
        if name.parts[0] not in made:
            found[name.as_posix()] = path
    return found


def text_of(name: str) -> str:
    """A page as it is written; behind the README stands what its readers do not see."""
    text = sources()[name].read_text(encoding="utf-8")
    return text if name != "README.md" else text + BESIDE.read_text(encoding="utf-8")


def _options(text: str) -> dict[str, str]:
    words = [word.partition("=") for word in shlex.split(text)]
    return {name: value or name for name, _, value in words}


def blocks(name: str) -> list[Block]:
    """The blocks of a page, in their order.

    Raises:
        ValueError: If an option of one is unknown, or gives no reason.
    """
    text = text_of(name)
    comments = [match.span() for match in re.finditer(r"<!--.*?-->", text, re.S)]
    found = []
    for match in FENCE.finditer(text):
        options = _options(match[3])
        line = text.count("\n", 0, match.start()) + 1
        if set(options) - {"skip", "long", "error", "file", "first"}:
            raise ValueError(
                f"{name}:{line}: options of blocks are skip, long, error, file, first"
            )
        for reason in ("skip", "long"):
            if options.get(reason) == reason:
                raise ValueError(f'{name}:{line}: say why, {reason}="..."')
        pad = len(match["pad"])
        code = "".join(row[pad:] or "\n" for row in match[4].splitlines(keepends=True))
        hidden = any(start < match.start() < end for start, end in comments)
        found.append(Block(name, line, match[2], code, options, hidden))
    return sorted(found, key=lambda block: "first" not in block.options)


def replacements(name: str) -> dict[str, str]:
    """What makes the Python of a page brief, by what it stands for."""
    text = text_of(name)
    pairs: dict[str, str] = {}
    for match in BRIEFLY.finditer(text):
        for item in match[1].split(";"):
            long, arrow, short = item.partition("->")
            if arrow:
                pairs[long.strip()] = short.strip()
    return pairs


def commands(code: str) -> Iterator[str]:
    """The commands of a block, one at a time, without comments and broken lines."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield line.strip()


def brief(words: list[str]) -> list[str]:
    """A command of ours that does little: options that cost much are replaced, or added."""
    verb, rest = words[0], list(words[1:])
    if verb not in BRIEF and not set(rest) & set(SHORTER) or set(rest) & set(TRAINING_ONLY):
        return words
    less = {f"--{name}": value for name, value in BRIEF.get(verb, {}).items()}
    known = less | SHORTER
    for index, word in enumerate(rest):
        if word in known:
            rest[index + 1] = known[word]
            less.pop(word, None)
    return [verb, *rest, *(part for pair in less.items() for part in pair)]


def command(line: str, *, briefly: bool) -> None:
    """Run a command: one of ours in this process, another by a shell.

    Raises:
        RuntimeError: If it fails.
    """
    words = shlex.split(line, comments=True)
    if words[0] in ("pip", "make"):
        return  # what these do was done before: this is the environment that they make
    if words[0] == "markovbridge" and not SHELL.search(re.sub(r"'[^']*'|#.*", "", line)):
        from markovbridge.cli import main

        state = main(brief(words[1:]) if briefly else words[1:])
    else:
        beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        shown = {**os.environ, "PATH": beside}
        state = subprocess.run(["bash", "-euo", "pipefail", "-c", line], env=shown).returncode
    if state:
        raise RuntimeError(f"{line}: ended with status {state}")


class Failed(Exception):
    """A block that failed, with the place where it stands."""


def run(
    name: str,
    folder: Path,
    *,
    briefly: bool = True,
    longer: bool = False,
    whole: Collection[int] = (),
    given: Mapping[str, Any] | None = None,
    clock: Callable[[], float] = time.process_time,
) -> tuple[dict[str, Any], dict[int, float]]:
    """Run a page in a folder.

    Args:
        name: The page.
        folder: Where: what blocks write goes there.
        briefly: Whether to do less than is written.
        longer: Whether to run the blocks that are for `make docs` as well.
        whole: Lines of the blocks that are run as they are written in any case.
        given: Names that are there from the beginning.
        clock: What measures how long a block takes.

    Returns:
        The names that the page has defined, and seconds by the line of each block that was run.

    Raises:
        Failed: If a block fails, or does not as it should.
        ValueError: If what is to be shortened is not there.
    """
    pairs = replacements(name) if briefly else {}
    found = [block for block in blocks(name) if not block.skipped]
    code = "\n".join(block.code for block in found)
    if lost := [long for long in pairs if long not in code]:
        raise ValueError(f"{name}: to be brief, {lost[0]!r} is replaced, which no block has")
    names, seconds = dict(given or {}), {}
    with contextlib.chdir(folder):
        for block in found:
            if "long" in block.options and not longer:
                continue
            start = clock()
            less = briefly and block.line not in whole
            _run_block(block, pairs if less else {}, names, less)
            seconds[block.line] = clock() - start
    return names, seconds


def _run_block(block: Block, pairs: dict[str, str], names: dict[str, Any], briefly: bool) -> None:
    code, expected = block.code, block.options.get("error")
    for long, short in pairs.items():
        code = code.replace(long, short)
    if file := block.options.get("file"):
        Path(file).write_text(block.code, encoding="utf-8")
        sys.path[:] = ["", *(path for path in sys.path if path)]  # as in a shell of the reader
    place = f"{block.page}:{block.line}"
    try:
        if block.language == "bash":
            for line in commands(code):
                command(line, briefly=briefly)
        else:
            lines = "\n" * block.line + code  # so that errors name lines of the page
            exec(compile(lines, block.page, "exec"), names)
    except Exception as error:
        told = ": ".join([f"{error}", *getattr(error, "__notes__", ())])
        if expected is None or expected not in told:
            raise Failed(f"{place}: {type(error).__name__}: {told}") from error
    else:
        if expected is not None:
            raise Failed(f"{place}: there was no error that says {expected!r}")
