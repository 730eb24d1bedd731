"""Another file for a model: read like the table it was trained on, with what is known of rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from markovbridge import doors
from markovbridge.data.tables.frames import header
from markovbridge.data.tables.hdf5 import held
from markovbridge.data.tables.matrices import beginning, matrix_file
from markovbridge.data.tables.source import CountTable, found, kind_of
from markovbridge.reading import array_file

__all__ = ["another"]

FRAMES = (".csv", ".tsv", ".parquet")
BESIDE = ("obs.tsv.gz", "obs.tsv")  # a table of covariates, as `write_table` puts it


def another(
    path: Path,
    known: Iterable[str],
    like: CountTable | None = None,
    *,
    obs: Path | None = None,
    key: str | None = None,
    missing: bool = False,
) -> CountTable:
    """A table of counts as a source, with those covariates of a model that it has.

    Args:
        path: The file, or the folder of a 10x matrix.
        known: Names of the covariates that the model is told.
        like: The table that the model was trained on: its layer, if this file has it, what it
            ignores, and whether it has features in rows.
        obs: A table with the covariates, as of `CountTable`. Without it they are in the file,
            or beside a Matrix Market file.
        key: As of `CountTable`.
        missing: Whether entries may be missing.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of no known kind, or damaged.
    """
    path = found(Path(path))
    suffix = kind_of(path)
    same = like is not None and suffix in (like.suffix, *(FRAMES if like.suffix in FRAMES else ()))
    transpose = like is not None and same and like.transpose
    layer, ignore = None, ()
    if suffix == ".h5ad" and like is not None and like.layer is not None:
        layer = like.layer if like.layer in held(path, "layers") else None
    if obs is None and suffix == ".mtx":
        file = matrix_file(path) if path.is_dir() else path
        assert file is not None
        names = [file.with_name(beginning(file) + name) for name in BESIDE]
        obs = next((name for name in names if name.is_file()), None)
    inside = _names(path, suffix, transpose)
    there = inside if obs is None else _names(found(Path(obs)), kind_of(found(Path(obs))), False)
    if suffix in FRAMES and like is not None:
        ignore = tuple(name for name in like.ignore if name in inside)
    return CountTable(
        path,
        layer=layer,
        covariates=tuple(name for name in known if name in there),
        obs=obs,
        ignore=ignore,
        transpose=transpose,
        key=key,
        missing=missing and suffix not in (".mtx", ".h5"),
    )


def _names(path: Path, suffix: str, transpose: bool) -> tuple[str, ...]:
    """What a table has by name beside its counts, or among their columns."""
    if suffix in FRAMES:
        return header(path, transpose=transpose)
    if suffix == ".h5ad":
        return held(path, "obs")
    if suffix == ".npz":
        with array_file(path, named=True) as content:
            return content.names or ()
    return ()


doors.guard(__name__)
