import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import io, sparse

from markovbridge.data import CountTable, SparseRows, write_results, write_table
from markovbridge.data.tables import writing

from .conftest import COLUMNS, ROWS

BATCH = ["b", "a"] * 20
SUFFIXES = ["h5ad", "csv", "tsv", "csv.gz", "parquet", "npz", "mtx", "mtx.gz"]


def names(**more):
    return {"row_names": ROWS, "column_names": COLUMNS, **more}


@pytest.mark.parametrize("suffix", SUFFIXES)
class TestTable:
    @pytest.mark.parametrize("form", [torch.tensor, np.asarray, sparse.csr_matrix, "rows"])
    def test_is_read_as_it_was_written(self, tmp_path, counts, suffix, form):
        path = tmp_path / f"a.{suffix}"
        given = SparseRows(sparse.csr_matrix(counts)) if form == "rows" else form(counts)
        written = write_table(path, given, **names(columns={"batch": BATCH}))
        assert path in written
        assert sorted(tmp_path.iterdir()) == sorted(written)
        beside = tmp_path / f"a_obs.{suffix.replace('mtx', 'tsv')}" if "mtx" in suffix else None
        data = CountTable(path, covariates=("batch",), obs=beside).load("all")
        assert data.x.tolist() == counts.tolist()
        assert (data.row_names, data.column_names) == (ROWS, COLUMNS)
        assert data.condition[:, 0].tolist() == [0, 1] * 20

    def test_needs_no_names(self, tmp_path, counts, suffix):
        path = tmp_path / f"a.{suffix}"
        write_table(path, torch.tensor(counts))
        assert CountTable(path).load("all").x.tolist() == counts.tolist()

    def test_is_never_replaced_unasked(self, tmp_path, counts, suffix):
        path = tmp_path / f"a.{suffix}"
        write_table(path, counts)
        before = {file: file.read_bytes() for file in tmp_path.iterdir()}
        with pytest.raises(FileExistsError, match="exists already; choose another file"):
            write_table(path, 2 * counts)
        assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
        write_table(path, 2 * counts, overwrite=True)
        assert CountTable(path).load("all").x.tolist() == (2 * counts).tolist()


def test_nothing_half_written_is_left(tmp_path, counts, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(io, "mmwrite", fail)
    with pytest.raises(OSError, match="disk full"):
        write_table(tmp_path / "a.mtx", counts, **names())
    assert list(tmp_path.iterdir()) == []


def test_anndata_holds_layers_and_arrays(tmp_path, counts):
    mean = torch.rand(40, 7)
    layers, obsm = {"mean": mean, "drawn": counts}, {"space": torch.rand(40, 3)}
    write_table(tmp_path / "a.h5ad", counts, **names(layers=layers, obsm=obsm))
    got = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert got.layers["mean"].dtype == np.float32
    assert np.array_equal(got.layers["mean"], mean.numpy())
    assert got.layers["drawn"].tolist() == counts.tolist()
    assert np.array_equal(got.obsm["space"], obsm["space"].numpy())


def original(path, counts):
    """An AnnData file with much in it that results must not touch."""
    data = anndata.AnnData(
        sparse.csr_matrix(counts * 1.0),
        obs=pd.DataFrame({"batch": pd.Categorical(BATCH)}, index=ROWS),
        var=pd.DataFrame({"length": np.arange(7)}, index=COLUMNS),
        uns={"note": "kept"},
        obsm={"pca": np.ones((40, 2))},
        layers={"old": counts},
    )
    data.write_h5ad(path)
    return path


class TestResults:
    def test_become_layers_beside_all_that_was_there(self, tmp_path, counts):
        source = CountTable(original(tmp_path / "a.h5ad", counts))
        restored, lower = 2 * counts, torch.rand(40, 7)
        results = {"restored": torch.tensor(restored), "restored_lower": lower}
        out = tmp_path / "b.h5ad"
        assert write_results(source, out, results, obsm={"z": torch.ones(40, 1)}) == [out]
        got = anndata.read_h5ad(out)
        assert got.layers["restored"].tolist() == restored.tolist()
        assert np.array_equal(got.layers["restored_lower"], lower.numpy())
        assert got.X.toarray().tolist() == counts.tolist()
        assert got.obs["batch"].tolist() == BATCH
        assert (got.uns["note"], set(got.obsm)) == ("kept", {"pca", "z"})
        assert got.var["length"].tolist() == list(range(7))

    def test_extend_a_file_only_when_told(self, tmp_path, counts):
        path = original(tmp_path / "a.h5ad", counts)
        before = path.read_bytes()
        with pytest.raises(FileExistsError, match="a.h5ad exists already"):
            write_results(CountTable(path), path, {"new": counts})
        with pytest.raises(FileExistsError, match="has layers/old already; choose another name"):
            write_results(CountTable(path), tmp_path / "b.h5ad", {"old": counts})
        assert path.read_bytes() == before
        assert [file.name for file in tmp_path.iterdir()] == ["a.h5ad"]
        write_results(CountTable(path), path, {"old": 3 * counts}, overwrite=True)
        assert anndata.read_h5ad(path).layers["old"].tolist() == (3 * counts).tolist()

    def test_of_a_split_are_written_with_its_rows(self, tmp_path, counts):
        source = CountTable(original(tmp_path / "a.h5ad", counts), test=0.25)
        chosen = source.positions(40, "test")
        write_results(source, tmp_path / "b.h5ad", {"new": counts[chosen]}, split="test")
        got = anndata.read_h5ad(tmp_path / "b.h5ad")
        assert got.obs_names.tolist() == [ROWS[i] for i in chosen]
        assert got.X.toarray().tolist() == counts[chosen].tolist()
        assert got.layers["new"].tolist() == counts[chosen].tolist()
        first = {"new": counts[chosen[:3]]}
        write_results(source, tmp_path / "first.h5ad", first, split="test", n=3)
        got = anndata.read_h5ad(tmp_path / "first.h5ad")
        assert got.obs_names.tolist() == [ROWS[i] for i in chosen[:3]]
        with pytest.raises(ValueError, match=r"'new' has shape \(10, 7\); give 40 x 7"):
            write_results(source, tmp_path / "c.h5ad", {"new": counts[chosen]})

    @pytest.mark.parametrize("suffix", ["csv", "parquet", "mtx.gz"])
    def test_have_a_file_each_in_other_formats(self, tmp_path, counts, suffix):
        source = CountTable(original(tmp_path / "a.h5ad", counts))
        results = {"mean": torch.rand(40, 7), "drawn": counts}
        files = write_results(source, tmp_path / f"b.{suffix}", results)
        assert sorted(tmp_path.glob("b_*")) == sorted(files)
        data = CountTable(tmp_path / f"b_drawn.{suffix}").load("all")
        assert data.x.tolist() == counts.tolist()
        assert (data.row_names, data.column_names) == (ROWS, COLUMNS)
        if suffix == "csv":
            mean = pd.read_csv(tmp_path / "b_mean.csv", index_col=0).to_numpy()
            assert np.allclose(mean, results["mean"], rtol=1e-6)
            only = write_results(source, tmp_path / "c.csv", {"drawn": counts})
            assert only == [tmp_path / "c.csv"]

    def test_are_arrays_of_one_numpy_file(self, tmp_path, counts):
        source = CountTable(original(tmp_path / "a.h5ad", counts))
        path = tmp_path / "b.npz"
        write_results(source, path, {"mean": torch.rand(40, 7), "drawn": counts})
        assert CountTable(path, key="drawn").load("all").x.tolist() == counts.tolist()

    def test_of_a_table_become_an_anndata_file(self, tmp_path, counts):
        write_table(tmp_path / "a.csv", counts, **names(columns={"batch": BATCH}))
        source = CountTable(tmp_path / "a.csv", covariates=("batch",))
        write_results(source, tmp_path / "b.h5ad", {"mean": torch.rand(32, 7)}, split="train")
        got = anndata.read_h5ad(tmp_path / "b.h5ad")
        chosen = source.positions(40, "train")
        assert np.asarray(got.X).tolist() == counts[chosen].tolist()
        assert got.obs["batch"].tolist() == [BATCH[i] for i in chosen]
        assert [name for name in got.layers if name is not None] == ["mean"]


@pytest.mark.parametrize(
    ("name", "fields", "error", "message"),
    [
        ("a.h5", {}, ValueError, "write an .h5ad file instead"),
        ("a.txt", {}, ValueError, "of no known kind"),
        ("none/a.csv", {}, FileNotFoundError, "there is no folder .*none"),
        (
            "a.csv",
            {"layers": {"new": np.ones((40, 7))}},
            ValueError,
            "layers has its place in .h5ad",
        ),
        ("a.h5ad", {"layers": {"new": np.ones((40, 6))}}, ValueError, "'new' .* give 40 x 7"),
        ("a.h5ad", {"obsm": {"z": np.ones((39, 6))}}, ValueError, "'z' .* give 40 x k"),
        ("a.csv", {"row_names": ["a"]}, ValueError, "1 names or values are given for 40"),
        ("a.csv", {"columns": {"batch": ["a"]}}, ValueError, "1 names or values are given for 40"),
        ("a.csv", {"columns": {"0": BATCH}}, ValueError, "two columns called '0'"),
        ("a.npz", {"columns": {"data": BATCH}}, ValueError, "two arrays called"),
    ],
)
def test_says_what_is_wrong(tmp_path, counts, name, fields, error, message):
    few = np.where(np.arange(7) < 1, counts, 0)  # sparse enough for scipy's arrays in .npz
    with pytest.raises(error, match=message):
        write_table(tmp_path / name, few, **fields)
    assert list(tmp_path.iterdir()) == []


def test_no_results_are_an_error(tmp_path, counts):
    source = CountTable(original(tmp_path / "a.h5ad", counts))
    with pytest.raises(ValueError, match="no results to write"):
        writing.write_results(source, tmp_path / "b.h5ad", {})


class TestObjects:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("kind", ["anndata", "frame"])
    def test_go_with_their_names_and_covariates(self, tmp_path, counts, suffix, kind):
        obs, var = pd.DataFrame({"batch": BATCH}, index=ROWS), pd.DataFrame(index=COLUMNS)
        if kind == "anndata":
            layers = {"twice": sparse.csr_matrix(2 * counts)}
            given = anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=var, layers=layers)
        else:
            given = obs.join(pd.DataFrame(counts, index=list(ROWS), columns=list(COLUMNS)))
        path = tmp_path / f"a.{suffix}"
        write_table(path, given)
        beside = tmp_path / f"a_obs.{suffix.replace('mtx', 'tsv')}" if "mtx" in suffix else None
        data = CountTable(path, covariates=("batch",), obs=beside).load("all")
        assert data.x.tolist() == counts.tolist()
        assert (data.row_names, data.column_names) == (ROWS, COLUMNS)
        assert data.columns["batch"] == BATCH

    def test_anndata_goes_with_all_it_has_and_what_is_given(self, tmp_path, counts):
        var = pd.DataFrame({"long": ["x"] * 7}, index=COLUMNS)
        made = anndata.AnnData(counts, var=var, uns={"model": "m"}, obsm={"pca": counts[:, :2]})
        made.raw = made.copy()
        write_table(
            tmp_path / "a.h5ad", made, **names(columns={"batch": BATCH}, layers={"n": counts})
        )
        back = anndata.read_h5ad(tmp_path / "a.h5ad")
        assert back.uns["model"] == "m" and list(back.var["long"]) == ["x"] * 7
        assert back.raw is not None and "pca" in back.obsm and "n" in back.layers
        assert list(back.obs["batch"]) == BATCH and tuple(back.obs_names) == ROWS
        assert "batch" not in made.obs

    def test_anndata_is_changed_by_what_is_given_only(self, tmp_path, counts):
        obs = pd.DataFrame({"batch": BATCH, "note": "x"}, index=pd.Index(ROWS, name="barcode"))
        obsm = {
            "named": pd.DataFrame({"u": range(40)}, index=ROWS),
            "thin": sparse.csr_matrix(counts),
            "deep": np.ones((40, 2, 3)),
        }
        var = pd.DataFrame(index=[f"c{k}" for k in range(counts.shape[1])])
        made = anndata.AnnData(None, obs=obs, var=var, layers={"counts": counts}, obsm=obsm)
        write_table(tmp_path / "a.h5ad", made)
        write_table(tmp_path / "b.h5ad", made, columns=["batch"])
        for name, columns in (("a", ["batch", "note"]), ("b", ["batch"])):
            back = anndata.read_h5ad(tmp_path / f"{name}.h5ad")
            assert back.X is None and back.layers["counts"].tolist() == counts.tolist()
            assert list(back.obs) == columns and back.obs_names.name == "barcode"
            assert list(back.obsm["named"]["u"]) == list(range(40))
            assert sparse.issparse(back.obsm["thin"]) and back.obsm["deep"].shape == (40, 2, 3)
        assert list(made.obs) == ["batch", "note"]
        with pytest.raises(ValueError, match="columns names 'c', which"):
            write_table(tmp_path / "c.h5ad", made, columns=["c"])
        with pytest.raises(ValueError, match="1 names or values are given for 40"):
            write_table(tmp_path / "c.h5ad", made, row_names=["c"])

    def test_new_names_leave_covariates_where_they_are(self, tmp_path, counts):
        obs = pd.DataFrame({"batch": pd.Categorical(BATCH)}, index=[f"old {k}" for k in range(40)])
        write_table(tmp_path / "a.h5ad", anndata.AnnData(counts, obs=obs), **names())
        back = anndata.read_h5ad(tmp_path / "a.h5ad")
        assert list(back.obs["batch"]) == BATCH and tuple(back.obs_names) == ROWS
        assert back.obs["batch"].dtype == "category"

    def test_names_that_no_table_of_text_or_parquet_has(self, tmp_path, counts):
        frame = pd.DataFrame(counts, columns=COLUMNS)
        two = pd.MultiIndex.from_product([["a"], range(40)])
        with pytest.raises(ValueError, match=r"the index of .* has 2 levels, .*frame.index.map"):
            write_table(tmp_path / "a.csv", frame.set_axis(two))
        with pytest.raises(
            ValueError, match=r"the columns of .* has 2 levels, .*frame.columns.map"
        ):
            write_table(tmp_path / "a.parquet", frame.set_axis(two[:7], axis=1))
        twice = ["a", "a", *COLUMNS[2:]]
        for given in (frame.set_axis(twice, axis=1), counts):
            with pytest.raises(ValueError, match="two columns are called 'a', .*or write .csv"):
                write_table(tmp_path / "a.parquet", given, **names(column_names=twice))
        assert list(tmp_path.iterdir()) == []

    def test_what_is_no_table_is_refused(self, tmp_path, counts):
        with pytest.raises(TypeError, match="a data frame or AnnData, not a list"):
            write_table(tmp_path / "a.h5ad", counts.tolist())
        with pytest.raises(TypeError, match="has no X; give the matrix"):
            write_table(tmp_path / "a.h5ad", anndata.AnnData(obs=pd.DataFrame(index=ROWS)))
