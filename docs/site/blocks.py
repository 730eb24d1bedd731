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
| `takes="words"` | takes so long, in words that say where this is from; nobody times it |
| `long="reason"` | is run by `make docs` only |
| `error="words"` | ends with an error whose message has these words |
| `file=NAME` | is a file, which is written before it is run |
| `first` | is run before the others of the page |

Briefly, as in the tests, commands do a few steps on a few rows (`BRIEF`), and Python is shortened
by what a comment of the page says, `<!-- briefly: steps=2000 -> steps=2; ... -->`.

As they are written, the recipes of many pages are trained in the same way, for minutes. `Trained`
does each such training once, of its first steps if it is asked to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

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
OPTIONS = ("skip", "long", "takes", "error", "file", "first")
NO_RECIPE = ("--dry-run", "--dry_run", "--resume", "--from", "--overwrite", "--print_config")
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
        if set(options) - set(OPTIONS):
            raise ValueError(f"{name}:{line}: options of blocks are {', '.join(OPTIONS)}")
        for reason in ("skip", "long", "takes"):
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


class Took(NamedTuple):
    """Processor seconds, and whether they were measured: else some steps were, and it is about."""

    seconds: float = 0.0
    measured: bool = True

    def __or__(self, other: Took) -> Took:
        """The one and then the other."""
        return Took(self.seconds + other.seconds, self.measured and other.measured)


def processor() -> float:
    """Seconds that this process and those that it started have computed."""
    return sum(os.times()[:4])


@dataclasses.dataclass(frozen=True)
class Trained:
    """Trainings such as `markovbridge train digits`, each of them done once.

    Attributes:
        folder: Where the runs are kept, each with the seconds that it took.
        steps: How many steps of a recipe are done, if it has more; the seconds of all of them are
            then what these and a third of them ask for, beside what is imported once. None for
            all of them.
    """

    folder: Path
    steps: int | None = None

    def train(self, words: list[str]) -> Took | None:
        """Train as a command says, or bring what it has trained before, and say what it takes.

        Args:
            words: The command.

        Returns:
            What that takes; None of a command that is no training of a recipe as it is.

        Raises:
            RuntimeError: If it fails.
        """
        match words:
            case ["markovbridge", "train", str(), *_] if not set(words) & set(NO_RECIPE):
                rest = words[2:]
            case _:
                return None
        output = rest.pop(rest.index("--output") + 1) if "--output" in rest else None
        rest = [word for word in rest if word != "--output"]
        if any(Path(word).is_file() for word in rest):
            return None  # which another page may have by the same name
        here = Path(output or f"runs/{Path(rest[0]).stem}")
        key = f"{shlex.join(rest)} {self.steps}"
        kept = self.folder / hashlib.sha256(key.encode()).hexdigest()[:16]
        if not kept.exists():
            took = self._train(rest, here)
            shutil.copytree(here, kept)
            kept.with_suffix(".json").write_text(json.dumps(took))
        elif not here.exists():
            shutil.copytree(kept, here)
        return Took(*json.loads(kept.with_suffix(".json").read_text()))

    def _train(self, rest: list[str], here: Path) -> Took:
        from markovbridge.cli import main

        def timed(*more: str) -> float:
            start = processor()
            if main(["train", *rest, *more]):
                raise RuntimeError(f"{shlex.join(rest)} failed")
            return processor() - start

        with contextlib.redirect_stdout(io.StringIO()) as told:
            main(["train", *rest, "--print_config"])
        planned, few = yaml.safe_load(told.getvalue())["trainer"]["steps"], self.steps
        if few is None or planned <= few:
            return Took(timed("--output", str(here)))
        warmup = ["--trainer.warmup", "0"] if "--trainer.warmup" in rest else []

        def first(steps: int, output: str) -> float:
            return timed(*warmup, "--trainer.steps", f"{steps}", "--output", output)

        with tempfile.TemporaryDirectory() as folder:
            first(1, f"{folder}/imports")  # what comes once
            least = first(few // 3, f"{folder}/run")
        more = first(few, str(here))
        return Took(least + (more - least) / (few - few // 3) * (planned - few // 3), False)


def command(line: str, *, briefly: bool, trained: Trained | None = None) -> Took:
    """Run a command: one of ours in this process, another by a shell.

    Returns:
        How long it takes.

    Raises:
        RuntimeError: If it fails.
    """
    start = processor()
    words = shlex.split(line, comments=True)
    if words[0] in ("pip", "make"):
        return Took()  # what these do was done before: this is the environment that they make
    if trained and not briefly and (took := trained.train(words)) is not None:
        return took
    if words[0] == "markovbridge" and not SHELL.search(re.sub(r"'[^']*'|#.*", "", line)):
        from markovbridge.cli import main

        state = main(brief(words[1:]) if briefly else words[1:])
    else:
        beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        shown = {**os.environ, "PATH": beside}
        state = subprocess.run(["bash", "-euo", "pipefail", "-c", line], env=shown).returncode
    if state:
        raise RuntimeError(f"{line}: ended with status {state}")
    return Took(processor() - start)


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
    trained: Trained | None = None,
    seconds: dict[int, Took] | None = None,
) -> tuple[dict[str, Any], dict[int, Took]]:
    """Run a page in a folder.

    Args:
        name: The page.
        folder: Where: what blocks write goes there.
        briefly: Whether to do less than is written.
        longer: Whether to run the blocks that are for `make docs` as well.
        whole: Lines of the blocks that are run as they are written in any case.
        given: Names that are there from the beginning.
        trained: Runs that are not trained anew by what is run as it is written.
        seconds: Where it is put down how long each block took, of those before a failure too.

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
    names, seconds = dict(given or {}), {} if seconds is None else seconds
    with contextlib.chdir(folder):
        for block in found:
            if "long" in block.options and not longer:
                continue
            less = briefly and block.line not in whole
            seconds[block.line] = _run_block(block, pairs if less else {}, names, less, trained)
    return names, seconds


def _run_block(
    block: Block,
    pairs: dict[str, str],
    names: dict[str, Any],
    briefly: bool,
    trained: Trained | None,
) -> Took:
    code, expected, took = block.code, block.options.get("error"), Took()
    for long, short in pairs.items():
        code = code.replace(long, short)
    if file := block.options.get("file"):
        Path(file).write_text(block.code, encoding="utf-8")
        sys.path[:] = ["", *(path for path in sys.path if path)]  # as in a shell of the reader
    place = f"{block.page}:{block.line}"
    try:
        if block.language == "bash":
            for line in commands(code):
                took |= command(line, briefly=briefly, trained=trained)
        else:
            lines = "\n" * block.line + code  # so that errors name lines of the page
            start = processor()
            exec(compile(lines, block.page, "exec"), names)
            took = Took(processor() - start)
    except Exception as error:
        told = ": ".join([f"{error}", *getattr(error, "__notes__", ())])
        if expected is None or expected not in told:
            raise Failed(f"{place}: {type(error).__name__}: {told}") from error
    else:
        if expected is not None:
            raise Failed(f"{place}: there was no error that says {expected!r}")
    return took
