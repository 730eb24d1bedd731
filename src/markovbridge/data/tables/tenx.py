"""The `.h5` of 10x Genomics: a feature-barcode matrix in HDF5, versions 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markovbridge import doors
from markovbridge.data.tables import members
from markovbridge.data.tables.format import Format, Request, Writer
from markovbridge.data.tables.kinds import of_kind, several
from markovbridge.data.tables.stored import StoredMatrix
from markovbridge.data.tables.table import Table, unique
from markovbridge.storage.reading import reading


class TenXFile(Format):
    """A file of 10x Genomics, of which one kind of features is taken. It is not written."""

    suffix, written_as = ".h5", ".h5ad"
    options = frozenset({"key", "features", "backed"})
    instead = "a file of 10x Genomics; write an .h5ad file instead"

    def read(self, path: Path, request: Request) -> Table:
        """See `Format.read`; the key is the genome, for a file of version 2 with several."""
        file = members.opened(path, "10x .h5")
        found = _matrices(file)
        if not found:
            raise ValueError(
                f"{path} is no feature-barcode matrix of 10x Genomics{_instead(file)}; it has "
                f"{', '.join(file)}"
            )
        key = found[0] if request.key is None and len(found) == 1 else request.key
        if key is None or key not in found:
            raise ValueError(
                f"{path} holds {', '.join(found)}; name one of them as key, not {key!r}"
            )
        group = members.group(file, key, path)
        old = "genes" in group
        names, ids = ("gene_names", "genes") if old else ("features/name", "features/id")
        rows, called, identified = (
            members.names(members.dataset(group, name, path), path)
            for name in ("barcodes", names, ids)
        )
        if len(called) != len(identified):
            raise ValueError(
                f"{path} has {len(called)} names and {len(identified)} ids of features"
            )
        features = unique(called, identified)
        kinds = _kinds(group, path)
        if kinds is not None and len(kinds) != len(features):
            raise ValueError(f"{path} has {len(kinds)} kinds of {len(features)} features")
        chosen = of_kind(kinds, request.features, path)
        matrix = StoredMatrix(
            group,
            (len(rows), len(features)),
            path=path,
            row_names=rows,
            column_names=features,
            remedy="store the raw counts",
            maximum=request.maximum,
            chosen=chosen,
        )
        if chosen is not None:
            features = tuple(features[k] for k in chosen.tolist())
        return Table(matrix, rows, features)

    def kinds(self, path: Path) -> tuple[str, ...]:
        """See `Format.kinds`."""
        with reading(path), members.opened(path, "10x .h5") as file:
            found = [_kinds(file[name], path) for name in _matrices(file)]
        return tuple(dict.fromkeys(kind for kinds in found for kind in several(kinds)))

    def writers(
        self,
        path: Path,
        table: Table,
        layers: Mapping[str, Any] | None = None,
        obsm: Mapping[str, Any] | None = None,
    ) -> dict[Path, Writer]:
        """Refuse: it is not written.

        Raises:
            ValueError: With what to write in its place.
        """
        raise ValueError(f"{path} would be {self.instead}")


def _matrices(file: Any) -> list[str]:
    """Names of the groups that hold a matrix."""
    groups = [name for name in file if name in file and hasattr(file[name], "keys")]
    return [name for name in groups if "barcodes" in file[name]]


def _kinds(group: Any, path: Path) -> tuple[str, ...] | None:
    """The kind of each feature, or None."""
    name = "features/feature_type"
    return members.names(members.dataset(group, name, path), path) if name in group else None


def _instead(file: Any) -> str:
    """What another HDF5 file looks like, and what to do with it, for a message."""
    if {"obs", "var"} <= set(file):
        return ", but looks like one of AnnData: call it .h5ad"
    if {"matrix", "row_attrs", "col_attrs"} <= set(file):
        return ", but looks like a .loom file: save it as .h5ad, with anndata.io.read_loom"
    return ""


doors.guard(__name__)
