"""The guides, run as a reader would run them, briefly."""

import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from markovbridge import (
    EndMSE,
    EndpointHead,
    Independent,
    LinearDiffusion,
    Transport,
)
from markovbridge.couplings import Gaussian
from markovbridge.covariances import SquaredExponential, Torus
from markovbridge.data.catalogue import TABLES
from markovbridge.exact import Empirical
from markovbridge.networks import MLP

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS / "site"))
import blocks  # noqa: E402


@pytest.fixture
def run(tmp_path):
    """Runs a guide in a folder of its own, briefly, and returns the names it defines."""
    return lambda name: blocks.run(name, tmp_path)[0]


def test_bridges(run):
    torch.manual_seed(0)
    names = run("theory/bridges.md")
    assert names["samples"].shape == (64, 2)
    assert names["moved"].shape == (100, 2)
    assert bool(names["moved"].isfinite().all())
    forward, backward = names["forward"], names["backward"]
    assert forward.process.reversed() == backward.process


def test_exact(run):
    torch.manual_seed(0)
    names = run("theory/exact.md")
    assert float(names["effective"].min()) >= 1
    assert len(names["drift"]) == 5


def test_processes(run):
    torch.manual_seed(0)
    names = run("theory/processes.md")
    assert names["samples"].shape == (8, 6)
    assert bool(names["bound"].isfinite().all())


def test_own(run, capsys):
    torch.manual_seed(0)
    names = run("how-to/own.md")
    assert names["on"].shape == (8, 6) and names["likelihood"].shape == (4,)
    assert bool((names["likelihood"] < 0).all()) and bool(names["likelihood"].isfinite().all())
    assert names["rates"].shape == (4, 6, 1)
    exact = Empirical(names["process"], names["lights"])
    model = Transport(names["process"], exact, shape=(6,))
    on = model.sample(64, steps=5)
    assert bool((on == on[:, :1]).all())
    assert "Light " in capsys.readouterr().out
    checked = names["report"].checked
    assert {"Chapman-Kolmogorov", "Bayes: the bridge", "rates", "path KL"} <= set(checked)


def test_other_parts_of_your_own(tmp_path, capsys):
    torch.manual_seed(0)
    pages = {}
    for page in ("own-coupling", "own-diffusion", "own-head", "pictures"):
        (folder := tmp_path / page).mkdir()
        pages[page] = blocks.run(f"how-to/{page}.md", folder)[0]
    assert pages["own-diffusion"]["drift"].shape == (4, 2)
    head = pages["own-head"]
    assert head["lit"].shape == head["drawn"].shape == (4, 6)
    drawn = pages["pictures"]
    assert drawn["exactly"].collections[0].get_array().shape == (3, 61)
    assert drawn["going"].collections[0].get_array().shape == (3, 60)
    assert len(drawn["paths"].lines) == 5
    assert (tmp_path / "pictures/paths.png").stat().st_size > 5_000
    printed = capsys.readouterr().out
    for part in ("LinearDiffusion", "Wiener", "Box", "Common", "Odds", "Twice"):
        assert f"{part} " in printed


def test_the_file_of_a_process_is_short():
    text = (DOCS / "how-to/own.md").read_text()
    block = next(part for part in text.split("```")[1::2] if "class Light" in part)
    assert len(block.strip().splitlines()) <= 60


def test_the_table_of_the_guide_is_what_is_printed(run, capsys):
    """But for the numbers, which are rounding."""
    run("how-to/own.md")
    printed = capsys.readouterr().out
    shown = (DOCS / "how-to/own.md").read_text().split("    Light  ")[1].split("\n\n")[0]
    for line in shown.splitlines()[1:]:
        assert line[4:].split("  ")[0] in printed


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The guides of cells, each on a small table, hardly trained and in few steps."""
    pytest.importorskip("anndata")
    pages = {}
    for page in ("cells", "cells-covariates", "cells-depth", "cells-differences", "cells-samples"):
        folder = tmp_path_factory.mktemp(page)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            pages[page] = blocks.run(f"how-to/{page}.md", folder)[0], folder
    return pages


def test_cells(cells):
    names, _ = cells["cells"]
    genes = [f"gene{k}" for k in range(13)]
    assert names["cells"].var_names.tolist() == genes  # of the first model, fitted to the file
    assert names["training"].var_names.tolist() == genes[:12] and names["fewer"].n_vars <= 12


def test_cells_of_a_batch(cells):
    names, _ = cells["cells-covariates"]
    assert names["one"].obs["batch"].tolist() == ["a"] * 16 and names["both"].n_obs == 16
    assert names["more"].uns["markovbridge"]["sample"]["means"] == "prescribed"
    assert names["double"]["gene0"] > 3


def test_depth_and_missing_values_of_cells(cells):
    names, _ = cells["cells-depth"]
    kept = [f"gene{k}" for k in range(12)]
    assert names["restored"].mean.var_names.tolist() == kept
    assert names["others"].var_names.tolist() == kept
    known = [np.asarray(x.X.todense()) for x in (names["others"][:, :6], names["panel"])]
    assert (known[0] == known[1]).all()
    assert names["found"].rows == 24 and names["holes"].corrected(0.9)
    assert (names["low"] <= names["high"]).all(axis=None)


def test_differences_of_cells(cells):
    names, _ = cells["cells-differences"]
    assert list(names["genes"].index) == [f"gene{k}" for k in range(12)]
    assert names["cells_a"].shape == (24, 12)


def test_samples_of_cells(cells):
    import anndata

    names, folder = cells["cells-samples"]
    assert names["cells"].n_obs == 16
    assert anndata.read_h5ad(folder / "synthetic.h5ad").shape == (16, 12)


def test_the_table_of_cells_comes_as_the_guide_says():
    remedy = TABLES["mouse-brain.h5ad"]
    section = (DOCS / "how-to/cells.md").read_text().split("## A table to try it on")[1]
    block = section.split("```bash")[1].split("```")[0]
    lines = block.splitlines()[1:]
    assert len(lines) == 2 and all(f"`{line}`" in remedy for line in lines)


def test_simulated(run):
    torch.manual_seed(0)
    names = run("theory/simulated.md")
    assert names["samples"].shape == names["leapt"].shape == (16, 10)
    assert bool((names["samples"].sum(1) == 4).all())
    assert bool(names["bound"].nats.isfinite().all())
    assert names["spins"].shape == (16, 5) and names["moved"].shape == (16, 2)
    assert names["exact"].shape == (32, 5)
    assert names["picture"].collections[0].get_array().shape == (10, 41)
    assert names["hopping"].collections[0].get_array().shape == (1, 60)
    assert len(names["noising"].lines) == 2


def test_covariances(run, monkeypatch, tmp_path):
    """The second block, which `make docs` does not run, on made-up images."""
    monkeypatch.chdir(tmp_path)
    images = (127.5 + 60 * torch.randn(50, 1, 28, 28)).clamp(0, 255)
    images = torch.nn.functional.avg_pool2d(images, 3, 1, 1)

    class Source:
        def __init__(self, name):
            assert name == "fashion-mnist"

        def load(self, split):
            return SimpleNamespace(x=images)

    monkeypatch.setattr("markovbridge.data.IDX", Source)
    names = run("theory/covariances.md")
    skipped = [block for block in blocks.blocks("theory/covariances.md") if block.skipped]
    (fits,) = [block for block in skipped if "fashion-mnist" in block.code]
    exec(compile(fits.code, fits.page, "exec"), names)
    assert names["found"].items == 50
    assert Path("fit.png").stat().st_size > 10_000


def test_what_has_no_inverse_trains_with_the_loss_that_the_guide_names():
    process = LinearDiffusion(covariance=Torus(SquaredExponential(1.0, 5.0)))
    coupling = Independent(Gaussian(correlated=True))
    transport = Transport(
        process,
        MLP((1, 8, 8), 1, 1, width=8, depth=1),
        EndpointHead("residual"),
        shape=(1, 8, 8),
        coupling=coupling,
        objective=EndMSE(),
    )
    generator = torch.Generator().manual_seed(0)
    loss = transport.loss(torch.randn(4, 1, 8, 8, generator=generator), generator=generator)
    loss.sum().backward()
    assert bool(transport.sample(2, steps=2, block=2, generator=generator).isfinite().all())
