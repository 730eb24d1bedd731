"""Tables as Python objects: arrays in, arrays out."""

import numpy as np
import pytest
import torch
from scipy import sparse

from markovbridge.data import CountTable, SparseRows, write_table
from markovbridge.data.rows import dense
from markovbridge.data.tables.made import write_object
from markovbridge.data.tables.objects import read_object

pd = pytest.importorskip("pandas")
anndata = pytest.importorskip("anndata")

COUNTS = np.array([[0, 3, 0], [1, 0, 7], [0, 0, 2], [5, 1, 0]])
GENES = ["Actb", "Gapdh", "Sox2"]
CELLS = ["c1", "c2", "c3", "c4"]


def frame():
    table = pd.DataFrame(COUNTS, index=CELLS, columns=GENES)
    table.insert(0, "batch", ["a", "b", "a", "b"])
    return table


def cells(kind=np.float32):
    return anndata.AnnData(
        sparse.csr_matrix(COUNTS.astype(kind)),
        obs=pd.DataFrame({"batch": ["a", "b", "a", "b"]}, index=CELLS),
        var=pd.DataFrame(index=GENES),
    )


def given(kind, tmp_path):
    return {
        "array": COUNTS,
        "floats": COUNTS.astype(float),
        "small": COUNTS.astype(np.uint16),
        "tensor": torch.from_numpy(COUNTS),
        "sparse": sparse.csr_matrix(COUNTS),
        "columns": sparse.csc_array(COUNTS.astype(np.float32)),
        "rows": SparseRows(sparse.csr_matrix(COUNTS)),
        "frame": frame().drop(columns="batch"),
        "anndata": cells(),
    }[kind]


KINDS = {
    "array": "array",
    "floats": "array",
    "small": "array",
    "tensor": "array",
    "sparse": "sparse",
    "columns": "sparse",
    "rows": "sparse",
    "frame": "frame",
    "anndata": "anndata",
}


@pytest.mark.parametrize("name", KINDS)
def test_counts_come_in_and_go_out_as_they_were(name, tmp_path):
    table = read_object(given(name, tmp_path))
    assert table.kind == KINDS[name]
    assert table.observed is None
    assert np.array_equal(dense(table.x).numpy(), COUNTS)
    made = write_object(torch.from_numpy(COUNTS * 2), table.kind, like=table)
    if table.kind == "sparse":
        assert sparse.issparse(made) and np.array_equal(made.toarray(), COUNTS * 2)
    elif table.kind == "frame":
        assert made.equals(given(name, tmp_path) * 2)
    elif table.kind == "anndata":
        assert list(made.var_names) == GENES and list(made.obs_names) == CELLS
        assert list(made.obs["batch"]) == ["a", "b", "a", "b"]
        assert np.array_equal(made.X, COUNTS * 2)
    else:
        assert isinstance(made, np.ndarray) and np.array_equal(made, COUNTS * 2)


def test_a_layer_is_taken_and_the_object_is_left_as_it_was():
    table = cells()
    table.layers["counts"] = table.X.copy()
    table.X = table.X * 0.5
    with pytest.raises(ValueError, match=r"X: row 0 .*looks like normalised data.*layer='counts'"):
        read_object(table)
    read = read_object(table, layer="counts")
    assert np.array_equal(dense(read.x).numpy(), COUNTS)
    write_object(torch.from_numpy(COUNTS), "anndata", like=read)
    assert table.X.max() == 3.5
    with pytest.raises(ValueError, match="there is no layer 'raw'; there are counts"):
        read_object(table, layer="raw")


def test_columns_of_a_frame_may_be_covariates():
    table = read_object(frame(), covariates=["batch"])
    assert list(table.columns["batch"]) == ["a", "b", "a", "b"]
    assert table.column_names == tuple(GENES)
    made = write_object(torch.from_numpy(COUNTS), "frame", like=table)
    assert made.equals(frame())
    with pytest.raises(ValueError, match="column 'batch' .*'a'.*name it in covariates"):
        read_object(frame())
    with pytest.raises(ValueError, match="no column 'site'"):
        read_object(frame(), covariates=["site"])


@pytest.mark.parametrize("kind", ["array", "frame", "anndata"])
def test_missing_entries_are_refused_unless_they_are_asked_for(kind):
    values = COUNTS.astype(float)
    values[1, 2] = values[3, 0] = np.nan
    table = {
        "array": lambda: values,
        "frame": lambda: pd.DataFrame(values, columns=GENES),
        "anndata": lambda: anndata.AnnData(values),
    }[kind]()
    with pytest.raises(ValueError, match=r"row 1.*column 2.*is nan; counts must all be there"):
        read_object(table)
    read = read_object(table, missing=True)
    assert read.observed is not None
    assert (~read.observed).nonzero().tolist() == [[1, 2], [3, 0]]
    assert int(read.x[1, 2]) == 0 and int(read.x[1, 0]) == 1


@pytest.mark.parametrize(
    ("suffix", "kind"), [("h5ad", "anndata"), ("csv", "frame"), ("npz", "array")]
)
def test_a_path_is_read_as_its_file(tmp_path, suffix, kind):
    path = tmp_path / f"cells.{suffix}"
    write_table(path, COUNTS, row_names=CELLS, column_names=GENES)
    for name in (path, str(path)):
        table = read_object(name)
        assert table.kind == kind and table.column_names == tuple(GENES)
        assert np.array_equal(dense(table.x).numpy(), COUNTS)


def test_some_rows_are_a_table_of_their_own():
    some = read_object(cells()).rows(torch.tensor([2, 0]))
    assert np.array_equal(dense(some.x).numpy(), COUNTS[[2, 0]])
    assert some.row_names == ("c3", "c1") and some.columns["batch"] == ["a", "a"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.arange(4), "ndarray of shape \\(4,\\) is no table"),
        ([1, 2], "list of shape \\(2,\\) is no table"),
        ({"a": 1}, "dict of shape \\(\\) is no table"),
    ],
)
def test_what_is_no_table_is_refused(table, message):
    with pytest.raises(TypeError, match=message):
        read_object(table)


def test_what_holds_nothing_is_refused():
    with pytest.raises(ValueError, match="has no counts"):
        read_object(np.zeros((0, 3), int))
    with pytest.raises(ValueError, match="layer='counts' is of AnnData, not of a ndarray"):
        read_object(COUNTS, layer="counts")


@pytest.mark.parametrize("kind", ["array", "sparse", "frame", "anndata"])
def test_new_rows_need_no_table_to_resemble(kind):
    made = write_object(torch.from_numpy(COUNTS), kind, column_names=GENES)
    values = made.X if kind == "anndata" else made
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    assert np.array_equal(values, COUNTS)


def test_masked_entries_are_missing():
    masked = np.ma.masked_array(COUNTS, COUNTS == 3)
    with pytest.raises(ValueError, match="row 0, column 1 is nan; counts must all be there"):
        read_object(masked)
    read = read_object(masked, missing=True)
    assert read.observed.tolist() == (COUNTS != 3).tolist()


def test_counts_beyond_the_digits_of_a_real_are_kept():
    large = np.array([[2**53 + 1, 0], [2**62 + 3, 1]])
    for kind in ("int64", "Int64", "UInt64", "int64[pyarrow]"):
        table = pd.DataFrame(large).astype(kind)
        assert dense(read_object(table).x).tolist() == large.tolist()


def test_results_of_an_object_in_its_file_are_in_memory(tmp_path):
    cells().write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    made = write_object(torch.from_numpy(COUNTS * 2), "anndata", like=read_object(backed))
    assert not made.isbacked and np.array_equal(made.X, COUNTS * 2)
    assert list(made.obs["batch"]) == ["a", "b", "a", "b"]
    assert (backed.X[:] != sparse.csr_matrix(COUNTS)).nnz == 0
    backed.file.close()


def test_results_of_raw_have_its_features():
    table = cells()
    table.raw = table.copy()
    read = read_object(table[:, :2].copy(), layer="raw")
    assert read.column_names == tuple(GENES)
    made = write_object(torch.from_numpy(COUNTS * 2), "anndata", like=read)
    assert np.array_equal(made.X, COUNTS * 2) and list(made.var_names) == GENES


def test_a_model_of_a_layer_takes_x_where_there_is_no_such_layer():
    table = cells()
    for name in [name for name in table.layers if name is not None]:
        del table.layers[name]
    for given in (table, frame().drop(columns="batch"), COUNTS):
        assert np.array_equal(dense(read_object(given, layer="raw", known=()).x), COUNTS)
    with pytest.raises(ValueError, match="there is no layer 'raw'; there are none"):
        read_object(table, layer="raw")
    empty = anndata.AnnData(None, obs=table.obs, var=table.var, layers={"counts": COUNTS})
    with pytest.raises(ValueError, match="there is no X; name a layer; there are counts"):
        read_object(empty)


def test_what_a_mask_hides_is_written_as_missing(tmp_path):
    hidden = np.ma.array(COUNTS, mask=COUNTS == 7)
    write_table(tmp_path / "t.h5ad", hidden, layers={"more": hidden})
    made = anndata.read_h5ad(tmp_path / "t.h5ad")
    for values in (made.X, made.layers["more"]):
        full = values.toarray() if sparse.issparse(values) else values
        assert np.array_equal(np.isnan(full), COUNTS == 7)
    found = read_object(hidden, missing=True)
    assert found.observed is not None and np.array_equal(~found.observed, COUNTS == 7)


class TestColumnsOfFrames:
    def frame(self):
        return pd.DataFrame({"a": [1, 2, 3], "treated": [True, False, True], "b": [4, 5, 6]})

    def test_booleans_beside_numbers_are_no_counts(self, tmp_path):
        with pytest.raises(ValueError, match="'treated' holds 'True', .*name it in covariates"):
            read_object(self.frame())
        table = read_object(self.frame(), covariates=["treated"])
        assert table.column_names == ("a", "b") and list(table.columns) == ["treated"]
        with pytest.raises(ValueError, match="'treated' holds 'True', .*name it in columns"):
            write_table(tmp_path / "a.npz", self.frame(), columns=["a"])
        write_table(tmp_path / "a.npz", self.frame().assign(batch=list("xyx")))
        data = CountTable(tmp_path / "a.npz", covariates=("treated", "batch")).load("all")
        assert data.column_names == ("a", "b") and data.columns["batch"] == ["x", "y", "x"]

    def test_booleans_alone_are_counts(self, tmp_path):
        frame = self.frame()[["treated"]].assign(other=False)
        assert read_object(frame).x.tolist() == [[1, 0], [0, 0], [1, 0]]
        write_table(tmp_path / "a.npz", frame.assign(batch=list("xyx")))
        data = CountTable(tmp_path / "a.npz", covariates=("batch",)).load("all")
        assert data.column_names == ("treated", "other") and data.x.sum() == 2

    def test_numbers_as_objects_are_counts(self):
        frame = self.frame()[["a", "b"]].astype(object)
        assert read_object(frame).x.tolist() == [[1, 4], [2, 5], [3, 6]]
        assert all(dtype.kind == "O" for dtype in frame.dtypes)  # theirs is left as it was
        frame.iloc[0, 0] = None
        assert read_object(frame, missing=True).observed.sum() == 5
        frame.iloc[0, 0] = "1"
        with pytest.raises(ValueError, match="'a' holds '1', which is no count"):
            read_object(frame)


def test_a_layer_called_raw(tmp_path):
    made = anndata.AnnData(np.full((3, 2), 0.5), layers={"raw": np.arange(6).reshape(3, 2)})
    made.write_h5ad(tmp_path / "a.h5ad")
    source = CountTable(tmp_path / "a.h5ad", layer="raw")
    assert source.load("all").x.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert source.format.held(tmp_path / "a.h5ad", "raw") == (False, "int64")
