"""What `look` tells against closed forms, and the verb."""

import json
import math

import pytest
import torch

from markovbridge import (
    Brownian,
    CosineSchedule,
    Dirac,
    Independent,
    LinearDiffusion,
    LinearSchedule,
    PureDeath,
)
from markovbridge.cli import main
from markovbridge.couplings import Noised
from markovbridge.evaluation.inspection import look
from markovbridge.exact import Empirical
from markovbridge.processes import DiscreteTimeChain


def test_one_point_is_pulled_to_like_a_pinned_bridge():
    """From a point 0 to a point y, E|drift|² of a Brownian bridge is |y|² + t/(1-t) a site."""
    process, coupling = LinearDiffusion(Brownian(1.0)), Dirac(0.0)
    y = torch.full((1, 3), 2.0)
    law = Empirical(process, y, coupling=coupling)
    ends = y.expand(4000, 3)
    view = look("exact", process, law, coupling, ends, times=5, paths=2)
    t = view.times
    torch.testing.assert_close(t, torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]).double())
    torch.testing.assert_close(view.size, (4 + t / (1 - t)).sqrt(), rtol=0.02, atol=0)
    assert view.effective is not None
    torch.testing.assert_close(view.effective, torch.ones(5, 3).double())
    assert torch.equal(view.means, y.expand(9, 2, 3))
    assert torch.equal(view.states[-1], y.expand(2, 3))
    assert not bool(view.states[0].any())


def test_effective_number_of_two_points():
    """Symmetric points ±1: w = sigmoid(±2 κ x / ρ), from all of them to one."""
    process, coupling = LinearDiffusion(Brownian(1.0)), Independent()
    points = torch.tensor([[-1.0], [1.0]])
    law = Empirical(process, points, coupling=coupling)
    view = look("exact", process, law, coupling, points[[0, 1] * 200], times=2)
    assert view.effective is not None
    t = 0.25
    gain, variance = t, (1 - t) ** 2 + t * (1 - t)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200000, generator=generator).double() * math.sqrt(variance) + gain
    w = torch.sigmoid(2 * gain * x / variance)
    expected = (1 / (w**2 + (1 - w) ** 2)).median()
    assert abs(float(view.effective[0, 0] - expected)) < 0.05
    assert float(view.effective[1, 0]) < float(view.effective[0, 0])


def test_counts_jump_at_the_rate_of_births():
    """Births of pure death from 0 to y: y p'(t) a site, with p = t on the linear clock."""
    process, coupling = PureDeath(schedule=LinearSchedule()), Noised()
    y = torch.full((1, 4), 6)
    law = Empirical(process, y, coupling=coupling)
    view = look("exact", process, law, coupling, y.expand(4000, 4), times=4)
    torch.testing.assert_close(view.size, torch.full((4,), 6.0).double(), rtol=0.02, atol=0)
    assert view.states.dtype == torch.int64
    assert not bool(view.states[0].any())


def test_looks_are_a_function_of_the_seed():
    process, coupling = LinearDiffusion(schedule=CosineSchedule()), Independent()
    points = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    law = Empirical(process, points, coupling=coupling)
    calls = []
    views = [
        look(
            "x", process, law, coupling, points, times=3, seed=s, callback=lambda: calls.append(1)
        )
        for s in (1, 1, 2)
    ]
    assert len(calls) == 12
    assert torch.equal(views[0].states, views[1].states)
    assert views[0].to_dict() == views[1].to_dict()
    assert views[0].to_dict() != views[2].to_dict()


def test_only_continuous_time():
    chain = DiscreteTimeChain(torch.full((1, 2, 2), 0.5))
    x = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(TypeError, match="continuous time"):
        look("x", chain, Empirical(chain, x), Noised(), x)


# The verb

FEW = ["--threads", "1", "--points", "200", "--states", "4", "--times", "4"]


def test_inspect_a_data_set(tmp_path, capsys):
    assert main(["inspect", "digits", "--output", str(tmp_path), *FEW]) == 0
    found = json.loads((tmp_path / "inspect.json").read_text())
    assert found["points"] == 200
    names = [view["name"] for view in found["views"]]
    assert names == ["bridge mixture, exact", "time reversal, exact"]
    early = found["views"][0]["effective number (median, quartiles)"][0][0]
    assert 100 < early <= 200
    page = (tmp_path / "inspect.html").read_text()
    for part in ("Drift adjustment", "effective data points", "posterior mean at time 0.50"):
        assert part in page
    assert "http" not in page.replace("http-equiv", "")
    assert "inspect.html" in capsys.readouterr().out


def test_inspect_counts(tmp_path):
    words = ["--process", "PureDeath", "--process.maximum", "16", "--output", str(tmp_path)]
    assert main(["inspect", "digits", *words, *FEW]) == 0
    found = json.loads((tmp_path / "inspect.json").read_text())
    assert [view["name"] for view in found["views"]] == ["exact, this data set"]
    assert "Jumps" in (tmp_path / "inspect.html").read_text()


@pytest.mark.parametrize(
    "recipe",
    ["digits", pytest.param("digits-bridge", marks=pytest.mark.whole), "digits-translate"],
)
def test_inspect_a_run(tmp_path, recipe):
    run = tmp_path / "run"
    small = ["--network.width", "16", "--network.depth", "1", "--trainer.threads", "1"]
    small += ["--trainer.steps", "2", "--trainer.warmup", "1"]
    assert main(["train", recipe, "--output", str(run), *small]) == 0
    assert main(["inspect", str(run), *FEW]) == 0
    found = json.loads((run / "inspect.json").read_text())
    names = [view["name"] for view in found["views"]]
    assert names[-1] == "learned"
    assert len(names) == (2 if recipe == "digits" else 3)
    assert found["views"][-1]["effective number (median, quartiles)"] is None
    assert "learned" in (run / "inspect.html").read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["digit"], "no run folder and no data set (did you mean 'digits'?)"),
        (["digits", "--states", "0"], "states is 0; it must be at least 1"),
        (["digits", "--prozess", "VP"], "did you mean 'process'?"),
    ],
)
def test_inspect_refuses(capsys, words, expected):
    assert main(["inspect", *words]) == 2
    assert expected in capsys.readouterr().err


def test_inspect_says_what_to_do_about_a_singular_covariance(tmp_path, capsys):
    words = ["--process", "LinearDiffusion", "--process.covariance", "Torus"]
    words += ["--process.covariance.kernel", "SquaredExponential"]
    words += ["--process.covariance.kernel.length", "5", "--output", str(tmp_path)]
    assert main(["inspect", "digits", *words, *FEW]) == 1
    found = capsys.readouterr().err
    assert found.count("\n") == 1
    assert "singular to torch.float64: its eigenvalues run from" in found
    assert found.endswith("; take a rougher kernel or a shorter length\n")
