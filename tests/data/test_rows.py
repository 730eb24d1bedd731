import threading

import numpy as np
import pytest
import torch
from scipy import sparse

from markovbridge.data.rows import dense, parts
from markovbridge.data.sparse import KEPT, READERS, BackedRows, SparseRows
from markovbridge.training.examples import Batches


class Memory:
    """Counts that play a file: records which rows are taken, and in which thread."""

    def __init__(self, x, chunk, sparsely=True):
        self.x, self.shape, self.dtype, self.chunk = x, x.shape, torch.int32, chunk
        self.sparsely, self.taken, self.threads = sparsely, [], set()

    def take(self, rows):
        self.taken.append((int(rows[0]), len(rows)) if len(rows) else None)
        self.threads.add(threading.get_ident())
        x = self.x[rows].astype(np.int16)
        return sparse.csr_matrix(x) if self.sparsely else x


@pytest.fixture
def counts():
    x = np.random.default_rng(0).poisson(0.3, (103, 5))
    x[4] = 0
    return x


def rows_of(kind, counts):
    if kind == "memory":
        return SparseRows(sparse.csr_matrix(counts.astype(np.uint8)))
    return BackedRows(Memory(counts, chunk=8, sparsely=kind == "sparse file"))


@pytest.mark.parametrize("kind", ["memory", "sparse file", "dense file"])
class TestRows:
    @pytest.mark.parametrize(
        "index",
        [[5, 4, 102, 0, 5], [], list(range(103)), [-1, 3]],
        ids=["some", "none", "all", "-1"],
    )
    def test_any_rows_in_any_order(self, kind, counts, index):
        got = rows_of(kind, counts)[torch.tensor(index, dtype=torch.int64)]
        assert got.tolist() == counts[np.array(index, dtype=int)].tolist()

    @pytest.mark.parametrize("index", [slice(None), slice(7, 30), slice(2, 90, 13), slice(5, 5)])
    def test_slices(self, kind, counts, index):
        rows = rows_of(kind, counts)
        assert rows[index].tolist() == counts[index].tolist()
        assert rows[index].dtype == rows.dtype

    def test_taken_rows_are_rows_of_the_same_kind(self, kind, counts):
        rows = rows_of(kind, counts)
        some = rows.take(torch.tensor([3, 4, 50, 90, 102]))
        again = some.take(torch.tensor([0, 3]))
        assert type(again) is type(rows) and again.chunk == rows.chunk
        assert dense(some).tolist() == counts[[3, 4, 50, 90, 102]].tolist()
        assert again[torch.tensor([1, 0])].tolist() == counts[[90, 3]].tolist()
        dense(rows)
        if kind != "memory":
            assert len(rows.stored.threads) <= READERS

    def test_looks_like_a_tensor_of_counts(self, kind, counts):
        rows = rows_of(kind, counts)
        assert (len(rows), rows.ndim, rows.numel()) == (103, 2, 515)
        assert rows.shape == torch.Size((103, 5))
        assert not rows.is_floating_point()

    @pytest.mark.parametrize("size", [1, 10, 103, 500])
    def test_parts_are_the_whole(self, kind, counts, size):
        split = list(rows_of(kind, counts).split(size))
        assert [len(part) for part in split[:-1]] == [size] * (len(split) - 1)
        assert torch.cat(split).tolist() == counts.tolist()
        assert dense(rows_of(kind, counts)).tolist() == counts.tolist()


def test_parts_bound_what_is_dense_at_once():
    wide = torch.zeros(10, 2**18, dtype=torch.uint8)
    assert [len(part) for part in parts(wide)] == [2] * 5
    assert [len(part) for part in parts(torch.zeros(2, 2**20))] == [1, 1]
    assert [len(part) for part in parts(torch.zeros(5000, 3))] == [4096, 904]


class TestBackedRows:
    def test_parts_are_read_by_whole_chunks_once(self, counts):
        stored = Memory(counts, chunk=10)
        assert [len(part) for part in BackedRows(stored).split(4)] == [4] * 25 + [3]
        assert sorted(stored.taken) == [(n, min(8, 103 - n)) for n in range(0, 103, 8)]

    def test_chosen_rows_are_those_of_the_file(self, counts):
        chosen = torch.tensor([1, 2, 50, 51, 52, 99, 102])
        rows = BackedRows(Memory(counts, chunk=3), chosen)
        assert rows.shape == (7, 5)
        assert rows[:].tolist() == counts[chosen.numpy()].tolist()
        assert rows[torch.tensor([6, 0, 3])].tolist() == counts[[102, 1, 51]].tolist()

    def test_chunks_are_read_once_and_by_threads_that_are_not_ours(self, counts):
        stored = Memory(counts, chunk=8)
        rows = BackedRows(stored)
        for _ in range(3):
            rows[torch.tensor([0, 17, 7, 102])]
        assert sorted(stored.taken) == [(0, 8), (16, 8), (96, 7)]
        assert len(stored.threads) <= READERS
        assert threading.get_ident() not in stored.threads

    def test_what_was_announced_is_not_read_again(self, counts):
        stored = Memory(counts, chunk=8)
        rows = BackedRows(stored)
        rows.prefetch(torch.tensor([9, 30]))
        rows[torch.tensor([10])], rows[torch.tensor([25])]
        assert sorted(stored.taken) == [(8, 8), (24, 8)]

    def test_memory_is_bounded_and_the_oldest_chunk_goes_first(self):
        n = KEPT + 3
        x = np.arange(n)[:, None]
        stored = Memory(x, chunk=1)
        rows = BackedRows(stored)
        for k in [*range(KEPT), 0, *range(KEPT, n)]:  # 0 was used again, so 1, 2 and 3 leave
            assert rows[torch.tensor([k])].item() == k
        stored.taken.clear()
        rows[torch.tensor([0, 4])]
        assert stored.taken == []
        rows[torch.tensor([1])]
        assert stored.taken == [(1, 1)]

    def test_what_goes_wrong_while_reading_ahead_is_said_when_the_rows_are_used(self, counts):
        class Damaged(Memory):
            def take(self, rows):
                raise ValueError("row 3 is 0.5")

        rows = BackedRows(Damaged(counts, chunk=8))
        rows.prefetch(torch.tensor([3]))
        with pytest.raises(ValueError, match="row 3 is 0.5"):
            rows[torch.tensor([3])]

    @pytest.mark.parametrize("index", [103, -104])
    def test_refuses_rows_that_are_not_there(self, counts, index):
        with pytest.raises(IndexError, match="there are 103"):
            BackedRows(Memory(counts, chunk=8))[torch.tensor([index])]


@pytest.mark.parametrize("size", [100, 130, 300, 500])
def test_batches_as_long_as_a_window_are_read(size):
    draw = np.random.default_rng(0)
    x = draw.poisson(0.5, (1200, 5)).astype(np.int32)

    class Here:
        shape, dtype, chunk = x.shape, torch.int32, 2

        def take(self, rows):
            return sparse.csr_matrix(x[rows])

    backed, order = BackedRows(Here()), Batches(len(x), size, 0, chunk=2)
    backed.prefetch(order.first(0))
    for step in range(12):
        index = order[step]
        assert np.array_equal(backed.narrow(index).numpy(), x[index.numpy()])
        coming = order.following(step, step == 0)
        if coming is not None:
            backed.prefetch(coming)
