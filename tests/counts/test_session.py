"""Threads, lines of progress, and what training told."""

import logging

import numpy as np
import pytest
import torch

from markovbridge import CountModel
from markovbridge.counts.session import threaded, told

FAST = {"width": 4, "depth": 1, "batch_size": 16, "random_state": 0, "tolerance": 1.0}
FAST["base"] = None  # no base law is fitted
COUNTS = np.random.default_rng(0).poisson(3.0, (40, 3))


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seen(monkeypatch):
    """Numbers of threads that the network was asked on."""
    found = set()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def law(self, *args, **kwargs):
        found.add(torch.get_num_threads())
        return law.real(self, *args, **kwargs)

    from markovbridge import Transport

    law.real = Transport.law
    monkeypatch.setattr(Transport, "law", law)
    return found


def test_every_method_has_the_threads_and_puts_their_number_back(seen):
    model = CountModel(steps=2, threads=1, **FAST)
    for call in (
        lambda: model.fit(COUNTS),
        lambda: model.sample(2),
        lambda: model.restore(COUNTS[:2], 0.5, draws=1),
        lambda: model.impute(COUNTS[:2], [1, 0, 1], draws=1),
        lambda: model.score_samples(COUNTS[:2], draws=2),
    ):
        seen.clear()
        call()
        assert seen == {1} and torch.get_num_threads() == 2
    with pytest.raises(RuntimeError, match="inside"), threaded(1):
        raise RuntimeError("inside")
    assert torch.get_num_threads() == 2
    with threaded(None):
        assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="threads must be at least 1"):
        CountModel(steps=2, threads=0, **FAST).fit(COUNTS)


def test_threads_that_another_package_has_raised_are_reported(monkeypatch):
    model = CountModel(steps=2, threads=1, **FAST).fit(COUNTS)
    model.set_params(threads=None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.warns(UserWarning, match="torch has 2 threads, .* 1: .* give threads=1") as said:
        model.sample()
    assert [warning.filename for warning in said] == [__file__]
    for threads, value in ((2, "1"), (None, "2"), (None, "all"), (None, "")):
        monkeypatch.setenv("OMP_NUM_THREADS", value)  # asked for, allowed, not a number
        with threaded(threads):
            assert torch.get_num_threads() == 2


def test_training_tells_how_far_it_is_if_it_is_asked_to(capsys, seen):
    quiet = CountModel(steps=20, threads=1, **FAST).fit(COUNTS)
    assert "step 20/20" not in capsys.readouterr().err
    model = CountModel(steps=20, threads=1, verbose=True, **FAST).fit(COUNTS)
    lines = capsys.readouterr().err
    assert lines.count("step 20/20: loss ") == 1 and "keeping the weights of step" in lines
    assert np.array_equal(model.loss_, quiet.loss_)
    logger = logging.getLogger("markovbridge.training")
    assert not logger.handlers and logger.level == logging.NOTSET


def test_lines_are_shown_once_where_logging_shows_them(capsys):
    logger, handler = logging.getLogger("markovbridge"), logging.StreamHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with told(True):
            logging.getLogger("markovbridge.training").info("a line")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert capsys.readouterr().err.count("a line") == 1


def test_lines_are_shown_once_where_warnings_are_shown(capsys):
    root, handler = logging.getLogger(), logging.StreamHandler()
    root.addHandler(handler)
    try:
        with told(True):
            logging.getLogger("markovbridge.training").info("a line")
    finally:
        root.removeHandler(handler)
    assert capsys.readouterr().err.count("a line") == 1
    with told(True):  # and where nothing else shows them
        logging.getLogger("markovbridge.training").info("a line")
    assert capsys.readouterr().err.count("a line") == 1


def test_history_is_what_the_log_has(tmp_path, seen):
    own = FAST | {"threads": 1, "steps": 8}
    model = CountModel(**own).fit(COUNTS)
    assert [record["step"] for record in model.history_] == list(range(1, 9))
    loss = [record["loss"] for record in model.history_]
    np.testing.assert_allclose(loss, model.loss_, rtol=1e-6)
    held = [record["validation_loss"] for record in model.history_]
    assert model.history_[-1]["best_step"] == model.best_step_ == 1 + int(np.argmin(held))
    assert model.history_[-1]["best_loss"] == min(held)
    alone = CountModel(**own, validation_fraction=0).fit(COUNTS)
    assert not any("validation_loss" in record for record in alone.history_)
    first = CountModel(**own).fit(COUNTS, directory=tmp_path / "run")
    again = CountModel(**own).fit(COUNTS, directory=tmp_path / "run")  # nothing is left to do
    assert again.history_ == first.history_ and len(again.history_) == 8
