"""The example of a count table, run as a reader would run it."""

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "count_table.py"


def test_count_table(capsys):
    pytest.importorskip("pandas")
    run = runpy.run_path(str(EXAMPLE))
    model, made, errors, inside = run["main"](steps=120, rows=50)
    assert errors["restored"] < 0.85 * errors["counts / 0.5"]
    assert errors["true rate of the gene"] < errors["imputed"] < 0.8 * errors["mean of the gene"]
    # Closed intervals of counts hold more than their level: see `restoration`.
    assert 0.88 < inside < 0.995
    assert set(made["type"]) == {"neuron"} and len(made) == 1000
    assert made["gene0"].mean() > 4 > 2 > made["gene11"].mean()
    assert "root mean squared error" in capsys.readouterr().out
