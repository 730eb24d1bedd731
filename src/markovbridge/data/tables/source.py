"""Tables of counts, as cells x genes, sites x species or documents x words are kept.

| suffix | what | names |
|---|---|---|
| `.h5ad` | AnnData: X, a layer, or `adata.raw` | `obs`, `var` |
| `.h5` | 10x Genomics | barcodes, features |
| `.mtx`, `.mtx.gz`, a folder | Matrix Market, as 10x Genomics writes it | files beside it |
| `.csv`, `.tsv`, `.csv.gz`, `.tsv.gz`, `.parquet` | a table | header, first column |
| `.npz` | a scipy sparse matrix or an array | `row_names`, `column_names` |

A relative path that is not there is looked for in the folder that the environment variable
MARKOVBRIDGE_DATA names. Small tables become tensors. Large sparse ones stay sparse, and those
of `.h5ad` and `.h5` that would take more than a quarter of the memory stay in their file:
`markovbridge.data.rows`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import Dataset, Source, partition, picked
from markovbridge.data.catalogue import TABLES
from markovbridge.data.catalogue import table_path as found
from markovbridge.data.covariates import Covariate, Covariates
from markovbridge.data.rows import BackedRows, Rows
from markovbridge.data.tables.frames import read_covariates, read_frame
from markovbridge.data.tables.hdf5 import StoredMatrix, read_10x_h5, read_h5ad
from markovbridge.data.tables.matrices import matrix_file, read_mtx, read_npz
from markovbridge.data.tables.table import Table, compact
from markovbridge.reading import reading

__all__ = ["SUFFIXES", "CountTable", "kind_of", "suffix_of"]

SUFFIXES = (".h5ad", ".h5", ".mtx", ".csv", ".tsv", ".parquet", ".npz")
ZIPPED = (".mtx", ".csv", ".tsv")
SHARE = 1 / 4  # of the memory that a table from a file may take
PER_VALUE = 8  # bytes of a stored value in memory: its column, and up to an int32


@dataclass(frozen=True)
class CountTable(Source):
    """Counts (N, features) from a file, with covariates of the samples.

    Attributes:
        path: The file, or the folder of a 10x matrix; see above for where it is looked for.
        layer: The layer of an `.h5ad` file with the counts; None for X, "raw" for `adata.raw`.
        covariates: Columns that the network is told: of `obs`, of the table itself, or of
            the table at `obs`. Text is categorical, numbers are continuous.
        categorical: Those covariates that are categories although they are numbers.
        obs: A `.csv`, `.tsv` or `.parquet` table with covariates, its rows matched with the
            samples by name, or None.
        ignore: Columns of a table that are neither counts nor covariates.
        transpose: Whether features are in rows. Seen by itself for 10x folders.
        key: The array of an `.npz` file, or the genome of an old 10x `.h5` file with several.
        missing: Whether entries may be missing: empty cells of a table, NaN in a matrix.
            The data set then says which are `observed`. For imputation, not for training.
        maximum: Largest admissible count, or None if there is none.
        backed: Whether to leave the counts in their file and read them batch by batch; None
            to do so where they would take more than a quarter of the memory.
        validation: Fraction set aside for validation.
        test: Fraction set aside for testing.
        seed: Seed of the split.
    """

    path: Path
    layer: str | None = None
    covariates: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    obs: Path | None = None
    ignore: tuple[str, ...] = ()
    transpose: bool = False
    key: str | None = None
    missing: bool = False
    maximum: int | None = None
    backed: bool | None = None
    validation: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.categorical:
            if name not in self.covariates:
                raise ValueError(f"categorical names {name!r}, which is none of the covariates")

    def load(self, split: str = "train") -> Dataset:
        """Read one split; see `Source.load`.

        Raises:
            FileNotFoundError: If there is no such file.
            ImportError: If a package is missing that reads it.
            ValueError: If the file is damaged, a value is no count, or a covariate is unknown.
        """
        with reading(self.file()):
            table = self.read()
            encoding = self._covariates(table)
            data = self._dataset(table, split)
            if encoding is None:
                return data
            condition = encoding.encode(data.columns, len(data))
            return dataclasses.replace(data, covariates=encoding, condition=condition)

    def plain(self, split: str = "all") -> Dataset:
        """Read one split, its covariates as they are: for a model that encodes them its way."""
        with reading(self.file()):
            return self._dataset(self.read(), split)

    def _dataset(self, table: Table, split: str) -> Dataset:
        """One split of the table."""
        path = self.file()
        chosen = self.positions(table.shape[0], split)
        rows, observed, places = table.row_names, table.observed, chosen.tolist()
        return Dataset(
            x=self._samples(table, None if split == "all" else chosen),
            labels=None,
            name=path.name.split(".")[0],
            split=split,
            source=str(path),
            licence="unknown",
            maximum=self.maximum,
            observed=None if observed is None else torch.from_numpy(observed)[chosen],
            row_names=None if rows is None else tuple(picked(rows, places)),
            column_names=None if table.column_names is None else tuple(table.column_names),
            columns={name: picked(table.columns[name], places) for name in self.covariates},
        )

    def positions(self, n: int, split: str) -> Tensor:
        """Which of the `n` rows of the file belong to a split, int64 in rising order."""
        return partition(n, split, validation=self.validation, test=self.test, seed=self.seed)

    def file(self) -> Path:
        """Where the file is.

        Raises:
            FileNotFoundError: If there is none; the message says what brings it, if it is known.
            ValueError: If it is of no known kind.
        """
        path = found(Path(self.path))
        kind_of(path)
        return path

    @property
    def suffix(self) -> str:
        """What the file is, one of `SUFFIXES`; it must be there."""
        return kind_of(self.file())

    def read(self) -> Table:
        """The whole table, before it is split; counts of `.h5ad` and `.h5` stay in the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or of no known kind.
        """
        path = self.file()
        suffix = kind_of(path)
        self._check_fields(path, suffix)
        with reading(path):
            table = self._read(path, suffix)
            n, width = table.shape
            if n == 0 or width == 0:
                raise ValueError(f"{path} has {n} samples of {width} features")
        if self.obs is not None:
            file = found(Path(self.obs))
            kind_of(file)
            with reading(file):
                columns = read_covariates(file, table.row_names, n, self.covariates, path)
            table = dataclasses.replace(table, columns=columns)
        for name in self.covariates:
            if name not in table.columns:
                raise ValueError(
                    f"{self.obs or path} has no covariate {name!r}; its columns are "
                    f"{', '.join(table.columns) or 'none'}"
                )
        return table

    def _read(self, path: Path, suffix: str) -> Table:
        if suffix == ".h5ad":
            wanted = bool(self.covariates) and self.obs is None
            return read_h5ad(
                path,
                self.layer,
                columns=wanted,
                missing=self.missing,
                maximum=self.maximum,
            )
        if suffix == ".h5":
            return read_10x_h5(path, self.key, self.maximum)
        if suffix == ".mtx":
            file = matrix_file(path) if path.is_dir() else path
            assert file is not None
            return read_mtx(file, transpose=self.transpose, maximum=self.maximum)
        if suffix == ".npz":
            return read_npz(
                path,
                self.key,
                columns=self.covariates,
                transpose=self.transpose,
                missing=self.missing,
                maximum=self.maximum,
            )
        return read_frame(
            path,
            columns=() if self.obs else self.covariates,
            ignore=self.ignore,
            transpose=self.transpose,
            missing=self.missing,
            maximum=self.maximum,
        )

    def _check_fields(self, path: Path, suffix: str) -> None:
        """Refuse fields that say nothing about such a file."""
        meant = {
            "layer": ".h5ad",
            "key": ".npz .h5",
            "ignore": ".csv .tsv .parquet",
            "transpose": ".csv .tsv .parquet .mtx .npz",
            "missing": ".csv .tsv .parquet .npz .h5ad",
            "backed": ".h5ad .h5",
        }
        for field, suffixes in meant.items():
            value = getattr(self, field)
            if value and suffix not in suffixes.split():
                raise ValueError(
                    f"{field}={value!r} is for {suffixes.replace(' ', ', ')} files; leave it out "
                    f"for {path}"
                )

    def _covariates(self, table: Table) -> Covariates | None:
        """How the covariates are encoded, the same for every split."""
        if not self.covariates:
            return None
        training = self.positions(table.shape[0], "train").tolist()
        fitted = []
        for name in self.covariates:
            values = table.columns[name]
            kind = getattr(getattr(values, "dtype", None), "kind", "O")
            categorical = name in self.categorical or kind not in "iuf"
            fitted.append(Covariate.fit(name, list(values), training, categorical=categorical))
        return Covariates(tuple(fitted))

    def _samples(self, table: Table, chosen: Tensor | None) -> Tensor | Rows:
        """The chosen rows, all if None: a tensor, sparse in memory, or in the file."""
        matrix: Any = table.matrix
        if not isinstance(matrix, StoredMatrix):
            if self.backed:
                raise ValueError(
                    f"{self.path} stores its counts by column (CSC), or they may be missing, and "
                    "so cannot be read batch by batch; leave backed=None, or save them by row: "
                    "adata.X = adata.X.tocsr()"
                )
            return compact(matrix if chosen is None else matrix[chosen.numpy()])
        n = matrix.shape[0] if chosen is None else len(chosen)
        needed = PER_VALUE * matrix.stored * n / matrix.shape[0]
        if needed > SHARE * psutil.virtual_memory().total if self.backed is None else self.backed:
            return BackedRows(matrix, chosen)
        rows = torch.arange(n) if chosen is None else chosen
        try:
            return compact(matrix.take(rows.numpy()))
        finally:
            matrix.close()


def kind_of(path: Path) -> str:
    """The suffix that says how a file is read, one of `SUFFIXES`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of no known kind.
    """
    if path.is_dir():
        if matrix_file(path) is None:
            raise FileNotFoundError(f"{path} is a folder without a matrix.mtx or matrix.mtx.gz")
        return ".mtx"
    suffix = suffix_of(path)
    if not path.is_file():
        remedy = TABLES.get(path.name, "give the path of a table of counts")
        raise FileNotFoundError(f"no file {path}; {remedy}")
    return suffix


def suffix_of(path: Path) -> str:
    """The suffix of a file of counts, one of `SUFFIXES`, without a `.gz` after it.

    Raises:
        ValueError: If it has none of them.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    last = suffixes[-2] if zipped and len(suffixes) > 1 else "".join(suffixes[-1:])
    if last not in (ZIPPED if zipped else SUFFIXES):
        raise ValueError(
            f"{path} is of no known kind; tables of counts are {', '.join(SUFFIXES)} files, "
            f"and {', '.join(ZIPPED)} may be compressed with gzip"
        )
    return last


doors.guard(__name__)
