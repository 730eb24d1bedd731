"""What a format of tables is: one object that reads its files and writes them.

`markovbridge.data.tables.registry` lists them by suffix. What `writers` writes, `read` reads back
as the same `Table`. A format that is not written says what to write in its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from torch import Tensor

from markovbridge import doors
from markovbridge.data.rows import Rows, parts
from markovbridge.data.tables.table import SPARSE, Table, unmasked

OPTIONS = ("layer", "key", "features", "index", "ignore", "transpose", "missing", "backed")

Values = Tensor | Rows | np.ndarray | np.ma.MaskedArray | sparse.spmatrix | sparse.sparray
Writer = Callable[[Path], None]


@dataclass(frozen=True)
class Request:
    """What of a file is to be read; attributes as of `CountTable`.

    Attributes:
        layer: The layer of an AnnData file, None for X.
        covariates: Names of what the file has beside its counts, and is to be read.
        ignore: Names of columns that are left out.
        transpose: Whether features are in rows.
        key: The array, or the genome.
        index: The column that names the rows; "" for none; None to see it.
        features: The kind of features that is taken; None if there is one only.
        missing: Whether counts may be missing.
        maximum: Largest admissible count, or None.
    """

    layer: str | None = None
    covariates: Sequence[str] = ()
    ignore: Sequence[str] = ()
    transpose: bool = False
    key: str | None = None
    index: str | None = None
    features: str | None = None
    missing: bool = False
    maximum: int | None = None


class Format(ABC):
    """A format of tables.

    Attributes:
        suffix: What its files are called by.
        zipped: Whether they may be compressed, with .gz after the suffix.
        options: Those of `OPTIONS`, fields of `CountTable`, that it knows.
        kind: What its tables come out as in Python, one of `objects.KINDS`; None for arrays,
            sparse ones where the counts are.
        written_as: Suffix of the results that are written for such a table; None for none.
        layered: Whether it has a place for layers and for arrays of the rows.
        instead: What a file of it would be, and what to write in its place; empty if it is
            written.
    """

    suffix: str
    zipped: bool = False
    options: frozenset[str] = frozenset()
    kind: str | None = None
    written_as: str | None = None
    layered: bool = False
    instead: str = ""

    @abstractmethod
    def read(self, path: Path, request: Request) -> Table:
        """The table in a file.

        Raises:
            ImportError: If a package is missing that reads it.
            ValueError: If the file is damaged, lacks what is asked for, or a value is no count.
        """

    @abstractmethod
    def writers(
        self,
        path: Path,
        table: Table,
        layers: Mapping[str, Any] | None = None,
        obsm: Mapping[str, Any] | None = None,
    ) -> dict[Path, Writer]:
        """What writes a table: for each file a function that writes it, under any name.

        Args:
            path: The file.
            table: Its cells, counts or reals, as `plain` gives them, its names and columns.
            layers: Further matrices of the same shape by name, if it is `layered`.
            obsm: Arrays (N, k) by name, if it is `layered`.
        """

    def as_it_is(self, path: Path, table: Any) -> dict[Path, Writer] | None:
        """The writers of an object that has this form already; None if it has another."""
        return None

    def several(self, path: Path, table: Table, matrices: Mapping[str, Any]) -> dict[Path, Writer]:
        """What writes several matrices with the names of a table: a file for each.

        Of more than one, `cells.csv` becomes `cells_NAME.csv`.
        """
        stem, dot, rest = path.name.partition(".")
        found: dict[Path, Writer] = {}
        for name, matrix in matrices.items():
            file = path if len(matrices) == 1 else path.with_name(f"{stem}_{name}{dot}{rest}")
            found |= self.writers(file, replace(table, matrix=matrix))
        return found

    def columns(self, path: Path, transpose: bool = False) -> tuple[str, ...]:
        """Names of what a file has beside its counts, or among their columns."""
        return ()

    def layers(self, path: Path) -> tuple[str, ...]:
        """Names of the layers of a file."""
        return ()

    def held(self, path: Path, layer: str | None) -> tuple[bool | None, str | None]:
        """Whether counts are stored without their zeros, and their type; None if that is free."""
        return None, None

    def around(self, path: Path) -> Any:
        """What a file knows of its rows and features, as AnnData without counts, if it is such."""
        return None

    def kinds(self, path: Path) -> tuple[str, ...]:
        """The kinds of features that a file names, each once; see `kinds.py`."""
        return ()

    def beside(self, path: Path) -> Path | None:
        """The table of covariates that `writers` puts beside a file, if it is there."""
        return None


def plain(values: Values) -> Any:
    """Values as they are written: a numpy array, or compressed rows if they are mostly zeros."""
    if isinstance(values, Rows):
        thin: Any = sparse.vstack([sparse.csr_matrix(part.numpy()) for part in parts(values)])
        values = thin if thin.nnz < SPARSE * values.numel() else thin.toarray()
    elif isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if sparse.issparse(values):
        matrix: Any = sparse.csr_matrix(values)
    else:
        matrix = np.asarray(unmasked(values))
        if np.count_nonzero(matrix) < SPARSE * matrix.size:
            matrix = sparse.csr_matrix(matrix)
    if matrix.dtype.kind == "f":
        return matrix.astype(np.float32)
    return matrix if matrix.dtype.itemsize == 8 else matrix.astype(np.int32)  # as others write it


def full(matrix: Any) -> np.ndarray:
    """A matrix as an array."""
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def is_a(table: Any, name: str) -> bool:
    """Whether it is such an object, told without importing its package."""
    return any(
        cls.__name__ == name and cls.__module__.split(".")[0] in ("pandas", "anndata")
        for cls in type(table).__mro__
    )


def index(names: Sequence[str] | None, n: int) -> list[str]:
    """Names as text; numbers where there are none."""
    return [str(k) for k in range(n)] if names is None else [str(name) for name in names]


doors.guard(__name__)
