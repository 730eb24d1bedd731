"""What a method of the model has around it: CPU threads, and lines of progress.

Small networks are fastest on one or two threads, and other packages change how many torch has:
after some it takes all, whatever OMP_NUM_THREADS says. `threaded` sets their number while inside,
and where none is asked for it says when they are more than that variable allows.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch

from markovbridge import doors
from markovbridge.training import parallel

PACKAGE = str(Path(doors.__file__).parents[1])
LOGGER = logging.getLogger("markovbridge.training")


def threaded(threads: int | None) -> AbstractContextManager[None]:
    """Use so many CPU threads while inside; None for as many as torch has.

    Raises:
        ValueError: If it is no whole number of at least 1.
    """
    if threads is None:
        _complain(torch.get_num_threads())
    return parallel.threaded(threads)


def warn(text: str) -> None:
    """Warn of something where a method of the model was called, outside of this package."""
    frame, level = sys._getframe(1), 2
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


def _complain(threads: int) -> None:
    """Say so if torch has more threads than the environment allows."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and 0 < int(wanted) < threads:
        warn(
            f"torch has {threads} threads, although OMP_NUM_THREADS is {wanted}: another package "
            f"has raised them, which can make this ten times slower; give threads={wanted}"
        )


@contextmanager
def told(verbose: bool | int) -> Iterator[None]:
    """Show the lines of training on stderr while inside, unless logging shows them already."""
    if not verbose or (LOGGER.isEnabledFor(logging.INFO) and LOGGER.hasHandlers()):
        yield
        return
    handler, level = logging.StreamHandler(sys.stderr), LOGGER.level
    if not _is_on_screen():
        LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def _is_on_screen() -> bool:
    """Whether lines of training reach the terminal by handlers that are there."""
    logger: logging.Logger | None = LOGGER
    while logger is not None:
        for handler in logger.handlers:
            shown = handler.level <= logging.INFO
            if shown and getattr(handler, "stream", None) in (sys.stderr, sys.stdout):
                return True
        logger = logger.parent if logger.propagate else None
    return False


doors.guard(__name__)
