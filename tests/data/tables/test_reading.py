import gzip
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import io, sparse

from markovbridge.data import BackedRows, CountTable, SparseRows
from markovbridge.data.rows import dense
from markovbridge.data.tables import table
from markovbridge.storage.config import from_config, to_config

from .conftest import COLUMNS, OBS, ROWS, check, h5ad, loaded


class TestAnnData:
    @pytest.mark.parametrize("backed", [False, True])
    @pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8"])
    @pytest.mark.parametrize("form", [sparse.csr_matrix, np.asarray])
    def test_reads_counts_of_any_type(self, tmp_path, counts, form, dtype, backed):
        counts = counts.clip(max=255)
        path = h5ad(tmp_path / "cells.h5ad", form(counts.astype(dtype)))
        data = loaded(path, backed=backed)
        check(data, counts)
        assert isinstance(data.x, BackedRows) == backed
        assert data.name == "cells"

    def test_reads_columns_as_well(self, tmp_path, counts):
        path = h5ad(tmp_path / "a.h5ad", sparse.csc_matrix(counts * 1.0))
        check(loaded(path), counts)
        with pytest.raises(ValueError, match="stores its counts by column"):
            loaded(path, backed=True)

    def test_takes_the_layer_asked_for(self, tmp_path, counts):
        other = anndata.AnnData(counts[:, :3] * 2, var=pd.DataFrame(index=COLUMNS[:3]))
        data = anndata.AnnData(np.log1p(counts), layers={"counts": counts, "twice": 2 * counts})
        data.raw = other
        data.write_h5ad(tmp_path / "a.h5ad")
        assert loaded(tmp_path / "a.h5ad", layer="counts").x.tolist() == counts.tolist()
        raw = loaded(tmp_path / "a.h5ad", layer="raw")
        assert raw.x.tolist() == (2 * counts[:, :3]).tolist()
        assert raw.column_names == COLUMNS[:3]
        with pytest.raises(ValueError, match="no layer 'spliced'; .* counts, twice, raw"):
            loaded(tmp_path / "a.h5ad", layer="spliced")

    @pytest.mark.parametrize(
        ("form", "backed"),
        [
            (sparse.csr_matrix, False),
            (sparse.csr_matrix, True),
            (np.asarray, False),
            (np.asarray, True),
            (sparse.csc_matrix, False),
        ],
    )
    def test_names_normalised_data_and_where_counts_may_be(self, tmp_path, counts, form, backed):
        path = h5ad(tmp_path / "a.h5ad", form(np.log1p(counts)), layers={"counts": counts})
        row, column = np.argwhere(np.isin(counts, 0, invert=True))[0]
        if form is sparse.csc_matrix:
            expected = r"row \d+ \(cell \d+\), column \d \(gene\d\) is \d"
        else:
            expected = rf"row {row} \(cell {row}\), column {column} \(gene{column}\) is "
        with pytest.raises(ValueError, match=expected + r".*normalised data: .* layer='counts'"):
            dense(loaded(path, backed=backed).x)

    def test_large_counts_stay_what_they_are(self, tmp_path):
        counts = np.array([[0, 0, 2**40], [1, 0, 0]] * 20)
        data = anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)))
        data.write_h5ad(tmp_path / "a.h5ad")
        for backed in (False, True):
            x = loaded(tmp_path / "a.h5ad", backed=backed).x
            assert dense(x).tolist() == counts.tolist()
            assert x[torch.tensor([2])].tolist() == [[0, 0, 2**40]]

    def test_a_split_reads_its_own_rows(self, tmp_path, counts):
        path = h5ad(tmp_path / "a.h5ad", sparse.csr_matrix(counts))
        parts = {
            (split, backed): loaded(path, split, backed=backed, covariates=("age",))
            for split in ("train", "validation", "test")
            for backed in (False, True)
        }
        seen = []
        for split in ("train", "validation", "test"):
            memory, file = parts[split, False], parts[split, True]
            assert dense(memory.x).tolist() == dense(file.x).tolist()
            assert memory.row_names == file.row_names
            rows = [ROWS.index(name) for name in memory.row_names]
            assert memory.x.tolist() == counts[rows].tolist()
            assert torch.equal(memory.condition, file.condition)
            seen += rows
        assert sorted(seen) == list(range(40))

    def test_unsorted_and_repeated_columns_of_a_row(self, tmp_path):
        path = h5ad(tmp_path / "a.h5ad", sparse.csr_matrix((40, 7), dtype=np.int32))
        with h5py.File(path, "r+") as file:
            for name, values in (("data", [200, 1, 100]), ("indices", [4, 0, 4])):
                del file["X"][name]
                file["X"][name] = np.array(values)
            file["X/indptr"][1:] = 3
        for backed in (False, True):
            x = dense(loaded(path, backed=backed).x)
            assert x[0].tolist() == [1, 0, 0, 0, 300, 0, 0]
            assert x[1:].sum() == 0


class TestTenX:
    def version3(self, path, counts):
        csr = sparse.csr_matrix(counts)
        with h5py.File(path, "w") as file:
            group = file.create_group("matrix")
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(csr, name)
            group["shape"] = counts.shape[::-1]
            group["barcodes"] = np.array(ROWS, dtype="S")
            group["features/name"] = np.array([*COLUMNS[:-2], "twin", "twin"], dtype="S")
            group["features/id"] = np.array([f"ENS{k}" for k in range(7)], dtype="S")

    @pytest.mark.parametrize("backed", [False, True])
    def test_reads_hdf5_of_version_3(self, tmp_path, counts, backed):
        self.version3(tmp_path / "a.h5", counts)
        data = loaded(tmp_path / "a.h5", backed=backed)
        assert dense(data.x).tolist() == counts.tolist()
        assert data.row_names == ROWS
        assert data.column_names == (*COLUMNS[:-2], "twin (ENS5)", "twin (ENS6)")

    def test_reads_hdf5_of_version_2_by_genome(self, tmp_path, counts):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, factor in (("hg19", 1), ("mm10", 2)):
                csr, group = sparse.csr_matrix(factor * counts), file.create_group(name)
                for part in ("data", "indices", "indptr"):
                    group[part] = getattr(csr, part)
                group["barcodes"], group["genes"] = np.array(ROWS, "S"), np.array(COLUMNS, "S")
                group["gene_names"] = group["genes"][:]
        check(loaded(tmp_path / "a.h5", key="hg19"), counts)
        check(loaded(tmp_path / "a.h5", key="mm10"), 2 * counts)
        with pytest.raises(ValueError, match="holds hg19, mm10; name one of them as key"):
            loaded(tmp_path / "a.h5")

    @pytest.mark.parametrize("version", [2, 3])
    def test_reads_folders(self, tmp_path, counts, version):
        def write(name, text):
            if version == 3:
                (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text))
            else:
                (tmp_path / name).write_bytes(text)

        io.mmwrite(tmp_path / "whole.mtx", sparse.coo_matrix(counts.T))
        write("matrix.mtx", (tmp_path / "whole.mtx").read_bytes())
        (tmp_path / "whole.mtx").unlink()
        write("barcodes.tsv", "".join(f"{row}\n" for row in ROWS).encode())
        text = "".join(f"ENS{name}\t{name}\tGene Expression\n" for name in COLUMNS)
        write("features.tsv" if version == 3 else "genes.tsv", text.encode())
        check(loaded(tmp_path), counts)
        check(loaded(tmp_path / ("matrix.mtx.gz" if version == 3 else "matrix.mtx")), counts)

    def test_refuses_names_that_do_not_fit(self, tmp_path, counts):
        io.mmwrite(tmp_path / "a.mtx", sparse.coo_matrix(counts))
        (tmp_path / "a_barcodes.tsv").write_text("one\ntwo\n")
        with pytest.raises(ValueError, match="40 x 7 entries, but beside it are 2 barcodes"):
            loaded(tmp_path / "a.mtx")


def test_matrix_market_without_names(tmp_path, counts):
    io.mmwrite(tmp_path / "a.mtx", sparse.coo_matrix(counts))
    check(loaded(tmp_path / "a.mtx"), counts, named=False)
    assert loaded(tmp_path / "a.mtx", transpose=True).x.tolist() == counts.T.tolist()


class TestNumpy:
    def test_reads_what_scipy_saved(self, tmp_path, counts):
        for form in (sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix):
            sparse.save_npz(tmp_path / "a.npz", form(counts * 1.0))
            check(loaded(tmp_path / "a.npz"), counts, named=False)

    def test_reads_arrays_with_names_and_covariates(self, tmp_path, counts):
        fields = {"row_names": ROWS, "column_names": COLUMNS, "batch": list(OBS["batch"])}
        np.savez(tmp_path / "a.npz", words=counts, **fields)
        data = loaded(tmp_path / "a.npz", covariates=("batch",))
        check(data, counts)
        assert data.condition[:, 1].tolist() == [1, 0] * 20
        np.savez(tmp_path / "b.npz", words=counts, other=2 * counts)
        assert loaded(tmp_path / "b.npz", key="other").x.tolist() == (2 * counts).tolist()
        with pytest.raises(
            ValueError, match="no single array of two axes; give key, one of words"
        ):
            loaded(tmp_path / "b.npz")


class TestCovariates:
    def test_of_obs_by_their_kind(self, tmp_path, counts):
        path = h5ad(tmp_path / "a.h5ad", counts)
        fields = {"covariates": ("age", "batch", "plate"), "categorical": ("plate",)}
        data = loaded(path, "validation", **fields)
        assert data.covariates.names == (
            *("age", "batch=a", "batch=b"),
            *("plate=0", "plate=1", "plate=2"),
        )
        training = loaded(path, "train", **fields)
        assert training.covariates == data.covariates
        assert training.condition[:, 0].mean().item() == pytest.approx(0, abs=1e-6)
        assert training.condition[:, 0].var(correction=0).item() == pytest.approx(1)
        rows = [ROWS.index(name) for name in data.row_names]
        again = data.covariates.encode(OBS.iloc[rows])
        assert torch.equal(again, data.condition)

    @pytest.mark.parametrize("suffix", ["csv", "parquet"])
    def test_of_another_table_are_matched_by_name(self, tmp_path, counts, suffix):
        path, other = h5ad(tmp_path / "a.h5ad", counts), tmp_path / f"obs.{suffix}"
        shuffled = OBS.iloc[::-1]
        shuffled.to_csv(other) if suffix == "csv" else shuffled.to_parquet(other)
        ours = loaded(path, covariates=("age",), obs=other)
        assert torch.equal(ours.condition, loaded(path, covariates=("age",)).condition)
        shuffled.iloc[1:].to_csv(tmp_path / "less.csv")
        with pytest.raises(ValueError, match="has no row for sample 'cell 39'"):
            loaded(path, covariates=("age",), obs=tmp_path / "less.csv")

    def test_in_order_where_there_are_no_names(self, tmp_path, counts):
        sparse.save_npz(tmp_path / "a.npz", sparse.csr_matrix(counts))
        OBS.to_csv(tmp_path / "obs.csv", index=False)
        fields = {"covariates": ("plate",), "obs": tmp_path / "obs.csv"}
        condition = loaded(tmp_path / "a.npz", **fields).condition
        assert len(condition.unique()) == 3
        assert (condition[3:] == condition[:-3]).all()
        OBS.iloc[:3].to_csv(tmp_path / "obs.csv", index=False)
        with pytest.raises(ValueError, match="has 3 rows for 40 samples"):
            loaded(tmp_path / "a.npz", **fields)

    def test_that_are_not_there_are_named(self, tmp_path, counts):
        path = h5ad(tmp_path / "a.h5ad", counts)
        with pytest.raises(ValueError, match="no covariate 'bacth'; its columns are batch, age"):
            loaded(path, covariates=("bacth",))
        with pytest.raises(ValueError, match="categorical names 'age', which is none of the cov"):
            CountTable(path, categorical=("age",))


class TestMemory:
    def test_large_sparse_tables_stay_sparse(self, tmp_path, counts, monkeypatch):
        monkeypatch.setattr(table, "SMALL", 100)
        small = np.where(np.arange(7) < 2, counts.clip(max=9), 0)
        sparse.save_npz(tmp_path / "a.npz", sparse.csr_matrix(small))
        data = loaded(tmp_path / "a.npz")
        assert isinstance(data.x, SparseRows)
        assert data.x.dtype == torch.uint8
        assert dense(data.x).tolist() == small.tolist()
        full = np.ones((40, 7), int)
        np.savez(tmp_path / "b.npz", full)
        assert isinstance(loaded(tmp_path / "b.npz").x, torch.Tensor)

    def test_what_does_not_fit_stays_in_its_file(self, tmp_path, counts, monkeypatch):
        path = h5ad(tmp_path / "a.h5ad", sparse.csr_matrix(counts))
        assert isinstance(loaded(path).x, torch.Tensor)
        monkeypatch.setattr("markovbridge.data.tables.source.SHARE", 0.0)
        assert isinstance(loaded(path).x, BackedRows)
        assert isinstance(loaded(path, backed=False).x, torch.Tensor)


@pytest.mark.parametrize(
    ("name", "fields", "error", "message"),
    [
        ("none.h5ad", {}, FileNotFoundError, "no file .*none.h5ad"),
        ("a.xlsx", {}, ValueError, "of no known kind; tables of counts are .h5ad, .h5, .mtx"),
        ("a.h5ad.gz", {}, ValueError, "of no known kind.*: unpack it with gunzip"),
        ("a.xlsx", {}, ValueError, "of no known kind.*: save the sheet as .csv"),
        ("a.loom", {}, ValueError, "of no known kind.*read_loom.FILE..write_h5ad"),
        ("a.rds", {}, ValueError, "of no known kind.*from R"),
        ("a.zarr", {}, ValueError, "of no known kind.*read_zarr"),
        ("empty", {}, FileNotFoundError, "folder without a matrix.mtx"),
        ("a.csv", {"layer": "counts"}, ValueError, "layer='counts' is for .h5ad files"),
        ("a.csv", {"backed": True}, ValueError, "backed=True is for .h5ad, .h5 files"),
        ("a.csv", {"maximum": 6}, ValueError, r"row 1, column 1 \(bee\) is 7, above the max"),
        ("b.csv", {}, ValueError, r"column 0 \(ant\) is -1; counts are never negative"),
        ("c.csv", {}, ValueError, "cannot be read as a table"),
        ("text.h5ad", {}, ValueError, "cannot be read as an HDF5 file"),
        ("text.npz", {}, ValueError, "cannot be read as an .npy or .npz file"),
        ("text.mtx", {}, ValueError, "cannot be read as a Matrix Market file"),
    ],
)
def test_says_what_is_wrong(tmp_path, name, fields, error, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.csv").write_text("ant,bee\n1,2\n0,7\n")
    (tmp_path / "b.csv").write_text("ant,bee\n1,2\n-1,0.5\n")
    (tmp_path / "c.csv").write_text("")
    for other in ("a.xlsx", "a.h5ad.gz", "text.h5ad", "text.npz", "text.mtx"):
        (tmp_path / other).write_text("hello")
    with pytest.raises(error, match=message):
        dense(loaded(tmp_path / name, **fields).x)


def test_a_source_is_its_configuration():
    source = CountTable("cells.h5ad", layer="counts", covariates=("batch",), backed=True, seed=3)
    assert from_config(to_config(source)) == source
    assert hash(source) == hash(from_config(to_config(source)))


def test_names_the_package_that_is_missing(tmp_path, counts, monkeypatch):
    path = h5ad(tmp_path / "a.h5ad", counts)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with warnings.catch_warnings(), pytest.raises(ImportError, match="pip install h5py"):
        loaded(path)
