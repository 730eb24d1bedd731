"""Records: complete, with floors whose expectations are known."""

import json

import pytest
import torch
from torch import nn

from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import (
    Inception,
    ModuleExtractor,
    Pixels,
    Record,
    energy_distance,
    evaluate,
    frechet_distance,
    table,
)
from markovbridge.evaluation.metrics.distances import pair_mean

META = {"weights": "ema", "sampler": "Bridge", "evaluations": 50, "seed": 3, "split": "train"}


def counts(n, key):
    rng = generator("cpu", "evaluation", key)
    return torch.poisson(torch.full((n, 1, 2, 2), 3.0), generator=rng).to(torch.int64)


def test_values_are_those_of_the_distances():
    x, y = counts(60, 0), counts(40, 1)
    records = {r.metric.split(" (")[0]: r for r in evaluate(x, y, meta=META)}
    assert records["energy distance"].value == pytest.approx(energy_distance(x, y), rel=1e-12)
    assert records["Fréchet distance"].value == pytest.approx(frechet_distance(x, y), rel=1e-12)
    assert set(records) == {
        "energy distance",
        "Fréchet distance",
        "mean error",
        "variance error",
        "zero-fraction error",
    }


def test_every_figure_carries_its_circumstances():
    for record in evaluate(counts(60, 0), counts(40, 1), seed=8, meta=META | {"block": 64}):
        fields = record.to_dict()
        assert fields == fields | META
        assert (record.n, record.n_reference) == (60, 40)
        assert "bootstrap: 60 draws" in record.floor_method and "seed 8" in record.floor_method
        assert record.half_split is not None
        assert Record(**json.loads(json.dumps(fields))) == record


def test_floor_of_energy_is_the_mean_over_draws():
    y = counts(30, 2)
    energy = evaluate(counts(30, 3), y, meta=META)[0]
    draws, halves = [], []
    for repeat in range(400):
        rng = generator("cpu", "floor check", repeat)
        draws.append(energy_distance(y[torch.randint(30, (30,), generator=rng)], y))
        order = torch.randperm(30, generator=rng)
        halves.append(energy_distance(y[order[:15]], y[order[15:]]))
    for values, expected in ((draws, energy.floor), (halves, energy.half_split)):
        values = torch.tensor(values)
        z = (values.mean() - expected) / values.std() * 20
        assert abs(z) < 4.4  # level 1e-5


def test_few_samples_get_a_split():
    y = counts(50, 4)
    records = evaluate(counts(10, 5), y, repeats=2, meta=META)
    distinct = pair_mean(y) * 50 / 49
    assert records[0].floor == pytest.approx(distinct * (1 / 10 + 1 / 40), rel=1e-12)
    assert all(r.half_split is None for r in records)
    assert all("split: 10 reference items against the other 40" in r.floor_method for r in records)


def test_floors_depend_on_the_seed_alone():
    x, y = counts(20, 6), counts(50, 7)
    assert evaluate(x, y, seed=1, meta=META) == evaluate(x, y, seed=1, meta=META)
    first, second = (evaluate(x, y, seed=seed, meta=META)[1] for seed in (1, 2))
    assert first.floor != second.floor and first.value == second.value


def test_only_inception_gives_fid(monkeypatch):
    class Tiny(nn.Module):
        def forward(self, x):
            return x.flatten(1)

    def fake(self):
        self.name, self.weights = "Inception-v3 (2015-12-05)", "sha256:6726825d"

    monkeypatch.setattr(Inception, "__init__", fake)
    monkeypatch.setattr(Inception, "__call__", lambda self, x: x.flatten(1))
    extractors = (Pixels(), ModuleExtractor(Tiny(), "FID"), Inception())
    records = evaluate(counts(20, 0), counts(20, 1), extractors=extractors, meta=META)
    assert [r.metric for r in records[1:4]] == ["Fréchet distance", "Fréchet distance", "FID"]
    text = table(records)
    assert "FID (Inception-v3 (2015-12-05), sha256:6726825d)" in text
    assert "Fréchet distance (FID, sha256:" in text


def test_table_groups_equal_circumstances():
    x, y = counts(60, 0), counts(40, 1)
    text = table([*evaluate(x, y, meta=META), *evaluate(x, y, meta=META | {"evaluations": 10})])
    assert text.count("60 samples against 40 of train; ema weights, Bridge, ") == 2
    assert text.count("floor = bootstrap: 60 draws") == 2
    assert text.count("energy distance") == 2
    assert f"{energy_distance(x, y):.4g}" in text
    assert max(len(line) for line in text.splitlines()) < 100


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"weights": "ema"}, "meta lacks sampler, evaluations, seed, split"),
        (META | {"weights": "best"}, "'ema' or 'raw', got 'best'"),
    ],
)
def test_incomplete_meta_is_named(meta, message):
    with pytest.raises(ValueError, match=message):
        evaluate(counts(8, 0), counts(8, 1), meta=meta)


def test_too_few_items_are_named():
    with pytest.raises(ValueError, match="got 1 and 8"):
        evaluate(counts(1, 0), counts(8, 1), meta=META)
