"""Every format of the registry: what it writes, it reads; or it says that it does not write."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from markovbridge.data import CountTable, write_table
from markovbridge.data.counts import smallest_type
from markovbridge.data.tables import registry
from markovbridge.data.tables.format import OPTIONS, Request, plain
from markovbridge.data.tables.objects import KINDS
from markovbridge.data.tables.registry import FORMATS, format_named, is_table
from markovbridge.data.tables.stored import StoredMatrix
from markovbridge.data.tables.table import Table

from .conftest import COLUMNS, ROWS

WRITTEN = [form for form in FORMATS.values() if not form.instead]
READ_ONLY = [form for form in FORMATS.values() if form.instead]
NAMES = [f"a{f.suffix}{end}" for f in WRITTEN for end in ("", ".gz")[: 1 + f.zipped]]
KNOWN = {"batch": ["b", "a"] * 20, "age": [k / 2 for k in range(40)], "plate": list(range(40))}
TYPES = {"uint8": 200, "int16": 9_000, "int32": 2**31 - 1, "int64": 2**53}


def written(path, table):
    files = format_named(path).writers(path, table)
    for file, write in files.items():
        write(file)
    assert set(files) == set(path.parent.iterdir())
    return path


def read(path, **fields):
    """The table in a file, with the table of covariates beside it if the format puts it there."""
    form = format_named(path)
    table = form.read(path, Request(**fields))
    beside = form.beside(path)
    if beside is None:
        return table, table.columns
    wanted = tuple(KNOWN)
    columns = format_named(beside).covariates(beside, table.row_names, len(ROWS), wanted, path)
    return table, columns


def cells(table):
    block = table.take(np.arange(table.shape[0]))
    return block.toarray() if sparse.issparse(block) else block


@pytest.mark.parametrize("name", NAMES)
class TestWritten:
    @pytest.mark.parametrize("dtype", TYPES)
    @pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, torch.as_tensor])
    def test_reads_back_equal(self, tmp_path, counts, name, form, dtype):
        counts = (counts.clip(max=150) if dtype == "uint8" else counts.clip(max=9_000)).copy()
        counts[7, 1] = TYPES[dtype]
        given = plain(form(counts.astype(dtype)))
        path = written(tmp_path / name, Table(given, ROWS, COLUMNS, KNOWN))
        table, columns = read(path, covariates=tuple(KNOWN))
        assert cells(table).tolist() == counts.tolist()
        assert (tuple(table.row_names), tuple(table.column_names)) == (ROWS, COLUMNS)
        assert {known: list(columns[known]) for known in KNOWN} == KNOWN
        assert table.observed is None
        stored = isinstance(table.matrix, StoredMatrix)
        assert stored == ("backed" in format_named(path).options)
        smallest = smallest_type(TYPES[dtype])
        if not stored:
            assert torch.from_numpy(cells(table)).dtype == smallest
        else:
            assert table.matrix.dtype == (torch.int64 if dtype == "int64" else torch.int32)
        table.close()

    @pytest.mark.parametrize("sparsely", [False, True])
    def test_sparse_counts_stay_sparse(self, tmp_path, counts, name, sparsely):
        few = np.where(np.arange(7) < 1, counts, 0)
        given = sparse.csr_matrix(few) if sparsely else few + 1
        path = written(tmp_path / name, Table(given))
        table, _ = read(path)
        block = table.take(np.arange(40))
        keeps = format_named(path).suffix in (".h5ad", ".npz", ".mtx")
        always = format_named(path).suffix == ".mtx"  # a place for each entry
        assert sparse.issparse(block) == (keeps and sparsely or always)
        assert cells(table).tolist() == (few if sparsely else few + 1).tolist()
        table.close()

    def test_needs_no_names_and_makes_none_up(self, tmp_path, counts, name):
        path = written(tmp_path / name, Table(plain(counts)))
        table, columns = read(path)
        assert dict(columns) == {}
        numbered = (None, tuple(map(str, range(40))))
        assert table.row_names in numbered
        assert table.column_names in (None, tuple(map(str, range(7))))
        assert cells(table).tolist() == counts.tolist()
        table.close()

    def test_some_rows_are_those_rows(self, tmp_path, counts, name):
        path = written(tmp_path / name, Table(plain(counts), ROWS, COLUMNS))
        table, _ = read(path)
        some = table.take(np.array([1, 7, 30]))
        some = some.toarray() if sparse.issparse(some) else some
        assert some.tolist() == counts[[1, 7, 30]].tolist()
        table.close()

    def test_tells_what_is_in_a_file(self, tmp_path, counts, name):
        path = written(tmp_path / name, Table(plain(counts), ROWS, COLUMNS, KNOWN))
        form = format_named(path)
        beside = form.beside(path)
        names = form.columns(path) if beside is None else format_named(beside).columns(beside)
        assert set(KNOWN) <= set(names)
        assert form.layers(path) == ()
        assert is_table(path)

    def test_options_it_does_not_know_are_refused(self, tmp_path, counts, name):
        path = written(tmp_path / name, Table(plain(counts)))
        values = {"layer": "x", "key": "x", "features": "x", "index": "x", "ignore": ("x",)}
        for option in OPTIONS:
            if option not in format_named(path).options:
                fields = {option: values.get(option, True)}
                with pytest.raises(ValueError, match=f"{option}=.* is for .*; leave it out for"):
                    CountTable(path, **fields).load()


@pytest.mark.parametrize(
    "form", [f for f in FORMATS.values() if f.instead], ids=lambda f: f.suffix
)
def test_one_that_is_only_read_says_so(tmp_path, counts, form):
    path = tmp_path / f"a{form.suffix}"
    for write in (lambda: form.writers(path, Table(counts)), lambda: write_table(path, counts)):
        with pytest.raises(ValueError, match="would be a file of .*; write an .* file instead"):
            write()
    assert not list(tmp_path.iterdir())


def test_the_registry_is_whole():
    forms = list(FORMATS.values())
    assert [form.suffix for form in forms] == list(FORMATS)
    for form in forms:
        assert set(OPTIONS) >= form.options
        assert form.kind in (None, *KINDS)
        if form.written_as is not None:
            assert not format_named(Path(f"a{form.written_as}")).instead
        assert f"`{form.suffix}`" in inspect.getdoc(registry)
