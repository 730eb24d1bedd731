"""Sums and extremes of sparse rows are those of the dense ones."""

import numpy as np
import pytest
import torch
from scipy import sparse

from markovbridge import PureDeath, statistics
from markovbridge.data import Dataset
from markovbridge.data.rows import totals
from markovbridge.data.sparse import BackedRows, SparseRows
from markovbridge.data.summary import Summary
from markovbridge.recipes.recipe import _checked
from markovbridge.samplers.extrapolation import extremes


class Memory:
    """Counts that play a file."""

    def __init__(self, x, sparsely):
        self.x, self.shape, self.dtype, self.chunk = x, x.shape, torch.int64, 8
        self.sparsely = sparsely

    def take(self, rows):
        x = self.x[rows].astype(np.int16)
        return sparse.csr_matrix(x) if self.sparsely else x


@pytest.fixture
def counts():
    x = np.random.default_rng(0).poisson(0.4, (101, 6))
    x[:, 2] = 0
    x[:, 3] += 2  # never 0
    x[7] = 0
    x[7, 3] = 1
    x[50, 4] = 30_000  # its square is beyond 16 and 32 bits
    return x


@pytest.fixture(params=["memory", "sparse file", "dense file", "turned"])
def both(request, counts):
    """Rows of a kind, and the same as a tensor."""
    x = torch.from_numpy(counts)
    if request.param == "memory":
        return SparseRows(sparse.csr_matrix(counts.astype(np.int16))), x
    if request.param == "turned":
        order = torch.tensor([5, 3, 0, 1, 2, 4])
        return BackedRows(Memory(counts, True)).turned(order), x[:, order]
    return BackedRows(Memory(counts, request.param == "sparse file")), x


def test_sums_and_extremes_are_those_of_the_tensor(both):
    rows, x = both
    found = rows.summary()
    assert torch.equal(found.totals, x.sum(1)) and torch.equal(totals(rows), totals(x))
    assert torch.equal(found.sums, x.double().sum(0))
    assert torch.equal(found.squares, (x.double() ** 2).sum(0))
    assert torch.equal(extremes(rows), extremes(x))
    assert extremes(rows).dtype == torch.int64
    for one, other in zip(statistics(rows), statistics(x), strict=True):
        assert torch.equal(one, other)
    assert rows.summary() is found


def test_entries_that_are_stored_twice_or_as_zero_count_as_what_they_make():
    matrix = sparse.csr_matrix(
        (np.array([2, 3, 0, 1], np.uint8), [1, 1, 0, 0], [0, 3, 4]), shape=(2, 2)
    )
    found = SparseRows(matrix).summary()
    assert found.totals.tolist() == [5, 1]
    assert found.squares.tolist() == [1, 25]
    assert found.least.tolist() == [0, 0] and found.largest.tolist() == [1, 5]
    assert matrix.nnz == 4  # and what was given is as it was


def test_no_rows_have_no_totals():
    assert Summary.of([], 3).totals.shape == (0,)


def test_some_rows_are_held_in_memory(both):
    rows, x = both
    index = torch.tensor([0, 7, 50, 100])
    held = rows.held(index)
    assert held.dtype == rows.dtype and not isinstance(held, BackedRows)
    assert held[:].long().tolist() == x[index].tolist()


def test_a_row_comes_in_a_type_that_holds_it(both):
    rows, x = both
    index = torch.tensor([50, 2, 100, 7])
    narrow = rows.narrow(index)
    assert narrow.dtype in (torch.int16, rows.dtype)
    assert narrow.long().tolist() == x[index].tolist()


def test_pure_death_refuses_rows_beyond_its_maximum(counts):
    rows = SparseRows(sparse.csr_matrix(counts.astype(np.int16)))
    data = Dataset(rows, None, "cells", "all", "here", "none")
    assert _checked(data, PureDeath(maximum=30_000)) is rows
    with pytest.raises(ValueError, match="cells holds 30000, above the maximum"):
        list(_checked(data, PureDeath(maximum=29_999)))
