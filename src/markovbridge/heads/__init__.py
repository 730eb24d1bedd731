"""Heads: how a network's output becomes the law of x_1 given x_t."""

from markovbridge.heads.base import Head
from markovbridge.heads.counts import Categorical, LogisticMixture, Mean, NegativeBinomial

__all__ = ["Categorical", "Head", "LogisticMixture", "Mean", "NegativeBinomial"]
