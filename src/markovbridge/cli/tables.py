"""Where the data are a count table, verbs write tables beside their arrays.

    RUN/samples.h5ad     samples, with the features' names, and what they were conditioned on
    RUN/restored.h5ad    the rows that were restored, with mean and interval as layers
    RUN/imputed.h5ad     the rows that were imputed, likewise

in the format of the table itself: `samples.csv` and `NAME_restored_mean.csv`, say, for a table
NAME.csv. Results of an `.npz` are in `samples.npz` and `restored.npz` as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge.cli import console
from markovbridge.data import CountTable, Source, write_results, write_table
from markovbridge.data.arrays import SUFFIXES as SUFFIXES_OF_ARRAYS
from markovbridge.data.covariates import Covariates, described
from markovbridge.data.tables.another import another
from markovbridge.data.tables.made import UNS, Form, provenance
from markovbridge.data.tables.made import samples as like_training
from markovbridge.storage.config import from_config
from markovbridge.storage.errors import UsageError
from markovbridge.training.run_folder import RunFolder
from markovbridge.training.trained_on import TrainedOn

METHODS = {"restored": "restore", "imputed": "impute"}


def table_of(run: RunFolder) -> CountTable | None:
    """The table that a run was trained on, or None if it was not, or is not here."""
    config = run.source()
    if config is None:
        return None
    try:
        source = from_config(config, Source)
        if not isinstance(source, CountTable):
            return None
        source.where()
        return source
    except (FileNotFoundError, ValueError) as error:
        console.note(f"no table of the results is written: {error}")
        return None


def suffix_of(run: RunFolder) -> str | None:
    """The suffix that tables of a run are written with; None if it writes none."""
    try:
        source = from_config(run.source(), Source)
        return source.format.written_as if isinstance(source, CountTable) else None
    except (FileNotFoundError, ValueError):
        return None


def samples_table(
    run: RunFolder,
    samples: np.ndarray,
    encoding: Covariates | None,
    told: Mapping[str, Any],
    stem: Path,
    meta: Mapping[str, Any],
) -> list[Path]:
    """Write samples (n, features) as a table, in the form of that of the training.

    Args:
        run: The run folder.
        samples: The samples.
        encoding: The covariates of the model, or None.
        told: What each was conditioned on, n values by name.
        stem: The file, without a suffix.
        meta: How they were made.

    Returns:
        The files written; none if the run was not trained on a table.
    """
    source = table_of(run)
    suffix = None if source is None else source.format.written_as
    if source is None or suffix is None:
        return []
    names = TrainedOn.read(run.path).columns
    if names is None:  # a run that remembers none
        table = source.read()
        table.close()
        names = table.column_names
    kind, path = source.format.kind, stem.with_name(f"{stem.name}{suffix}")
    if kind is None:
        rows = [f"sample {k}" for k in range(len(samples))]
        facts: dict[str, Any] = {"row_names": rows, "column_names": names, "columns": told}
        return write_table(path, samples, **facts, overwrite=True)
    made = like_training(
        torch.from_numpy(samples),
        kind,
        column_names=names,
        encoding=encoding,
        given=told,
        form=Form.of_file(source, {}),
        told=provenance("sample", **_facts(run, meta)),
    )
    return write_table(path, made, overwrite=True)


def _facts(run: RunFolder, meta: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a table that was made: what a meta says, in words and numbers."""
    names = ("model", "sampler", "steps", "seed", "weights", "survival", "draws", "observed")
    given = described(meta.get("condition"), meta.get("guidance", 1.0))
    return {"run": str(run), "condition": given or None, **{k: meta.get(k) for k in names}}


def table_at(
    file: Path,
    known: Sequence[str],
    like: Any,
    *,
    obs: Path | None,
    key: str | None,
    index: str | None = None,
    missing: bool,
) -> CountTable | None:
    """The table in a file, or None if the file is one of plain arrays.

    Args:
        file: The file.
        known: Names of the covariates that the model is told.
        like: The data that the model was trained on.
        obs: A table of the covariates, or None.
        key: Name of the array in an .npz file, or None.
        index: The column that names the rows, or None.
        missing: Whether entries may be missing.
    """
    table = like if isinstance(like, CountTable) else None
    if file.suffix.lower() in SUFFIXES_OF_ARRAYS and (
        file.suffix.lower() != ".npz" or table is None
    ):
        if obs is not None:
            raise UsageError(f"obs is for the rows of a table of counts, and {file} is none")
        return None
    return another(file, known, table, obs=obs, key=key, index=index, missing=missing)


def results_table(
    run: RunFolder,
    verb: str,
    stem: Path,
    plain: bool,
    source: CountTable,
    split: str,
    results: Mapping[str, Tensor],
    meta: Mapping[str, Any],
) -> list[Path]:
    """Write results beside the counts they were made from.

    Args:
        run: The run folder.
        verb: What was done to the rows: "restored".
        stem: The file, without a suffix.
        plain: Whether it has its usual name, which several files of text do not: these are
            called by that of the table.
        source: The table that has these rows.
        split: The part of the table they are, its first rows.
        results: Matrices (n, features) by name, features in the order of the run: they are
            written in that of the table.
        meta: How they were made.

    Returns:
        The files written; none for an `.npz`.
    """
    suffix = source.format.written_as
    if suffix is None:
        return []
    n = len(next(iter(results.values())))
    usual = plain and suffix != ".h5ad"
    name = source.where().name.split(".")[0] if usual else stem.name
    names = TrainedOn.read(run.path).columns
    path = stem.with_name(f"{name}{suffix}")
    told: dict[str, Any] = {}
    if suffix == ".h5ad":
        told["uns"] = {UNS: provenance(METHODS.get(verb, verb), **_facts(run, meta))}
    return write_results(
        source, path, results, split=split, n=n, column_names=names, overwrite=True, **told
    )
