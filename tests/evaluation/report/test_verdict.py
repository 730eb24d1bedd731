"""The sentence at the top of the report of a table, at numbers that decide it."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from markovbridge.data import Arrays
from markovbridge.evaluation.metrics import Record, evaluate
from markovbridge.evaluation.report import write_report
from markovbridge.evaluation.report.verdict import (
    Difference,
    most_different,
    nearness,
    of_new_data,
    sentence,
)
from pages import Page, make_run

AUC = Record(
    metric="classifier AUC",
    value=0.502,
    floor=0.508,
    floor_method="600 rows",
    half_split=None,
    n=600,
    n_reference=600,
    split="mouse-brain, test",
    extractor="log1p",
    extractor_weights=None,
    weights="ema",
    sampler="Bridge",
    evaluations=20,
    seed=0,
)


def record(metric, value, floor):
    return dataclasses.replace(AUC, metric=metric, value=value, floor=floor)


NEAR = [record("energy distance", 0.012, 0.01), record("correlation error", 0.05, 0.04)]
FAR = [*NEAR, record("library-size distance", 0.16, 0.05), record("MMD", 1.0, 1e-9)]
SAME = Difference("Xkr4", 0.2, 0.21, True)
OFF = Difference("Hbb-bs", 1.2345, 0.712, False)


def test_what_cannot_be_told():
    assert sentence([AUC, *NEAR], SAME) == (
        "Samples cannot be told from rows of mouse-brain, test: a classifier has an AUC of 0.502, "
        "and of 0.508 between real rows; every distance is within 1.5 times its floor, and of "
        "the features seen in enough rows, none has a mean that differs from that of the training "
        "rows by more than chance."
    )


def test_what_is_off():
    assert sentence([AUC, *FAR], OFF) == (
        "Samples cannot be told from rows of mouse-brain, test: a classifier has an AUC of 0.502, "
        "and of 0.508 between real rows; off are the library-size distance, 3.2 times its floor; "
        "and the mean of Hbb-bs, 1.23 instead of 0.712 in training rows."
    )
    assert sentence([AUC, *NEAR], OFF).endswith(
        "between real rows; off is the mean of Hbb-bs, 1.23 instead of 0.712 in training rows."
    )
    assert sentence([AUC, *FAR], None).endswith(
        "; off is the library-size distance, 3.2 times its floor."
    )


@pytest.mark.parametrize(
    ("slope", "said"), [(0.93, False), (0.91, True), (1.07, False), (1.09, True)]
)
def test_fold_changes_that_are_off(slope, said):
    one = dataclasses.replace(AUC, metric="fold-change slope", value=slope, floor=1.0, error=0.04)
    text = sentence([AUC, one], SAME)
    assert (
        f"; off are fold changes between classes, {slope:.2f} times the real ones." in text
    ) is said
    assert text.endswith("more than chance.") is not said
    text = sentence([AUC, *FAR, one], OFF)
    middle = f"; fold changes between classes, {slope:.2f} times the real ones; and the mean of H"
    assert (middle in text) is said


def test_fold_changes_that_real_rows_do_not_show_either():
    one = dataclasses.replace(AUC, metric="fold-change slope", value=0.5, floor=0.4, error=0.04)
    assert "fold changes" not in sentence([AUC, one], SAME)
    assert "fold changes" in sentence([AUC, dataclasses.replace(one, floor=0.6)], SAME)


def test_what_is_not_known_is_not_said():
    assert sentence([AUC], None).endswith("and of 0.508 between real rows.")
    assert sentence([AUC], SAME).endswith("than chance.")
    assert sentence([AUC, *NEAR], None).endswith("; every distance is within 1.5 times its floor.")
    assert sentence(NEAR, SAME) == ""
    assert sentence([record("classifier AUC", None, 0.5)], SAME) == ""


# Two standard deviations of the AUC of 600 and 600 rows of one law: 2 √(1201/(12 · 600²)).
LEAST = 0.508 + 0.03334


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (LEAST - 1e-4, "cannot be told"),
        (LEAST + 1e-4, "can hardly be told"),
        (0.61, "can be told"),
        (0.81, "are easily told"),
        (1.0, "are easily told"),
    ],
)
def test_how_well_a_classifier_tells(value, told):
    text = sentence([record("classifier AUC", value, 0.508)], None)
    assert text.startswith(f"Samples {told} from rows of")


@pytest.mark.parametrize(
    ("n", "value", "start"),
    [
        (10, 0.74, "Samples are too few to be told from rows of mouse-brain"),
        (66, 0.5, "Samples are too few to be told"),
        (68, 0.5, "Samples cannot be told"),
        (10, 0.95, "Samples are easily told"),
    ],
)
def test_few_rows_do_not_tell(n, value, start):
    one = dataclasses.replace(AUC, n=n, value=value, floor=0.5)
    assert sentence([one], None).startswith(start)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 12])  # splits to 4 of 9, then bootstraps
def test_either_floor_tells_what_new_data_would_have(n):
    """m (1/n + 1/N) with m the mean distance of two different items, by brute force."""
    rng = torch.Generator().manual_seed(0)
    real = torch.randint(0, 9, (9, 2), generator=rng)
    samples = torch.randint(0, 9, (n, 2), generator=rng)
    meta = {"weights": "ema", "sampler": "Bridge", "evaluations": 1, "seed": 0, "split": "here"}
    found = evaluate(samples, real, meta=meta)
    energy = next(one for one in found if one.metric == "energy distance")
    apart = torch.cdist(real.double(), real.double()).sum() / (9 * 8)
    assert of_new_data(energy) == pytest.approx(float(apart) * (1 / n + 1 / 9), rel=1e-12)


@pytest.mark.parametrize(
    ("ratio", "word", "more"),
    [
        (0.7, "as near to {} as", ""),
        (1.4, "nearly as near to {} as", ""),
        (1.6, "further from {} than", ": longer"),
    ],
)
def test_how_near_samples_are(ratio, word, more):
    one = dataclasses.replace(record("energy distance", 0, 0.01), half_split=0.1)
    new = 0.01 * 600 * 600 / 599 * (2 / 600)
    text = nearness([dataclasses.replace(one, value=ratio * new)])
    assert text.startswith(f"Samples are {word.format(one.split)} new data would be: their energy")
    assert f" {ratio * new:.3g}, and that of as many new data {new:.3g} on average" in text
    assert (": longer training" in text) is bool(more)


@pytest.mark.parametrize(("value", "floor"), [(None, 1.0), (1.0, None), (1.0, 0.0)])
def test_without_an_energy_distance_nothing_is_near(value, floor):
    assert nearness([record("energy distance", value, floor)]) == nearness([AUC]) == ""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.2, -0.1])
def test_an_auc_that_is_none_says_nothing(value):
    assert sentence([record("classifier AUC", value, 0.5)], SAME) == ""
    assert sentence([record("classifier AUC", 0.5, value)], SAME) == ""


def test_distances_without_a_ratio_are_not_spoken_for():
    for value, floor in ((None, 0.1), (1.0, 0.0), (float("nan"), 0.1), (0.1, float("inf"))):
        lost = record("library-size distance", value, floor)
        assert sentence([AUC, *NEAR, lost], None).endswith(
            "; the energy distance and the correlation error are each within 1.5 times its floor."
        )
        assert sentence([AUC, NEAR[0], lost], None).endswith(
            "; the energy distance is within 1.5 times its floor."
        )
        assert sentence([AUC, lost], None).endswith("between real rows.")


def test_a_condition_is_said_once():
    given = dataclasses.replace(AUC, given="kind=*")
    assert sentence([given], None).startswith("Samples given kind=* cannot be told from rows of")
    both = dataclasses.replace(given, split="brain, test, kind=*")
    assert sentence([both], None).startswith("Samples cannot be told from rows of brain, test, k")


def test_the_feature_that_differs_most():
    """Against the score of a pooled variance, by hand."""
    rng = np.random.default_rng(0)
    real = torch.from_numpy(rng.poisson([5.0, 1.0, 300.0], (400, 3)))
    samples = torch.from_numpy(rng.poisson([5.0, 2.0, 310.0], (100, 3)))
    found = most_different(samples, real, ["a", "b", "c"])
    both = torch.cat([samples, real]).double()
    score = (samples.double().mean(0) - real.double().mean(0)) / (
        both.var(0) * (1 / 100 + 1 / 400)
    ).sqrt()
    name = "abc"[int(score.abs().argmax())]
    assert found.name == name and not found.chance
    assert found.samples == pytest.approx(float(samples.double().mean(0)["abc".index(name)]))
    # Two standard errors are chance where three features were looked at, and not of one alone.
    limit = 2.394  # normal quantile of 1 - 0.025/3
    for gap, chance in ((limit - 0.01, True), (limit + 0.01, False)):
        x = torch.zeros(200, 3, dtype=torch.int64)
        x[::2] = 10
        assert _moved(x, gap).chance is chance


def _moved(x, gap):
    """What is found if a mean is so many standard errors off, counts being large."""
    big = 1_000_000 * torch.ones(1, 3, dtype=torch.int64) + 10_000 * x
    deviation = 50_000.0
    other = big.clone()
    # The pooled variance includes the gap itself: v = (deviation² + gap²/4) 400/399.
    shift = gap * deviation * (2 / 200) ** 0.5
    for _ in range(50):
        pooled = ((deviation**2 + shift**2 / 4) * 400 / 399) ** 0.5
        shift = gap * pooled * (2 / 200) ** 0.5
    other[:, 1] += round(shift)
    return most_different(other, big)


def test_features_that_are_hardly_seen_are_not_judged():
    real, samples = torch.zeros(400, 2).long(), torch.zeros(50, 2).long()
    real[:79, 0] = 1  # 79 of 450 rows, so fewer than 10 of 50
    real[:200, 1] = samples[:25, 1] = 1
    found = most_different(samples, real)
    assert found == Difference("feature 1", 0.5, 0.5, True)
    assert most_different(samples[:, :1], real[:, :1]) is None
    real[:90, 0] = 1
    assert most_different(samples[:, :1], real[:, :1]) is not None


@pytest.mark.parametrize("n", [100, 500])
def test_a_feature_that_one_table_never_shows_is_seen(n):
    x = torch.from_numpy(np.random.default_rng(0).poisson(3.0, (8000, 3)))
    x[:, 1] = 0
    samples = x[:n].clone()
    samples[:, 1] = 500
    assert most_different(samples, x) == Difference("feature 1", 500.0, 0.0, False)
    assert most_different(x, samples) == Difference("feature 1", 0.0, 500.0, False)


@pytest.mark.parametrize("share", [0.0085, 0.11, 0.2])
def test_rare_counts_of_one_law_are_seldom_off(share):
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(20):
        samples, real = (torch.from_numpy(rng.random((n, 300)) < share) for n in (100, 8000))
        found = most_different(samples.long(), real.long())
        alarms += found is not None and not found.chance
    assert alarms <= 1


def test_the_sentence_is_on_the_page_and_escaped(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.poisson(5.0, (300, 4))
    np.save(tmp_path / "counts.npy", x)
    run = make_run(tmp_path / "run", Arrays(path=tmp_path / "counts.npy"), split="all")
    names = ["a", "b", "<u>c</u>", "d"]
    (run / "data.json").write_text(json.dumps({"columns": names}))
    samples = x[:100].copy()
    samples[:, 2] += 3
    np.savez(run / "samples.npz", samples=samples, meta=json.dumps({"n": 100, "seed": 0}))
    found = dataclasses.replace(AUC, split="<s>brain")
    content = {"records": [found.to_dict()]}
    (run / "evaluation.json").write_text(json.dumps(content))
    page = Page(write_report(run))
    real = x[:, 2].mean()
    assert (
        "Samples cannot be told from rows of <s>brain: a classifier has an AUC of 0.502, and of "
        f"0.508 between real rows; off is the mean of <u>c</u>, "
        f"{samples[:, 2].mean():.3g} instead of {real:.3g} in training rows." in page.text
    )
    assert "<u>" not in page.source and "<s>" not in page.source
    assert page.source.index("Samples cannot") < page.source.index("<h2>Samples</h2>")
    assert "Classifier AUC0.5020 floor 0.5080" in page.text


def test_an_evaluation_of_other_samples_has_no_verdict(tmp_path):
    x = np.random.default_rng(0).poisson(5.0, (60, 3))
    np.save(tmp_path / "counts.npy", x)
    run = make_run(tmp_path / "run", Arrays(path=tmp_path / "counts.npy"), split="all")
    np.savez(run / "samples.npz", samples=x[:30], meta=json.dumps({"n": 30, "seed": 1}))
    for seed in (0, 1):
        content = {"records": [AUC.to_dict()], "samples": {"n": 30, "seed": seed}}
        (run / "evaluation.json").write_text(json.dumps(content))
        page = Page(write_report(run))
        assert ("The evaluation is of other samples than these" in page.text) is (seed == 0)
        assert ("Samples cannot be told" in page.text) is (seed == 1)


def test_damaged_figures_are_named(tmp_path):
    np.save(tmp_path / "counts.npy", np.ones((30, 2), dtype=np.int64))
    run = make_run(tmp_path / "run", Arrays(path=tmp_path / "counts.npy"))
    np.savez(run / "samples.npz", samples=np.ones((20, 2), dtype=np.int64), meta="{}")
    broken = {"records": [dataclasses.replace(AUC, n=0).to_dict()]}
    (run / "evaluation.json").write_text(json.dumps(broken))
    with pytest.raises(ValueError, match=r"evaluation\.json holds what no report can show"):
        write_report(run)
