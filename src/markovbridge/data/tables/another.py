"""Another file for a model: read like the table it was trained on, with what is known of rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from markovbridge import doors
from markovbridge.data.catalogue import table_path
from markovbridge.data.tables.format import Format
from markovbridge.data.tables.kinds import ALL
from markovbridge.data.tables.registry import format_of
from markovbridge.data.tables.source import CountTable


def another(
    path: Path,
    known: Iterable[str],
    like: CountTable | None = None,
    *,
    obs: Path | None = None,
    key: str | None = None,
    index: str | None = None,
    missing: bool = False,
) -> CountTable:
    """A table of counts as a source, with those covariates of a model that it has.

    Args:
        path: The file, or the folder of a 10x matrix.
        known: Names of the covariates that the model is told.
        like: The table that the model was trained on: its layer, if this file has it, what it
            ignores, the kind of its features, the column that names its rows, if this file has
            it, and whether it has features in rows.
        obs: A table with the covariates, as of `CountTable`. Without it they are in the file,
            or beside a Matrix Market file.
        key: As of `CountTable`; that of `like`, if it names an array of this file, if None.
        index: As of `CountTable`; that of `like` if None.
        missing: Whether entries may be missing.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of no known kind, or damaged.
    """
    path = table_path(Path(path))
    form = format_of(path)
    transpose = like is not None and like.transpose and _alike(form, like.format)
    layer, ignore, features = None, (), None
    if like is not None and like.layer is not None and like.layer in form.layers(path):
        layer = like.layer
    obs = form.beside(path) if obs is None else table_path(Path(obs))
    inside = form.columns(path, transpose)
    there = inside if obs is None else format_of(obs).columns(obs)
    if like is not None and "ignore" in form.options:
        ignore = tuple(name for name in like.ignore if name in inside)
    if like is not None and like.features is not None and "features" in form.options:
        features = like.features if like.features in (ALL, *form.kinds(path)) else None
    if index is None and like is not None and like.index is not None and "index" in form.options:
        index = like.index if like.index in ("", *form.columns(path)) else None
    if key is None and like is not None and like.key in inside:
        key = like.key
    return CountTable(
        path,
        layer=layer,
        covariates=tuple(name for name in known if name in there),
        obs=obs,
        ignore=ignore,
        transpose=transpose,
        key=key,
        index=index,
        features=features,
        missing=missing and "missing" in form.options,
    )


def _alike(one: Format, other: Format) -> bool:
    """Whether two formats lay tables out in the same way, as all kinds of frames do."""
    return one is other or (one.kind is not None and one.kind == other.kind)


doors.guard(__name__)
