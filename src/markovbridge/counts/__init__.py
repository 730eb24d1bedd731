"""A model of a count table in three lines: `CountModel`.

| file | what |
|---|---|
| `model.py` | the model: fit, save, load |
| `fitted.py` | what a fitted one does: sample, restore, impute, score |
| `drawn.py` | samples of a sparse table, block by block |
| `measuring.py` | calibrate on rows whose truth is known; differences of groups of rows |
| `fitting.py` | what is fitted: network and transport, rows held out, steps |
| `given.py` | a table that a model is given: its features in order, what it lacks |
| `told.py` | what is told of each row: covariates in whatever form, library size |
| `session.py` | threads, and lines of progress |
| `prediction.py` | draws in the form of the table that they stand in for |
| `files.py` | what a saved folder holds beside its transport |
| `seeds.py`, `estimator.py` | randomness, and the manners of scikit-learn |
"""

from markovbridge.counts.files import Facts
from markovbridge.counts.model import CountModel
from markovbridge.counts.prediction import Prediction

__all__ = ["CountModel", "Facts", "Prediction"]
