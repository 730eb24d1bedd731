import numpy as np
import pytest
import torch
from scipy import sparse

from markovbridge.data.rows import WINDOW
from markovbridge.data.sparse import BackedRows, SparseRows
from markovbridge.training import Examples
from markovbridge.training.examples import Batches

CPU = torch.device("cpu")


@pytest.mark.parametrize(("n", "size"), [(10, 3), (7, 7), (5, 16), (1, 4)])
def test_batches_are_a_stream_of_permutations(n, size):
    batches = Batches(n, size, seed=3)
    stream = torch.cat([batches[k] for k in range(3 * n)])
    assert len(stream) == 3 * n * size
    for epoch in stream.split(n)[: len(stream) // n]:
        assert torch.equal(epoch.sort().values, torch.arange(n))


def test_a_batch_is_a_function_of_seed_and_step_alone():
    batches = Batches(10, 4, seed=3)
    walked = [batches[k].clone() for k in range(20)]
    for k in (13, 2, 19, 2):
        assert torch.equal(Batches(10, 4, seed=3)[k], walked[k])
        assert torch.equal(batches[k], walked[k])
    assert any(not torch.equal(Batches(10, 4, seed=4)[k], walked[k]) for k in range(3))


def test_epochs_have_different_orders():
    batches = Batches(50, 50, seed=0)
    assert not torch.equal(batches[0], batches[1])


class File:
    """Counts 2k and 2k + 1 in row k, which play a file."""

    def __init__(self, n, chunk):
        self.shape, self.dtype, self.chunk, self.taken = (n, 2), torch.int32, chunk, []

    def take(self, rows):
        self.taken.append(int(rows[0]))
        return sparse.csr_matrix(2 * rows[:, None] + np.arange(2))


@pytest.mark.parametrize(("n", "chunk"), [(1000, 3), (1001, 3), (7, 10), (WINDOW * 5, 5)])
def test_with_chunks_batches_still_are_a_stream_of_permutations(n, chunk):
    batches = Batches(n, 16, seed=3, chunk=chunk)
    stream = torch.cat([batches[k] for k in range(3 * n // 16 + 1)])
    epochs = stream[: 2 * n].split(n)
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, torch.arange(n))
    assert not torch.equal(*epochs)
    assert torch.equal(Batches(n, 16, seed=3, chunk=chunk)[9], batches[9])


def test_a_window_has_the_rows_of_few_chunks_in_any_order():
    chunk, n = 3, 1000
    order = torch.cat([Batches(n, 100, seed=3, chunk=chunk)[k] for k in range(10)])
    first = order[: WINDOW * chunk - 2]  # the last chunk, which has one row, may be among them
    assert len(set((first // chunk).tolist())) <= WINDOW
    assert (first[:50] // chunk).diff().count_nonzero() > 40


def test_every_chunk_is_as_likely_to_come_first():
    # 2,000 seeds, which of 128 chunks the first sample is from: counts have mean 15.625, and
    # chi-square with 127 degrees of freedom has its quantile at 1 - 1e-5 at 206.8.
    firsts = torch.tensor([int(Batches(256, 1, seed, chunk=2)[0][0]) // 2 for seed in range(2000)])
    seen = torch.bincount(firsts, minlength=128)
    assert ((seen - 15.625) ** 2 / 15.625).sum() < 206.8


def windows(batches, n, chunk):
    """Where in the stream the windows of the first two epochs end."""
    ends = []
    for epoch in range(2):
        order = batches._epoch(epoch) // chunk
        seen = torch.tensor([int((order[: k + 1]).unique().numel()) for k in range(n)])
        for count in range(WINDOW, -(-n // chunk) + WINDOW, WINDOW):
            ends.append(epoch * n + int((seen <= count).sum()))
    return ends


@pytest.mark.parametrize(("n", "size"), [(1000, 32), (1001, 100), (1001, 700), (7, 3)])
def test_the_next_window_is_announced_once_as_a_whole(n, size):
    batches = Batches(n, size, seed=1, chunk=4)
    ends = [0, *windows(batches, n, 4)]
    stream = torch.cat([batches[k] for k in range(2 * n // size + 1)])
    begun = set()
    for step in range(n // size + 1):
        window = max(k for k, end in enumerate(ends) if end <= step * size)
        following = stream[ends[window + 1] : ends[window + 2]]
        left = stream[step * size : ends[window + 1]]
        assert torch.equal(batches.first(step), left)
        assert torch.equal(batches.following(step, fresh=True), following)
        found = batches.following(step)
        assert (found is None) == (window in begun)
        assert found is None or torch.equal(found, following)
        begun.add(window)
    assert Batches(n, size, seed=1).following(5) is None
    assert Batches(n, size, seed=1).first(5) is None


def test_what_was_announced_is_read_once_and_no_row_is_waited_for_twice():
    stored = File(2000, chunk=4)
    examples = Examples(BackedRows(stored))
    batches = Batches(2000, 32, seed=1, chunk=4)
    examples.prefetch(batches.first(0))
    for step in range(55):  # seven windows of 256 rows, so that the eighth is announced
        examples.rows(batches[step], CPU)
        examples.prefetch(batches.following(step))
    examples.x._reader.shutdown(wait=True)
    assert sorted(stored.taken) == list(range(0, 2000, 4))


def test_rows_of_a_file_train_like_those_in_memory():
    rows = BackedRows(File(100, chunk=7))
    index = torch.tensor([99, 3, 50])
    got = Examples(rows).rows(index, CPU)["x1"]
    assert got.tolist() == [[198, 199], [6, 7], [100, 101]]
    assert got.dtype == torch.int64


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_fingerprint_tells_rows_apart(kind):
    def rows(start):
        x = torch.arange(start, start + 6000).reshape(3000, 2)
        if kind == "memory":
            return SparseRows(sparse.csr_matrix(x.numpy()))
        stored = File(3000, chunk=50)
        stored.take = lambda rows: x.numpy()[rows]
        return BackedRows(stored)

    assert Examples(rows(0)).fingerprint() == Examples(rows(0)).fingerprint()
    assert Examples(rows(0)).fingerprint() != Examples(rows(1)).fingerprint()


def test_rows_widen_counts_and_leave_reals_and_conditions_alone():
    x = torch.tensor([[250], [3], [255]], dtype=torch.uint8)
    condition = torch.tensor([[1.0], [2.0], [3.0]])
    rows = Examples(x, condition=condition).rows(torch.tensor([2, 0]), CPU)
    assert rows["x1"].dtype == torch.int64
    assert rows["x1"].tolist() == [[255], [250]]
    assert rows["condition"].tolist() == [[3.0], [1.0]]
    assert rows["x0"] is None
    reals = Examples(x.float(), source=x).rows(torch.tensor([1]), CPU)
    assert reals["x1"].dtype == torch.float32
    assert reals["x0"].tolist() == [[3]]
    assert x.dtype == torch.uint8


def test_fingerprint_tells_data_apart():
    x = torch.arange(3000 * 2).reshape(3000, 2)
    prints = [
        Examples(x).fingerprint(),
        Examples(x + 1).fingerprint(),
        Examples(x.int()).fingerprint(),
        Examples(x, source=x).fingerprint(),
        Examples(x, condition=x).fingerprint(),
        Examples(x.reshape(3000, 2, 1)).fingerprint(),
    ]
    assert Examples(x.clone()).fingerprint() == prints[0]
    assert all(a != b for i, a in enumerate(prints) for b in prints[:i])


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"x": torch.zeros(3, 2, dtype=torch.float64)}, TypeError, "x has type torch.float64"),
        ({"x": torch.zeros(3, 2, dtype=torch.bool)}, TypeError, "x has type torch.bool"),
        ({"x": torch.zeros(3)}, ValueError, r"x has shape \(3,\)"),
        ({"x": torch.zeros(0, 2)}, ValueError, r"x has shape \(0, 2\)"),
        (
            {"x": torch.zeros(3, 2), "source": torch.zeros(3, 1)},
            ValueError,
            r"source has shape \(3, 1\)",
        ),
        (
            {"x": torch.zeros(3, 2), "condition": torch.zeros(2, 1)},
            ValueError,
            "condition has 2 rows for 3 samples",
        ),
    ],
)
def test_bad_data_is_named(fields, error, message):
    with pytest.raises(error, match=message):
        Examples(**fields)
