"""Where data meet a model: names of features, what is known of rows, rows to compare with."""

import numpy as np
import pytest
import torch
from scipy import sparse

from markovbridge.couplings import Data, Independent
from markovbridge.data import CountTable, write_table
from markovbridge.data.base import Dataset
from markovbridge.data.covariates import Covariate, Covariates
from markovbridge.data.meeting import alike, each, in_order, told
from markovbridge.data.rows import TurnedRows, dense, taken, turned
from markovbridge.data.sparse import BackedRows, SparseRows
from markovbridge.training.trained_on import check_start

KINDS = Covariates((Covariate("kind", ("a", "b", "c")), Covariate("age", (), 40.0, 10.0)))


def matched(names, known, width=None):
    lines = []
    facts = {"width": width or len(names), "expected": len(known), "what": "X"}
    return in_order(names, known, **facts, say=lines.append), lines


def test_features_are_matched_by_name():
    assert matched(["a", "b"], ["a", "b"]) == (None, [])
    order, lines = matched(["c", "a", "b"], ["a", "b", "c"])
    assert order.tolist() == [1, 2, 0] and len(lines) == 1
    assert "feature 0 is 'c' instead of 'a'" in lines[0]
    with pytest.raises(ValueError, match="'b' missing; give the 2 features"):
        matched(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="the model: 'c' unknown to the model; give"):
        matched(["c", "a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match="missing, and 'x0', .* and 4 more unknown"):
        matched([f"x{k}" for k in range(9)], ["a", "b"])
    with pytest.raises(ValueError, match="cannot be matched by name, as 'a' names several"):
        matched(["b", "a", "a"], ["a", "a", "b"])
    assert matched(["b", "a", "a"], ["b", "a", "a"]) == (None, [])  # in order, whatever they are


def test_without_names_their_number_is_compared():
    facts = {"what": "X", "say": pytest.fail}
    assert in_order(None, ["a", "b"], width=2, expected=2, **facts) is None
    assert in_order(["a", "b"], None, width=2, expected=2, **facts) is None
    with pytest.raises(ValueError, match="X has 3 features, but the model was fitted to 2"):
        in_order(None, ["a", "b"], width=3, expected=2, **facts)


def test_rows_are_told_what_is_known_of_them():
    lines = []
    facts = {"n": 2, "what": "X", "say": lines.append}
    columns = {"kind": ["b", None], "age": [50.0, 40.0], "other": [1, 2]}
    nan = float("nan")
    expected = torch.tensor([[0, 1, 0, 1.0], [nan, nan, nan, 0.0]])
    torch.testing.assert_close(told(columns, KINDS, **facts), expected, equal_nan=True)
    over = told(columns, KINDS, {"kind": "c"}, **facts)  # age is still that of the row
    assert over.tolist() == [[0, 0, 1, 1], [0, 0, 1, 0]]
    blind = told(columns, KINDS, {"kind": None, "age": None}, **facts)
    assert blind.isnan().all() and not lines
    assert told({"age": [50, 40]}, KINDS, **facts)[:, 3].tolist() == [1, 0]
    assert lines == ["X does not have 'kind': the model is not told it, of any row"]
    assert told(columns, None, **facts) is None
    with pytest.raises(ValueError, match="fitted without covariates, not \\['kind'\\]"):
        told(columns, None, {"kind": "a"}, **facts)
    with pytest.raises(ValueError, match="'d' is no known level of covariate 'kind'"):
        told({"kind": ["d", "a"]}, KINDS, **facts)


def test_what_is_encoded_is_decoded():
    values = {"kind": ["b", None, "a"], "age": [33.0, 47.5, None]}
    assert KINDS.decode(KINDS.encode(values, 3)) == {
        "kind": ["b", None, "a"],
        "age": [pytest.approx(33), 47.5, None],
    }


def data(kinds, ages=None):
    n = len(kinds)
    ages = [30] * n if ages is None else ages
    values = {"kind": kinds, "age": ages}
    return Dataset(
        torch.arange(n)[:, None], None, "cells", "train", "here", "none", columns=values
    )


def test_rows_of_the_same_condition_are_taken():
    found = alike(data(["a", "b"] * 30), KINDS, {"kind": "b"}, 10)
    assert found.x[:, 0].tolist() == list(range(1, 60, 2)) and set(found.columns["kind"]) == {"b"}
    both = alike(data(["a", "b"] * 60, [30] * 60 + [40] * 60), KINDS, {"kind": "a", "age": 40}, 10)
    assert both.x[:, 0].tolist() == list(range(60, 120, 2))
    whole = data(["a"] * 30)
    assert alike(whole, KINDS, {"kind": None}, 10) is whole  # the samples were told nothing


def test_shares_are_those_of_the_samples():
    kinds = ["a"] * 100 + ["b"] * 40 + ["c"] * 30
    found = alike(data(kinds), KINDS, {"kind": "*"}, 12)
    assert [found.columns["kind"].count(k) for k in "abc"] == [30, 30, 30]
    assert len(set(found.x[:, 0].tolist())) == 90
    # Of 4 samples in turn two are of the first level.
    assert each(KINDS, {"kind": "*"}, 4)["kind"] == ["a", "b", "c", "a"]
    found = alike(data(kinds), KINDS, {"kind": "*"}, 4, seed=1)
    assert [found.columns["kind"].count(k) for k in "abc"] == [60, 30, 30]
    same = alike(data(kinds), KINDS, {"kind": "*"}, 4, seed=1)
    assert torch.equal(same.x, found.x)
    assert not torch.equal(alike(data(kinds), KINDS, {"kind": "*"}, 4, seed=2).x, found.x)


def test_too_few_rows_of_a_condition_are_refused():
    with pytest.raises(ValueError, match="only 19 of the 60 rows of cells, split train, are of "):
        alike(data(["a"] * 41 + ["b"] * 19), KINDS, {"kind": "b"}, 10)
    with pytest.raises(
        ValueError, match=r"only 0 .* kind=c: too few to compare samples of kind=\*"
    ):
        alike(data(["a"] * 41 + ["b"] * 19), KINDS, {"kind": "*"}, 12)
    with pytest.raises(ValueError, match="takes 20 rows of the very same value"):
        alike(data(["a"] * 60, list(range(60))), KINDS, {"age": 33}, 10)
    bare = Dataset(torch.ones(60, 1, dtype=torch.int64), None, "x", "all", "here", "none")
    with pytest.raises(ValueError, match="x, split all does not know 'kind' of its rows"):
        alike(bare, KINDS, {"kind": "a"}, 10)


@pytest.mark.parametrize("kind", ["tensor", "sparse", "backed"])
def test_turned_rows_are_rows(tmp_path, kind):
    x = torch.poisson(torch.full((30, 4), 1.0), generator=torch.Generator().manual_seed(0)).int()
    order = torch.tensor([2, 0, 3, 1])
    rows = {"tensor": x, "sparse": SparseRows(sparse.csr_matrix(x.numpy()))}.get(kind)
    if rows is None:
        write_table(tmp_path / "x.h5ad", x)
        rows = CountTable(tmp_path / "x.h5ad", backed=True).load("all").x
        assert isinstance(rows, BackedRows) and isinstance(turned(rows, order), TurnedRows)
    found = turned(rows, order)
    assert torch.equal(dense(found), x[:, order]) and found.shape == (30, 4)
    some = torch.tensor([1, 5, 6])
    assert torch.equal(found[some], x[some][:, order])
    assert torch.equal(found[2:9], x[2:9][:, order])
    assert torch.equal(dense(taken(found, some)), x[some][:, order])
    if kind == "backed":
        found.prefetch(some)


def test_a_coupling_starts_from_the_same_columns(tmp_path):
    counts = np.arange(120).reshape(40, 3)
    write_table(tmp_path / "x.csv", counts, column_names=["a", "b", "c"])
    coupling = Independent(Data(CountTable(tmp_path / "x.csv")))
    check_start(coupling, ("a", "b", "c"))
    check_start(coupling, None)
    check_start(Independent(), ("a", "b"))
    with pytest.raises(ValueError, match="in another order .* store both tables with their col"):
        check_start(coupling, ("b", "a", "c"))
    with pytest.raises(ValueError, match="'d' missing, and 'c' unknown"):
        check_start(coupling, ("a", "b", "d"))
