"""Heads: how a network's output becomes the law of x_1 given x_t."""

from markovbridge.heads.base import Head
from markovbridge.heads.centred import CentredHead
from markovbridge.heads.counts import (
    CategoricalHead,
    LogisticMixtureHead,
    MeanHead,
    NegativeBinomialHead,
)
from markovbridge.heads.denoiser import Denoiser
from markovbridge.heads.gamma import GammaHead
from markovbridge.heads.gaussian import EndpointHead
from markovbridge.heads.joint import JointHead
from markovbridge.heads.two_means import TwoMeansHead

__all__ = [
    "CategoricalHead",
    "CentredHead",
    "Denoiser",
    "EndpointHead",
    "GammaHead",
    "Head",
    "JointHead",
    "LogisticMixtureHead",
    "MeanHead",
    "NegativeBinomialHead",
    "TwoMeansHead",
]
