"""AnnData's `.h5ad`: X, layers, `raw`, and what is known of rows and features.

Source: the on-disk format of AnnData,
https://anndata.readthedocs.io/en/stable/fileformat-prose.html.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from markovbridge import doors
from markovbridge.data.compressed import assemble
from markovbridge.data.tables import members
from markovbridge.data.tables.format import Format, Request, Writer, full, index
from markovbridge.data.tables.stored import StoredMatrix, check_shape
from markovbridge.data.tables.table import Table, as_block, measured, strings
from markovbridge.storage.lazily import optional
from markovbridge.storage.reading import reading

PLAIN = ("array", "categorical", "nullable", "string-array")  # kinds of columns of obs


class AnnDataFile(Format):
    """A file of AnnData; its counts stay in it until they are taken."""

    suffix = written_as = ".h5ad"
    options = frozenset({"layer", "missing", "backed"})
    kind = "anndata"
    layered = True

    def read(self, path: Path, request: Request) -> Table:
        """See `Format.read`; all of `obs` is read if any covariate is asked for."""
        layer, missing = request.layer, request.missing
        file = members.opened(path, "h5ad")
        if "obs" not in file and "matrix" in file:
            raise ValueError(
                f"{path} is no file of AnnData, but looks like one of 10x Genomics: call it .h5"
            )
        layers = list(members.group(file, "layers", path)) if "layers" in file else []
        others = [*layers, *(["raw"] if "raw" in file else [])]
        where = _place(file, layer) if layer in (None, *others) else None
        if where is None or where not in file:
            found = ", ".join(others) or "none"
            raise ValueError(
                f"{path} has no {'X' if layer is None else f'layer {layer!r}'}; name one of its "
                f"layers: {found}"
            )
        rows = _index(file, "obs", path)
        features = _index(file, "raw/var" if where == "raw/X" else "var", path)
        others = [name for name in others if name != layer]
        remedy = (
            f"take the raw counts, which may be in layer={' or '.join(map(repr, others))}"
            if others
            else "store the raw counts, as a layer for example"
        )
        group = file[where]
        obs = _columns(members.member(file, "obs", path), path) if request.covariates else {}
        around: dict[str, Any] = {"row_names": rows, "column_names": features}
        facts = {**around, "remedy": remedy, "path": path, "maximum": request.maximum}
        stored_as = _text(group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", "")))
        if hasattr(group, "keys") and not stored_as.startswith(("csr", "csc")) and stored_as:
            raise ValueError(
                f"{path}: {where} is of kind {stored_as}, which is no matrix of counts"
            )
        by_column = stored_as.startswith("csc")
        shape = (len(rows), len(features))
        if not missing and not by_column:
            return Table(StoredMatrix(group, shape, **facts), rows, features, obs)
        # By column, no range of rows lies together: all of it is read at once.
        check_shape(group, shape, path)
        matrix: Any
        if hasattr(group, "keys"):
            parts = {
                name: members.values(members.dataset(group, name, path), path)
                for name in ("data", "indices", "indptr")
            }
            matrix = assemble("csc" if by_column else "csr", parts, shape, path, **around)
        else:
            members.check_stored(group, path)
            matrix = members.values(group, path)
        matrix, observed = measured(matrix) if missing else (matrix, None)
        matrix = as_block(matrix, **facts)
        file.close()
        return Table(matrix, rows, features, obs, observed)

    def columns(self, path: Path, transpose: bool = False) -> tuple[str, ...]:
        """Names of the columns of `obs`."""
        return _held(path, "obs")

    def layers(self, path: Path) -> tuple[str, ...]:
        """Names of its layers; "raw" counts as one."""
        return _held(path, "layers")

    def held(self, path: Path, layer: str | None) -> tuple[bool | None, str | None]:
        """See `Format.held`."""
        with reading(path), members.opened(path, "h5ad") as file:
            found = members.member(file, _place(file, layer), path)
            if not hasattr(found, "keys"):
                return False, str(found.dtype)
            return True, str(members.dataset(found, "data", path).dtype)

    def around(self, path: Path) -> Any:
        """AnnData with what a file knows of its rows and features; None for one of before 2020."""
        anndata = optional("anndata", "reading .h5ad files")
        with reading(path), members.opened(path, "h5ad") as file:
            parts = [members.member(file, name, path) for name in ("obs", "var")]
            if not all("encoding-type" in part.attrs for part in parts):
                return None
            obs, var = (_frame(part, path) for part in parts)
        return anndata.AnnData(obs=obs, var=var)

    def writers(
        self,
        path: Path,
        table: Table,
        layers: Mapping[str, Any] | None = None,
        obsm: Mapping[str, Any] | None = None,
        uns: Mapping[str, Any] | None = None,
    ) -> dict[Path, Writer]:
        """See `Format.writers`; `uns` is what is told of the table, by name."""
        anndata = optional("anndata", "writing .h5ad files")
        pd = optional("pandas", "writing .h5ad files")
        n, width = table.shape
        beside = {name: _unlabelled(values) for name, values in table.columns.items()}
        made = anndata.AnnData(
            table.matrix,
            obs=pd.DataFrame(beside, index=index(table.row_names, n)),
            var=pd.DataFrame(index=index(table.column_names, width)),
            layers=dict(layers or {}),
            obsm={name: full(values) for name, values in (obsm or {}).items()},
            uns=dict(uns or {}),
        )
        return {path: lambda file: made.write_h5ad(file, compression="gzip")}

    def whole(
        self,
        path: Path,
        data: Any,
        given: Table,
        kept: list[str] | None,
        layers: Mapping[str, Any],
        obsm: Mapping[str, Any],
    ) -> dict[Path, Writer]:
        """What writes an AnnData object with all that it has, changed by what was given only.

        Args:
            path: The file.
            data: The object.
            given: Names, None for those of the object, and columns that come to its own.
            kept: The columns of `obs` that are written, None for all.
            layers: Layers that come to its own.
            obsm: Arrays of the rows that come to its own.

        Raises:
            TypeError: If it has neither X nor layers.
        """
        if data.X is None and not data.layers and not layers:
            raise TypeError("the AnnData object has no X; give the matrix that is to be written")
        made = data.to_memory() if data.isbacked else data.copy()
        if kept is not None:
            made.obs = made.obs[kept]
        if given.row_names is not None:
            made.obs_names = index(given.row_names, made.n_obs)
        if given.column_names is not None:
            made.var_names = index(given.column_names, made.n_vars)
        for name, values in given.columns.items():
            made.obs[name] = _unlabelled(values)
        made.layers.update(layers)
        made.obsm.update({name: full(values) for name, values in obsm.items()})
        return {path: lambda file: made.write_h5ad(file, compression="gzip")}

    def extended(
        self,
        origin: Path,
        chosen: np.ndarray | None,
        layers: Mapping[str, Any],
        obsm: Mapping[str, Any],
        uns: Mapping[str, Any],
        overwrite: bool,
    ) -> Writer:
        """What writes a copy of a file with more in it.

        Args:
            origin: The file.
            chosen: Positions of the rows that are copied; None for all.
            layers: Matrices to add.
            obsm: Arrays of the rows to add.
            uns: What is told of them, by name: dictionaries join those that are there.
            overwrite: Whether they may replace what is there.
        """
        anndata = optional("anndata", "writing .h5ad files")
        h5py = optional("h5py", "writing .h5ad files")
        parts = [("layers", name, values) for name, values in layers.items()]
        parts += [("obsm", name, full(values)) for name, values in obsm.items()]

        def write(file: Path) -> None:
            if chosen is None:
                shutil.copyfile(origin, file)  # however large the file is, it is never in memory
            else:
                backed = anndata.read_h5ad(origin, backed="r")
                some = backed[chosen].to_memory()
                backed.file.close()
                some.write_h5ad(file, compression="gzip")
            with h5py.File(file, "r+") as content:
                for group, name, matrix in parts:
                    place = content.require_group(group)  # newer anndata takes no path
                    if name in place and not overwrite:
                        raise FileExistsError(
                            f"{origin} has {group}/{name} already; choose another name, or "
                            "overwrite it"
                        )
                    options = {"compression": "gzip"}
                    anndata.io.write_elem(place, name, matrix, dataset_kwargs=options)
                place = content.require_group("uns") if uns else {}
                for name, told in uns.items():
                    known = anndata.io.read_elem(place[name]) if name in place else {}
                    both = {**known, **told} if isinstance(known, dict) else told
                    anndata.io.write_elem(place, name, both)

        return write


def _unlabelled(values: Any) -> Any:
    """Values of a column without an index of their own, by which pandas would match them."""
    return getattr(values, "array", values)


def _place(file: Any, layer: str | None) -> str:
    """Where the counts of a layer are; "raw" is `adata.raw` unless a layer is called so."""
    if layer is None:
        return "X"
    return "raw/X" if layer == "raw" and "layers/raw" not in file else f"layers/{layer}"


def _held(path: Path, part: str) -> tuple[str, ...]:
    """Names in a part of a file: its layers, or the columns of obs."""
    with reading(path), members.opened(path, "h5ad") as file:
        group = file.get(part, {})
        names = tuple(group) if hasattr(group, "keys") else tuple(group.dtype.names or ())
        return (*names, "raw") if part == "layers" and "raw" in file else names


def _index(file: Any, name: str, path: Path) -> tuple[str, ...]:
    """Row names of a stored data frame."""
    frame = members.member(file, name, path)
    if hasattr(frame, "keys"):
        index = _text(frame.attrs.get("_index", ""))
        if not index:
            raise ValueError(f"{path}: {name} does not say which of its columns names the rows")
        item = members.member(frame, index, path)
        if not hasattr(item, "keys"):
            return members.names(members.dataset(frame, index, path), path)
        read = optional("anndata.io", "reading names of an .h5ad file").read_elem
        _check_column(item, path)
        with reading(path, f"has names in {name} that cannot be read", "save it again"):
            return strings(read(item))
    columns = frame.dtype.names  # a structured array, in files before 2020
    if not columns or len(frame.shape) != 1:
        raise ValueError(f"{path}: {name} is no data frame")
    return strings(members.values(frame, path)[columns[0]])


def _columns(frame: Any, path: Path) -> dict[str, Any]:
    """The columns of a stored data frame by name."""
    table = _frame(frame, path)
    return {str(name): table[name] for name in table.columns}


def _frame(frame: Any, path: Path) -> Any:
    """A stored data frame."""
    if hasattr(frame, "keys"):
        for name in frame:
            _check_column(frame[name], path, name == "__categories")
    read = optional("anndata.io", "reading obs of an .h5ad file").read_elem
    with reading(path, "has an obs that cannot be read", "save it again"):
        return read(frame)


def _check_column(item: Any, path: Path, grouped: bool = False) -> None:
    """Refuse a part of a stored data frame that is no column, unless it is `grouped`."""
    kind = _text(item.attrs.get("encoding-type", "array"))
    if hasattr(item, "keys") and not kind.startswith(PLAIN) and not grouped:
        where = item.name.lstrip("/")
        raise ValueError(f"{path}: {where} is a {kind}, which is no column of a table")
    for part in (item, *item.values()) if hasattr(item, "keys") else (item,):
        if hasattr(part, "dtype"):
            members.check_stored(part, path)


def _text(value: Any) -> str:
    """An attribute as text, which files of old keep as bytes; empty if it is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


doors.guard(__name__)
