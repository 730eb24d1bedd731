"""Likelihood, restoration and self-consistency on the page of a run."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from markovbridge import MeanHead, PureDeath, Transport
from markovbridge.data import Arrays, Digits
from markovbridge.evaluation.consistency import MEANING
from markovbridge.evaluation.held_out_likelihood import Nats
from markovbridge.evaluation.report import write_report
from markovbridge.evaluation.restoration import Restoration, score
from markovbridge.networks import MLP
from pages import Page, make_run

FIGURES = {
    "bound": True,
    "nats": 88.25,
    "nats_error": 0.5,
    "bits": 1.9894,
    "bits_error": 0.0113,
    "behind": 0.0,
    "behind_error": 0.0,
    "n": 180,
    "split": "digits, test",
    "draws": 64,
    "weights": "ema",
    "seed": 3,
}


def save_model(run, shape=(1, 8, 8)):
    process = PureDeath(maximum=16)
    network = MLP(shape, 1, 1, width=4, depth=1)
    transport = Transport(process, network, MeanHead(), shape=shape, mean=5.0, variance=9.0)
    transport.save_pretrained(run / "model")
    return sum(p.numel() for p in network.parameters())


def write_likelihood(run):
    ours = Nats(model="this model", **FIGURES)
    other = dataclasses.replace(
        ours, model="independent <histogram>", bound=False, behind=0.4321, behind_error=0.0123
    )
    records = [ours.to_dict(), other.to_dict()]
    (run / "likelihood.json").write_text(json.dumps({"records": records, "model": "0"}))


def write_restored(run, truth):
    rng = torch.Generator().manual_seed(0)
    draws = torch.poisson(truth.double().expand(19, *truth.shape), generator=rng).long()
    restored = Restoration(draws.clamp_max(16))
    scores = [
        score("draws & their mean", truth, restored.mean, restored, generator=rng),
        score("input / survival", truth, 2 * (truth // 2)),
    ]
    meta = {
        "survival": 0.25,
        "draws": 19,
        "rows": len(truth),
        "input": "split test, thinned",
        "sampler": "Trapezoidal",
        "evaluations": 20,
        "weights": "ema",
        "seed": 5,
        "scores": [dataclasses.asdict(one) for one in scores],
    }
    arrays = {"input": truth // 4, "draws": restored.draws, "mean": restored.mean, "truth": truth}
    arrays = {name: array.numpy() for name, array in arrays.items()}
    np.savez(run / "restored.npz", meta=json.dumps(meta), **arrays)
    return scores


def write_diagnostics(run):
    pieces = [
        {
            "times": [0.2 * k, 0.2 * k + 0.2],
            "survival": [0.1 * k, 0.1 * k + 0.1],
            "checks": {
                n: {"value": 0.01 * (k + i), "error": 0.002} for i, n in enumerate(MEANING)
            },
        }
        for k in range(1, 4)
    ]
    pieces[1]["checks"]["covariance"]["value"] = -0.77
    meta = {"n": 256, "data": "digits, test", "weights": "ema", "seed": 4}
    (run / "diagnostics.json").write_text(json.dumps({"pieces": pieces, "meta": meta}))


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("runs") / "asked", Digits())
    weights = save_model(run)
    write_likelihood(run)
    scores = write_restored(run, Digits().load("test").x[:7].long())
    write_diagnostics(run)
    return run, weights, scores, Page(write_report(run))


def test_likelihood(asked):
    *_, page = asked
    assert "≤ 1.9894 ± 0.0113" in page.text and "≤ 88.25 ± 0.5" in page.text
    assert "independent <histogram>" in page.text and "+0.4321 ± 0.0123" in page.text
    assert "180 data points, digits, test: ema weights, 64 looks at each, seed 3" in page.text
    assert "Bits per dimension≤ 1.989 ± 0.011" in page.text


def test_weights_are_counted(asked):
    _, weights, _, page = asked
    assert f"Weights{weights:,}" in page.text


def test_restoration(asked):
    _, _, scores, page = asked
    columns = ["input", "draw 1", "draw 2", "draw 3", "mean", "truth"]
    shown = [alt for alt in page.images if alt in columns]
    assert shown == columns * 6
    assert "kept 0.25 on average" in page.text
    ours = scores[0].coverage[1]
    assert f"{ours.randomised:.1%} ± {ours.error:.1%}{ours.conservative:.1%}" in page.text
    assert "draws & their mean" in page.text and "7 rows, 19 draws of each" in page.text


def test_diagnostics(asked):
    *_, page = asked
    assert page.source.count("Line chart: violation of") == 2
    for name, text in MEANING.items():
        assert name + text in page.text
    assert "-0.77 ± 0.0020.50" in page.text  # the largest, with its error, at the middle of t
    assert "256 data points, digits, test" in page.text


def test_what_was_not_asked_is_offered_where_it_can_be(tmp_path):
    run = make_run(tmp_path / "counts", Digits())
    save_model(run)
    text = Page(write_report(run)).text
    for verb in ("evaluate {} --likelihood 200", "restore {} --survival 0.1", "diagnose {}"):
        assert f"markovbridge {verb.format(run)}" in text
    other = make_run(tmp_path / "other", Digits())
    text = Page(write_report(other)).text
    assert "--likelihood" in text
    assert "restore" not in text and "diagnose" not in text


def test_restored_tables_are_plotted(tmp_path):
    x = torch.arange(60).reshape(20, 3)
    np.save(tmp_path / "counts.npy", x.numpy())
    run = make_run(tmp_path / "table", Arrays(path=tmp_path / "counts.npy"))
    write_restored(run, x.clamp_max(16))
    page = Page(write_report(run))
    assert page.source.count('class="point"') == 60
    assert not page.images


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("restored.npz", b"PK\x03\x04 half", r"restored\.npz is damaged.*markovbridge restore"),
        ("likelihood.json", b'{"records": [{}]}', r"likelihood\.json.*markovbridge evaluate"),
        ("diagnostics.json", b"{", r"diagnostics\.json is damaged.*markovbridge diagnose"),
        ("model/model.safetensors", b"??", r"model\.safetensors is damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    run = make_run(tmp_path / "damaged", Digits())
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        write_report(run)
