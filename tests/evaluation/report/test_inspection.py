"""What the page of an inspection concludes, of curves that are known."""

import torch

from markovbridge import Brownian, LinearDiffusion, PureDeath
from markovbridge.evaluation.inspection import View
from markovbridge.evaluation.report.inspection import write_inspection

TIMES = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])


def view(name, size, effective=None):
    empty = torch.zeros(2, 1, 3)
    many = None if effective is None else torch.tensor(effective).unsqueeze(1).expand(-1, 3)
    return View(name, TIMES, torch.tensor(size), many, torch.tensor([0.0, 1.0]), empty, empty)


def page(folder, process, *views):
    write_inspection(folder, "it", process, views, {})
    return (folder / "inspect.html").read_text()


def test_when_the_end_is_decided(tmp_path):
    exact = view("exact", [1.0, 1.0, 1.0, 2.0, 3.0], [1000.0, 400.0, 99.0, 3.0, 1.0])
    late = view("late", [8.0, 1.0, 1.0, 1.0, 1.0], [50.0, 40.0, 30.0, 20.0, 10.0])
    text = page(tmp_path, LinearDiffusion(Brownian()), exact, late)
    assert (
        "exact: half of the pull towards the data by t = 0.70; which data point a path "
        "goes to is decided from t = 0.50, when fewer than a tenth of those of the start carry "
        "the weight, to t = 0.90, when one does."
    ) in text
    assert "late: half of the pull towards the data by t = 0.10; which" in text
    assert "from t = 1.00, when fewer" in text and "to t = 1.00, when one does." in text


def test_a_learned_law_says_when_it_moves(tmp_path):
    text = page(tmp_path, PureDeath(), view("learned", [0.0, 1.0, 3.0, 0.0, 0.0]))
    assert "learned: half of the jumps by t = 0.50." in text
