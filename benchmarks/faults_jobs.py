"""What `faults.py` disturbs: everything that writes into a folder.

A job is made in a folder of its own, where it finds or makes what it starts from: small runs of
images and of a table, and small count models.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from markovbridge import CountModel, Transport
from markovbridge.cli import main
from markovbridge.data import write_table

__all__ = ["JOBS", "Job"]


@dataclass(frozen=True)
class Job:
    """Something that writes into a folder.

    Attributes:
        start: Puts a folder into the state from which it starts.
        run: Does it; the status of the command line.
        again: Goes on after it was interrupted.
        old: Whether what was there before may be there in the end, too.
        look: Reads what must be there at every moment, whatever fails; None if nothing need be.
    """

    start: Callable[[Path], object]
    run: Callable[[Path], int]
    again: Callable[[Path], int]
    old: bool = False
    look: Callable[[Path], object] | None = None


TINY = ["--network.width", "4", "--network.depth", "1", "--trainer.threads", "1"]
TINY += ["--trainer.warmup", "1", "--trainer.batch_size", "4", "--trainer.checkpoint_every", "2"]
TINY += ["--trainer.keep", "1", "--trainer.log_every", "2", "--trainer.steps", "4"]
TINY += ["--trainer.validate_every", "2"]
IMAGES = ["--trainer.sample_every", "4", "--trainer.samples", "2", "--trainer.sample_steps", "2"]
IMAGES += ["--data.validation", "0.02", "--data.test", "0.9"]
STEPS = ["--steps", "2", "--threads", "1", "--block", "10"]
THINNED = ["--survival", "0.3", "--n", "1", "--draws", "19", *STEPS]
HIDDEN = ["--observed", "top", "--n", "1", "--draws", "19", "--rounds", "1", *STEPS]
RESUME = ["--resume", "true"]


def _train(folder: Path, recipe: Path | str, *options: str) -> int:
    kind = [] if str(recipe).endswith(".csv") else IMAGES
    return main(["train", str(recipe), "--output", str(folder), *TINY, *kind, *options])


def _table(file: Path, columns: str, seed: int) -> Path:
    if not file.exists():
        counts = np.random.default_rng(seed).poisson(2.0, (60, len(columns)))
        write_table(file, counts, column_names=list(columns))
    return file


def _cells(base: Path) -> Path:
    return _table(base / "cells.csv", "abcd", 0)


def _kept(folder: Path, make: Callable[[Path], object]) -> Callable[[Path], object]:
    """What starts from a copy of a folder, which is made once."""
    if not folder.exists():
        make(folder)
    return lambda target: shutil.copytree(folder, target)


def _images(base: Path) -> Callable[[Path], object]:
    return _kept(base / "images", lambda folder: _train(folder, "digits"))


def _counts(base: Path) -> Callable[[Path], object]:
    return _kept(base / "counts", lambda folder: _train(folder, _cells(base)))


def _drawn(base: Path) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        _images(base)(folder)
        main(["sample", str(folder), "--n", "15", *STEPS])

    return _kept(base / "drawn", make)


def _training(recipe: Callable[[Path], Path | str]) -> Callable[[Path], Job]:
    def made(base: Path) -> Job:
        name = recipe(base)
        return Job(Path.mkdir, lambda f: _train(f, name), lambda f: _train(f, name, *RESUME))

    return made


def _overwrite(base: Path) -> Job:
    """A run of images gives way to another."""
    seed = ("--trainer.seed", "5")
    start = _kept(base / "old", lambda folder: _train(folder, "digits", *seed))
    run: Callable[[Path], int] = lambda f: _train(f, "digits", "--overwrite", "true")  # noqa: E731
    return Job(start, run, lambda f: main(["train", str(f), *RESUME]), old=True)


def _overwrite_table(base: Path) -> Job:
    """A run of a table, which remembers more, gives way to one with other columns."""
    other, cells = _table(base / "other.csv", "vwxyz", 1), _cells(base)
    start = _kept(base / "old-counts", lambda folder: _train(folder, other))
    run: Callable[[Path], int] = lambda f: _train(f, cells, "--overwrite", "true")  # noqa: E731
    return Job(start, run, lambda f: main(["train", str(f), *RESUME]), old=True)


def _verb(
    start: Callable[[Path], Callable[[Path], object]], verb: str, *options: str
) -> Callable[[Path], Job]:
    """A verb that is given a run, and given again."""

    def made(base: Path) -> Job:
        run: Callable[[Path], int] = lambda f: main([verb, str(f), *options])  # noqa: E731
        return Job(start(base), run, run)

    return made


def _translate(base: Path) -> Job:
    rows = base / "rows.npy"
    np.save(rows, np.zeros((13, 1, 8, 8), dtype=np.int64))
    return _verb(_images, "translate", "--input", str(rows), *STEPS)(base)


def _repeated(
    start: Callable[[Path], object],
    act: Callable[[Path], object],
    look: Callable[[Path], object] | None = None,
) -> Job:
    """Something done in Python, and done again."""

    def run(folder: Path) -> int:
        act(folder)
        return 0

    return Job(start, run, run, look=look)


def _save(base: Path) -> Job:
    table, made = np.random.default_rng(0).poisson(2.0, (30, 3)), []
    for seed in (0, 1):
        model = CountModel(width=4, depth=1, steps=2, batch_size=4, random_state=seed)
        made.append(model.fit(table))
    return _repeated(made[0].save, made[1].save, CountModel.load)


def _save_pretrained(base: Path) -> Job:
    start = _kept(base / "old", lambda folder: _train(folder, "digits", "--trainer.seed", "5"))
    _images(base)
    model = Transport.from_pretrained(base / "images" / "model")
    look = lambda folder: Transport.from_pretrained(folder / "model")  # noqa: E731
    return _repeated(start, lambda folder: model.save_pretrained(folder / "model"), look)


def _tables(base: Path) -> Job:
    """Tables in every format over older ones; of Matrix Market three files."""

    def write(folder: Path, seed: int) -> None:
        counts = np.random.default_rng(seed).poisson(2.0, (60, 40))
        for suffix in ("csv.gz", "npz", "mtx.gz", "parquet"):
            write_table(folder / f"cells.{suffix}", counts, overwrite=True)

    start = _kept(base / "tables", lambda folder: folder.mkdir() or write(folder, 1))
    return _repeated(start, lambda folder: write(folder, 0))


JOBS: dict[str, Callable[[Path], Job]] = {
    "train": _training(lambda _: "digits"),
    "train table": _training(_cells),
    "overwrite": _overwrite,
    "overwrite table": _overwrite_table,
    "sample": _verb(_images, "sample", "--n", "15", *STEPS),
    "sample table": _verb(_counts, "sample", "--n", "15", *STEPS),
    "translate": _translate,
    "restore": _verb(_images, "restore", *THINNED),
    "impute": _verb(_images, "impute", *HIDDEN),
    "evaluate": _verb(_drawn, "evaluate", "--n", "15", "--likelihood", "2", "--looks", "2"),
    "diagnose": _verb(_images, "diagnose", "--n", "4", "--pieces", "2"),
    "inspect": _verb(_images, "inspect", "--points", "2", "--states", "2", "--times", "2"),
    "report": _verb(_drawn, "report"),
    "CountModel.save": _save,
    "save_pretrained": _save_pretrained,
    "tables": _tables,
}
