"""`markovbridge translate`: carry one data set into another with a trained run.

    RUN/translated.npz    `source` and `samples`, (n, *event) each, row i of one from row i
                          of the other, and `meta`, how they were made, as JSON
    RUN/translated.png    rows of images: a source, its way, where it arrives

Row i is a function of the model, the options, i and row i of the source alone. From
Python the same are

    transport.translate(source, generator=torch.Generator().manual_seed(seed), steps=..., ...)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from markovbridge.cli import console
from markovbridge.cli.drawing import Drawing, Drawn, Draws, caption, cost, shades
from markovbridge.cli.given import is_images, read_images, read_rows
from markovbridge.cli.models import conditioned, hashed
from markovbridge.cli.tables import table_at
from markovbridge.couplings import Data
from markovbridge.data import Source
from markovbridge.data.rows import dense
from markovbridge.storage.config import from_config
from markovbridge.storage.errors import UsageError
from markovbridge.storage.png import grid_png

TIMES = 9  # columns of the picture


@dataclass(frozen=True, kw_only=True)
class Translate(Draws):
    """Carry one data set into another with a trained run.

    RUN is a folder that `markovbridge train` wrote. What is carried is the data set that
    its coupling starts from, the sources of its pairs, or a file. The same options give the
    same result, row by row. If the command is interrupted, give it again: it goes on where it
    was. Several processes share the work as for `sample`.

    Attributes:
        n: Carry the first so many rows. Without it, all.
        input: A file of rows to carry, .npy or .npz, a count table, an image or a folder of
            images, instead of those of the run.
        key: Name of the array in an .npz file, if it holds several.
        seed: Seed of the noise.
        condition: What to condition on, by name, as for `sample`. The rows that are carried
            say nothing of what they are to become, and so are not asked.
        split: The part of the coupling's data set, or of the pairs, to carry. Without it, that
            of the training.
    """

    EXAMPLE = "runs/digits-translate"

    n: int | None = None
    input: Path | None = None
    key: str | None = None
    split: Literal["train", "validation", "test", "all"] | None = None

    def run(self) -> None:
        with self.drawing("translated") as drawing:
            source = (
                self._start(drawing) if self.input is None else self._rows(drawing, self.input)
            )
            if self.n is not None and self.n > len(source):
                raise UsageError(f"n is {self.n}; there are {len(source):,} rows to carry")
            self._translate(drawing, source[: self.n])

    def _rows(self, drawing: Drawing, file: Path) -> Tensor:
        """Rows of a file, (n, *event), features in the order of the run."""
        like = drawing.run.source()
        source = None if like is None else from_config(like, Source, "data")
        if is_images(file):
            return read_images(file, source, drawing.transport.shape)
        table = table_at(file, (), source, obs=None, key=self.key, missing=False)
        if table is None:
            return read_rows(file, self.key)
        return dense(self.data_of(drawing.run).meet(table.plain()).x)

    def _start(self, drawing: Drawing) -> Tensor:
        """The data set that the coupling starts from, (n, *event)."""
        coupling = drawing.transport.coupling
        like = drawing.run.source()
        own = None if like is None else from_config(like, Source, "data")
        if coupling.given and own is not None and own.pairs:
            found = self.data_of(drawing.run).load(own, self.split or drawing.run.split())
            if found.start is not None:
                return found.start
        start = getattr(coupling, "source", None)
        if not isinstance(start, Data):
            raise UsageError(
                f"{drawing.run} does not start from a data set but from {start or coupling}: give "
                "rows to carry with --input FILE"
            )
        found = self.data_of(drawing.run).load(start.source, self.split or start.split)
        return dense(found.x)

    def _translate(self, drawing: Drawing, source: Tensor) -> None:
        """Make the blocks of this process; assemble them all in the first."""
        run, transport, n = drawing.run, drawing.transport, len(source)
        facts, rows = conditioned(transport, self.condition, self.guidance, n)
        # n too: the last block is filled up with copies of the last row.
        facts |= {"source": hashed(source), "n": n}
        guided = {"condition": rows, "guidance": self.guidance}
        draw = partial(transport.translate_block, x0=source, **guided)
        made = self.drawn(drawing, draw, n, "rows", facts)
        if made is None:
            return
        folder, name = drawing.results.folder, drawing.results.name
        files = [folder.arrays(name)]
        picture = _picture(made, n, drawing)
        if picture is not None:
            files.append(folder.write_picture(name, picture))
        arrays: dict[str, Any] = {"source": source.numpy(), "samples": made.samples}
        folder.write_arrays(name, arrays, made.meta)
        made.blocks.clear()
        console.say(f"{n:,} rows carried by {run}: {cost(made.meta)}")
        drawing.results.wrote(files, "rows carried", made.meta)


def _picture(made: Drawn, n: int, drawing: Drawing) -> bytes | None:
    """The first rows on their way, a row of images each, if these are images."""
    states = torch.from_numpy(made.first["states"])[:, :n]
    chosen = torch.linspace(0, len(states) - 1, min(TIMES, len(states))).round().long()
    rows = states[chosen].transpose(0, 1).flatten(0, 1)
    shown = shades(rows, drawing.transport)
    if shown is None:
        return None
    says = f"{states.shape[1]:,} of {n:,} rows carried, from the source, left, to the result"
    text = caption(drawing.run, says, made.meta)
    return grid_png(shown, 255, columns=len(chosen), caption=text)
