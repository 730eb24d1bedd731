"""A large reference: the same figures as row by row, computed once, with fewer rows for energy."""

import pytest
import torch
from torch import Tensor

from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import (
    Extractor,
    Moments,
    Pixels,
    distances,
    energy_distance,
    evaluate,
    reference,
    table,
)
from markovbridge.evaluation.metrics.distances import feature_statistics, pair_mean
from markovbridge.evaluation.metrics.points import draw_rows
from markovbridge.storage import kept

META = {"weights": "ema", "sampler": "Bridge", "evaluations": 50, "seed": 3, "split": "train"}


def counts(n, key, d=6):
    rng = generator("cpu", "reference", key)
    return torch.poisson(torch.linspace(0.5, 4, d).expand(n, d), generator=rng).to(torch.uint8)


class Doubled(Extractor):
    """Twice the values; counts the items it was asked for."""

    def __init__(self, identity: str | None):
        self.name, self.weights, self.identity, self.seen = "doubled", None, identity, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return 2 * x.flatten(1).double()


@pytest.fixture
def large(monkeypatch):
    """Every reference counts as large."""
    monkeypatch.setattr(reference, "LARGE", 0)


def numbers(records):
    return [(r.metric, r.value, r.floor, r.half_split) for r in records]


def check_close(found, expected):
    for one, other in zip(numbers(found), numbers(expected), strict=True):
        assert one[0] == other[0]
        close = 1e-6 if one[0].startswith("zero") else 1e-9  # shares are rounded to float32
        for a, b in zip(one[1:], other[1:], strict=True):
            assert a == (b if b is None else pytest.approx(b, rel=close, abs=1e-12))


@pytest.mark.parametrize("n", [10, 60])  # the floor is a split, and a bootstrap
def test_a_large_reference_scores_as_a_small_one(n, monkeypatch, tmp_path):
    x, y = counts(n, 0), counts(90, 1)
    small = evaluate(x, y, meta=META)
    monkeypatch.setattr(reference, "LARGE", 0)
    monkeypatch.setattr(reference, "PART", 32)
    first = evaluate(x, y, meta=META, cache=tmp_path)
    check_close(first, small)
    assert evaluate(x, y, meta=META, cache=tmp_path) == first
    assert evaluate(x, y, meta=META) == first


def test_moments_and_statistics_without_some_rows():
    x = counts(40, 2).double()
    found = Moments.of(x).without(Moments.of(x[:15]), 40, 15)
    expected = Moments.of(x[15:])
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(found.covariance, expected.covariance, rtol=1e-12, atol=1e-12)
    some = reference._without(feature_statistics(x), feature_statistics(x[:15]), 40, 15)
    left = x[15:]
    expected = left.mean(0), left.var(0), (left == 0).double().mean(0)
    for one, other in zip(some, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
    with pytest.raises(ValueError, match="39 of 40 items leave 1"):
        Moments.of(x).without(Moments.of(x[:39]), 40, 39)


def test_bands_of_a_covariance_and_thin_factors(monkeypatch):
    """What more features than FACTORED go through, against what fewer do."""
    y, x = counts(50, 3, d=12).double(), counts(7, 4, d=12).double()
    whole, few = Moments.of(y), Moments.of(x)
    assert few.thin is None
    expected = few.frechet_distance(whole), few.frechet_distance(Moments.of(y[:6]))
    monkeypatch.setattr(distances, "FACTORED", 5)
    banded, thin = Moments.of(y), Moments.of(x)
    torch.testing.assert_close(banded.covariance, whole.covariance, rtol=1e-13, atol=1e-13)
    assert thin.thin is not None and thin.thin.shape == (12, 7)
    torch.testing.assert_close(thin.covariance, few.covariance, rtol=1e-13, atol=1e-13)
    assert thin.frechet_distance(banded) == pytest.approx(expected[0], rel=1e-7)
    assert banded.frechet_distance(thin) == pytest.approx(expected[0], rel=1e-7)
    assert thin.frechet_distance(Moments.of(y[:6])) == pytest.approx(expected[1], rel=1e-12)


def test_what_is_kept_is_not_computed_again(large, tmp_path):
    x, y = counts(10, 5), counts(80, 6)
    one = Doubled("doubled 1")
    first = evaluate(x, y, extractors=[Pixels(), one], meta=META, cache=tmp_path)
    assert one.seen == 10 + 80
    again = Doubled("doubled 1")
    assert evaluate(x, y, extractors=[Pixels(), again], meta=META, cache=tmp_path) == first
    assert again.seen == 10  # the samples, and none of the reference
    other = evaluate(counts(10, 7), y, extractors=[again], meta=META, cache=tmp_path)
    assert again.seen == 20 and other[1].floor == first[2].floor
    # Another seed asks for other floors, and their rows alone; the moments are there.
    evaluate(x, y, extractors=[again], meta=META, cache=tmp_path, seed=1, repeats=2)
    assert again.seen == 20 + 10 + 2 * 10


@pytest.mark.parametrize("change", ["value", "shape", "type"])
def test_another_reference_is_another(large, tmp_path, change):
    x, y = counts(10, 5), counts(80, 6)
    evaluate(x, y, extractors=[Doubled("doubled")], meta=META, cache=tmp_path)
    if change == "value":
        y[79, 5] += 1
    x, y = (v.reshape(-1, 2, 3) for v in (x, y)) if change == "shape" else (x, y)
    y = y.to(torch.int16) if change == "type" else y
    again = Doubled("doubled")
    found = evaluate(x, y, extractors=[again], meta=META, cache=tmp_path)
    assert again.seen == 10 + 80
    assert found == evaluate(x, y, extractors=[again], meta=META)


def test_an_extractor_that_may_be_another_leaves_nothing(large, tmp_path):
    x, y = counts(10, 5), counts(80, 6)
    for _ in range(2):
        own = Doubled(None)
        evaluate(x, y, extractors=[own], meta=META, cache=tmp_path)
        assert own.seen == 10 + 80
    before = {path.name for path in tmp_path.iterdir()}
    evaluate(x, y, extractors=[Doubled("doubled")], meta=META, cache=tmp_path)
    assert before < {path.name for path in tmp_path.iterdir()}


def test_a_small_reference_leaves_nothing(tmp_path):
    evaluate(counts(10, 5), counts(80, 6), meta=META, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_damaged_file_is_computed_again(large, tmp_path):
    x, y = counts(10, 5), counts(80, 6)
    first = evaluate(x, y, meta=META, cache=tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.warns(UserWarning, match="is computed again"):
        assert evaluate(x, y, meta=META, cache=tmp_path) == first
    assert evaluate(x, y, meta=META, cache=tmp_path) == first


def test_sealed_nonsense_is_computed_again(large, tmp_path, monkeypatch):
    """A file whose hash is right, but that holds no such numbers."""
    x, y = counts(10, 5), counts(80, 6)
    first = evaluate(x, y, meta=META, cache=tmp_path)
    write = kept._write

    def infinite(path, about, arrays):
        write(path, about, {key: array + float("inf") for key, array in arrays.items()})

    with monkeypatch.context() as patch:
        patch.setattr(kept, "_write", infinite)
        for path in tmp_path.iterdir():
            path.unlink()
        evaluate(x, y, meta=META, cache=tmp_path)
    with pytest.warns(UserWarning, match="no finite numbers"):
        assert evaluate(x, y, meta=META, cache=tmp_path) == first


@pytest.mark.parametrize(("n", "rows"), [(10, 30), (40, 40), (60, 50)])
def test_energy_looks_at_some_rows(monkeypatch, n, rows):
    monkeypatch.setattr(reference, "ENERGY_ROWS", 30)
    x, y = counts(n, 8), counts(50, 9)
    energy, frechet = evaluate(x, y, meta=META)[:2]
    some = draw_rows(y, rows, "reference")
    assert (energy.n, energy.n_reference) == (n, rows)
    assert energy.value == pytest.approx(energy_distance(x, some), rel=1e-12)
    spread = pair_mean(some)
    if 2 * n > rows:
        assert energy.floor == pytest.approx(spread / n, rel=1e-12)
    else:
        distinct = spread * rows / (rows - 1)
        assert energy.floor == pytest.approx(distinct * (1 / n + 1 / (rows - n)), rel=1e-12)
    assert frechet.n_reference == 50 and frechet.split == "train"
    if rows < 50:
        assert energy.split == "train, drawn at random from 50"
        text = table([energy, frechet])
        assert f"{n} samples against {rows} of train, drawn at random from 50;" in text
        assert f"{n} samples against 50 of train;" in text
    else:
        assert energy.split == "train" and energy.floor_method == frechet.floor_method


@pytest.mark.parametrize("n", [10, 60])
def test_progress_is_told_to_the_end(large, n, tmp_path):
    for _ in range(2):
        shares = []
        told = {"meta": META, "cache": tmp_path, "callback": shares.append}
        evaluate(counts(n, 0), counts(90, 1), extractors=[Doubled("doubled")], **told)
        assert min(shares) >= 0 and sum(shares) == pytest.approx(1)
