"""Where everything that the command line says goes through.

Results go to stdout; progress, warnings and errors to stderr. The log of a
training run, which goes to Python's logging, is shown too.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

EVERY = 30.0  # seconds between lines of progress where there is no terminal
SOON = 2.0  # seconds after which a bar shows on a terminal


def say(text: str) -> None:
    """Print a result."""
    _print(sys.stdout, text)


def note(text: str) -> None:
    """Print a remark for whoever waits, on the stream that holds no results."""
    _print(sys.stderr, text)


def _print(stream: TextIO, text: str) -> None:
    """Print a line, for whoever still reads: that a pipe was closed is no failure."""
    with suppress(BrokenPipeError):
        stream.write(f"{text}\n")
        stream.flush()


def wrote(files: Sequence[Path], there: Collection[Path]) -> str:
    """What was written, as the beginning of a sentence, and that it replaced what was there."""
    again = ", in place of what was there" if set(files) & set(there) else ""
    return f"wrote {', '.join(map(str, files))}{again}"


def fail(text: str) -> None:
    """Print an error, on one line."""
    note(f"error: {text}")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts as aligned columns, indented by two."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(f"  {line}".rstrip() for line in lines)


@contextmanager
def attached() -> Iterator[None]:
    """Show the package's log, and warnings as one line each, while inside."""
    logger = logging.getLogger(__name__.split(".")[0])
    handler, level = logging.StreamHandler(sys.stderr), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    with warnings.catch_warnings():
        warnings.showwarning = _show
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    note(f"warning: {' '.join(str(message).split())}")


class Progress:
    """How far a piece of work is, at which rate, and how long it will take.

    A bar on a terminal, if it takes longer than two seconds; elsewhere a line every half minute.

    Args:
        total: Amount of work.
        unit: What it is counted in, plural.
        active: Whether this process writes; of several processes one does.
    """

    def __init__(self, total: float, unit: str, *, active: bool = True) -> None:
        self.total, self.unit, self.active = total, unit, active
        self.done = 0.0
        self._bar: tqdm | None = None

    def __enter__(self) -> Progress:
        self._started = self._told = time.perf_counter()
        if self.active and sys.stderr.isatty():
            self._bar = tqdm(
                total=self.total,
                unit=f" {self.unit}",
                file=sys.stderr,
                delay=SOON,
                bar_format="{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f}{unit} "
                "[{elapsed}, {remaining} left, {rate_noinv_fmt}]",
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, amount: float) -> None:
        """Note that another `amount` of work is done."""
        self.done += amount
        if self._bar is not None:
            self._bar.update(amount)
        elif self.active and time.perf_counter() - self._told > EVERY:
            self._told = time.perf_counter()
            rate = self.done / (self._told - self._started)
            left = tqdm.format_interval((self.total - self.done) / rate)
            note(
                f"{self.done:.0f} of {self.total:.0f} {self.unit}, {rate:.3g} {self.unit}/s, "
                f"{left} left"
            )
