"""The examples on simulated processes, run as a reader would run them, with fewer steps."""

import math
import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")


def run(name, folder, steps):
    pytest.importorskip("matplotlib")
    picture = folder / f"{name}.png"
    found = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](picture, steps=steps)
    assert picture.stat().st_size > 10_000
    return found


def test_exclusion(tmp_path, capsys):
    rows, mean, error = run("exclusion", tmp_path, 150)
    assert rows > 0.75
    assert -math.log(12) - 1 < mean < -math.log(12) + 4 * error
    assert "trains among the samples" in capsys.readouterr().out


def test_epidemic(tmp_path, capsys):
    share, found, known = run("epidemic", tmp_path, 150)
    assert float((share - 1 / 6).abs().max()) < 0.07
    assert float((found - known).abs().sum()) < 0.4
    torch.testing.assert_close(known.sum(), torch.tensor(1.0).double())


def test_ising(tmp_path, capsys):
    found, known, bound, best = run("ising", tmp_path, 100)
    assert known - 2 < found < known + 7 and known == pytest.approx(-22.07, abs=0.01)
    assert best - 3 < bound < best + 1


def test_double_well(tmp_path, capsys):
    mean, spread, right = run("double_well", tmp_path, 250)
    assert abs(mean - 1) < 0.1 and spread < 0.25
    assert abs(right - 0.5) < 0.1
