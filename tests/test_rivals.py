"""`benchmarks/rivals.py`: its scores against exact answers, and a run on a tiny table."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import binom, nbinom
from torch.distributions import Normal, Poisson

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import environments  # noqa: E402
import rivals  # noqa: E402
import rivals_alra  # noqa: E402
import rivals_ours  # noqa: E402
import rivals_outside  # noqa: E402
import rivals_scores as scores  # noqa: E402
import rivals_work  # noqa: E402
from markovbridge import PureDeath  # noqa: E402
from markovbridge.evaluation.metrics import poisson_deviance  # noqa: E402
from markovbridge.exact import CountMixture  # noqa: E402


def rng():
    return np.random.default_rng(0)


def test_singular_vectors_are_those_of_the_matrix():
    x = rng().normal(size=(40, 6)) @ rng().normal(size=(6, 30))
    u, values, right = rivals_alra.randomised_svd(x, 6, 4, rng())
    np.testing.assert_allclose(values, np.linalg.svd(x)[1][:6], rtol=1e-10)
    np.testing.assert_allclose((u * values) @ right, x, atol=1e-10)


def test_the_rank_is_that_of_what_stands_above_the_noise(monkeypatch):
    values = np.sort(np.linspace(5, 4, 100) + rng().uniform(0, 1e-3, 100))[::-1]
    values[:3] = 50, 40, 30
    monkeypatch.setattr(rivals_alra, "randomised_svd", lambda *given: (None, values, None))
    assert rivals_alra.choose_rank(np.ones((200, 150)), rng()) == 3
    values[:3] = values[3:6]
    assert rivals_alra.choose_rank(np.ones((200, 150)), rng()) == 1


def test_alra_is_its_definition_entry_by_entry():
    x = np.log1p(rng().poisson(rng().gamma(0.4, 2, (30, 8))).astype(float))
    found = rivals_alra.complete(x, rank=3)
    u, values, right = np.linalg.svd(x, full_matrices=False)
    near = (u[:, :3] * values[:3]) @ right[:3]
    for j in range(8):
        limit = abs(np.quantile(near[:, j], 0.001))
        column = [v if v > limit else 0.0 for v in near[:, j]]
        ours = np.array([v for v in column if v])
        theirs = x[x[:, j] > 0, j]
        for i in range(30):
            value = column[i]
            if value:
                value = (value - ours.mean()) / ours.std(ddof=1) * theirs.std(ddof=1)
                value = max(0, value + theirs.mean())
            assert found[i, j] == pytest.approx(value or x[i, j], abs=1e-9)
    kept = (x > 0) & (near <= abs(np.quantile(near, 0.001, axis=0)))
    assert kept.any() and (found[kept] == x[kept]).all() and (found == 0).any()


def test_the_nearest_neighbour_tells_what_can_be_told():
    a = torch.arange(10)[:, None] * 100
    assert scores.neighbour_accuracy(a, a + 3) == 0  # each beside one of the other set
    assert scores.neighbour_accuracy(a, a + 100_000) == 1
    copies = torch.zeros(6, 2, dtype=torch.long)
    assert scores.neighbour_accuracy(copies, copies + 5) == 1  # none is its own neighbour


def test_a_slope_is_not_flattened_by_noise_of_known_size():
    d = 4000
    true, noise = rng().normal(size=(2, d)), rng().gamma(2, 0.3, (2, d))
    seen = true + np.sqrt(noise) * rng().permutation(rng().normal(size=2 * d)).reshape(2, d)
    given = [torch.from_numpy(v) for v in (seen, noise, 0.7 * true + 3, noise < 2)]
    value, error = scores.slope(*given)
    assert abs(value - 0.7) < 4 * error < 0.15
    flat, _ = scores.slope(given[0], given[1] * 0, *given[2:])
    assert flat < 0.6
    # The jackknife, feature by feature, of which some are left out in one class or in both.
    few = [v[:, :30] for v in given]
    few[3][:, 4], few[3][0, :3] = False, False
    units = [j for j in range(30) if j != 4]
    without = [scores.slope(*(v[:, torch.arange(30) != j] for v in few))[0] for j in units]
    assert scores.slope(*few)[1] == pytest.approx(np.sqrt(28 * np.var(without)), rel=1e-9)


def test_fold_changes_and_their_variances():
    x = torch.from_numpy(rng().poisson([[4.0, 9.0]], (8000, 2)))
    x[:2000] = torch.from_numpy(rng().poisson([[8.0, 9.0]], (2000, 2)))
    found, variance = scores.fold_changes(x, np.repeat([1, 0], [2000, 6000]))
    assert found.shape == variance.shape == (2, 2)
    expected = 1 / (2000 * 8) + 1 / (6000 * 4)  # of Poisson counts
    assert variance[1, 0].item() == pytest.approx(expected, rel=0.1)
    assert abs(found[1, 0] - np.log(2)) < 5 * expected**0.5
    np.testing.assert_allclose(found[0], -found[1])


def test_what_predicts_nothing_is_given_a_share_of_the_average():
    truth = torch.tensor([[0, 0, 0, 5], [0, 9, 0, 1]])
    guess, average = truth.double(), torch.full((2, 4), 0.5).double()
    guess[1, 3] = 0
    where = torch.ones(2, 4, dtype=torch.bool)
    found = scores.blended(guess, average, torch.stack([guess, average]), truth, where)
    errors = {
        s: float(poisson_deviance((1 - s) * guess + s * average, truth).mean())
        for s in scores.SHARES
    }
    best = min(errors, key=errors.__getitem__)
    torch.testing.assert_close(found, (1 - best) * guess + best * average)
    assert 0 < best < 1


def task(**options):
    x = rng().poisson(rng().gamma(1, 2, (60, 5))).astype(np.int32)
    parts = {"train": x[:40], "validation": x[40:50], "test": x[50:]}
    for part in ("validation", "test"):
        parts[f"kept_{part}"] = parts[part] // 2
        parts[f"hidden_{part}"] = rng().random(parts[part].shape) < 0.4
    return rivals_work.Task(parts, {"survival": 0.25, "seed": 0, **options})


def test_shares_become_counts_of_what_was_seen():
    given = task()
    shares = rng().random((20, 5))
    lost = rivals_work.from_shares(shares, given, "kept")
    np.testing.assert_allclose(lost["lost"].sum(1), 3 * given["kept_test"].sum(1))
    assert len(lost["lost_validation"]) == 10
    found = rivals_work.from_shares(shares, given, "hidden")["imputed"]
    seen = ~given["hidden_test"]
    np.testing.assert_allclose((found * seen).sum(1), (given["test"] * seen).sum(1))
    ours = shares[10:]
    expected = ours * found.sum(1, keepdims=True) / ours.sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected)


def test_hidden_entries_are_not_looked_at():
    given = task()
    rows, hidden = given.query("hidden"), given.hidden()[1]
    average = given["train"].mean(0)
    depth = np.where(hidden, 0, rows).sum(1) / np.where(hidden, 0, average).sum(1)
    np.testing.assert_allclose(rows, np.where(hidden, depth[:, None] * average, given.hidden()[0]))


def test_rows_of_the_mixture_have_its_moments():
    w = torch.tensor([[1, 2], [3, 4]]).double() / 10
    depths, sizes = torch.tensor([1, 5]).double(), torch.tensor([2, 9]).double()
    profiles = torch.tensor([[1, 4], [3, 0.5]]).double()
    model = CountMixture.of(PureDeath(), w.log(), depths, profiles, sizes)
    made = rivals_ours.draw(model, 40_000, rng())
    means = depths[:, None, None] * profiles
    mean = (w[..., None] * means).sum((0, 1)).numpy()
    square = (w[..., None] * (means + means**2 * (1 + 1 / sizes))).sum((0, 1)).numpy()
    error = np.sqrt((square - mean**2) / len(made))
    assert (abs(made.mean(0) - mean) < 4 * error).all()
    np.testing.assert_allclose((made**2.0).mean(0), square, rtol=0.05)


@pytest.mark.parametrize("inflated", [True, False])
def test_lost_counts_are_those_of_the_law_given_what_was_kept(inflated):
    m, r, none, survival = 3.0, 1.7, 0.3 * inflated, 0.4
    n = np.arange(400)
    before = nbinom.pmf(n, r, r / (r + m / survival)) * (1 - none) + none * (n == 0)
    x = np.array([0, 1, 5])
    joint = before * binom.pmf(x[:, None], n, survival)
    exact = (joint * (n - x[:, None])).sum(1) / joint.sum(1)
    law = {"mu": torch.full((3,), m), "theta": torch.full((3,), r)}
    law |= {"zi_probs": torch.full((3,), none)} if inflated else {}
    mean, draw = rivals_outside.lost_of(SimpleNamespace(**law), x, survival)
    np.testing.assert_allclose(mean, exact, rtol=1e-5)
    law = {key: value.expand(20_000, 3) for key, value in law.items()}
    made = rivals_outside.lost_of(SimpleNamespace(**law), x, survival)[1]().numpy()
    np.testing.assert_allclose(made.mean(0), exact, atol=5 * made.std() / 20_000**0.5)
    empty = (joint * (n == x[:, None])).sum(1) / joint.sum(1)
    np.testing.assert_allclose((made == 0).mean(0), empty, atol=0.02)


def test_nats_of_a_latent_model_are_those_of_its_law():
    """Counts that do not depend on z: then all that looks have to find are the totals."""
    share = torch.tensor([0.2, 0.8])
    model = object.__new__(rivals_outside.SCVI)
    model.torch, model.code, model.x = torch, {0: 0}, np.array([[2, 8], [3, 7], [5, 20]])
    model.train = np.zeros(3, int)
    model.module = SimpleNamespace(
        inference=lambda x, batch: {"qz": Normal(torch.full((len(x), 3), 0.4), 1.0)},
        generative=lambda z, library, batch: {"px": Poisson(library.exp() * share)},
    )
    row = np.array([4, 9])
    totals = np.log([10, 10, 25])
    grid = np.linspace(totals.min() - 0.5, totals.max() + 0.5, 64)
    weights = np.full(64, 0.1)
    for total in totals:
        weights[abs(grid - total).argmin()] += 1
    depths = torch.from_numpy(np.exp(grid))
    by_total = Poisson(depths[:, None] * share).log_prob(torch.from_numpy(row)).sum(1).exp()
    exact = -np.log(float(torch.from_numpy(weights / weights.sum()) @ by_total))
    torch.manual_seed(0)
    (found,) = model.nats(row[None], np.array([0]), 1000)
    assert found == pytest.approx(exact, abs=0.1)
    model.module.inference = lambda x, batch: {"qz": Normal(torch.zeros(len(x), 3), 1.0)}
    (plain,) = model.nats(row[None], np.array([0]), 10)
    assert plain == pytest.approx(exact, abs=1e-5)


def table(path):
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    kind = np.arange(200) % 2
    means = rng().gamma(1, 3, (2, 12))[kind] * rng().lognormal(0, 0.3, (200, 1))
    names = [f"row {i}" for i in range(200)]
    obs = pandas.DataFrame({"kind": np.array(["a", "b"])[kind]}, index=names)
    counts = rng().poisson(means).astype(np.float32)
    anndata.AnnData(counts, obs=obs).write_h5ad(path)


def test_a_run_on_a_tiny_table(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    table(tmp_path / "tiny.h5ad")

    def run(name, folder, environments):
        given = rivals_work.read(folder)
        rivals_work.write(folder, name, given, rivals_ours.METHODS[name](given))

    def records(samples, reference, **options):  # which has tests of its own
        return [SimpleNamespace(metric="energy distance", value=len(samples), floor=0.5)]

    monkeypatch.setattr(rivals, "run", run)
    monkeypatch.setattr(scores, "evaluate_counts", records)
    words = [str(tmp_path / "tiny.h5ad"), "--by", "kind", "--folder", str(tmp_path / "answers")]
    words += ["--samples", "60", "--rows", "9", "--repeats", "1", "--looks", "2"]
    words += ["--steps", "2", "--width", "8", "--methods"]
    ours = ["CountModel", "mixture", "scaling", "ALRA"]
    none = ["--environments", str(tmp_path / "none"), "--json", str(tmp_path / "table.json")]
    figures = rivals.main([*words, *ours, "scVI", *none])
    printed = capsys.readouterr().out
    assert "scVI is left out" in printed and "--install" in printed
    assert "REAL ROWS" in printed.upper() and "*" in printed
    known = {(f.metric, f.method): f for f in figures}
    facts = json.loads((tmp_path / "table.json").read_text())
    assert len(facts["figures"]) == len(figures) and facts["rows"] == 160
    assert all(np.isfinite(f.value) for f in figures)
    for method in ours:
        assert known["deviance", method].value > 0
        assert known["peak memory, MiB", method].value > 50 or sys.platform != "linux"
    assert known["nats a row", "mixture"].value > 0
    gap = known["above those of CountModel", "mixture"]
    ours_nats, theirs = (known["nats a row", name].value for name in ("CountModel", "mixture"))
    assert gap.value == pytest.approx(theirs - ours_nats) and gap.error > 0
    assert {f.method for f in figures if f.metric == "CRPS"} == {"CountModel"}
    assert known["slope of fold changes", "mixture"].value == pytest.approx(1, abs=0.3)
    assert known["AUC, linear classifier", "real rows"].better == "half"
    assert known["energy distance", "real rows"].value == 0.5
    assert known["energy distance", "mixture"].value == 60
    # Answers are kept, and asked for again one by one; not those about another table.
    monkeypatch.setattr(rivals, "scored", lambda task, answers, work, repeats: list(answers))
    monkeypatch.setattr(rivals, "text_of", str)
    monkeypatch.setattr(rivals, "losses", list)
    assert rivals.main([*words, "scaling", *none[:2]]) == ours
    with pytest.raises(SystemExit, match="another --folder"):
        rivals.main([*words, "scaling", "--seed", "1"])


def test_an_installation_is_whole_or_not_there(tmp_path, monkeypatch):
    def process(command, check):
        asked.append([str(word) for word in command])
        if "pip" in command:
            raise KeyboardInterrupt
        (tmp_path / "MAGIC" / "bin").mkdir(parents=True)

    asked = []
    monkeypatch.setattr(environments.subprocess, "run", process)
    with pytest.raises(KeyboardInterrupt):
        environments.install(tmp_path / "MAGIC", rivals.PINS["MAGIC"])
    assert "numpy==1.26.4" in asked[1] and len(asked) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_fails_is_told(tmp_path, capsys):
    python = rivals.python_of("MAGIC", tmp_path)
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    rivals.prepare(tmp_path / "folder", task().tables, {"threads": 1})
    rivals.run("MAGIC", tmp_path / "folder", tmp_path)
    assert "MAGIC ended with status 1" in capsys.readouterr().out
    assert rivals.answered(tmp_path / "folder") == ({}, {})


def test_better_is_nearer_to_what_is_best():
    def figure(method, value, better):
        return scores.Figure("samples", "m", method, value, better=better)

    for better, ours, theirs in (("half", 0.4, 0.52), (0.9, 0.95, 0.88), ("higher", 1, 2)):
        given = [figure("CountModel", ours, better), figure("mixture", theirs, better)]
        assert len(rivals.losses(given)) == 1
        assert rivals.losses([*given[1:], given[0]]) == []
    assert rivals.losses([figure("CountModel", 1, None), figure("mixture", 2, None)]) == []
