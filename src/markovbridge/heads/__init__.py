"""Heads: how a network's output becomes the law of x_1 given x_t."""

from markovbridge.heads.base import Head
from markovbridge.heads.centred import Centred
from markovbridge.heads.counts import Categorical, LogisticMixture, Mean, NegativeBinomial
from markovbridge.heads.gaussian import Endpoint
from markovbridge.heads.two_means import TwoMeans

__all__ = [
    "Categorical",
    "Centred",
    "Endpoint",
    "Head",
    "LogisticMixture",
    "Mean",
    "NegativeBinomial",
    "TwoMeans",
]
