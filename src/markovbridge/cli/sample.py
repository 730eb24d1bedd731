"""`markovbridge sample`: draw from a trained run.

    RUN/samples.npz    `samples` (n, *event), and `meta`, how they were made, as JSON
    RUN/samples.png    a grid of the first of them, if they are images
    RUN/samples.h5ad   for a count table: a table of them; see `markovbridge.cli.tables`
    RUN/path.npz       `times` (T,) and `states` (T, k, *event): the first k on their way

Sample i is a function of the model, the options and i alone: not of n, of the number
of processes, or of interruptions. From Python the same samples are

    transport.sample(n, generator=torch.Generator().manual_seed(seed), steps=..., ...)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from markovbridge.cli import console
from markovbridge.cli.drawing import Drawing, Drawn, Draws, caption, cost, shades
from markovbridge.cli.models import conditioned
from markovbridge.cli.tables import samples_table
from markovbridge.data.meeting import each
from markovbridge.samplers.extrapolation import far_out, narrow
from markovbridge.samplers.walks import blocks
from markovbridge.storage.errors import UsageError
from markovbridge.storage.png import grid_png
from markovbridge.training.run_folder import RunFolder
from markovbridge.training.trained_on import TrainedOn, check_start
from markovbridge.transport import Transport

GRID = 64  # samples in the picture


@dataclass(frozen=True, kw_only=True)
class Sample(Draws):
    """Draw samples from a trained run.

    RUN is a folder that `markovbridge train` wrote. The same options give the same samples,
    and the first n of more. If the command is interrupted, give it again: it goes on where
    it was. Several processes share the work:

      torchrun --standalone --nproc_per_node=2 -m -- markovbridge sample RUN --n 50000

    Attributes:
        n: How many samples.
        seed: Seed of the samples.
        grid: Where the steps stop: so that the model's error falls by equal amounts (model), if
            it knows its errors, or evenly in the time of its schedule (schedule), as published.
        refine: Sites of the samples along each axis of space for one of the training data. Models
            of fields whose network is a FourierOperator can take more than 1.
    """

    EXAMPLE = "runs/digits"

    n: int = 64
    grid: Literal["model", "schedule"] = "model"
    refine: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refine < 1:
            raise UsageError(f"refine is {self.refine}; it must be 1 or more")

    def run(self) -> None:
        with self.drawing("samples") as drawing:
            if self.refine > 1:
                drawing = drawing._replace(transport=self._refined(drawing.transport))
            transport = drawing.transport
            check_start(transport.coupling, TrainedOn.read(drawing.run.path).columns)
            made = self._made(drawing)
            if made is not None:
                _write(drawing, made)

    def _refined(self, transport: Transport) -> Transport:
        try:
            return transport.refined(self.refine)
        except (NotImplementedError, ValueError) as error:
            raise UsageError(f"refine: {error}") from error

    def _made(self, drawing: Drawing) -> Drawn | None:
        """Make the blocks of this process; all samples in the first."""
        transport = drawing.transport
        # Those of the last block that are not asked for yet, as if they were.
        whole = blocks(self.n, self.block) * self.block
        facts, rows = conditioned(transport, self.condition, self.guidance, whole)
        facts["grid"] = self.grid
        if self.refine > 1:
            facts["refine"] = self.refine
        even = self.grid == "schedule"
        times = transport.process.schedule.grid(self.steps) if even else None
        draw = partial(transport.sample_block, condition=rows, guidance=self.guidance)
        return self.drawn(drawing, draw, self.n, "samples", facts, grid=times)


def _write(drawing: Drawing, made: Drawn) -> None:
    """Write the samples, and what shows them beside."""
    run, transport, place = drawing.run, drawing.transport, drawing.results
    samples, first, meta, n = made.samples, made.first, made.meta, len(made.samples)
    folder, name = place.folder, place.name
    ways = {"times": first["times"], "states": first["states"][:, :n]}
    files = [folder.arrays(name), folder.write_arrays(place.path, ways)]
    shown = shades(torch.from_numpy(samples[:GRID]), transport)
    if shown is not None:
        text = caption(run, f"{min(n, GRID):,} of {n:,} samples, the first", meta)
        files.append(folder.write_picture(name, grid_png(shown, 255, caption=text)))
    folder.write_arrays(name, {"samples": samples}, meta)
    encoding = transport.covariates
    told = {} if encoding is None else each(encoding, meta.get("condition"), n)
    stem = folder.path / name
    files += samples_table(run, samples, encoding, told, stem, meta)
    made.blocks.clear()
    console.say(f"{n:,} samples of {run}: {cost(meta)}")
    place.wrote(files, "samples", meta)
    for found in _strange(run, samples, transport, meta):
        console.note(f"warning: {found}")
    if "refine" in meta:
        return  # the data have fewer sites
    other = "" if folder.path == run.path and place.plain else f" --samples {files[0]}"
    console.say(f"to score them: markovbridge evaluate {run}{other}")


def _strange(
    run: RunFolder, samples: np.ndarray, transport: Transport, meta: dict[str, Any]
) -> list[str]:
    """What is to be said of samples that are not like the training data."""
    x, names = torch.from_numpy(samples), TrainedOn.read(run.path).columns
    found = [far_out(x, transport.seen, names)]
    if not meta.get("condition"):
        found.append(narrow(x, transport.seen, transport.variance, names))
    return [sentence for sentence in found if sentence is not None]
