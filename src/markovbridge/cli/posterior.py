"""What `restore` and `impute` share: the rows they are given, and what they write of their draws.

D draws of each of n rows are n·D samples, all draws of a row after each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from markovbridge.cli import console
from markovbridge.cli.drawing import beside, read_rows, shades
from markovbridge.cli.errors import UsageError
from markovbridge.cli.runs import configuration, data_of, held_out, write_arrays
from markovbridge.cli.tables import results_table, table_at
from markovbridge.data import CountTable
from markovbridge.data.rows import dense
from markovbridge.files import to_json, write_bytes
from markovbridge.images import grid_png
from markovbridge.restoration import LEVELS, Restoration, least_draws
from markovbridge.trained_on import RunData
from markovbridge.transport import Transport

__all__ = ["Input", "input_of", "picture", "write"]

ROWS = 64  # of the run's own data, unless told otherwise
SHOWN = 8  # rows of the picture
SHOWN_DRAWS = 3
GREY = 96  # shade of sites that are not known


class Input(NamedTuple):
    """Rows that a verb is given: of a file, or of the run's own data.

    Attributes:
        x: The rows, (n, *event); NaN where a file does not know them.
        told: Where they are from.
        own: Whether they are data as they are, from which a verb takes something away.
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


def input_of(
    run: Path, verb: str, transport: Transport, values: dict[str, Any], *, missing: bool = False
) -> Input:
    """The rows that a verb is given, with features in the order of the run.

    Args:
        run: The run folder.
        verb: What is done to them.
        transport: The model.
        values: Options of the verb, of which `input`, `key`, `obs`, `n`, `split` and `data` are
            taken.
        missing: Whether cells of a table may be empty.
    """
    names = ("input", "key", "obs", "n", "split", "data")
    file, key, obs, n, split, source = (values.pop(name) for name in names)
    ours, order, table = data_of(run), None, None
    if file is not None:
        split = "all"
        covariates = () if transport.covariates is None else transport.covariates.columns
        told = [column.name for column in covariates]
        table = table_at(file, told, source, obs=obs, key=key, missing=missing)
        if table is None:
            x, known = read_rows(file, key), beside(file, told)
        else:
            read = table.plain("all")
            met, order = ours.meet(read), ours.order(read)
            x, known = dense(met.x), met.known
            if met.observed is not None:
                x = torch.where(met.observed, x.double(), torch.nan)
    elif source is None:
        raise UsageError(f"the data of {run} are of your own class: name it with --data")
    else:
        if obs is not None or key is not None:
            name = "key" if obs is None else "obs"
            raise UsageError(f"{name} is for rows of a file: name it with --input")
        if not held_out(split, trained := configuration(run).get("split", "train")):
            console.note(f"warning: split {split} is not held out: {run} saw {trained}")
        table = source if isinstance(source, CountTable) else None
        read = ours.load(source, split)
        some = read.rows(torch.arange(min(len(read), ROWS if n is None else n)))
        if n is not None and n > len(read):
            raise UsageError(f"n is {n}; there are {len(read):,} rows to {verb}")
        x, known = dense(some.x), some.known
    if n is not None and n > len(x):
        raise UsageError(f"n is {n}; there are {len(x):,} rows to {verb}")
    told = f"split {split}" if file is None else str(file)
    known = {name: list(value)[:n] for name, value in known.items()}
    return Input(x[:n], told, file is None, table, split, known, order, ours)


def write(
    run: Path,
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
        run: The run folder.
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
    files = [run / f"{name}.npz"]
    if image is not None:
        files.append(run / f"{name}.png")
        write_bytes(files[-1], image)
    found = {
        **arrays,
        "draws": made.draws,
        "mean": made.mean.float(),
        "sd": made.std.float(),
        **({"truth": given.x} if given.own else {}),
    }
    stored = {key: value.numpy() for key, value in found.items()}
    write_arrays(files[0], **stored, meta=np.array(to_json(meta)))
    if given.table is not None:
        results = {f"{name}_mean": made.mean, **layers}
        if len(made.draws) >= least_draws(max(LEVELS)):
            results[f"{name}_low"], results[f"{name}_high"] = made.interval(max(LEVELS))
        files += results_table(run, name, given.table, given.split, results)
    return files


def picture(
    transport: Transport,
    given: Input,
    seen: Tensor,
    made: Restoration,
    hidden: Tensor | None = None,
) -> bytes | None:
    """A line for each of the first rows: what was seen, draws, their mean, and the truth.

    Args:
        transport: The model.
        given: The rows.
        seen: What was seen of them, (n, *event).
        made: Their draws.
        hidden: Sites of what was seen to leave grey, (n, *event) bool.

    Returns:
        A PNG file, or None if these are no images.
    """
    columns = [seen, *made.draws[:SHOWN_DRAWS], made.mean, *([given.x] if given.own else [])]
    lines = torch.stack([column[:SHOWN].double() for column in columns], 1).flatten(0, 1)
    if not made.draws.is_floating_point():
        lines = lines.round().to(torch.int64)
    shown = shades(lines, transport)
    if shown is None:
        return None
    if hidden is not None:
        shown[:: len(columns)][hidden[:SHOWN]] = GREY
    return grid_png(shown, 255, columns=len(columns))
