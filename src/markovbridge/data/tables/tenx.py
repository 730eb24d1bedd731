"""The `.h5` of 10x Genomics: a feature-barcode matrix in HDF5, versions 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markovbridge import doors
from markovbridge.data.tables import members
from markovbridge.data.tables.format import Format, Request, Writer
from markovbridge.data.tables.stored import StoredMatrix
from markovbridge.data.tables.table import Table, unique


class TenXFile(Format):
    """A file of 10x Genomics; all kinds of features together. It is read, and not written."""

    suffix, written_as = ".h5", ".h5ad"
    options = frozenset({"key", "backed"})
    instead = "a file of 10x Genomics; write an .h5ad file instead"

    def read(self, path: Path, request: Request) -> Table:
        """See `Format.read`; the key is the genome, for a file of version 2 with several."""
        file = members.opened(path, "10x .h5")
        found = [
            name
            for name in file
            if name in file and hasattr(file[name], "keys") and "barcodes" in file[name]
        ]
        if not found:
            raise ValueError(
                f"{path} is no feature-barcode matrix of 10x Genomics: it has {', '.join(file)}"
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
        matrix = StoredMatrix(
            group,
            (len(rows), len(features)),
            path=path,
            row_names=rows,
            column_names=features,
            remedy="store the raw counts",
            maximum=request.maximum,
        )
        return Table(matrix, rows, features)

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


doors.guard(__name__)
