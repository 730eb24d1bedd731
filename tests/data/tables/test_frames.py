import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from markovbridge.data import CountTable

from .conftest import COLUMNS, OBS, ROWS, check, h5ad, loaded


class TestFrames:
    def frame(self, counts):
        return pd.DataFrame(counts, index=list(ROWS), columns=list(COLUMNS))

    @pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "tsv.gz", "parquet"])
    def test_reads_a_table_with_names(self, tmp_path, counts, suffix):
        path = tmp_path / f"a.{suffix}"
        frame = self.frame(counts)
        if suffix == "parquet":
            frame.to_parquet(path)
        else:
            frame.to_csv(path, sep="\t" if "tsv" in suffix else ",")
        check(loaded(path), counts)
        assert loaded(path).name == "a"

    def test_first_column_names_the_rows_if_it_is_text(self, tmp_path):
        (tmp_path / "a.csv").write_text("site,ant,bee\nwood,1,2\nlawn,0,7\n")
        data = loaded(tmp_path / "a.csv")
        assert (data.row_names, data.column_names) == (("wood", "lawn"), ("ant", "bee"))
        (tmp_path / "b.csv").write_text("ant,bee\n1,2\n0,7\n")
        data = loaded(tmp_path / "b.csv")
        assert (data.row_names, data.column_names) == (None, ("ant", "bee"))
        assert data.x.tolist() == [[1, 2], [0, 7]]

    def test_features_in_rows(self, tmp_path, counts):
        self.frame(counts).T.to_csv(tmp_path / "a.csv")
        check(loaded(tmp_path / "a.csv", transpose=True), counts)

    def test_features_in_rows_with_a_row_of_covariates_and_a_name_twice(self, tmp_path):
        text = "gene,c1,c2,c3\nbatch,a,b,a\nnote,x,y,z\nSox2,0,4,1\nTbx1,2,0,7\nSox2,1,1,0\n"
        (tmp_path / "a.csv").write_text(text)
        fields = {"transpose": True, "covariates": ("batch",)}
        data = loaded(tmp_path / "a.csv", ignore=("note",), **fields)
        assert data.x.tolist() == [[0, 2, 1], [4, 0, 1], [1, 7, 0]]
        assert data.column_names == ("Sox2", "Tbx1", "Sox2")
        assert data.condition.tolist() == [[1, 0], [0, 1], [1, 0]]
        with pytest.raises(ValueError, match="column 'note' holds 'x', which is no count"):
            loaded(tmp_path / "a.csv", **fields)

    def test_covariates_and_ignored_columns_are_no_counts(self, tmp_path, counts):
        frame = self.frame(counts)
        frame.insert(3, "batch", OBS["batch"])
        frame["note"] = "fine"
        frame.to_csv(tmp_path / "a.csv")
        data = loaded(tmp_path / "a.csv", covariates=("batch",), ignore=("note",))
        check(data, counts)
        assert data.covariates.names == ("batch=a", "batch=b")
        assert data.condition[:2].tolist() == [[0, 1], [1, 0]]
        with pytest.raises(
            ValueError, match="column 'batch' holds 'b', which is no count; name it"
        ):
            loaded(tmp_path / "a.csv", ignore=("note",))
        with pytest.raises(ValueError, match="no column 'notes' to ignore"):
            loaded(tmp_path / "a.csv", ignore=("notes",))

    def test_missing_cells_are_named(self, tmp_path):
        (tmp_path / "a.csv").write_text("site,ant,bee\nwood,1,2\nlawn,,7\n")
        with pytest.raises(ValueError, match=r"row 1 \(lawn\), column 0 \(ant\) is nan; .* drop"):
            loaded(tmp_path / "a.csv")

    @pytest.mark.parametrize("suffix", ["csv", "parquet", "npz", "h5ad", "sparse", "columns"])
    def test_missing_cells_are_marked_where_they_may_be(self, tmp_path, counts, suffix):
        forms = {"sparse": sparse.csr_matrix, "columns": sparse.csc_matrix}
        path, gone = tmp_path / f"a.{'h5ad' if suffix in forms else suffix}", counts % 5 == 1
        frame = self.frame(np.where(gone, np.nan, counts))
        if suffix == "npz":
            np.savez(path, frame.to_numpy())
        elif suffix == "h5ad":
            h5ad(path, frame.to_numpy())
        elif suffix in forms:
            h5ad(path, forms[suffix](frame.to_numpy()))
        else:
            frame.to_csv(path) if suffix == "csv" else frame.astype("Int64").to_parquet(path)
        data = loaded(path, missing=True)
        assert data.x.tolist() == np.where(gone, 0, counts).tolist()
        assert data.observed.tolist() == (~gone).tolist()
        test = loaded(path, "test", missing=True)
        chosen = CountTable(path).positions(40, "test")
        assert torch.equal(test.observed, data.observed[chosen])
        with pytest.raises(ValueError, match="is nan"):
            loaded(path)

    def test_pandas_own_integers(self, tmp_path, counts):
        self.frame(counts).astype("Int64").to_parquet(tmp_path / "a.parquet")
        check(loaded(tmp_path / "a.parquet"), counts)
