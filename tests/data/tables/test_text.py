"""What of a table of text is kept as it is written, and what is asked about."""

import anndata
import numpy as np
import pandas as pd
import pytest

from markovbridge import CountModel
from markovbridge.data import CountTable
from markovbridge.data.tables.frames import numbers
from markovbridge.data.tables.objects import read_object

from .conftest import loaded


def table(folder, text, name="a.csv", **fields):
    (folder / name).write_text(text)
    return loaded(folder / name, **fields)


def lines(head, line, n=12):
    return head + "\n" + "".join(line.format(k=k, name=1000 + 7 * k % 97) + "\n" for k in range(n))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("sign", [";", "\t", ","])
def test_the_sign_that_separates_cells_is_seen(tmp_path, name, sign):
    text = "cell,a,b\nc0,0,2\nc1,3,4\n".replace(",", sign)
    data = table(tmp_path, text, name)
    assert data.x.tolist() == [[0, 2], [3, 4]]
    assert (data.row_names, data.column_names) == (("c0", "c1"), ("a", "b"))


@pytest.mark.parametrize(
    "text",
    ["a;b\n1\n2\n", "a;b,c\n1;2,3\n4;5,6\n", "a\n1;2\n3;4\n", "x;y\tz\n1;2\t3\n"],
)
def test_where_it_cannot_be_seen_the_suffix_decides(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    wanted = pd.read_csv(tmp_path / "a.csv")
    assert list(CountTable(tmp_path / "a.csv").format.columns(tmp_path / "a.csv")) == [
        *wanted.columns
    ]


def test_decimals_may_follow_a_comma_and_thousands_are_asked_about(tmp_path):
    data = table(tmp_path, "cell;a;b\nc0;0,0;2\nc1;3,00;-0,0\n")
    assert data.x.tolist() == [[0, 2], [3, 0]]
    with pytest.raises(ValueError, match=r"row 1 \(c1\), column 0 \(a\) is 0.5; counts are whole"):
        table(tmp_path, "cell;a;b\nc0;0,0;2\nc1;0,5;4\n")
    for text in ("cell;a\nc0;1,000\nc1;2,0\n", 'cell,a\nc0,"1,000"\nc1,5\n'):
        with pytest.raises(ValueError, match="'a' holds '1,000', .*write numbers without commas"):
            table(tmp_path, text)
    told = table(tmp_path, "cell;a;age\nc0;1;20,5\nc1;2;30,5\n", covariates=("age",))
    assert told.covariates.names == ("age",) and told.columns["age"] == [20.5, 30.5]


def test_booleans_are_categories_where_some_are_missing(tmp_path):
    for last in ("True", ""):
        data = table(tmp_path, f"a,cl,b\n3,True,4\n5,False,5\n4,{last},4\n", covariates=("cl",))
        assert data.covariates.names == ("cl=False", "cl=True")


def test_commas_in_quoted_cells_are_no_decimals(tmp_path):
    text = 'a,cl,b\n3,"1,2",4\n5,"3,14",5\n4,"3,14",4\n'
    data = table(tmp_path, text, covariates=("cl",))
    assert data.covariates.names == ("cl=1,2", "cl=3,14")


def test_decimals_beside_numbers_and_text_of_features_in_rows(tmp_path):
    text = "gene;c0;c1\nbatch;x;y\nA;1,0;2\nB;3;0,0\n"
    data = table(tmp_path, text, transpose=True, covariates=("batch",))
    assert data.x.tolist() == [[1, 3], [2, 0]] and data.columns["batch"] == ["x", "y"]
    mixed = pd.Series(["1,0", 3, None, "2"], dtype=object)
    assert numbers(mixed).fillna(-1).tolist() == [1, 3, -1, 2]


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell,A,B\nc0,1,2,\nc1,3,4,\n", "each of its rows ends with a separator"),
        ("cell,A,B\nc0,1,2,3,4\n", "header of 3 names, but a first row of 5 cells"),
        ("cell,A,B\nc0,1\nc1,3,4\n", "header of 3 names, but a first row of 2 cells"),
        ("cell,A,B\nc0,1,2\nc1,3,4,5\n", "Expected 3 fields in line 3, saw 4"),
        ("cell A B\nc0 1 2\n", "0 columns left"),
        ("", "it is empty"),
        ("cell,A,B\n", "0 rows and 3 columns left"),
    ],
)
def test_rows_that_are_none_of_the_header_are_refused(tmp_path, text, message, missing):
    with pytest.raises(ValueError, match=message):
        table(tmp_path, text, missing=missing)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (",a,b\nr1,1,2\nr2,4\n", {"missing": True}),
        (",a,b\nr1,1,2\nr2,4\n", {}),
        ("a,b,age\n1,2,30\n\nr2,4\n", {"covariates": ("age",)}),
        ("a,b,batch\n1,2,x\nr2,4\n", {"covariates": ("batch",)}),
        ("a,b,id\n1,2,x\nr2,4\n", {"index": "id"}),
        ("a;b\nr1;1;2\nr2;4\n", {"missing": True}),
    ],
)
def test_rows_that_lack_cells_are_refused(tmp_path, text, fields):
    with pytest.raises(ValueError, match=r"a.csv: row 1 \(r2\) has 2 cells of 3"):
        table(tmp_path, text, **fields)


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("a;b\n1,000;2\n3,000;4\n", "1,000"),
        ("a,b\n1,2\nn.d.,4\n7,8\n", "n.d."),
        ("a,b\nTrue,2\nFalse,4\n", "True"),
    ],
)
def test_an_odd_cell_makes_no_names_of_counts(tmp_path, text, odd):
    with pytest.raises(ValueError, match=f"column 'a' holds '{odd}', and .*say index='a'"):
        table(tmp_path, text)
    assert table(tmp_path, text, index="a").row_names is not None
    assert table(tmp_path, text, ignore=("a",)).column_names == ("b",)
    assert table(tmp_path, text[1:]).row_names is not None  # a header that is empty
    few = table(tmp_path, "a,b\n1,2\nc2,4\nc3,8\n")
    assert few.row_names == ("1", "c2", "c3")


def test_names_beside_those_of_r_are_what_is_written(tmp_path):
    data = table(tmp_path, "cell_id,a,b\nx,007,1,2\ny,008,3,4\n", index="cell_id")
    assert data.row_names == ("007", "008") and data.x.tolist() == [[1, 2], [3, 4]]


def test_names_are_what_is_written(tmp_path):
    names = ["nan", "NA", "null", "None", "N/A", "007", "1e3", " x", "nan"]
    counts = np.arange(18).reshape(2, 9) % 5
    pd.DataFrame(counts, index=["", "00"], columns=names).to_csv(tmp_path / "a.csv")
    data = loaded(tmp_path / "a.csv")
    assert data.column_names == tuple(names) and data.row_names == ("", "00")
    pd.DataFrame(counts.T, index=names, columns=["c0", "c1"]).to_csv(tmp_path / "b.csv")
    data = loaded(tmp_path / "b.csv", transpose=True)
    assert data.column_names == tuple(names) and data.x.tolist() == counts.tolist()
    text = "name,a\nNA,1\n12,2\n007,2\n"
    with pytest.raises(ValueError, match="'name' holds 3 different numbers"):
        table(tmp_path, text)
    assert table(tmp_path, text, index="name").row_names == ("NA", "12", "007")
    told = tmp_path / "obs.csv"
    told.write_text("cell,batch\n12,x\nNA,y\n007,z\n")
    data = table(tmp_path, text, covariates=("batch",), obs=told, index="name")
    assert data.columns["batch"] == ["y", "x", "z"]


def test_only_cells_may_be_missing(tmp_path):
    data = table(tmp_path, ",a,b\nNA,NA,1\nnan,2,\n", missing=True)
    assert data.observed.tolist() == [[False, True], [True, False]]
    assert data.row_names == ("NA", "nan")


class TestNumbersThatMayBeNames:
    TEXT = lines("cell_id,A,B", "{name},{k},0")
    WORDS = r"first column 'cell_id' holds 12 different .* index='cell_id' .* ignore=\['cell_id'\]"

    @pytest.mark.parametrize(
        "name", ["cell_id", "barcode", "SampleID", "Cell", "sample", "OTU ID"]
    )
    def test_by_what_they_are_called(self, tmp_path, name):
        with pytest.raises(ValueError, match=f"first column '{name}' holds 12 different numbers"):
            table(tmp_path, self.TEXT.replace("cell_id", name))

    def test_by_what_they_are(self, tmp_path):
        with pytest.raises(ValueError, match="'x' holds 12 different numbers"):
            table(tmp_path, lines("x,A,B", "{name},1,{k}", 12).replace("11\n", "10\n"))
        with pytest.raises(ValueError, match="'x' holds 12 different numbers"):
            table(tmp_path, lines("x,A,B", "{k},{name},{k}"))  # numbered

    @pytest.mark.parametrize(
        "text",
        [
            lines("ant,A,B", "{name},{k},{k}"),  # all columns are so
            lines("ant", "{name}"),  # nothing is left
            lines("ant,A", "{name},1", 9),  # few may differ by chance
            lines("cell_id,A", "{k},1", 2),
            lines("cell_id,A", "{k},1").replace("11,", "10,"),  # one twice
            lines("ant,A", "{name},1").replace("1000", "1007"),
        ],
    )
    def test_counts_are_taken_for_counts(self, tmp_path, text):
        data = table(tmp_path, text, missing=True)
        assert data.row_names is None and data.column_names[0] in ("ant", "cell_id")

    def test_what_they_are_can_be_said(self, tmp_path):
        with pytest.raises(ValueError, match=self.WORDS):
            table(tmp_path, self.TEXT)
        data = table(tmp_path, self.TEXT.replace("1000,", "01000,"), index="cell_id")
        assert data.column_names == ("A", "B") and data.row_names[:2] == ("01000", "1007")
        data = table(tmp_path, self.TEXT, ignore=("cell_id",))
        assert data.column_names == ("A", "B") and data.row_names is None
        data = table(tmp_path, self.TEXT, index="")
        assert data.column_names == ("cell_id", "A", "B") and data.x[1, 0] == 1007
        data = table(tmp_path, self.TEXT, covariates=("cell_id",))
        assert data.columns["cell_id"][:2] == [1000, 1007] and data.column_names == ("A", "B")
        with pytest.raises(ValueError, match="no column 'cells' to name its rows by"):
            table(tmp_path, self.TEXT, index="cells")
        frame = pd.read_csv(tmp_path / "a.csv")
        assert read_object(frame).column_names == ("cell_id", "A", "B")  # pandas has an index

    def test_parquet_is_asked_as_well(self, tmp_path):
        frame = pd.DataFrame({"barcode": [5, 3, 9], "A": [1, 1, 2]})
        frame.to_parquet(tmp_path / "a.parquet")
        with pytest.raises(ValueError, match="first column 'barcode' holds 3 different"):
            loaded(tmp_path / "a.parquet")
        data = loaded(tmp_path / "a.parquet", index="barcode")
        assert data.row_names == ("5", "3", "9") and data.x.tolist() == [[1], [1], [2]]

    def test_parquet_has_names_of_any_type(self, tmp_path):
        days = pd.date_range("2020-01-01", periods=12)
        frame = pd.DataFrame({"day": days, "A": range(12)})
        frame.to_parquet(tmp_path / "a.parquet")
        data = loaded(tmp_path / "a.parquet")
        assert data.column_names == ("A",) and data.row_names[0].startswith("2020-01-01")
        frame = pd.DataFrame({"x": pd.array([None, *range(11)], "Int64"), "A": [1] * 12})
        frame.to_parquet(tmp_path / "b.parquet")
        with pytest.raises(ValueError, match="'x' holds 12 different numbers"):
            loaded(tmp_path / "b.parquet", missing=True)

    def test_of_features_in_rows(self, tmp_path):
        with pytest.raises(ValueError, match="'gene_id' holds 12 different"):
            table(tmp_path, lines("gene_id,c0,c1", "{name},{k},0"), transpose=True)
        data = loaded(tmp_path / "a.csv", transpose=True, index="gene_id")
        assert data.column_names[:2] == ("1000", "1007") and data.row_names == ("c0", "c1")

    def test_of_samples_are_matched_with_covariates(self, tmp_path):
        (tmp_path / "obs.csv").write_text(lines("cell_id,batch", "{name},b{k}"))
        fields = {"index": "cell_id", "covariates": ("batch",), "obs": tmp_path / "obs.csv"}
        data = table(tmp_path, self.TEXT, **fields)
        assert data.columns["batch"][:2] == ["b0", "b1"]

    def test_what_was_said_of_the_training_holds_of_what_a_model_meets(self, tmp_path):
        (tmp_path / "a.csv").write_text(self.TEXT)
        source = CountTable(tmp_path / "a.csv", index="cell_id")
        model = CountModel(steps=1, width=2, depth=1, random_state=0).fit(source)
        assert list(model.feature_names_in_) == ["A", "B"]
        made = model.restore(source, 0.5, draws=1).mean
        assert list(made.index[:2]) == ["1000", "1007"]
        with pytest.raises(ValueError, match=self.WORDS):
            model.restore(tmp_path / "a.csv", 0.5, draws=1)


def test_covariates_of_pandas_integers_are_numbers(tmp_path):
    frame = pd.DataFrame({"A": [1, 2, 3], "age": pd.array([20, None, 30], "Int64")})
    frame["site"] = pd.Categorical([2, 1, 2])
    frame.to_parquet(tmp_path / "a.parquet")
    fields = {"covariates": ("age", "site"), "categorical": ("site",)}
    data = loaded(tmp_path / "a.parquet", **fields)
    assert data.covariates.names == ("age", "site=1", "site=2")
    obs = frame[["age", "site"]].astype({"age": float}).set_axis(["a", "b", "c"])
    cells = anndata.AnnData(frame[["A"]].to_numpy(), obs=obs)
    cells.write_h5ad(tmp_path / "a.h5ad")
    for given in (frame, cells, tmp_path / "a.h5ad"):
        model = CountModel(steps=1, width=2, depth=1).fit(given, covariates=["age", "site"])
        assert model.covariates_.names == ("age", "site=1", "site=2")
    for values in ([1.0, None, 3.0], np.array([1, None, 3], object), [1, float("nan"), 3]):
        model = CountModel(steps=1, width=2, depth=1).fit(frame[["A"]], covariates={"x": values})
        assert model.covariates_.names == ("x",)
