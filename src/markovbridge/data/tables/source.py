"""Count tables as data: cells x genes, sites x species or documents x words.

`markovbridge.data.tables.registry` lists the formats. Small tables become tensors. Large sparse
ones stay sparse, and those of `.h5ad` and `.h5` that would take more than a quarter of the
memory stay in their file: `markovbridge.data.sparse`.
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
from markovbridge.data.base import Dataset, Outline, Source, picked
from markovbridge.data.catalogue import table_path
from markovbridge.data.covariates import (
    Covariate,
    Covariates,
    is_category,
    is_missing,
    level_of,
)
from markovbridge.data.rows import Rows
from markovbridge.data.sparse import BackedRows
from markovbridge.data.splits import partition
from markovbridge.data.tables.format import OPTIONS, Format, Request
from markovbridge.data.tables.frames import FrameFile
from markovbridge.data.tables.registry import FORMATS, format_of, remedy_of
from markovbridge.data.tables.stored import StoredMatrix
from markovbridge.data.tables.table import Table, compact
from markovbridge.storage.reading import reading

SHARE = 1 / 4  # of the memory that a table from a file may take
PER_VALUE = 8  # bytes of a stored value in memory: its column, and up to an int32
FEATURES = 1000  # of what stands in for a table that is not here


@dataclass(frozen=True)
class CountTable(Source):
    """Counts (N, features) from a file, with covariates of the samples.

    Attributes:
        path: The file, or the folder of a 10x matrix. A relative path that is not there is looked
            for in the folder that the environment variable MARKOVBRIDGE_DATA names.
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
        index: The column of a table that names its rows; "" if none does. Without it, the first
            one if it has no header, or holds text.
        features: The kind of features of a 10x file that is taken, such as "Gene Expression";
            "all" for all of them. It must be said of files that have several kinds.
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
    index: str | None = None
    features: str | None = None

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
        with reading(self.where()):
            table = self.read()
            encoding = self._encoding(table)
            data = self._dataset(table, split)
            if encoding is None:
                return data
            condition = encoding.encode(data.columns, len(data))
            return dataclasses.replace(data, covariates=encoding, condition=condition)

    def plain(self, split: str = "all") -> Dataset:
        """Read one split, its covariates as they are: for a model that encodes them its way."""
        with reading(self.where()):
            return self._dataset(self.read(), split)

    def _dataset(self, table: Table, split: str) -> Dataset:
        """One split of the table."""
        path = self.where()
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

    def where(self) -> Path:
        """The file, or the folder of a 10x matrix; see `Source.where`.

        Raises:
            FileNotFoundError: If there is none; the message says what brings it, if it is known.
            ValueError: If it is of no known kind.
        """
        path = table_path(Path(self.path))
        format_of(path)
        return path

    @property
    def remedy(self) -> str:
        """What brings the file, or what to do if that is not known; see `Source.remedy`."""
        return remedy_of(Path(self.path))

    @property
    def format(self) -> Format:
        """What the file is; it must be there."""
        return format_of(self.where())

    def _outline(self) -> Outline | None:
        if self.here:
            return None
        # The levels of covariates are not known, so each counts as one number.
        known = Covariates(tuple(Covariate(name) for name in self.covariates))
        return Outline((FEATURES,), covariates=known if self.covariates else None)

    def read(self) -> Table:
        """The whole table, before it is split; counts of `.h5ad` and `.h5` stay in the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or of no known kind.
        """
        path, form = self.where(), self.format
        self._check_options(path, form)
        request = Request(
            layer=self.layer,
            covariates=() if self.obs else self.covariates,
            ignore=self.ignore,
            transpose=self.transpose,
            key=self.key,
            index=self.index,
            features=self.features,
            missing=self.missing,
            maximum=self.maximum,
        )
        with reading(path):
            table = form.read(path, request)
            n, width = table.shape
            if n == 0 or width == 0:
                raise ValueError(f"{path} has {n} samples of {width} features")
        if self.obs is not None:
            columns = _beside(table_path(Path(self.obs)), table, self.covariates, path)
            table = dataclasses.replace(table, columns=columns)
        for name in self.covariates:
            if name not in table.columns:
                raise ValueError(
                    f"{self.obs or path} has no covariate {name!r}; its columns are "
                    f"{', '.join(table.columns) or 'none'}"
                )
        # Categories become text, whatever they are kept as: so they are categories everywhere.
        levels = {
            name: [None if is_missing(value) else level_of(value) for value in table.columns[name]]
            for name in self.covariates
            if name in self.categorical or is_category(table.columns[name])
        }
        return dataclasses.replace(table, columns={**table.columns, **levels})

    def _check_options(self, path: Path, form: Format) -> None:
        """Refuse fields that say nothing about such a file."""
        for field in OPTIONS:
            value = getattr(self, field)
            if value and field not in form.options:
                meant = ", ".join(f.suffix for f in FORMATS.values() if field in f.options)
                raise ValueError(
                    f"{field}={value!r} is for {meant} files; leave it out for {path}"
                )

    def _encoding(self, table: Table) -> Covariates | None:
        """How the covariates are encoded, the same for every split."""
        columns = {name: table.columns[name] for name in self.covariates}
        text = {name for name, values in columns.items() if is_category(values)}
        training = self.positions(table.shape[0], "train").tolist()
        return Covariates.fit(columns, training, categorical=text)

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


def _beside(file: Path, table: Table, covariates: tuple[str, ...], path: Path) -> dict[str, Any]:
    """The columns of a table of covariates, matched with the rows of a table of counts."""
    form = format_of(file)
    if not isinstance(form, FrameFile):
        frames = [f.suffix for f in FORMATS.values() if isinstance(f, FrameFile)]
        raise ValueError(
            f"obs={str(file)!r} is no table of covariates; give a {', '.join(frames)}"
        )
    with reading(file):
        return form.covariates(file, table.row_names, table.shape[0], covariates, path)


doors.guard(__name__)
