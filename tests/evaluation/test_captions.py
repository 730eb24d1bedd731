"""Every picture says in itself what it shows."""

import ast
from pathlib import Path

import pytest
import torch

import markovbridge
import markovbridge as mb
from markovbridge.covariances import Exponential, Fit, Torus
from markovbridge.covariances.figures import plot
from markovbridge.evaluation.bands import plot_bands
from markovbridge.evaluation.plots import plot_marginals, plot_paths, plot_rates, plot_values
from markovbridge.exact import Empirical

pytest.importorskip("matplotlib")

SOURCE = Path(markovbridge.__file__).parent
CHAIN = mb.FiniteChain(torch.tensor([[-1.0, 1.0], [2.0, -2.0]]))
POINTS = torch.tensor([[0, 1], [1, 1], [0, 0]])
FIELDS = torch.randn(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))
MODEL = mb.Transport(CHAIN, Empirical(CHAIN, POINTS), shape=(2,))
FEW = (0.0, 0.5, 1.0)
CASES = {  # by function: what it is called with, and what its caption has to name
    "plot_values": (plot_values, (torch.ones(3, 4),), {"label": "score"}, "Score|3|4"),
    "plot_marginals": (plot_marginals, (CHAIN, POINTS), {"site": 1}, "FiniteChain|site 1|3|exact"),
    "plot_rates": (
        plot_rates,
        (MODEL,),
        {"site": 0, "at": POINTS[0], "times": (0.3, 0.6)},
        "leaving|site 0|FiniteChain|fixed",
    ),
    "plot_paths": (plot_paths, (MODEL,), {"site": 0, "n": 4, "times": FEW}, "4 paths|site 0"),
    "plot_bands": (plot_bands, (mb.LinearDiffusion(), mb.Noised(), FIELDS), {}, "Noised|30"),
    "plot": (
        plot,
        (FIELDS, {"by hand": Fit(Torus(Exponential()), 0.0, "spectrum", 30)}),
        {},
        "30|1 x 4 x 4|by hand",
    ),
}


def parsed(word):
    """The modules whose text has this word."""
    texts = [path.read_text() for path in SOURCE.rglob("*.py")]
    return [ast.parse(text) for text in texts if word in text]


def drawing():
    """Public functions of the package that return axes or a figure of matplotlib."""
    found = set()
    for module in parsed("matplotlib"):
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                kinds = ast.unparse(node.returns)
                if not node.name.startswith("_") and ("Axes" in kinds or "Figure" in kinds):
                    found.add(node.name)
    return found - {"axes"}  # which writes the captions


def title(drawn):
    figure = getattr(drawn, "figure", None) or drawn
    above = [figure.get_suptitle(), *(ax.get_title() for ax in figure.axes)]
    return " ".join(" ".join(above).split())


def test_no_function_that_draws_is_overlooked():
    assert drawing() == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_figure_says_what_it_shows(name):
    function, args, options, words = CASES[name]
    said = title(function(*args, **options))
    assert all(word in said for word in words.split("|")), said


@pytest.mark.parametrize("name", sorted(set(CASES) - {"plot"}))
def test_axes_that_are_given_keep_their_title(name):
    from matplotlib.figure import Figure

    function, args, options, _ = CASES[name]
    ax = Figure().add_subplot()
    ax.set_title("mine")
    assert function(*args, **options, ax=ax).get_title() == "mine"


def test_states_drawn_as_given_are_counted():
    states = torch.randn(3, 7, 1)
    assert "7 paths" in title(plot_paths(states, times=FEW))
    assert "7 paths; median" in title(plot_marginals(states, times=FEW))


def test_every_grid_of_pictures_that_is_written_has_a_caption():
    calls = [
        node
        for module in parsed("grid_png")
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "grid_png"
    ]
    assert len(calls) >= 4
    assert all("caption" in {word.arg for word in call.keywords} for call in calls)
