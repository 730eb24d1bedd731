"""Conditions, guidance and imputation on the command line."""

import json

import numpy as np
import pytest
import torch
import yaml

from markovbridge import Given, Transport
from markovbridge.cli import main
from markovbridge.cli.blocks import Blocks
from markovbridge.data import Digits
from markovbridge.evaluation.restoration import restore

SMALL = ["--network.width", "16", "--network.depth", "1", "--trainer.threads", "1"]
SMALL += ["--trainer.warmup", "5", "--trainer.log_every", "10", "--trainer.sample_every", "0"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    words = ["train", "digits-classes", "--output", str(folder), *SMALL, "--trainer.steps", "20"]
    assert main([*words, "--trainer.validate_every", "10", "--split", "train"]) == 0
    return folder


def verb(name, run, *options):
    words = [name, str(run), "--block", "16", "--steps", "4", "--threads", "1", *options]
    return main(words)


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def error(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


# Training -----------------------------------------------------------------------------------


def test_the_model_knows_its_condition(run):
    transport = Transport.from_pretrained(run / "model")
    assert transport.network.condition == 10 and transport.condition_dropout == 0.1
    (label,) = transport.covariates.columns
    assert label.name == "label" and label.levels == tuple("0123456789")
    assert transport.masking.pattern == "mixed"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["condition"] == "labels" and config["masking"]["none"] == 0.5


def test_what_training_refuses(capsys, tmp_path):
    words = ["train", "digits", "--output", str(tmp_path / "x"), *SMALL]
    assert main([*words, "--condition", "covariates"]) == 2
    assert "condition is covariates, but digits has none" in error(capsys)
    np.save(tmp_path / "x.npy", np.ones((20, 1, 8, 8)))
    data = ["--data", "Arrays", "--data.path", str(tmp_path / "x.npy"), "--condition", "labels"]
    assert main([*words, *data]) == 2
    assert "condition is labels, but x has none" in error(capsys)
    assert main([*words, "--masking.pattern", "box"]) == 2
    assert "masking.pattern is 'box'; it must be one of sites, boxes, mixed" in error(capsys)
    assert not (tmp_path / "x").exists()


# Sampling -----------------------------------------------------------------------------------


def test_samples_of_a_class_are_those_from_python(run):
    assert verb("sample", run, "--n", "20", "--condition.label", "3", "--guidance", "2") == 0
    made = arrays(run / "samples.npz")
    meta = json.loads(str(made["meta"]))
    assert meta["guidance"] == 2 and str(meta["condition"]["label"]) == "3"
    transport = Transport.from_pretrained(run / "model")
    condition = transport.covariates.encode({"label": 3}, 20)
    expected = transport.sample(
        20,
        steps=4,
        condition=condition,
        guidance=2.0,
        block=16,
        generator=torch.Generator().manual_seed(0),
    )
    np.testing.assert_array_equal(made["samples"], expected.numpy())
    assert verb("sample", run, "--n", "20") == 0
    assert (arrays(run / "samples.npz")["samples"] != made["samples"]).any()


def test_every_class_in_turn(run):
    assert verb("sample", run, "--n", "25", "--condition.label", "*") == 0
    some = arrays(run / "samples.npz")["samples"]
    assert verb("sample", run, "--n", "40", "--condition.label", "*") == 0
    np.testing.assert_array_equal(arrays(run / "samples.npz")["samples"][:25], some)
    transport = Transport.from_pretrained(run / "model")
    condition = torch.eye(10)[torch.arange(32) % 10]
    expected = transport.sample(
        32,
        steps=4,
        condition=condition,
        block=16,
        generator=torch.Generator().manual_seed(0),
    )
    np.testing.assert_array_equal(some, expected[:25].numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--condition.label", "12"], "'12' is no known level of covariate 'label'"),
        (["--condition.lable", "1"], "'lable' is no covariate of this model; it knows label"),
        (["--condition", "3"], "condition is '3'; it must be given by name"),
        (["--guidance", "2"], "guidance needs a condition to follow"),
    ],
)
def test_what_sampling_refuses(run, capsys, options, message):
    assert verb("sample", run, *options) == 2
    assert message in error(capsys)


def test_a_model_without_a_condition_takes_none(tmp_path, capsys):
    words = ["train", "digits", "--output", str(tmp_path / "run"), *SMALL, "--trainer.steps", "5"]
    assert main([*words, "--trainer.warmup", "1"]) == 0
    capsys.readouterr()
    assert verb("sample", tmp_path / "run", "--condition.label", "1") == 2
    assert "was trained without a condition" in error(capsys)


# Likelihood ---------------------------------------------------------------------------------


def test_the_likelihood_is_that_given_the_labels_of_the_data(run, capsys, monkeypatch):
    seen = []
    bound = Transport.log_likelihood

    def spy(self, x1, *, condition, **options):
        seen.append((x1, condition))
        return bound(self, x1, condition=condition, **options)

    monkeypatch.setattr(Transport, "log_likelihood", spy)
    words = ["evaluate", str(run), "--likelihood", "12", "--looks", "2", "--threads", "1"]
    assert main(words) == 0
    (x1, condition), test = seen[0], Digits().load("test")
    places = [int((test.x == x).flatten(1).all(1).nonzero()[0]) for x in x1]
    assert torch.equal(condition, torch.eye(10)[test.labels[places]])
    ours, histogram = json.loads((run / "likelihood.json").read_text())["records"]
    assert ours["condition"] == "label" and histogram["condition"] is None
    assert "given label of each" in capsys.readouterr().out
    assert main(["report", str(run)]) == 0
    assert "given label of each" in (run / "report.html").read_text(encoding="utf-8")


def test_data_without_labels_are_told_nothing_and_that_is_said(run, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.ones((20, 1, 8, 8), dtype=int))
    data = ["--data", "Arrays", "--data.path", str(tmp_path / "x.npy"), "--split", "all"]
    words = ["evaluate", str(run), "--likelihood", "12", "--looks", "2", *data]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "x, all, does not have 'label': the model is not told it, of any row" in said.err
    assert "given label" not in said.out
    assert json.loads((run / "likelihood.json").read_text())["records"][0]["condition"] is None
    assert main(["restore", str(run), "--survival", "0.5", "--steps", "2", *data]) == 0
    assert "split all does not have 'label'" in capsys.readouterr().err
    # Of such rows one can say it by hand.
    by_hand = ["--condition.label", "3", "--guidance", "2"]
    assert main(["restore", str(run), "--survival", "0.5", "--steps", "2", *data, *by_hand]) == 0
    said = capsys.readouterr()
    assert "does not have" not in said.err and "given label=3, guidance 2; " in said.out


def test_restored_rows_are_told_their_class(run, capsys):
    options = ["--n", "3", "--survival", "0.4", "--condition.label", "*", "--guidance", "2"]
    assert verb("restore", run, *options) == 0
    made = arrays(run / "restored.npz")
    meta = json.loads(str(made["meta"]))
    assert meta["condition"] == {"label": "*"} and meta["guidance"] == 2
    transport, x = Transport.from_pretrained(run / "model"), torch.from_numpy(made["input"])
    told = {"condition": torch.eye(10)[:3], "guidance": 2.0}  # classes 0, 1 and 2
    given = {"survival": 0.4, "steps": 4, "block": 16, **told}
    expected = restore(transport, x, generator=torch.Generator().manual_seed(0), **given)
    np.testing.assert_array_equal(made["draws"], expected.draws.numpy())
    # So is the estimate from one evaluation.
    t = transport.process.observed_time(0.4)
    with torch.no_grad():
        single = transport.law(x.long(), t, Given(told["condition"], 2.0)).mean
    mse = float((single.double() - torch.from_numpy(made["truth"])).square().mean())
    scores = {one["method"]: one["mse"] for one in meta["scores"]}
    assert scores["expected count, one evaluation"] == pytest.approx(mse)
    assert verb("restore", run, *options[:4]) == 0
    assert (arrays(run / "restored.npz")["draws"] != made["draws"]).any()
    # Without a word, the rows say what they are; null is "not known".
    labels = Digits().load("test").labels[:3]
    assert verb("restore", run, *options[:4], "--guidance", "2") == 0
    assert "given label=of each row, guidance 2; " in capsys.readouterr().out
    told = {"condition": torch.eye(10)[labels], "guidance": 2.0}
    given = {"survival": 0.4, "steps": 4, "block": 16, **told}
    expected = restore(transport, x, generator=torch.Generator().manual_seed(0), **given)
    own = arrays(run / "restored.npz")
    np.testing.assert_array_equal(own["draws"], expected.draws.numpy())
    assert json.loads(str(own["meta"]))["condition"] == {"label": "of each row"}
    unknown = ["--condition.label", "null"]
    assert verb("restore", run, *options[:4], *unknown) == 0
    blind = restore(
        transport, x, survival=0.4, steps=4, block=16, generator=torch.Generator().manual_seed(0)
    )
    np.testing.assert_array_equal(arrays(run / "restored.npz")["draws"], blind.draws.numpy())
    assert verb("restore", run, *options[:4], *unknown, "--guidance", "2") == 2
    assert "guidance needs a condition to follow" in error(capsys)


# Evaluation ---------------------------------------------------------------------------------


def test_samples_of_a_class_are_compared_with_real_rows_of_it(run, capsys):
    options = ["--n", "40", "--condition.label", "3", "--guidance", "2"]
    assert verb("sample", run, *options) == 0
    assert "given label=3, guidance 2; " in capsys.readouterr().out
    assert main(["evaluate", str(run), "--threads", "1"]) == 0
    said = capsys.readouterr()
    digits = Digits().load("train")
    threes = digits.x[digits.labels == 3]
    assert (
        f"40 samples given label=3, guidance 2, against {len(threes)} of digits, train" in said.out
    )
    assert f"compared with {len(threes)} of the 1,437 rows" in said.err
    records = json.loads((run / "evaluation.json").read_text())["records"]
    assert {(r["given"], r["guidance"]) for r in records} == {("label=3", 2.0)}
    found = {r["metric"]: r for r in records}
    ours = arrays(run / "samples.npz")["samples"].astype(float)
    gap = ours.mean(0) - threes.double().mean(0).numpy()
    value = found["mean error (RMS over features)"]["value"]
    assert value == pytest.approx(float((gap**2).mean() ** 0.5))
    assert found["mean error (RMS over features)"]["n_reference"] == len(threes)
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Samples given label=3, guidance 2: the first" in page
    assert f"drawn at random from {len(threes)} images of the same condition" in page
    assert "40 samples given label=3, guidance 2, (EMA weights" in page
    assert "--condition.label 3 --guidance 2" in page


def test_samples_of_a_class_need_real_rows_of_it(run, capsys):
    assert verb("sample", run, "--n", "30", "--condition.label", "0") == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--split", "test", "--threads", "1"]) == 1
    zeros = int((Digits().load("test").labels == 0).sum())
    assert f"only {zeros} of the 180 rows of digits, split test, are of label=0" in error(capsys)
    data = ["--data", "Selected", "--data.source", "Digits", "--data.labels", "[1, 2]"]
    assert main(["evaluate", str(run), *data, "--threads", "1"]) == 1
    assert "only 0 of the" in error(capsys)


# Imputation ---------------------------------------------------------------------------------


def test_impute_hides_and_scores(run, capsys):
    assert verb("impute", run, "--observed", "top", "--n", "5") == 0
    text = capsys.readouterr().out
    assert "rmse of the mean of the draws" in text and "truth in the central 90%" in text
    made = arrays(run / "imputed.npz")
    truth = Digits().load("test").x[:5].numpy()
    assert made["draws"].shape == (20, 5, 1, 8, 8) and made["observed"].shape == (5, 1, 8, 8)
    assert made["observed"][..., :4, :].all() and not made["observed"][..., 4:, :].any()
    np.testing.assert_array_equal(made["truth"], truth)
    for draw in made["draws"]:
        np.testing.assert_array_equal(draw[..., :4, :], truth[..., :4, :])
    np.testing.assert_allclose(made["mean"], made["draws"].mean(0, dtype=float), rtol=1e-6)
    hidden = ~made["observed"]
    meta = json.loads(str(made["meta"]))
    error = (made["draws"].mean(0, dtype=float) - truth)[hidden]
    assert meta["scores"]["rmse of the mean of the draws"] == pytest.approx(
        float((error**2).mean() ** 0.5)
    )
    assert (run / "imputed.png").read_bytes().startswith(b"\x89PNG")


def test_impute_of_files_is_that_from_python(run, tmp_path):
    rng = np.random.default_rng(0)
    x, mask = rng.integers(0, 17, (5, 1, 8, 8)), rng.random((5, 1, 8, 8)) < 0.5
    np.save(tmp_path / "x.npy", np.where(mask, x, np.nan))
    np.savez(tmp_path / "x.npz", x=x, known=mask)
    made = []
    for options in (
        ["--input", str(tmp_path / "x.npy"), "--observed", "finite"],
        [
            *("--input", str(tmp_path / "x.npz"), "--key", "x"),
            *("--observed", f"{tmp_path / 'x.npz'}:known"),
        ],
    ):
        assert verb("impute", run, *options, "--draws", "2", "--rounds", "2") == 0
        made.append(arrays(run / "imputed.npz"))
    np.testing.assert_array_equal(made[0]["draws"], made[1]["draws"])
    assert "truth" not in made[0]
    transport = Transport.from_pretrained(run / "model")
    expected = transport.impute(
        torch.from_numpy(x).repeat_interleave(2, 0),
        torch.from_numpy(mask).repeat_interleave(2, 0),
        steps=4,
        rounds=2,
        block=16,
        generator=torch.Generator().manual_seed(0),
    )
    np.testing.assert_array_equal(made[0]["draws"], expected.unflatten(0, (5, 2)).movedim(1, 0))


def test_impute_goes_on_where_it_was(run, monkeypatch, capsys):
    options = ["--observed", "random:0.5", "--n", "4", "--draws", "10", "--condition.label", "2"]
    assert verb("impute", run, *options) == 0
    whole = arrays(run / "imputed.npz")["draws"]
    (run / "imputed.npz").unlink()
    make, calls = Blocks.make, []

    def interrupted(self, index, *args, **kwargs):
        calls.append(index)
        if index == 1 and len(calls) == 2:
            raise KeyboardInterrupt
        return make(self, index, *args, **kwargs)

    monkeypatch.setattr(Blocks, "make", interrupted)
    assert verb("impute", run, *options) == 130
    assert not (run / "imputed.npz").exists()
    capsys.readouterr()
    assert verb("impute", run, *options) == 0
    assert "continuing an interrupted call" in capsys.readouterr().err
    assert calls == [0, 1, 1, 2]
    np.testing.assert_array_equal(arrays(run / "imputed.npz")["draws"], whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "impute needs to know what is known"),
        (["--observed", "middle"], "observed is 'middle'; it must be top, bottom, left, right"),
        (["--observed", "random:2"], "the share must lie in [0, 1], as in random:0.5"),
        (["--observed", "top", "--rounds", "0"], "rounds is 0; it must be at least 1"),
        (
            ["--observed", "top", "--condition.label", "null", "--guidance", "2"],
            "guidance needs a condition to follow",
        ),
        (["--observed", "top", "--obs", "x.csv"], "obs is for rows of a file"),
        (["--observed", "top", "--n", "9999"], "there are 180 rows to impute"),
    ],
)
def test_what_impute_refuses(run, capsys, options, message):
    assert verb("impute", run, *options) == 2
    assert message in error(capsys)
