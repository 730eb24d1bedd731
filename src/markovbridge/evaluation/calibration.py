r"""Calibration: whether what a model draws of hidden counts is what they turn out to be.

Of rows whose truth is known, counts are thinned or entries hidden, and drawn again:

- **Ranks** (simulation-based calibration: Talts et al., https://arxiv.org/abs/1804.06788). The
  rank of the truth among D draws, ties at random, is uniform on 0 .. D if and only if the
  posterior is right, on average over what is seen. Errors of the shares are those of
  independent rows. The test takes one entry of each row, drawn at random, as entries of a row
  go together: a chi-square of D degrees of freedom.
- **Coverage** of central intervals as they come, by rank and by their ends
  (`evaluation.restoration`), and by their ends as they are corrected (`evaluation.conformal`).
  A correction is measured on rows that it was not made of: that of every other row on the rest,
  and the other way round. The one that is kept is of all rows.

Calibrations of a model are kept in its folder, beside the hash of its weights:

    FOLDER/calibration.json    {"calibrations": [...], "model": hash of the weights}
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator
from markovbridge.evaluation import conformal
from markovbridge.evaluation.conformal import Correction
from markovbridge.evaluation.restoration import (
    LEVELS,
    Coverage,
    Restoration,
    coverage,
    held,
    ranks,
)
from markovbridge.samplers import Sampler
from markovbridge.storage.config import apart, short, to_config
from markovbridge.storage.documents import NUMBER, TEXT, load_json
from markovbridge.storage.files import discard
from markovbridge.training.run_folder import RunFolder
from markovbridge.transport.saved import hash_tensors

NAME = "calibration"  # of the file
Task = Literal["impute", "restore"]
COVERED = dict.fromkeys(("level", "randomised", "error", "conservative", "width"), NUMBER)
MEASURED = {"plain": COVERED, **dict.fromkeys(("corrected", "error", "width"), NUMBER)}
FORM = {
    "calibrations": [
        {
            **dict.fromkeys(("task", "walk"), TEXT),
            **dict.fromkeys(("share", "draws", "rows", "entries", "uniform"), NUMBER),
            "rows_of?": TEXT,
            "parts?": TEXT,
            "ranks": [NUMBER],
            "errors": [NUMBER],
            "coverage": [MEASURED],
            "correction": {"edges": [NUMBER], "levels": [NUMBER], "widening": [[NUMBER]]},
        }
    ],
    "model": TEXT,
}


@dataclass(frozen=True)
class Measured:
    """How often intervals of a level hold the truth, as they come and corrected.

    Attributes:
        plain: As they come.
        corrected: Share of truths inside corrected intervals, of rows that these were not
            made of.
        error: Its standard error, from the spread between rows.
        width: Mean length of corrected intervals.
    """

    plain: Coverage
    corrected: float
    error: float
    width: float


@dataclass(frozen=True)
class Calibration:
    """What was found of draws of one kind, and how their intervals are corrected.

    Attributes:
        task: "impute", of hidden entries, or "restore", of thinned counts.
        share: The share of entries that was shown, or of units that survived.
        draws: Draws of each row.
        rows: How many rows there were,
        entries: and hidden entries in all.
        walk: The sampler and its steps, as text.
        ranks: Share of each rank 0 .. draws; all are 1/(draws + 1) of a right posterior.
        errors: Their standard errors, rows being independent.
        uniform: p-value of the test that ranks are uniform, of one entry of each row.
        coverage: Of intervals of each level.
        correction: What widens intervals of such draws.
        rows_of: Where the rows are from, in words.
        parts: Head and base law of the model that drew, as text; empty of older files.
    """

    task: Task
    share: float
    draws: int
    rows: int
    entries: int
    walk: str
    ranks: tuple[float, ...]
    errors: tuple[float, ...]
    uniform: float
    coverage: tuple[Measured, ...]
    correction: Correction
    rows_of: str = ""
    parts: str = ""

    def is_for(
        self, task: Task, share: float | None, draws: int, walk: str, parts: str = ""
    ) -> bool:
        """Whether intervals of such draws are corrected by it; `share` None for any."""
        same = share is None or math.isclose(self.share, share, rel_tol=1e-6)
        same = same and (not self.parts or self.parts == parts)
        return (self.task, self.draws, self.walk) == (task, draws, walk) and same

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Calibration:
        """What `dataclasses.asdict` made a dictionary of, read back from JSON."""
        given = content["correction"]
        measured = (
            Measured(**{**one, "plain": Coverage(**_numbers(one["plain"]))})
            for one in content["coverage"]
        )
        made = {
            **content,
            "ranks": tuple(content["ranks"]),
            "errors": tuple(content["errors"]),
            "coverage": tuple(measured),
            "correction": Correction(
                tuple(given["edges"]), tuple(given["levels"]), tuple(map(tuple, given["widening"]))
            ),
        }
        return cls(**made)


def calibrate(
    restoration: Restoration,
    truth: Tensor,
    hidden: Tensor,
    means: Tensor,
    *,
    task: Task,
    share: float,
    walk: str,
    rows_of: str = "",
    parts: str = "",
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
) -> Calibration:
    """Measure draws of rows whose truth is known, and make the correction of their intervals.

    Args:
        restoration: The draws.
        truth: What was hidden, (n, *event).
        hidden: Entries to look at, (n, *event) bool, chosen without looking at the truth.
        means: Means of the training data, `event`.
        task: What the draws are of.
        share: How much was shown of the rows.
        walk: How the draws were made, as text.
        rows_of: Where the rows are from, in words.
        parts: Head and base law of the model, as of `parts_of`.
        levels: Of the intervals.
        seed: Of ties, and of the entries that the test takes.

    Raises:
        ValueError: If there are too few rows, or draws, for a level.
    """
    checks.parameter(truth, "the truth")
    if truth.shape != restoration.draws.shape[1:] or hidden.shape != truth.shape:
        raise ValueError(
            f"truth and hidden must have the shape of a draw, {tuple(restoration.draws.shape[1:])}"
            f", not {tuple(truth.shape)} and {tuple(hidden.shape)}"
        )
    check_hidden(hidden, levels)
    draws = len(restoration.draws)
    plain = replace(restoration, widening={})
    rank = ranks(plain, truth, generator=generator("cpu", "ties", seed))
    found = [held(rank == k, hidden) for k in range(draws + 1)]
    covered = coverage(
        plain, truth, levels, where=hidden, generator=generator("cpu", "ties", seed)
    )
    measured = tuple(
        Measured(one, *_corrected(plain, truth, hidden, means, one.level)) for one in covered
    )
    return Calibration(
        task=task,
        share=share,
        draws=draws,
        rows=len(truth),
        entries=int(hidden.sum()),
        walk=walk,
        ranks=tuple(part for part, _ in found),
        errors=tuple(error for _, error in found),
        uniform=_uniform(rank, hidden, draws, generator("cpu", "entries", seed)),
        coverage=measured,
        correction=conformal.fit(plain, truth, hidden, means, levels),
        rows_of=rows_of,
        parts=parts,
    )


def check_hidden(hidden: Tensor, levels: Sequence[float]) -> None:
    """Check that there are rows enough to correct intervals by, and to measure that.

    Args:
        hidden: The entries that will be looked at, (n, *event) bool.
        levels: Of the intervals.

    Raises:
        ValueError: If there are not, with how many it takes.
    """
    told = hidden.flatten(1).any(1)
    for level in sorted(levels, reverse=True):
        need = conformal.least_rows(level)
        if len(hidden) < 2 * need:
            raise ValueError(
                f"to correct intervals of level {level} and to measure that takes {2 * need} "
                f"rows, not {len(hidden)}"
            )
        if 0 < int(told.sum()) and (least := min(int(told[k::2].sum()) for k in (0, 1))) < need:
            raise ValueError(
                f"to correct intervals of level {level} and to measure that takes {need} rows "
                f"with a hidden entry in each half, every other row, not {least}: give more rows, "
                "show less of each, or take a lower level"
            )
    if not bool(told.any()):
        raise ValueError("hidden must mark at least one entry: show less of each row")


def _corrected(
    restoration: Restoration, truth: Tensor, hidden: Tensor, means: Tensor, level: float
) -> tuple[float, float, float]:
    """Share of truths in corrected intervals, its error, and their length; half by half."""
    inside = torch.zeros_like(hidden)
    width = torch.zeros(hidden.shape, dtype=torch.float64)
    for ours, others in ((0, 1), (1, 0)):
        theirs = slice(others, None, 2)
        made = conformal.fit(
            _some(restoration, theirs), truth[theirs], hidden[theirs], means, [level]
        )
        part = slice(ours, None, 2)
        some = replace(_some(restoration, part), widening=made.of(means, hidden[part]))
        low, high = some.interval(level)
        inside[part] = (truth[part] >= low) & (truth[part] <= high)
        width[part] = (high - low).double()
    return (*held(inside, hidden), float(width[hidden].mean()))


def _some(restoration: Restoration, part: slice) -> Restoration:
    """Some rows, with `least` of these if it is one of each."""
    least, draws = restoration.least, restoration.draws
    if least is not None and least.ndim == draws.ndim - 1:
        least = least[part]
    return replace(restoration, draws=draws[:, part], least=least)


def _uniform(rank: Tensor, hidden: Tensor, draws: int, rng: torch.Generator) -> float:
    """p-value of a chi-square test of uniform ranks, one hidden entry of each row."""
    rank, hidden = rank.flatten(1), hidden.flatten(1)
    order = torch.rand(hidden.shape, generator=rng).masked_fill(~hidden, -1.0)
    one = rank.gather(1, order.argmax(1, keepdim=True))[hidden.any(1)]
    counts = torch.bincount(one.flatten(), minlength=draws + 1).double()
    expected = counts.sum() / (draws + 1)
    chi2 = ((counts - expected).square() / expected).sum()
    return float(torch.special.gammaincc(torch.tensor(draws / 2.0).double(), chi2 / 2))


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """Numbers by name, where JSON has null for NaN."""
    return {name: math.nan if value is None else value for name, value in values.items()}


def walk_of(sampler: Sampler, steps: int) -> str:
    """How draws are made, as text: those of one walk are corrected by a calibration of it."""
    return f"{short(to_config(sampler))}, steps {steps}"


def parts_of(transport: Any) -> str:
    """Head and base law of a model, as text: draws of other ones are no draws of it.

    Of the numbers of a law there is a hash.
    """
    said = []
    for part in ("head", "base"):
        config, tensors = apart(getattr(transport, part, None), part)
        own = f" {hash_tensors(tensors)[:16]}" if tensors else ""
        said.append(short(config) + own)
    return ", base ".join(said)


def added(there: Sequence[Calibration], new: Calibration) -> list[Calibration]:
    """Calibrations with a new one, in place of those of the same draws."""
    drawn = new.task, new.share, new.draws, new.walk, new.parts
    same = [one.is_for(*drawn) and one.parts == new.parts for one in there]
    return [*(one for one, gone in zip(there, same, strict=True) if not gone), new]


def read(folder: RunFolder, model: str | None, name: str = NAME) -> list[Calibration]:
    """Read the calibrations of a model in a folder; empty if they are of other weights.

    Args:
        folder: The folder.
        model: What `hash_weights` says of the model; None for whichever it is.
        name: What the file is called.

    Raises:
        ValueError: If the file is damaged.
    """
    content = folder.read_record(name, FORM)
    if not content or (model is not None and content["model"] != model):
        return []
    try:
        return [Calibration.from_dict(one) for one in content["calibrations"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder.record(name)} is damaged ({error}); calibrate the model again"
        ) from error


def write(folder: RunFolder, found: Sequence[Calibration], model: str) -> None:
    """Write calibrations of a model, by its hash, in place of all that are there."""
    if found:
        folder.write_record(NAME, content_of(found, model))
    elif folder.record(NAME).is_file():
        discard(folder.record(NAME))


def is_calibration(file: Path) -> bool:
    """Whether a file holds calibrations, of whatever model."""
    try:
        return {"calibrations", "model"} <= load_json(file).keys()
    except ValueError:
        return False


def content_of(found: Sequence[Calibration], model: str) -> dict[str, Any]:
    """What the file of a folder holds of calibrations of a model."""
    return {"calibrations": [asdict(one) for one in found], "model": model}


doors.guard(__name__, records=("Calibration", "Measured"))
