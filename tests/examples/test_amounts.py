"""The example of amounts, run as a reader would run it."""

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "wine_amounts.py"


def test_wine_amounts(tmp_path, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    run = runpy.run_path(str(EXAMPLE))
    samples, data, errors = run["main"](tmp_path / "picture.png", steps=250)
    assert float(samples.min()) > 0
    seen, other = errors["samples"]
    # As near to wines that it has not seen as those that it has, and of columns that belong.
    assert other < 1.1 * errors["the wines seen"][1]
    assert seen < 0.7 * errors["the same, columns shuffled"][0]
    # Wines of little flavanoid are deep in colour, and so are those of much.
    for x in (samples, data):
        middle = (x[:, 1] > 0.7) & (x[:, 1] < 1.1)
        assert float(x[middle, 2].mean()) < 0.75 * float(x[x[:, 1] < 0.5, 2].mean())
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert "columns shuffled" in capsys.readouterr().out
