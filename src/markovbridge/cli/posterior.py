"""What `restore` and `impute` share: the rows they are given, and what they write of their draws.

D draws of each of n rows are n·D samples, all draws of a row after each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from markovbridge.cli import console
from markovbridge.cli.drawing import Drawing, Draws, caption, shades
from markovbridge.cli.given import beside, is_images, read_images, read_rows
from markovbridge.cli.tables import results_table, table_at
from markovbridge.cli.verb import OnData
from markovbridge.data import CountTable, Source
from markovbridge.data.rows import dense
from markovbridge.evaluation.restoration import DRAWS, LEVELS, Restoration, least_draws
from markovbridge.storage.config import from_config
from markovbridge.storage.errors import UsageError
from markovbridge.storage.png import grid_png
from markovbridge.training.run_folder import held_out
from markovbridge.training.trained_on import RunData

SHOWN = 8  # rows of the picture
SHOWN_DRAWS = 3
GREY = 96  # shade of sites that are not known


class Input(NamedTuple):
    """Rows that a verb is given: of a file, or of the run's own data.

    Attributes:
        x: The rows, (n, *event); NaN where a file does not know them.
        told: Where they are from.
        own: Whether they are whole data, of which the verb hides a part before it begins.
        table: The count table that has them, if one does,
        split: and the part of it.
        known: What is known of each row, by name, n values each.
        order: For each feature of the model its position in the file; None if the same.
        ours: The data of the run.
    """

    x: Tensor
    told: str
    own: bool
    table: CountTable | None
    split: str
    known: Mapping[str, Any]
    order: Tensor | None
    ours: RunData


@dataclass(frozen=True, kw_only=True)
class Posterior(Draws, OnData):
    """A verb that draws the rest of rows of which something is seen.

    Attributes:
        draws: Draws for each row.
        n: The first so many rows. Without it, all of an input, and 64 of the run's own data.
        input: A file of rows, .npy or .npz, a count table, an image or a folder of images.
        key: Name of the array in an .npz file, if it holds several.
        index: The column of a table that names its rows, as of `CountTable`; without it, as the
            run's own table.
        obs: For an input, a .csv, .tsv or .parquet table of its covariates, if it does not hold
            them itself; rows are matched by name.
        split: The part of the run's own data to take.
        condition: What to condition on, by name, as for `sample`, in place of what the data
            know of each row, which the model is told by itself; null for unknown.
    """

    OWN: ClassVar[int] = 64  # rows of the run's own data, unless told otherwise

    draws: int = DRAWS
    n: int | None = None
    input: Path | None = None
    key: str | None = None
    index: str | None = None
    obs: Path | None = None
    split: Literal["train", "validation", "test", "all"] = "test"

    def given(self, drawing: Drawing, *, missing: bool = False) -> Input:
        """The rows that the verb is given, with features in the order of the run.

        Args:
            drawing: What is drawn from.
            missing: Whether cells of a table may be empty.
        """
        run, file = drawing.run, self.input
        ours, order, table = self.data_of(run), None, None
        if file is not None:
            encoding = drawing.transport.covariates
            names = [] if encoding is None else [column.name for column in encoding.columns]
            own = run.source() if self.data is None else None
            like = self.data if own is None else from_config(own, Source, "data")
            given = {"obs": self.obs, "key": self.key, "index": self.index}
            pictures = is_images(file)
            if not pictures:
                table = table_at(file, names, like, **given, missing=missing)
            if pictures:
                x, known = read_images(file, like, drawing.transport.shape), {}
            elif table is None:
                x, known = read_rows(file, self.key), beside(file, names)
            else:
                read = table.plain("all")
                met, order = ours.meet(read), ours.order(read)
                x, known = dense(met.x), met.known
                if met.observed is not None:
                    x = torch.where(met.observed, x.double(), torch.nan)
        else:
            source = self.source(run)
            for name in ("obs", "key", "index"):
                if getattr(self, name) is not None:
                    raise UsageError(f"{name} is for rows of a file: name it with --input")
            if not held_out(self.split, trained := run.split()):
                console.note(f"warning: split {self.split} is not held out: {run} saw {trained}")
            table = source if isinstance(source, CountTable) else None
            read = ours.load(source, self.split)
            some = read.rows(torch.arange(min(len(read), self.n or self.OWN)))
            self._enough(len(read))
            x, known = dense(some.x), some.known
        self._enough(len(x))
        split, n = self.split if file is None else "all", self.n
        told = f"split {split}" if file is None else str(file)
        known = {name: list(value)[:n] for name, value in known.items()}
        return Input(x[:n], told, file is None, table, split, known, order, ours)

    def _enough(self, there: int) -> None:
        if self.n is not None and self.n > there:
            raise UsageError(f"n is {self.n}; there are {there:,} rows to {self.name()}")


def write(
    drawing: Drawing,
    name: str,
    given: Input,
    made: Restoration,
    meta: dict[str, Any],
    image: bytes | None,
    arrays: dict[str, Tensor],
    layers: dict[str, Tensor],
) -> list[Path]:
    """Write draws of rows.

    Args:
        drawing: What is drawn from, and where results go.
        name: What has become of the rows: "restored".
        given: The rows.
        made: Their draws.
        meta: How they were made.
        image: A picture of them, if they are images.
        arrays: What goes to NAME.npz beside draws, mean, deviation and truth.
        layers: What goes to the table of results beside mean and interval, if there is one.

    Returns:
        The files written.
    """
    place, folder = drawing.results, drawing.results.folder
    files = [folder.arrays(place.name)]
    if image is not None:
        files.append(folder.write_picture(place.name, image))
    found = {
        **arrays,
        "draws": made.draws,
        "mean": made.mean.float(),
        "sd": made.std.float(),
        **({"truth": given.x} if given.own else {}),
    }
    stored = {key: value.numpy() for key, value in found.items()}
    folder.write_arrays(place.name, stored, meta)
    if given.table is not None:
        results = {f"{name}_mean": made.mean, **layers}
        if len(made.draws) >= least_draws(max(LEVELS)):
            results[f"{name}_low"], results[f"{name}_high"] = made.interval(max(LEVELS))
        stem = folder.path / place.name
        table, split = given.table, given.split
        files += results_table(drawing.run, name, stem, place.plain, table, split, results, meta)
    return files


def picture(
    drawing: Drawing,
    given: Input,
    seen: Tensor,
    made: Restoration,
    says: tuple[str, dict[str, Any]],
    hidden: Tensor | None = None,
) -> bytes | None:
    """A line for each of the first rows: what was seen, draws, their mean, and the truth.

    Args:
        drawing: What is drawn from.
        given: The rows.
        seen: What was seen of them, (n, *event).
        made: Their draws.
        says: What was seen, in words, and how the draws were made.
        hidden: Sites of what was seen to leave grey, (n, *event) bool.

    Returns:
        A PNG file, or None if these are no images.
    """
    columns = [seen, *made.draws[:SHOWN_DRAWS], made.mean, *([given.x] if given.own else [])]
    lines = torch.stack([column[:SHOWN].double() for column in columns], 1).flatten(0, 1)
    if not made.draws.is_floating_point():
        lines = lines.round().to(torch.int64)
    shown = shades(lines, drawing.transport)
    if shown is None:
        return None
    if hidden is not None:
        shown[:: len(columns)][hidden[:SHOWN]] = GREY
    what, meta = says
    draws = f"{min(SHOWN_DRAWS, len(made.draws))} of {len(made.draws)} draws, the mean of all"
    order = f"{what}; {draws}{'; the truth' if given.own else ''}"
    rows = f"{min(SHOWN, len(seen)):,} of {len(seen):,} rows of {given.told}, from left to right"
    text = caption(drawing.run, f"{rows}: {order}", meta)
    return grid_png(shown, 255, columns=len(columns), caption=text)
