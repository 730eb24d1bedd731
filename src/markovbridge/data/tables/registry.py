"""The formats of tables of counts, by suffix, and where their files are.

| suffix | what | names |
|---|---|---|
| `.h5ad` | AnnData: X, a layer, or `adata.raw` | `obs`, `var` |
| `.h5` | 10x Genomics; it is read, not written | barcodes, features |
| `.mtx`, `.mtx.gz`, a folder | Matrix Market, as 10x Genomics writes it | files beside it |
| `.csv`, `.tsv`, `.csv.gz`, `.tsv.gz`, `.parquet` | a table | header, first column |
| `.npz` | a scipy sparse matrix or an array | `row_names`, `column_names` |

A relative path that is not there is looked for in the folder that the environment variable
MARKOVBRIDGE_DATA names.
"""

from __future__ import annotations

from pathlib import Path

from markovbridge import doors
from markovbridge.data.catalogue import TABLES
from markovbridge.data.tables.format import Format
from markovbridge.data.tables.frames import ParquetTable
from markovbridge.data.tables.h5ad import AnnDataFile
from markovbridge.data.tables.market import MatrixMarket, matrix_file
from markovbridge.data.tables.npz import NumpyArchive
from markovbridge.data.tables.tenx import TenXFile
from markovbridge.data.tables.text import TextTable

FORMATS: dict[str, Format] = {
    form.suffix: form
    for form in (
        AnnDataFile(),
        TenXFile(),
        MatrixMarket(),
        TextTable(".csv", ","),
        TextTable(".tsv", "\t"),
        ParquetTable(),
        NumpyArchive(),
    )
}
SUFFIXES = tuple(FORMATS)
ELSEWHERE = {  # what to do with what other software writes, as the end of a sentence
    ".biom": "`biom convert -i FILE -o FILE.tsv --to-tsv` writes one, with features in rows",
    ".h5mu": "save one of its parts, mudata.read(FILE).mod[NAME].write_h5ad(FILE.h5ad)",
    ".hdf5": "call it .h5ad if anndata wrote it, .h5 if Cell Ranger did",
    ".loom": "anndata.io.read_loom(FILE).write_h5ad(FILE.h5ad) writes one",
    ".ods": "save the sheet as .csv",
    ".rda": "write it as .csv or .mtx from R",
    ".rdata": "write it as .csv or .mtx from R",
    ".rds": "write it as .csv or .mtx from R",
    ".txt": "call it .tsv or .csv, by what separates its cells",
    ".xls": "save the sheet as .csv",
    ".xlsx": "save the sheet as .csv",
    ".zarr": "anndata.io.read_zarr(FILE).write_h5ad(FILE.h5ad) writes one",
}
ZIPPED = tuple(form.suffix for form in FORMATS.values() if form.zipped)


def format_named(path: Path) -> Format:
    """The format that the suffix of a path names; there need be no such file.

    Raises:
        ValueError: If it names none.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    last = suffixes[-2] if zipped and len(suffixes) > 1 else "".join(suffixes[-1:])
    if last not in (ZIPPED if zipped else SUFFIXES):
        raise ValueError(
            f"{path} is of no known kind; tables of counts are {', '.join(SUFFIXES)} files, "
            f"and {', '.join(ZIPPED)} may be compressed with gzip{_advice(last, zipped)}"
        )
    return FORMATS[last]


def _advice(suffix: str, zipped: bool) -> str:
    """What to do with a file of a suffix that no format has, as the end of a sentence."""
    if zipped and suffix in SUFFIXES:
        return ": unpack it with gunzip"
    return f": {ELSEWHERE[suffix]}" if suffix in ELSEWHERE else ""


def known_elsewhere(path: Path) -> bool:
    """Whether a path is called like a table of a format that is not read."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    named = [suffix for suffix in suffixes[-2:] if suffix != ".gz"][-1:]
    return bool(named) and (
        named[0] in ELSEWHERE or (suffixes[-1] == ".gz" and not is_table(path))
    )


def format_of(path: Path) -> Format:
    """The format of a file, or of a folder as 10x Genomics writes it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of no known kind.
    """
    if path.is_dir():
        if path.suffix.lower() in ELSEWHERE:
            format_named(path)  # which says what to do
        if matrix_file(path) is None:
            raise FileNotFoundError(f"{path} is a folder without a matrix.mtx or matrix.mtx.gz")
        return FORMATS[".mtx"]
    form = format_named(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; {remedy_of(path)}")
    return form


def is_table(path: Path) -> bool:
    """Whether a path is called like a table, or is the folder of one."""
    if path.is_dir():
        return matrix_file(path) is not None
    try:
        format_named(path)
    except ValueError:
        return False
    return True


def remedy_of(path: Path) -> str:
    """What brings a table that is not there, as the end of a sentence."""
    return TABLES.get(path.name, "give the path of a table of counts")


doors.guard(__name__)
