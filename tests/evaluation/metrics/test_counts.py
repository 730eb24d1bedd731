"""Scores of count tables: floors that a perfect model meets, and what each figure sees."""

import json

import pytest
import torch
from scipy import sparse

from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import Record, embed, evaluate_counts, table
from markovbridge.storage.files import to_json

META = {"weights": "ema", "sampler": "Bridge", "evaluations": 50, "seed": 3, "split": "test"}


def draw(n, key, spread=0.6, d=12):
    """Poisson counts of d features with a size factor of log-normal law."""
    rng = generator("cpu", "counts", key)
    size = (spread * torch.randn(n, 1, generator=rng)).exp()
    return torch.poisson(size * torch.linspace(0.1, 3, d), generator=rng).to(torch.int64)


def scores(records):
    return {r.metric: r for r in records}


def test_spaces():
    x = torch.tensor([[1, 3], [0, 0]])
    assert embed(x, "counts").tolist() == [[1, 3], [0, 0]]
    assert embed(x, "shares").tolist() == [[0.25, 0.75], [0, 0]]
    torch.testing.assert_close(embed(x), torch.tensor([[2.0, 4.0], [1.0, 1.0]]).log())
    with pytest.raises(ValueError, match="'log1p', 'counts', 'shares', not 'log'"):
        embed(x, "log")


def test_a_perfect_model_meets_its_floors():
    found = scores(evaluate_counts(draw(600, 0), draw(1200, 1), repeats=2, meta=META))
    for record in found.values():
        if "correlation" in record.metric and "error" not in record.metric:
            assert record.value > 0.9 and record.floor > 0.9, record
        elif record.metric == "classifier AUC":
            assert abs(record.value - 0.5) < 0.06 and abs(record.floor - 0.5) < 0.06
        elif record.metric == "MMD":
            assert record.value < 0.08
        else:
            assert record.value < 3 * record.floor, record
    assert len(found) == 18
    assert found["energy distance"].n == found["energy distance"].n_reference == 600
    assert found["mean: log correlation"].n_reference == 1200


def test_lost_size_factors_show_where_they_should():
    found = scores(evaluate_counts(draw(600, 2, spread=0.0), draw(1200, 3), repeats=1, meta=META))
    assert found["library-size distance"].value > 3 * found["library-size distance"].floor
    assert found["correlation error"].value > 2 * found["correlation error"].floor
    assert found["Fano factor: median error"].value > 0.2
    assert found["classifier AUC"].value > 0.65
    shares = scores(
        evaluate_counts(
            draw(600, 2, spread=0.0), draw(1200, 3), space="shares", repeats=1, meta=META
        )
    )
    # Shares are blind to library size, but for how finely they are divided.
    assert shares["sliced Wasserstein distance"].value < 2 * (
        shares["sliced Wasserstein distance"].floor
    )
    assert shares["sliced Wasserstein distance"].extractor == "shares"


def test_sparse_arrays_and_tensors_score_alike():
    x, y = draw(60, 4), draw(90, 5)
    dense = evaluate_counts(x, y, repeats=2, meta=META)
    assert evaluate_counts(x.numpy(), sparse.csr_matrix(y.numpy()), repeats=2, meta=META) == dense
    assert evaluate_counts(x.float(), sparse.coo_array(y.numpy()), repeats=2, meta=META) == dense

    class Stored:
        shape = y.shape

        def __getitem__(self, index):
            return y[index]

    assert evaluate_counts(x, Stored(), repeats=2, meta=META) == dense


def test_large_tables_are_drawn_from():
    x, y = draw(60, 6), draw(300, 7)
    few = scores(evaluate_counts(x, sparse.csr_matrix(y.numpy()), limit=100, repeats=1, meta=META))
    assert few["mean: log correlation"].n_reference == 100
    assert few["energy distance"].n == 50
    small = scores(evaluate_counts(x, y, rows=30, repeats=1, meta=META))
    assert small["energy distance"].n == 30
    assert small["mean: log correlation"].n == 60


def test_rare_features_are_left_out():
    y = torch.cat([draw(100, 8), torch.zeros(100, 5, dtype=torch.int64)], 1)
    y[:3, -1] = 1
    x = torch.cat([draw(50, 9), torch.zeros(50, 5, dtype=torch.int64)], 1)
    by = scores(evaluate_counts(x, y, repeats=1, meta=META))
    assert by["mean: log correlation"].extractor.endswith("features in 10+ rows")
    assert by["mean: log correlation"].value > 0.9  # the one never made is not among them
    by = scores(evaluate_counts(x, y, seen=3, repeats=1, meta=META))
    assert by["mean: log correlation"].extractor == "13 features in 3+ rows"
    assert by["mean: largest error"].value == 1


def test_what_is_undefined_is_null_and_says_why():
    full = draw(60, 10) + 1  # no zero anywhere: all zero fractions are the same
    records = evaluate_counts(full, draw(100, 11) + 1, repeats=1, meta=META)
    found = scores(records)["zero fraction: log correlation"]
    assert found.value is None and found.floor is None
    assert (
        found.undefined == "the zero fraction of all features is the same in one of the two tables"
    )
    assert scores(records)["mean: log correlation"].undefined is None
    text = to_json([record.to_dict() for record in records])
    assert [Record(**fields) for fields in json.loads(text)] == records
    told = table(records).splitlines()
    (row,) = (line for line in told if "zero fraction: log correlation" in line)
    assert row.split()[-2:] == ["–", "–"]
    assert f"  – = undefined: {found.undefined}" in told


@pytest.mark.parametrize("often", [0, 1, 2])
def test_a_nearly_empty_table_is_scored_as_far_as_it_can_be(often):
    """Of 30 features so many are seen in a tenth of the rows or more; the others hardly ever."""
    real, ours = torch.zeros(100, 30, dtype=torch.int64), torch.zeros(40, 30, dtype=torch.int64)
    real[:20, :often] = 1
    ours[::5, :often] = 1
    real[0, 3], ours[1, 4] = 7, 2
    records = evaluate_counts(ours, real, repeats=1, meta=META)
    found = scores(records)
    assert len(found) == 18
    where = f"{often} features in 10+ rows"
    named = {metric: record.undefined for metric, record in found.items() if record.undefined}
    features = {m for m in found if ": " in m and (often == 0 or "correlation" in m)}
    assert set(named) == features | ({"correlation error"} if often < 2 else set())
    for metric, reason in named.items():
        takes = "correlations take 2" if metric == "correlation error" else "a correlation takes 3"
        assert reason.startswith(f"there are {where}, and {takes}")
        assert found[metric].value is None and found[metric].floor is None
    defined = [record for record in records if record.undefined is None]
    assert all(record.value is not None and record.floor is not None for record in defined)
    assert {"energy distance", "classifier AUC", "library-size distance"} <= found.keys() - named
    if often == 2:  # 8 of 40 rows against 20 of 100
        assert found["mean: largest error"].value == pytest.approx(0, abs=1e-12)
    assert f"undefined: there are {where}" in table(records)


def test_progress_is_told_to_the_end():
    shares = []
    told = {"repeats": 2, "meta": META, "callback": shares.append}
    evaluate_counts(draw(60, 4), draw(90, 5), **told)
    assert len(shares) > 10 and min(shares) > 0
    assert sum(shares) == pytest.approx(1)


def test_records_fit_a_terminal():
    text = table(evaluate_counts(draw(60, 10), draw(100, 11), repeats=1, meta=META))
    assert max(len(line) for line in text.splitlines()) < 100
    assert "energy distance (log1p)" in text
    raw = table(evaluate_counts(draw(60, 10), draw(100, 11), space="counts", repeats=1, meta=META))
    assert "energy distance  " in raw


@pytest.mark.parametrize(
    ("samples", "reference", "message"),
    [
        (draw(5, 0), draw(50, 1), "at least 10 samples, 20 real rows, got 5 and 50"),
        (draw(50, 0), draw(10, 1), "got 50 and 10"),
        (draw(50, 0) - 1, draw(50, 1), "samples holds -1: counts cannot be negative"),
        (draw(50, 0), draw(50, 1, d=5), "same size, got 12 and 5"),
        (draw(50, 0).float().log(), draw(50, 1), "samples holds NaN or infinity"),
    ],
)
def test_what_is_no_table_of_counts_is_named(samples, reference, message):
    with pytest.raises(ValueError, match=message):
        evaluate_counts(samples, reference, meta=META)
