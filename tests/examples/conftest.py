"""Examples, run as a reader would run them, with arguments that make them short."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch, tmp_path):
    """What `main` of an example returns; its picture has to be there."""
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "Agg")

    def run(name, **shorter):
        picture = tmp_path / f"{name}.png"
        found = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](picture, **shorter)
        assert picture.stat().st_size > 5_000
        return found

    return run
