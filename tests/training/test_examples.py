import pytest
import torch

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
